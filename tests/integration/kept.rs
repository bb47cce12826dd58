//! What commands have said of clients and recipients outlives the process, and is shared by all that use the same store.

use std::time::{Duration, Instant};

use backstop_harness::{Backstop, Postfix, Redis, TempDir, wait_until};

use crate::site;
use crate::standing::answer;

const CLIENT: &str = "203.0.113.9";
const INSIDER: &str = "203.0.113.10";

/// Killed right behind the command: what it has said stands after the restart.
#[test]
fn a_restart_forgets_nothing() {
    let dir = TempDir::new("store");
    let store = format!("embedded:{}", dir.join("store").display());
    let start = || site::backstop().env("BACKSTOP__STORE__URL", &store).start();
    for command in [
        &["block", CLIENT, "--reason", "it guesses"][..],
        &["block", INSIDER],
        &["trust", INSIDER],
        &["suspend", "anna@example.test", "--text", "Ask the owner"],
        &["suspend", "bob@example.test"],
        &["resume", "bob@example.test"],
    ] {
        let backstop = start();
        let output = backstop.command(command);
        assert_eq!(output.status, 0, "{command:?}: {output:?}");
        drop(backstop); // kill -9
    }
    let backstop = start();
    let postfix = postfix(&backstop);
    for (client, recipient, code) in [
        (CLIENT, "<bob@example.test>", 421),
        (INSIDER, "<bob@example.test>", 250),
        ("203.0.113.11", "<bob@example.test>", 250),
        ("203.0.113.11", "<anna@example.test>", 550),
    ] {
        assert_eq!(answer(&postfix, client, recipient), code, "{client} {recipient}");
    }
    assert!(backstop.command(&["blocked"]).stdout.contains("  it guesses\n"));
    assert!(backstop.command(&["suspended"]).stdout.contains("  tells: Ask the owner\n"));
}

/// A reload builds everything anew, but for this.
#[test]
fn a_reload_forgets_nothing() {
    let backstop = site::backstop().start();
    let postfix = postfix(&backstop);
    assert_eq!(backstop.command(&["block", CLIENT]).status, 0);
    assert_eq!(backstop.command(&["suspend", "anna@example.test"]).status, 0);
    assert_eq!(backstop.command(&["reload"]).status, 0);
    assert_eq!(answer(&postfix, CLIENT, "<bob@example.test>"), 421);
    assert_eq!(answer(&postfix, INSIDER, "<anna@example.test>"), 550);
}

#[test]
fn two_that_share_a_store_answer_alike() {
    let mut redis = Redis::start();
    let start = || site::backstop().env("BACKSTOP__STORE__URL", &redis.url()).start();
    let (here, there) = (start(), start());
    let (_, mx) = (postfix(&here), postfix(&there));

    assert_eq!(here.command(&["block", CLIENT]).status, 0);
    assert_eq!(answer(&mx, CLIENT, "<bob@example.test>"), 421, "at once");
    assert_eq!(here.command(&["trust", CLIENT]).status, 0);
    assert_eq!(answer(&mx, CLIENT, "<bob@example.test>"), 250);
    assert!(there.command(&["trusted"]).stdout.starts_with(CLIENT));
    assert_eq!(there.command(&["release", CLIENT]).status, 0);
    assert_eq!(here.command(&["blocked"]).stdout, "");
    assert_eq!(answer(&mx, CLIENT, "<bob@example.test>"), 250);

    // A suspension needs no question for each recipient; so the other one takes a moment.
    assert_eq!(answer(&mx, CLIENT, "<anna@example.test>"), 250);
    for (command, code) in [("suspend", 550), ("resume", 250), ("suspend", 550)] {
        assert_eq!(here.command(&[command, "anna@example.test"]).status, 0);
        let begun = Instant::now();
        wait_until(SOON, command, || answer(&mx, CLIENT, "<anna@example.test>") == code);
        assert!(begun.elapsed() < Duration::from_secs(5), "{command}: {:?}", begun.elapsed());
    }

    // While it is away, the word that was given stands, and no new one is taken.
    redis.freeze();
    assert_eq!(answer(&mx, CLIENT, "<anna@example.test>"), 550);
    assert_eq!(answer(&mx, CLIENT, "<bob@example.test>"), 250);
    for command in
        [&["suspend", "bob@example.test"][..], &["block", CLIENT], &["trust", CLIENT], &["blocked"]]
    {
        let output = there.command(command);
        assert_eq!(output.status, 69, "{command:?}: {output:?}");
        assert!(output.stderr.contains("the store does not answer"), "{output:?}");
    }
    let status = there.command(&["status"]);
    assert!(status.status == 0 && status.stdout.contains("the store does not tell in time"), "{status:?}");
    redis.thaw();
    wait_until(SOON, "a block", || there.command(&["block", CLIENT]).status == 0);
    assert_eq!(answer(&mx, CLIENT, "<bob@example.test>"), 421);
}

fn postfix(backstop: &Backstop) -> Postfix {
    Postfix::builder().milter(&backstop.for_postfix()).start()
}

const SOON: Duration = Duration::from_secs(30);
