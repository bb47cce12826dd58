//! Who asks, and over what.

use backstop_harness::{Authority, TempDir};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn every_bind_over_every_transport() {
    let slapd = Slapd::start();
    slapd.add(&person("anna"));
    let (plain, tls, socket) = (slapd.url(), slapd.ldaps_url(), slapd.ldapi_url());
    let base = format!("base = \"{}\"", Slapd::BASE);
    let password =
        format!("bind_dn = \"{}\"\npassword_file = {}", Slapd::READER, show(&slapd.password_file()));
    let ca = format!("ca_file = {}", show(&slapd.ca()));
    let own = slapd.client_certificate();
    let certificate =
        format!("sasl = \"external\"\ncert_file = {}\nkey_file = {}", show(&own.file), show(&own.key));
    let other = Authority::new();
    let stranger = format!("ca_file = {}", show(&other.file()));
    for (url, settings, expected) in [
        (&plain, format!("{password}\nallow_plain = true"), Ok(())),
        (&plain, format!("{password}\n{ca}\nstart_tls = true"), Ok(())),
        (&plain, format!("{certificate}\n{ca}\nstart_tls = true"), Ok(())),
        (&tls, format!("{password}\n{ca}"), Ok(())),
        (&tls, format!("{certificate}\n{ca}"), Ok(())),
        (&tls, format!("{password}\nverify_certificate = false"), Ok(())),
        (&socket, password.clone(), Ok(())),
        (&socket, "sasl = \"external\"".to_owned(), Ok(())),
        (&tls, format!("{password}\n{stranger}"), Err((Why::Down, "TLS: invalid peer certificate"))),
        (
            &plain,
            format!("{password}\n{stranger}\nstart_tls = true"),
            Err((Why::Down, "TLS: invalid peer certificate")),
        ),
        // slapd shows nobody in particular nothing.
        (&plain, String::new(), Err((Why::Failed, "insufficientAccessRights (50)"))),
    ] {
        let client = client(&format!("urls = [{url:?}]\n{base}\n{settings}"));
        let anna = ask(&client, "anna@example.test").await;
        match expected {
            Ok(()) => {
                assert_eq!(anna, EXISTS, "{url} {settings}");
                assert_eq!(ask(&client, "nobody@example.test").await, ABSENT, "{url} {settings}");
            }
            Err((why, text)) => {
                let (told, said) = anna.expect_err(&settings);
                assert!(told == why && said.contains(text), "{url} {settings}: {told:?} {said}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_another_name_is_none() {
    let slapd = Slapd::builder().anonymous().certified_for("DNS:ldap.example.test").start();
    slapd.add(&person("anna"));
    let settings = format!(
        "urls = [{:?}]\nbase = \"{}\"\nca_file = {}",
        slapd.ldaps_url(),
        Slapd::BASE,
        show(&slapd.ca())
    );
    let (why, said) = ask(&client(&settings), "anna@example.test").await.unwrap_err();
    assert!(why == Why::Down && said.contains("certificate"), "{said}");
    assert_eq!(
        ask(&client(&format!("{settings}\nverify_certificate = false")), "anna@example.test").await,
        EXISTS
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn anybody_may_ask_where_anybody_may_read() {
    let slapd = Slapd::builder().anonymous().start();
    slapd.add(&person("anna"));
    let client = client(&format!("urls = [{:?}]\nbase = \"{}\"", slapd.url(), Slapd::BASE));
    assert_eq!(ask(&client, "anna@example.test").await, EXISTS);
    assert_eq!(ask(&client, "nobody@example.test").await, ABSENT);
}

/// An account that lost its rights gets empty answers, with success.
#[tokio::test(flavor = "multi_thread")]
async fn who_sees_nobody_calls_nobody_absent() {
    let mut slapd = Slapd::builder().errors().start(); // lets anybody search and read nothing
    let client = client(&format!("urls = [{:?}]\nbase = \"{}\"", slapd.url(), Slapd::BASE));
    for known in [false, true] {
        if known {
            slapd.seed(10);
        }
        let (why, said) = ask(&client, "u000001@example.test").await.unwrap_err();
        assert!(why == Why::Failed && said.contains("not a single recipient can be seen"), "{known}: {said}");
    }
}

/// Active Directory locks accounts after a few wrong passwords.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_password_is_not_tried_again_until_it_changes() {
    let slapd = Slapd::start();
    slapd.add(&person("anna"));
    let dir = TempDir::new("password");
    let file = dir.write("password", "wrong\n");
    let client = client(&format!(
        "urls = [{:?}]\nbase = \"{}\"\nbind_dn = \"{}\"\npassword_file = {}\nallow_plain = true",
        slapd.url(),
        Slapd::BASE,
        Slapd::READER,
        show(&file)
    ));
    let (why, said) = ask(&client, "anna@example.test").await.unwrap_err();
    assert!(why == Why::Failed && said.contains("the bind was refused: invalidCredentials (49)"), "{said}");
    let refused = || slapd.log().matches("RESULT tag=97 err=49").count();
    let mut last = String::new();
    while !last.contains("the password was refused; it is tried again") {
        (_, last) = ask(&client, "anna@example.test").await.unwrap_err();
    }
    assert_eq!(refused(), 1);
    dir.write("password", Slapd::PASSWORD);
    while ask(&client, "anna@example.test").await != EXISTS {}
    assert_eq!(refused(), 1);
}

/// The password is changed while connections are open; the next connection uses the new one.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_password_needs_no_restart() {
    let mut slapd = Slapd::start();
    slapd.add(&person("anna"));
    let dir = TempDir::new("password");
    let file = dir.write("password", Slapd::PASSWORD);
    let client = client(&format!(
        "urls = [{:?}]\nbase = \"{}\"\nbind_dn = \"{}\"\npassword_file = {}\nallow_plain = true",
        slapd.url(),
        Slapd::BASE,
        Slapd::READER,
        show(&file)
    ));
    assert_eq!(ask(&client, "anna@example.test").await, EXISTS);
    slapd.modify(&format!(
        "dn: {}\nchangetype: modify\nreplace: userPassword\nuserPassword: other\n",
        Slapd::READER
    ));
    dir.write("password", "other\n");
    slapd.restart();
    assert_eq!(ask(&client, "anna@example.test").await, EXISTS);
}
