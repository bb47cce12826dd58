//! Backstop starts while the directory is down: what it kept on disk answers.

use backstop_harness::{Backstop, Slapd, TempDir, wait_until};
use std::time::Duration;

use super::{OK, SUSPENDED, UNAVAILABLE, UNKNOWN, decides, decision, person, wait_for_addresses};

#[test]
fn the_disk_copy_answers_while_the_directory_is_down() {
    let mut slapd = Slapd::start();
    slapd.add(&person("anna", &["mail: anna@example.test", "mailAlternateAddress: a.smith@example.test"]));
    slapd.add(&person("late", &["mail: late@example.test", "accountStatus: disabled"]));
    let dir = TempDir::new("store");
    let store = format!("embedded:{}", dir.join("store").display());
    let more = "suspended_filter = \"(accountStatus=disabled)\"\ndeadline = \"1s\"";
    let ldap = super::reader(&[slapd.url()], &slapd, more);
    let start = || -> Backstop { super::backstop(&ldap).env("BACKSTOP__STORE__URL", &store).start() };

    let backstop = start();
    wait_for_addresses(&backstop, 3);
    drop(backstop); // kill -9

    slapd.stop();
    let backstop = start();
    let postfix = super::postfix(&backstop);
    let mut smtp = super::session(&postfix);
    let down = [("anna", OK), ("a.smith+x", OK), ("late", SUSPENDED), ("nobody", UNAVAILABLE)];
    decides(&mut smtp, "the directory is down", &down);
    assert!(backstop.metric("backstop_directory_addresses", &[("directory", "corp")]) == 3.0);

    slapd.restart();
    slapd.add(&person("new", &["mail: new@example.test"]));
    wait_until(Duration::from_secs(15), "the directory's return", || {
        decision(&mut smtp, "<nobody@example.test>") == UNKNOWN
    });
    wait_for_addresses(&backstop, 4);
    decides(&mut smtp, "the directory is back", &[("anna", OK), ("new", OK), ("late", SUSPENDED)]);
}

/// With nothing on disk and nobody to ask, nobody is unknown.
#[test]
fn without_a_copy_everybody_waits() {
    let mut slapd = Slapd::start();
    slapd.add(&person("anna", &["mail: anna@example.test"]));
    slapd.stop();
    let backstop = super::backstop(&super::reader(&[slapd.url()], &slapd, "deadline = \"1s\"")).start();
    let postfix = super::postfix(&backstop);
    let mut smtp = super::session(&postfix);
    decides(&mut smtp, "the directory is down", &[("anna", UNAVAILABLE), ("nobody", UNAVAILABLE)]);
    slapd.restart();
    wait_until(Duration::from_secs(15), "the directory", || {
        decision(&mut smtp, "<anna@example.test>") == OK
            && decision(&mut smtp, "<nobody@example.test>") == UNKNOWN
    });
}
