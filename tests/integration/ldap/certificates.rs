//! Authorities and certificates are renewed under the same name: a reload takes what is in the files then.

use std::fs;
use std::time::Duration;

use backstop_harness::{Signal, Slapd, TempDir, wait_until};

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
        wait_until(Duration::from_secs(15), "the right authority", || {
            // Sessions keep the directories that they began with.
            let mut smtp = super::session(&postfix);
            decision(&mut smtp, "<anna@example.test>") == OK
                && decision(&mut smtp, "<nobody@example.test>") == UNKNOWN
        });
    }
}
