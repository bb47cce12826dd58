use std::time::Duration;

use super::*;

fn shape(text: &str) -> Shape {
    let text = format!("urls = [\"ldapi://%2Fx\"]\nbase = \"dc=x\"\n{text}");
    let config: Config =
        figment::Figment::from(<figment::providers::Toml as figment::providers::Format>::string(&text))
            .extract()
            .unwrap();
    Shape::read(&config, &mut |key, error| panic!("{key}: {error}")).unwrap()
}

fn exchange(more: &str) -> Shape {
    shape(&format!("schema = \"active-directory\"\n{more}"))
}

fn names(shape: &Shape, object: &Object) -> Vec<String> {
    let shown = |recipient: Recipient| match recipient.entry {
        Entry::Address(address) => address.to_string(),
        Entry::Local(local) => local.to_string(),
        Entry::CatchAll(domain) => format!("@{domain}"),
    };
    shape.recipients(object, SystemTime::now()).into_iter().map(shown).collect()
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

const PLAIN: Attributes = Attributes::PLAIN;
const SUSPENDED: Attributes = Attributes { suspended: true, ..PLAIN };

/// facts of Exchange: what `proxyAddresses` holds, and what is no recipient of ours.
#[test]
fn recipients_in_active_directory() {
    let object = Object::of(&[
        (
            "proxyAddresses",
            &[
                "SMTP:Joe.Doe@Example.COM",
                "smtp:joe@example.com",
                "sMtP:j@bücher.example",
                "SIP:joe@sip.example.com",
                "X400:c=US;a= ;p=Org;o=Exchange;s=Doe;g=Joe;",
                "x500:/o=Org/ou=Group/cn=Recipients/cn=joe",
                "EUM:8001;phone-context=plan.example.com",
                "eum:joe@example.com",
                "smtp:not an address",
                "smtp:",
                "smtp:joe doe@example.com",
                "smtp:\"a b\"@example.com",
                "plain@example.com",
                "smtp:@all.example.com",
            ],
        ),
        ("mail", &["joe.doe@example.com"]),
        ("userPrincipalName", &["joe@corp.example.com"]),
        ("targetAddress", &["SMTP:joe@elsewhere.example"]),
        ("mailNickname", &["joe"]),
    ]);
    assert_eq!(
        names(&exchange(""), &object),
        [
            "joe.doe@example.com",
            "joe@example.com",
            "j@xn--bcher-kva.example",
            "\"joe doe\"@example.com",
            "\"a b\"@example.com",
            "plain@example.com",
            "@all.example.com",
        ]
    );
    let own = exchange("attributes = [\"mail\", \"userPrincipalName\"]");
    assert_eq!(names(&own, &object), ["joe.doe@example.com", "joe@corp.example.com"]);
}

#[test]
fn recipients_in_other_directories() {
    let object = Object::of(&[
        ("mail", &["Joe@Example.com", "joe", ""]),
        ("mailAlternateAddress", &["j.doe@example.com"]),
        ("MAILLOCALADDRESS;x-y", &["jd@example.com", "@example.org"]),
        ("mailRoutingAddress", &["joe@inside.example.com"]),
        ("rfc822MailMember", &["ann@example.com"]),
        ("uid", &["joe"]),
    ]);
    let expected = ["joe@example.com", "j.doe@example.com", "jd@example.com", "@example.org"];
    assert_eq!(names(&shape(""), &object), expected);
    assert_eq!(names(&shape("attributes = [\"uid\"]"), &object), ["joe"]);
    assert_eq!(names(&shape(""), &Object::of(&[("cn", &["x"])])), <[&str; 0]>::default());
}

/// A disabled account is not a dead mailbox.
#[test]
fn who_is_suspended_in_active_directory() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let both = exchange("suspended_when = [\"disabled\", \"expired\"]");
    let disabled = exchange("suspended_when = [\"disabled\"]");
    let expired = exchange("suspended_when = [\"expired\"]");
    let off = exchange("");
    // 2023-11-14T22:13:20Z is 133444736000000000 as a FILETIME.
    for (bits, kind, expires, expected) in [
        ("512", None, None, [false, false, false]),
        ("514", None, None, [true, true, false]),
        ("66050", Some("1"), None, [true, true, false]),
        ("514", Some("2"), None, [false; 3]),
        ("514", Some("4"), None, [false; 3]),
        ("514", Some("16"), None, [false; 3]),
        ("514", Some("32"), None, [false; 3]),
        ("514", Some("128"), None, [false; 3]),
        ("514", Some("2147483648"), None, [false; 3]),
        ("514", Some("8589934592"), None, [false; 3]),
        ("514", Some("17179869184"), None, [false; 3]),
        ("514", Some("34359738368"), None, [false; 3]),
        ("514", Some("what"), None, [false; 3]),
        ("what", None, None, [false; 3]),
        ("512", None, Some("0"), [false; 3]),
        ("512", None, Some("9223372036854775807"), [false; 3]),
        ("512", None, Some("133444736000000000"), [true, false, true]),
        ("512", None, Some("133444736000000001"), [false; 3]),
        ("512", None, Some("1"), [true, false, true]),
        ("512", Some("1"), Some("133444735990000000"), [true, false, true]),
        ("512", Some("4"), Some("133444735990000000"), [false; 3]),
        ("512", None, Some("-1"), [false; 3]),
    ] {
        let mut attributes = vec![("mail", vec!["joe@example.com"]), ("userAccountControl", vec![bits])];
        attributes.extend(kind.map(|kind| ("msExchRecipientTypeDetails", vec![kind])));
        attributes.extend(expires.map(|expires| ("accountExpires", vec![expires])));
        let attributes: Vec<_> = attributes.iter().map(|(name, values)| (*name, values.as_slice())).collect();
        let object = Object::of(&attributes);
        let suspended =
            [&both, &disabled, &expired].map(|shape| shape.recipients(&object, now)[0].attributes.suspended);
        assert_eq!(suspended, expected, "{bits} {kind:?} {expires:?}");
        assert_eq!(off.recipients(&object, now)[0].attributes, PLAIN);
    }
}

#[test]
fn who_is_restricted() {
    let now = SystemTime::now();
    let object = Object::of(&[("mail", &["all@x"]), ("msExchRequireAuthToSendTo", &["TRUE"])]);
    let restricted = |shape: &Shape| shape.recipients(&object, now)[0].attributes.restricted;
    assert!(restricted(&exchange("")));
    assert!(!restricted(&shape("")));
    assert!(restricted(&shape("restricted_filter = \"(msExchRequireAuthToSendTo=true)\"")));
}

#[test]
fn own_filters_tell_who_is_suspended() {
    let now = SystemTime::now();
    let shape = shape("suspended_filter = \"(|(accountStatus=disabled)(!(mayReceive=yes)))\"");
    for (attributes, suspended) in [
        (&[("accountStatus", &["Disabled"][..])][..], true),
        (&[("accountStatus", &["active"][..]), ("mayReceive", &["YES"][..])][..], false),
        (&[("mayReceive", &["no"][..])][..], true),
        // Perhaps there is no right to see the attribute.
        (&[][..], false),
    ] {
        let all = [&[("mail", &["joe@x"][..])][..], attributes].concat();
        assert_eq!(
            shape.recipients(&Object::of(&all), now)[0].attributes.suspended,
            suspended,
            "{attributes:?}"
        );
    }
    assert_eq!(
        shape.wanted(),
        ["mail", "mailAlternateAddress", "mailLocalAddress", "accountStatus", "mayReceive"]
    );
}

#[test]
fn questions() {
    let joe = address("Joe@Example.com");
    assert_eq!(
        exchange("").one(&joe),
        "(|(proxyAddresses=smtp:joe@example.com)(proxyAddresses=joe@example.com)(proxyAddresses=smtp:@example.com)\
         (proxyAddresses=@example.com)(mail=joe@example.com)(mail=@example.com))"
    );
    assert_eq!(
        shape("attributes = [\"mail\", \"uid\"]\nfilter = \"(objectClass=person)\"").one(&joe),
        "(&(objectClass=person)(|(mail=joe@example.com)(mail=@example.com)(mail=joe)(uid=joe@example.com)\
         (uid=@example.com)(uid=joe)))"
    );
    let mail = shape("attributes = [\"proxyAddresses\"]");
    assert_eq!(
        mail.one(&address("a@xn--bcher-kva.example")),
        "(|(proxyAddresses=smtp:a@xn--bcher-kva.example)(proxyAddresses=a@xn--bcher-kva.example)\
         (proxyAddresses=smtp:@xn--bcher-kva.example)(proxyAddresses=@xn--bcher-kva.example)\
         (proxyAddresses=smtp:a@bücher.example)(proxyAddresses=a@bücher.example)\
         (proxyAddresses=smtp:@bücher.example)(proxyAddresses=@bücher.example))"
    );
    let quoted = shape("").one(&address(r#""*)(uid=*"@x"#));
    assert!(quoted.starts_with(r"(|(mail=\2a\29\28uid=\2a@x)(mail=@x)(mail="), "{quoted}");
    assert!(quoted.contains("(mail=\"\\2a\\29\\28uid=\\2a\"@x)"), "{quoted}");
    assert_eq!(shape("").all(), "(|(mail=*)(mailAlternateAddress=*)(mailLocalAddress=*))");
    assert_eq!(shape("filter = \"(a=b)\"\nattributes = [\"mail\"]").all(), "(&(a=b)(|(mail=*)))");
    for shape in [exchange(""), shape("attributes = [\"uid\"]")] {
        assert!(ldap3::parse_filter(shape.one(&joe)).is_ok() && ldap3::parse_filter(shape.all()).is_ok());
    }
}

#[test]
fn an_entry_that_was_found_has_to_hold_the_address() {
    let now = SystemTime::now();
    let all: &[(&str, &[&str])] = &[("proxyAddresses", &["smtp:josé@x"]), ("mail", &["josé@x"])];
    for (attributes, asked, expected) in [
        (all, "José@X", Judged::Holds(PLAIN)),
        (all, "jose@x", Judged::Other),
        (
            &[("proxyAddresses", &["smtp:a@x", "smtp:@x"]), ("mail", &["a@x"])],
            "b@x",
            Judged::CatchesAll(Attributes { catch_all: true, ..PLAIN }),
        ),
        // What can't be seen may hold it.
        (&[("mail", &["a@x"])], "b@x", Judged::Holds(PLAIN)),
        (&[], "b@x", Judged::Holds(PLAIN)),
        (
            &[("proxyAddresses", &[]), ("proxyAddresses;range=0-0", &["smtp:a@x"]), ("mail", &["a@x"])],
            "b@x",
            Judged::Holds(PLAIN),
        ),
        (&[("proxyAddresses;range=0-*", &["smtp:a@x"]), ("mail", &["a@x"])], "b@x", Judged::Other),
    ] {
        assert_eq!(
            exchange("").judge(&Object::of(attributes), &address(asked), now),
            expected,
            "{attributes:?}"
        );
    }
}

#[test]
fn several_entries_give_one_answer() {
    let caught = Attributes { catch_all: true, ..PLAIN };
    let restricted = Attributes { restricted: true, ..PLAIN };
    for (judged, expected) in [
        (vec![], None),
        (vec![Judged::Other], None),
        (vec![Judged::CatchesAll(caught), Judged::Other], Some(caught)),
        (vec![Judged::CatchesAll(caught), Judged::Holds(SUSPENDED)], Some(SUSPENDED)),
        (vec![Judged::Holds(SUSPENDED), Judged::Holds(SUSPENDED)], Some(SUSPENDED)),
        (vec![Judged::Holds(SUSPENDED), Judged::Holds(PLAIN)], Some(PLAIN)),
        (vec![Judged::Holds(restricted), Judged::Holds(PLAIN)], Some(restricted)),
    ] {
        assert_eq!(merge(judged.clone()), expected, "{judged:?}");
    }
}

#[test]
fn names_that_a_server_has_to_have() {
    assert_eq!(exchange("suspended_filter = '(x=1)'").named(), [""; 0]);
    let own = "attributes = ['mail', '0.9.2342.19200300.100.1.3']\nfilter = '(&(!(a;lang-de=1))(b:dn:=2)(2.5.4.3=x))'";
    assert_eq!(shape(own).named(), ["mail", "a", "b"]);
}

#[test]
fn parts_of_active_directory_without_recipients() {
    for (base, aside) in [
        ("DC=DomainDnsZones,DC=corp,DC=example,DC=com", true),
        ("dc=forestdnszones,dc=example,dc=com", true),
        ("CN=Configuration,DC=example,DC=com", true),
        ("DC=child,DC=corp,DC=example,DC=com", false),
        ("", false),
    ] {
        assert_eq!(exchange("").is_aside(base), aside, "{base}");
        assert_eq!(shape("attributes = ['mail', 'proxyAddresses']").is_aside(base), aside, "{base}");
        assert!(!shape("").is_aside(base));
    }
}
