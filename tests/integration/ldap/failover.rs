//! Several servers: one that is dead and one that hangs cost a moment once, not each time.

use std::time::{Duration, Instant};

use backstop_harness::{Slapd, free_port};

use super::{OK, UNKNOWN, decides, person};

#[test]
fn a_dead_and_a_hanging_server_are_remembered() {
    let (mut hanging, mut slapd) = (Slapd::start(), Slapd::start());
    let anna = person("anna", &["mail: anna@example.test"]);
    slapd.add(&anna);
    hanging.add(&anna);
    hanging.pause();
    let dead = format!("ldap://127.0.0.1:{}", free_port());
    let more = "source = \"live\"
deadline = \"2s\"";
    let urls = [dead, hanging.url(), slapd.url()];
    let backstop = super::backstop(&super::reader(&urls, &slapd, more)).start();
    let postfix = super::postfix(&backstop);
    let mut smtp = super::session(&postfix);

    let timed = |smtp: &mut _, table: &[(&str, &str)]| {
        let begun = Instant::now();
        decides(smtp, "fail-over", table);
        begun.elapsed()
    };
    let first = timed(&mut smtp, &[("anna", OK)]);
    assert!(first < Duration::from_millis(2500), "the first question took {first:?}");
    let names: Vec<String> = (0..40).map(|index| format!("nobody{index}")).collect();
    let table: Vec<_> = names.iter().map(|name| (name.as_str(), UNKNOWN)).collect();
    let further = timed(&mut smtp, &table);
    // One question at a time tries those that are left alone; the rest don't wait for them.
    assert!(further < Duration::from_secs(5), "40 further questions took {further:?}");

    // The others take over when it dies.
    hanging.resume();
    slapd.kill();
    let takes_over = || super::decision(&mut smtp, "<someone@example.test>") == UNKNOWN;
    backstop_harness::wait_until(Duration::from_secs(10), "the other server's answer", takes_over);
    decides(&mut smtp, "the other server", &[("anna", OK), ("somebody", UNKNOWN)]);
}
