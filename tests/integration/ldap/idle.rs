//! Connections that the server cuts because nothing was asked for a while are noticed by nobody.

use std::time::{Duration, Instant};

use backstop_harness::{Slapd, wait_until};

use super::{OK, UNKNOWN, decides, person, wait_for_addresses};

#[test]
fn nobody_notices_that_idle_connections_are_cut() {
    let slapd = Slapd::builder().idle_timeout(1).start();
    slapd.add(&person("anna", &["mail: anna@example.test"]));
    slapd.add(&person("bob", &["mail: bob@example.test"]));
    let urls = [slapd.url()];
    let live = super::backstop(&super::reader(&urls, &slapd, "source = \"live\"")).start();
    // asks for everybody whom it does not know
    let listed = super::backstop(&super::reader(&urls, &slapd, "feed = \"paged\"")).start();
    let replica = super::backstop(&super::reader(&urls, &slapd, "feed = \"syncrepl\"")).start();
    wait_for_addresses(&listed, 2);
    wait_for_addresses(&replica, 2);
    for backstop in [&live, &listed] {
        let postfix = super::postfix(backstop);
        let mut smtp = super::session(&postfix);
        decides(&mut smtp, "before", &[("anna", OK), ("nobody", UNKNOWN)]);
        for round in 0..2 {
            let cut = || slapd.log().matches("closed (idletimeout)").count();
            let before = cut();
            wait_until(Duration::from_secs(10), "an idle connection's end", || cut() > before);
            let begun = Instant::now();
            let stranger = format!("stranger{round}");
            decides(&mut smtp, "after the cut", &[(&stranger, UNKNOWN), ("bob", OK)]);
            assert!(begun.elapsed() < Duration::from_secs(1), "it took {:?}", begun.elapsed());
        }
    }
    // A feed hears of changes all the while.
    slapd.add(&person("carl", &["mail: carl@example.test"]));
    wait_for_addresses(&replica, 3);
    for backstop in [&live, &listed, &replica] {
        let log = backstop.log();
        let complaint = log.lines().find(|line| line.contains(" WARN ") || line.contains(" ERROR "));
        assert_eq!(complaint, None, "nobody needs to know");
    }
}

/// A firewall forgets connections without a word; a server that is restarted cuts all of them at once.
#[test]
fn a_server_that_is_restarted_between_two_questions_is_not_noticed() {
    let mut slapd = Slapd::start();
    slapd.add(&person("anna", &["mail: anna@example.test"]));
    let backstop = super::backstop(&super::reader(&[slapd.url()], &slapd, "source = \"live\"")).start();
    let postfix = super::postfix(&backstop);
    let mut smtp = super::session(&postfix);
    decides(&mut smtp, "before", &[("nobody", UNKNOWN)]);
    for name in ["first", "second", "third"] {
        slapd.kill();
        slapd.restart();
        decides(&mut smtp, "after the restart", &[(name, UNKNOWN)]);
    }
    decides(&mut smtp, "at last", &[("anna", OK)]);
}
