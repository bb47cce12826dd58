//! A listing that has much less than the one before is no reason to refuse anybody, until the admin says that it is right.

use std::time::Duration;

use backstop_harness::{Slapd, wait_until};

use super::{OK, UNKNOWN, addresses, decides, person, wait_for_addresses};

#[test]
fn a_listing_that_lacks_many_is_held_back_until_it_is_accepted() {
    let slapd = Slapd::start();
    let user = |index: u32| format!("user{index}");
    let dn = |index| format!("uid={},ou=people,{}", user(index), Slapd::BASE);
    for index in 0..20 {
        slapd.add(&person(&user(index), &[&format!("mail: {}@example.test", user(index))]));
    }
    let more = "feed = \"paged\"\n[directory.corp.replica]\nrefresh = \"1s\"";
    let backstop = super::backstop(&super::reader(&[slapd.url()], &slapd, more)).start();
    let postfix = super::postfix(&backstop);
    let mut smtp = super::session(&postfix);
    wait_for_addresses(&backstop, 20);

    slapd.delete(&dn(0));
    let shrinks = |count: f64| {
        let what = format!("{count} addresses");
        wait_until(Duration::from_secs(15), &what, || addresses(&backstop) == count);
    };
    shrinks(19.0); // one is no accident
    for index in 1..10 {
        slapd.delete(&dn(index));
    }
    // A listing may fall between two deletions: those before it are believed.
    let held = || backstop.metric("backstop_directory_held_back", &[("directory", "corp")]) == 1.0;
    wait_until(Duration::from_secs(15), "the listing to be held back", held);
    slapd.add(&person("new", &["mail: new@example.test"]));
    decides(
        &mut smtp,
        "held back",
        &[("user9", OK), ("user19", OK), ("user0", UNKNOWN), ("new", OK), ("nobody", UNKNOWN)],
    );
    assert!(backstop.log().contains("held back"), "{}", backstop.log());

    let output = backstop.command(&["reload", "--accept"]);
    assert_eq!(output.status, 0, "{output:?}");
    shrinks(11.0);
    decides(&mut smtp, "accepted", &[("user9", UNKNOWN), ("user19", OK), ("new", OK)]);
    assert!(!held());
}

/// Whoever may not see anybody any more sees an empty directory, without any error (RFC 4511 §4.5.2 has none for it).
#[test]
fn a_directory_that_shows_nobody_knows_nobody() {
    let slapd = Slapd::builder().errors().start(); // anybody may search, only the reader may read
    slapd.add(&person("anna", &["mail: anna@example.test"]));
    for source in ["live", "replica"] {
        let ldap = format!("urls = [{:?}]\nbase = {:?}\nsource = {source:?}", slapd.url(), Slapd::BASE);
        let backstop = super::backstop(&ldap).start();
        let postfix = super::postfix(&backstop);
        let table = [("anna", super::UNAVAILABLE), ("nobody", super::UNAVAILABLE)];
        decides(&mut super::session(&postfix), source, &table);
    }
}
