//! docs/quickstart.md is followed from top to bottom with a real Postfix, and with a real Sendmail, in their usual places: its commands
//! are run as they stand there, its dialogues held, and what it shows is what comes (tests/quickstart, tests/follow).

use std::process::Command;

use crate::BACKSTOP;

#[test]
fn the_chapter_is_true_with_postfix() {
    follow("postfix");
}

#[test]
fn the_chapter_is_true_with_sendmail() {
    follow("sendmail");
}

fn follow(mta: &str) {
    let mut script = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/quickstart"));
    let output = script.args([BACKSTOP, mta]).output().expect("it can be run");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.ends_with(" commands\n"), "{said}{errors}");
}
