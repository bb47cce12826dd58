//! Errors for one recipient are no answer, and trouble no other recipient (slapo-retcode(5) makes slapd err).

use std::time::{Duration, Instant};

use backstop_harness::Slapd;

use super::{OK, UNAVAILABLE, UNKNOWN, decides, person};

#[test]
fn an_error_for_one_is_no_answer_for_him_and_none_for_others() {
    let slapd = Slapd::builder().errors().start();
    slapd.add(&person("anna", &["mail: anna@example.test"]));
    for (name, error) in [
        ("busy", "errCode: 51"),
        ("unavailable", "errCode: 52"),
        ("operations", "errCode: 1"),
        ("timelimit", "errCode: 3"),
        ("adminlimit", "errCode: 11"),
        ("denied", "errCode: 50"),
        ("other", "errCode: 80"),
        ("unknowncode", "errCode: 4242"),
    ] {
        slapd
            .add(&person(name, &[&format!("mail: {name}@example.test"), "objectClass: errAuxObject", error]));
    }
    let slow = ["mail: slow@example.test", "objectClass: errAuxObject", "errCode: 51", "errSleepTime: 4"];
    slapd.add(&person("slow", &slow));
    let more = "source = \"live\"\ndeadline = \"700ms\"";
    let backstop = super::backstop(&super::reader(&[slapd.url()], &slapd, more)).start();
    let postfix = super::postfix(&backstop);
    let mut smtp = super::session(&postfix);
    for name in [
        "busy",
        "unavailable",
        "operations",
        "timelimit",
        "adminlimit",
        "denied",
        "other",
        "unknowncode",
        "slow",
    ] {
        let begun = Instant::now();
        decides(&mut smtp, name, &[(name, UNAVAILABLE)]);
        assert!(begun.elapsed() < Duration::from_millis(1500), "{name} took {:?}", begun.elapsed());
        // A server that erred may be left alone for a moment, but not for long.
        let found = || super::decision(&mut smtp, "<anna@example.test>") == OK;
        backstop_harness::wait_until(Duration::from_secs(6), &format!("an answer after {name}"), found);
        let found = || super::decision(&mut smtp, "<nobody@example.test>") == UNKNOWN;
        backstop_harness::wait_until(Duration::from_secs(6), &format!("an answer after {name}"), found);
    }
}
