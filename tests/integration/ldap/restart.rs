//! Backstop starts while the directory is down: what it kept on disk answers.

use std::time::{Duration, Instant};

use backstop_harness::{Backstop, Slapd, TempDir, wait_until};

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
    let down = [("anna", OK), ("a.smith+x", OK), ("late", UNAVAILABLE), ("nobody", UNAVAILABLE)];
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

/// Another question to the directory has other answers: what is on disk for the one before does not count, not even to
/// hold a shrunken list back.
#[test]
fn a_changed_configuration_is_another_list() {
    let slapd = Slapd::start();
    for index in 0..10 {
        let status = if index % 2 == 0 { "active" } else { "disabled" };
        let lines = [format!("mail: user{index}@example.test"), format!("accountStatus: {status}")];
        slapd.add(&person(&format!("user{index}"), &lines.each_ref().map(String::as_str)));
    }
    let dir = TempDir::new("store");
    let store = format!("embedded:{}", dir.join("store").display());
    for (more, count, second) in [
        ("", 10, OK),
        ("suspended_filter = \"(accountStatus=disabled)\"", 10, SUSPENDED),
        ("filter = \"(accountStatus=active)\"", 5, UNKNOWN),
        ("", 10, OK),
    ] {
        let ldap = super::reader(&[slapd.url()], &slapd, more);
        let backstop = super::backstop(&ldap).env("BACKSTOP__STORE__URL", &store).start();
        let postfix = super::postfix(&backstop);
        wait_until(Duration::from_secs(15), more, || super::addresses(&backstop) == f64::from(count));
        let table = [("user0", OK), ("user1", second), ("nobody", UNKNOWN)];
        decides(&mut super::session(&postfix), more, &table);
    }
}

/// Whatever changed while Backstop was away is seen when it is back: by what the server remembers of its changes, and
/// without it, for slapd's memory of them does not survive a restart of its own.
#[test]
fn what_happened_meanwhile_is_caught_up_with() {
    let mut slapd = Slapd::start();
    let user = |name: &str| person(name, &[&format!("mail: {name}@example.test")]);
    for index in 0..20 {
        slapd.add(&user(&format!("user{index}")));
    }
    let dir = TempDir::new("store");
    let store = format!("embedded:{}", dir.join("store").display());
    let ldap = super::reader(&[slapd.url()], &slapd, "feed = \"syncrepl\"");
    let start = || -> Backstop { super::backstop(&ldap).env("BACKSTOP__STORE__URL", &store).start() };
    let backstop = start();
    wait_for_addresses(&backstop, 20);
    drop(backstop);
    for (gone, new, restarted) in [("user0", "first", false), ("user1", "second", true)] {
        slapd.delete(&format!("uid={gone},ou=people,{}", Slapd::BASE));
        slapd.add(&user(new));
        if restarted {
            slapd.restart();
        }
        let backstop = start();
        let postfix = super::postfix(&backstop);
        let mut smtp = super::session(&postfix);
        let begun = Instant::now();
        wait_until(Duration::from_secs(15), "the deletion", || {
            decision(&mut smtp, &format!("<{gone}@example.test>")) == UNKNOWN
        });
        assert!(begun.elapsed() < Duration::from_secs(2), "after {:?}", begun.elapsed());
        decides(&mut smtp, new, &[(new, OK), ("user19", OK), ("nobody", UNKNOWN)]);
        wait_until(Duration::from_secs(5), "twenty addresses", || super::addresses(&backstop) == 20.0);
    }
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
