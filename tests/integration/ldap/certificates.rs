//! Authorities and certificates are renewed under the same name: a reload takes what is in the files then. And they expire.

use std::fs;
use std::time::Duration;

use backstop_harness::{Clock, Signal, Slapd, TempDir, wait_until};

use super::{OK, UNAVAILABLE, UNKNOWN, decides, decision, person};

#[test]
fn a_reload_reads_the_file_of_authorities_again() {
    let (slapd, other) = (Slapd::start(), Slapd::start());
    slapd.add(&person("anna", &["mail: anna@example.test"]));
    let dir = TempDir::new("ca");
    let file = dir.join("ca.pem");
    for source in ["live", "replica"] {
        fs::copy(other.ca(), &file).expect("a file is written");
        let more = format!("deadline = \"1s\"\nsource = {source:?}");
        let ldap = super::reader(&[slapd.ldaps_url()], &slapd, &more);
        let ldap = ldap.replace(&slapd.ca().display().to_string(), &file.display().to_string());
        let mut backstop = super::backstop(&ldap).start();
        let postfix = super::postfix(&backstop);
        decides(&mut super::session(&postfix), "another authority", &[("anna", UNAVAILABLE)]);
        fs::copy(slapd.ca(), &file).expect("a file is written");
        backstop.signal(Signal::HUP);
        wait_until(SOON, "the right authority", || {
            // Sessions keep the directories that they began with.
            let mut smtp = super::session(&postfix);
            decision(&mut smtp, "<anna@example.test>") == OK
                && decision(&mut smtp, "<nobody@example.test>") == UNKNOWN
        });
    }
}

/// Nobody is refused for good for that; the log says what it is, and when they are valid again nothing else is to be done.
#[test]
fn expired_ones_are_told_and_refuse_nobody_for_good() {
    let mut slapd = Slapd::start();
    slapd.add(&person("anna", &["mail: anna@example.test"]));
    let cache = "\n[directory.corp.cache]\npositive = \"1ms\"\nstale = \"1ms\"";
    for (source, cache, while_expired) in [("live", cache, UNAVAILABLE), ("replica", "", OK)] {
        let clock = Clock::new();
        let more = format!("deadline = \"1s\"\nsource = {source:?}{cache}");
        let ldap = super::reader(&[slapd.ldaps_url()], &slapd, &more);
        let backstop = super::backstop(&ldap).after(&clock.script()).start();
        let postfix = super::postfix(&backstop);
        let mut smtp = super::session(&postfix);
        let says =
            |smtp: &mut _, who: &str, said: &str| decision(smtp, &format!("<{who}@example.test>")) == said;
        wait_until(SOON, "both answers", || {
            says(&mut smtp, "anna", OK) && says(&mut smtp, "nobody", UNKNOWN)
        });
        // Those of the harness are valid for 30 days.
        clock.set("+31d");
        // Who is connected stays so.
        slapd.restart();
        wait_until(SOON, "the certificate to have expired", || says(&mut smtp, "nobody1", UNAVAILABLE));
        decides(&mut smtp, source, &[("anna", while_expired), ("nobody2", UNAVAILABLE)]);
        wait_until(SOON, "the reason in the log", || backstop.log().contains("certificate expired"));
        let status = backstop.command(&["status"]).stdout;
        assert!(status.contains("certificate expired"), "{status}");
        clock.set("+29d");
        wait_until(SOON, "a valid certificate", || says(&mut smtp, "nobody3", UNKNOWN));
        decides(&mut smtp, source, &[("anna", OK)]);
    }
}

const SOON: Duration = Duration::from_secs(20);
