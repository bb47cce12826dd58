//! How Backstop shows who it is, and whom it believes: TLS, certificates, passwords, SASL EXTERNAL, nobody in particular.

use std::process::Command;

use backstop_harness::{Authority, CommandOutput, SambaAd, Slapd, TempDir};

use super::{OK, UNAVAILABLE, UNKNOWN, decides, person};
use crate::BACKSTOP;

#[test]
fn whoever_may_read_gets_answers() {
    let slapd = Slapd::builder().anonymous().start();
    slapd.add(&person("anna", &["mail: anna@example.test"]));
    let (base, reader, password, ca) = (Slapd::BASE, Slapd::READER, slapd.password_file(), slapd.ca());
    let certificate = slapd.client_certificate();
    let simple = format!("bind_dn = {reader:?}\npassword_file = {password:?}");
    let external = format!(
        "sasl = \"external\"\ncert_file = {:?}\nkey_file = {:?}\nca_file = {ca:?}",
        certificate.file, certificate.key
    );
    let (plain, tls, socket) = (slapd.url(), slapd.ldaps_url(), slapd.ldapi_url());
    let by_name = |url: &str| url.replace("127.0.0.1", "localhost");
    for (what, urls, settings) in [
        ("a password in clear, as allowed", &plain, format!("{simple}\nallow_plain = true")),
        ("a password over StartTLS", &plain, format!("{simple}\nstart_tls = true\nca_file = {ca:?}")),
        ("a password over ldaps", &tls, format!("{simple}\nca_file = {ca:?}")),
        ("a server by its name", &by_name(&tls), format!("{simple}\nca_file = {ca:?}")),
        ("a certificate nobody checks", &tls, format!("{simple}\nverify_certificate = false")),
        ("a password over the socket", &socket, simple.clone()),
        ("the user of the socket", &socket, "sasl = \"external\"".to_owned()),
        ("a client's certificate", &tls, external.clone()),
        ("a client's certificate and StartTLS", &plain, format!("{external}\nstart_tls = true")),
        ("nobody", &plain, String::new()),
    ] {
        let ldap = format!("urls = [{urls:?}]\nbase = {base:?}\nsource = \"live\"\n{settings}");
        let backstop = super::backstop(&ldap).start();
        let checked = |local: &str| backstop.command(&["check", &format!("{local}@example.test")]).status;
        assert_eq!((checked("anna"), checked("nobody")), (0, 1), "{what}: {}", backstop.log());
    }
    let log = slapd.log();
    for bind in [r#"BIND dn="cn=reader,dc=example,dc=test" mech=SIMPLE"#, "mech=EXTERNAL"] {
        assert!(log.contains(bind), "nobody bound with {bind}");
    }
}

/// Neither a server that is not the one meant, nor one that does not let us in, makes anybody unknown.
#[test]
fn who_is_not_believed_is_not_asked() {
    let mut slapd = Slapd::builder().certified_for("DNS:elsewhere.test").start();
    slapd.add(&person("anna", &["mail: anna@example.test"]));
    let other = Authority::new();
    let dir = TempDir::new("wrong");
    let wrong = dir.write("password", "wrong");
    let (ca, password, reader) = (slapd.ca(), slapd.password_file(), Slapd::READER);
    let as_reader = format!("bind_dn = {reader:?}\npassword_file = {password:?}");
    let (plain, tls) = (slapd.url(), slapd.ldaps_url());
    for (what, url, settings, tells) in [
        (
            "an authority we don't trust",
            &tls,
            format!("{as_reader}\nca_file = {:?}", other.file()),
            "certificate",
        ),
        (
            "the same by StartTLS",
            &plain,
            format!("{as_reader}\nstart_tls = true\nca_file = {:?}", other.file()),
            "certificate",
        ),
        ("a certificate for another name", &tls, format!("{as_reader}\nca_file = {ca:?}"), "certificate"),
        (
            "a wrong password",
            &plain,
            format!("bind_dn = {reader:?}\npassword_file = {wrong:?}\nallow_plain = true"),
            "49",
        ),
        ("nobody may read", &plain, String::new(), ""),
    ] {
        let ldap = format!("urls = [{url:?}]\nbase = {:?}\nsource = \"live\"\n{settings}", Slapd::BASE);
        let backstop = super::backstop(&ldap).start();
        let postfix = super::postfix(&backstop);
        decides(&mut super::session(&postfix), what, &[("anna", UNAVAILABLE), ("nobody", UNAVAILABLE)]);
        let log = backstop.log();
        let line = log.lines().find(|line| line.contains("the directory does not answer"));
        let line = line.unwrap_or_else(|| panic!("{what}: the log says nothing:\n{log}"));
        assert!(line.to_lowercase().contains(tells), "{what}: {line}");
        assert!(!log.contains(Slapd::PASSWORD), "{what}: the password is in the log");
    }
    slapd.stop();
}

/// Active Directory as it is today refuses a password in clear, and knows its users by `user@domain` as well.
#[test]
fn an_active_directory_that_wants_tls() {
    let samba = SambaAd::builder().require_strong_auth().start();
    let users = [("anna", "mail: anna@example.test")].map(|(name, line)| {
        format!(
            "dn: CN={name},{}\nobjectClass: user\nsAMAccountName: {name}\nuserAccountControl: 544\n{line}\n",
            SambaAd::STAFF
        )
    });
    samba.add(&users.join("\n"));
    let service_dn = format!("CN=svc-backstop,CN=Users,{}", SambaAd::BASE);
    for (what, url, user, settings, answers) in [
        ("ldaps", samba.ldaps_url(), SambaAd::SERVICE, "", [OK, UNKNOWN]),
        ("by its DN", samba.ldaps_url(), &service_dn, "", [OK, UNKNOWN]),
        ("StartTLS", samba.url(), SambaAd::SERVICE, "start_tls = true", [OK, UNKNOWN]),
        ("in clear", samba.url(), SambaAd::SERVICE, "allow_plain = true", [UNAVAILABLE; 2]),
        ("the global catalogue", samba.catalogue_url(), SambaAd::SERVICE, "start_tls = true", [OK, UNKNOWN]),
    ] {
        let ldap = super::active_directory(&samba, user, &format!("source = \"live\"\n{settings}"));
        let backstop = super::backstop(&ldap.replace(&samba.ldaps_url(), &url)).start();
        let postfix = super::postfix(&backstop);
        let table = [("anna", answers[0]), ("nobody", answers[1])];
        decides(&mut super::session(&postfix), what, &table);
    }
}

/// What would send a password in clear, or can't work, is refused before it is tried.
#[test]
fn a_configuration_that_cannot_be_meant_is_refused() {
    let dir = TempDir::new("config");
    let password = dir.write("password", PASSWORD);
    let simple = format!("bind_dn = \"cn=reader\"\npassword_file = {password:?}");
    for (url, settings, key) in [
        ("ldap://127.0.0.1", simple.as_str(), "urls"),
        ("http://127.0.0.1", "", "urls"),
        ("ldaps://127.0.0.1", "filter = \"(objectClass=\"", "filter"),
        ("ldaps://127.0.0.1", "suspended_filter = \"mail\"", "suspended_filter"),
        ("ldaps://127.0.0.1", "suspended_when = [\"disabled\"]", "suspended_when"),
        ("ldaps://127.0.0.1", "sasl = \"external\"", "sasl"),
        ("ldaps://127.0.0.1", "ca_file = \"/nowhere/ca.pem\"", "ca_file"),
    ] {
        let ldap = format!("urls = [{url:?}]\nbase = \"dc=example\"\n{settings}\n");
        let text = format!("[directory.corp]\ndomains = [\"example.test\"]\n[directory.corp.ldap]\n{ldap}");
        let path = dir.write("backstop.toml", &text);
        let output =
            CommandOutput::of(Command::new(BACKSTOP).args(["config", "check", "--config"]).arg(&path));
        let line = text.lines().position(|line| line.starts_with(key)).expect("the key is there") + 1;
        let place = format!("{}:{line}:", path.display());
        assert_eq!(output.status, 78, "{text}{output:?}");
        assert!(output.stderr.contains(&place), "{key}, not at {place}\n{}", output.stderr);
        assert!(!output.stderr.contains(PASSWORD), "{}", output.stderr);
    }
}

const PASSWORD: &str = "Hush-hush";
