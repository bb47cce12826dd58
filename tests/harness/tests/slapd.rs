//! The harness' OpenLDAP server, without Backstop.

use std::process::{Command, Output};

use backstop_harness::Slapd;

#[test]
fn slapd_starts_stops_and_hangs() {
    let mut slapd = Slapd::start();
    slapd.add(&person("anna"));
    assert_eq!(found(&slapd, "(mail=anna@example.test)"), 1);
    assert_eq!(found(&slapd, "(mail=nobody@example.test)"), 0);
    assert!(slapd.log().contains("filter=\"(mail=nobody@example.test)\""), "questions are logged");

    slapd.pause();
    assert!(!search(&slapd.url(), &slapd, "(mail=anna@example.test)").status.success());
    slapd.resume();
    assert_eq!(found(&slapd, "(mail=anna@example.test)"), 1);

    slapd.kill();
    assert!(!search(&slapd.url(), &slapd, "(mail=anna@example.test)").status.success());
    slapd.restart();
    slapd.rename(&format!("uid=anna,ou=people,{}", Slapd::BASE), "uid=anne");
    assert_eq!(found(&slapd, "(uid=anne)"), 1);
    slapd.delete(&format!("uid=anne,ou=people,{}", Slapd::BASE));
    assert_eq!(found(&slapd, "(mail=anna@example.test)"), 0);
}

#[test]
fn slapd_speaks_tls_and_its_errors_are_entries() {
    let mut slapd = Slapd::builder().errors().start();
    slapd.seed(100);
    slapd.add(&format!(
        "{}objectClass: errAuxObject
errCode: 51
",
        person("busy")
    ));
    for url in [slapd.ldaps_url(), slapd.ldapi_url()] {
        let output = search(&url, &slapd, "(mailAlternateAddress=a000099@example.test)");
        assert!(output.status.success() && entries(&output) == 1, "{url}: {output:?}");
    }
    let output = search(&slapd.url(), &slapd, "(mail=busy@example.test)");
    assert_eq!(output.status.code(), Some(51), "{output:?}");
}

fn person(name: &str) -> String {
    format!(
        "dn: uid={name},ou=people,{}\nobjectClass: inetOrgPerson\nobjectClass: mailRecipient\n\
         uid: {name}\ncn: {name}\nsn: {name}\nmail: {name}@example.test\n",
        Slapd::BASE
    )
}

fn found(slapd: &Slapd, filter: &str) -> usize {
    let output = search(&slapd.url(), slapd, filter);
    assert!(output.status.success(), "{output:?}");
    entries(&output)
}

fn entries(output: &Output) -> usize {
    String::from_utf8_lossy(&output.stdout).matches("dn: ").count()
}

fn search(url: &str, slapd: &Slapd, filter: &str) -> Output {
    let mut command = Command::new("timeout");
    command.env("LDAPTLS_CACERT", slapd.ca());
    command.args(["1", "ldapsearch", "-x", "-LLL", "-H", url, "-D", Slapd::READER, "-w", Slapd::PASSWORD]);
    command.args(["-b", Slapd::BASE, filter, "dn"]).output().expect("ldapsearch runs")
}
