//! What answers mean, with OpenLDAP.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn recipients_and_their_attributes() {
    let slapd = Slapd::start();
    slapd.add(&format!(
        "{anna}mailAlternateAddress: Anna.Alias@example.test\n\n\
         {ben}accountStatus: disabled\n\n\
         {carl}membersOnly: TRUE\n\n\
         dn: cn=all,ou=groups,{base}\nobjectClass: organizationalRole\nobjectClass: mailRecipient\ncn: all\n\
         mail: all@example.test\n\n\
         dn: cn=catch,ou=groups,{base}\nobjectClass: organizationalRole\nobjectClass: mailRecipient\ncn: catch\n\
         mailAlternateAddress: @caught.test\n\n\
         dn: uid=quoted,ou=people,{base}\nobjectClass: inetOrgPerson\nuid: quoted\ncn: q\nsn: q\nmail: \"a b\"@example.test\n\n\
         {dora}accountStatus: disabled\n\n\
         dn: cn=dora,ou=groups,{base}\nobjectClass: organizationalRole\nobjectClass: mailRecipient\ncn: dora\n\
         mail: dora@example.test\n",
        anna = person("anna"),
        ben = person("ben"),
        carl = person("carl"),
        dora = person("dora"),
        base = Slapd::BASE,
    ));
    let client = client(&format!(
        "{}suspended_filter = \"(accountStatus=disabled)\"\nrestricted_filter = \"(membersOnly=TRUE)\"",
        reader(&slapd, &[slapd.url()])
    ));
    let plain = Attributes::default();
    for (address, expected) in [
        ("anna@example.test", Some(plain)),
        ("ANNA@EXAMPLE.TEST", Some(plain)),
        ("anna.alias@example.test", Some(plain)),
        ("all@example.test", Some(plain)),
        ("ben@example.test", Some(Attributes { suspended: true, ..plain })),
        ("carl@example.test", Some(Attributes { restricted: true, ..plain })),
        ("whoever@caught.test", Some(Attributes { catch_all: true, ..plain })),
        ("\"a b\"@example.test", Some(plain)),
        // One of the two entries takes mail.
        ("dora@example.test", Some(plain)),
        ("anna@example.org", None),
        ("nobody@example.test", None),
        ("josé@example.test", None),
        // RFC 4515 §5: nothing of an address may act as a filter.
        ("*@example.test", None),
        ("ann*@example.test", None),
        (r#""*)(mail=*"@example.test"#, None),
        (r#""*))(|(mail=*"@example.test"#, None),
        (r#""anna\\00"@example.test"#, None),
        (r#""\\61nna"@example.test"#, None),
        (r#""(&)"@example.test"#, None),
    ] {
        assert_eq!(ask(&client, address).await, Ok(expected), "{address}");
    }
    assert!(!slapd.log().contains("mail=*)(|"), "{}", slapd.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn own_attributes_and_filters() {
    let slapd = Slapd::start();
    slapd.add(&format!("{}\n{}employeeType: external\n", person("anna"), person("ben")));
    let client = client(&format!(
        "{}attributes = [\"uid\"]\nfilter = \"(!(employeeType=external))\"",
        reader(&slapd, &[slapd.url()])
    ));
    assert_eq!(ask(&client, "anna@whatever.test").await, EXISTS);
    assert_eq!(ask(&client, "ben@example.test").await, ABSENT);
}

/// Errors of slapd are answers to a question, never "nobody".
#[tokio::test(flavor = "multi_thread")]
async fn errors_are_not_absence() {
    let slapd = Slapd::builder().errors().start();
    slapd.add(&person("anna"));
    for (name, code) in [
        ("operations", 1),
        ("protocol", 2),
        ("time", 3),
        ("admin", 11),
        ("none", 32),
        ("rights", 50),
        ("busy", 51),
        ("unavailable", 52),
        ("unwilling", 53),
        ("other", 80),
    ] {
        slapd.add(&format!("{}objectClass: errAuxObject\nerrCode: {code}\n", person(name)));
        let client = client(&reader(&slapd, &[slapd.url()]));
        let (why, said) = ask(&client, &format!("{name}@example.test")).await.unwrap_err();
        assert!(why == Why::Failed && said.contains(&format!("({code})")), "{name}: {said}");
        let after = ask(&client, "anna@example.test").await;
        if [3, 11, 32, 50].contains(&code) {
            assert_eq!(after, EXISTS, "{code} speaks against one question only");
        } else {
            assert_eq!(after.unwrap_err().0, Why::Down, "{code} speaks against the server");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_base_is_told() {
    let slapd = Slapd::start();
    let settings = reader(&slapd, &[slapd.url()]).replace("base = \"dc=example", "base = \"dc=exmaple");
    let (why, said) = ask(&client(&settings), "anna@example.test").await.unwrap_err();
    assert!(why == Why::Failed && said.contains("there is no base \"dc=exmaple,dc=test\""), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_entries_than_may_be_sent() {
    let slapd = Slapd::builder().database("limits dn.exact=\"cn=reader,dc=example,dc=test\" size=1").start();
    slapd.add(&format!("{}\n{}mail: anna@example.test\n", person("anna"), person("ben")));
    let client = client(&reader(&slapd, &[slapd.url()]));
    assert_eq!(ask(&client, "anna@example.test").await, EXISTS, "one of two that hold it was sent");
    assert_eq!(ask(&client, "nobody@example.test").await, ABSENT);
}

/// An account that loses its rights sees a directory without recipients.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_absent_where_nobody_can_be_seen_any_more() {
    let slapd = Slapd::start();
    slapd.add(&person("anna"));
    let client = client(&reader(&slapd, &[slapd.url()]));
    assert_eq!(ask(&client, "anna@example.test").await, EXISTS);
    assert_eq!(ask(&client, "nobody@example.test").await, ABSENT);
    slapd.modify(&format!("dn: uid=anna,ou=people,{}\nchangetype: delete\n", Slapd::BASE));
    let start = std::time::Instant::now();
    let said = loop {
        match ask(&client, "anna@example.test").await {
            Err((Why::Failed, said)) => break said,
            other => assert!(start.elapsed() < Duration::from_secs(5), "{other:?}"),
        }
    };
    assert!(said.contains("not a single recipient can be seen"), "{said}");
    let asked = futures_util::future::join_all((0..50).map(|_| ask(&client, "nobody@example.test"))).await;
    assert!(asked.iter().all(Result::is_err));
    slapd.add(&person("ben"));
    assert_eq!(ask(&client, "anna@example.test").await, ABSENT);
}

/// slapd takes a name that its schema has not for one that no entry has (RFC 4511 §4.5.1.7: `Undefined`).
#[tokio::test(flavor = "multi_thread")]
async fn a_misspelt_attribute_makes_nobody_absent() {
    let slapd = Slapd::start();
    slapd.add(&person("anna"));
    for (more, missing) in [
        ("attributes = ['mail', 'mailAlternatAddress']", Some("\"mailAlternatAddress\"")),
        ("filter = '(|(objectClass=inetOrgPerson)(objctClass=group))'", Some("\"objctClass\"")),
        ("attributes = ['rfc822Mailbox', 'MAILALTERNATEADDRESS']\nfilter = '(objectClass=*)'", None),
        ("attributes = ['mail', '1.3.6.1.4.1.4203.666.11.99.23']", None),
        ("", None),
    ] {
        let client = client(&format!("{}{more}", reader(&slapd, &[slapd.url()])));
        for _ in 0..2 {
            if !more.contains("rfc822") {
                assert_eq!(ask(&client, "anna@example.test").await, EXISTS, "{more}");
            }
            match (ask(&client, "nobody@example.test").await, missing) {
                (Err((Why::Failed, said)), Some(missing)) => assert!(said.contains(missing), "{said}"),
                (answer, None) => assert_eq!(answer, ABSENT, "{more}"),
                (answer, _) => panic!("{more}: {answer:?}"),
            }
        }
    }
}
