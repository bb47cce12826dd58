//! What answers mean, with Active Directory (Samba).

use backstop_harness::SambaAd;

use super::*;

fn settings(samba: &SambaAd, url: &str, base: &str) -> String {
    format!(
        "urls = [{url:?}]\nbase = \"{base}\"\nschema = \"active-directory\"\nbind_dn = \"{}\"\npassword_file = {}\n\
         ca_file = {}\nallow_plain = true\n",
        SambaAd::SERVICE,
        show(&samba.password_file()),
        show(&samba.ca()),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn recipients_of_every_kind() {
    let samba = SambaAd::start();
    let staff = SambaAd::STAFF;
    let user = |name: &str, more: &str| {
        format!("dn: CN={name},{staff}\nobjectClass: user\nsAMAccountName: {name}\n{more}\n\n")
    };
    samba.add(&[
        user(
            "anna",
            "userAccountControl: 544\nuserPrincipalName: anna.upn@example.test\nmail: anna@example.test\n\
             proxyAddresses: SMTP:anna@example.test\nproxyAddresses: smtp:Anna.Alias@example.test\n\
             proxyAddresses: SIP:anna.sip@example.test\nproxyAddresses: x400:c=US;a= ;s=anna\n\
             proxyAddresses: smtp:anna@bücher.example\ntargetAddress: SMTP:anna.target@example.test",
        ),
        user("mailonly", "userAccountControl: 544\nmail: mailonly@example.test"),
        user("gone", "userAccountControl: 546\nproxyAddresses: smtp:gone@example.test\nmsExchRecipientTypeDetails: 1"),
        user("shared", "userAccountControl: 546\nproxyAddresses: smtp:shared@example.test\nmsExchRecipientTypeDetails: 4"),
        user("room", "userAccountControl: 546\nproxyAddresses: smtp:room@example.test\nmsExchRecipientTypeDetails: 16"),
        user("ended", "userAccountControl: 544\naccountExpires: 132000000000000000\nmail: ended@example.test"),
        user("jose", "userAccountControl: 544\nmail: josé@example.test\nproxyAddresses: SMTP:josé@example.test"),
        format!("dn: CN=group,{staff}\nobjectClass: group\nproxyAddresses: SMTP:group@example.test\nmsExchRequireAuthToSendTo: TRUE\n\n"),
        format!("dn: CN=contact,{staff}\nobjectClass: contact\nproxyAddresses: SMTP:contact@example.test\nmsExchHideFromAddressLists: TRUE\n\n"),
        format!("dn: CN=dynamic,{staff}\nobjectClass: msExchDynamicDistributionList\nproxyAddresses: smtp:dynamic@example.test\n\n"),
        format!("dn: CN=folder,{staff}\nobjectClass: publicFolder\nproxyAddresses: smtp:folder@example.test\n\n"),
    ]
    .concat());
    let plain = Attributes::default();
    let suspended = Attributes { suspended: true, ..plain };
    // The whole domain: its answers have references to the DNS zones and the configuration.
    let usual = client(&settings(&samba, &samba.ldaps_url(), SambaAd::BASE));
    let strict = client(&format!(
        "{}suspended_when = [\"disabled\", \"expired\"]\nattributes = [\"proxyAddresses\", \"mail\", \"userPrincipalName\"]",
        settings(&samba, &samba.url(), SambaAd::BASE)
    ));
    let catalogue = client(&settings(&samba, &samba.catalogue_url(), ""));
    for (address, expected, strictly) in [
        ("anna@example.test", Some(plain), Some(plain)),
        ("ANNA.alias@example.test", Some(plain), Some(plain)),
        ("anna@xn--bcher-kva.example", Some(plain), Some(plain)),
        ("anna@BÜCHER.example", Some(plain), Some(plain)),
        ("anna.sip@example.test", None, None),
        ("anna.target@example.test", None, None),
        ("anna.upn@example.test", None, Some(plain)),
        ("mailonly@example.test", Some(plain), Some(plain)),
        ("gone@example.test", Some(plain), Some(suspended)),
        ("shared@example.test", Some(plain), Some(plain)),
        ("room@example.test", Some(plain), Some(plain)),
        ("ended@example.test", Some(plain), Some(suspended)),
        ("josé@example.test", Some(plain), Some(plain)),
        (
            "group@example.test",
            Some(Attributes { restricted: true, ..plain }),
            Some(Attributes { restricted: true, ..plain }),
        ),
        ("contact@example.test", Some(plain), Some(plain)),
        ("dynamic@example.test", Some(plain), Some(plain)),
        ("folder@example.test", Some(plain), Some(plain)),
        ("nobody@example.test", None, None),
        ("*@example.test", None, None),
        (r#""*)(mail=*"@example.test"#, None, None),
    ] {
        assert_eq!(ask(&usual, address).await, Ok(expected), "{address}");
        assert_eq!(ask(&strict, address).await, Ok(strictly), "{address}");
        assert_eq!(ask(&catalogue, address).await, Ok(expected), "{address} in the global catalogue");
    }
}

/// Samba sends all that it has, whatever limit it is told.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_unknown_is_so_among_many() {
    let samba = SambaAd::start();
    let dn = |number: usize| format!("CN=contact{number},{}", SambaAd::STAFF);
    let contacts: String = (0..300)
        .map(|number| format!("dn: {}\nobjectClass: contact\nmail: c{number}@example.test\n\n", dn(number)))
        .collect();
    samba.add(&contacts);
    let client = client(&settings(&samba, &samba.ldaps_url(), SambaAd::BASE));
    assert_eq!(ask(&client, "nobody@example.test").await, ABSENT);
    assert_eq!(ask(&client, "c299@example.test").await, EXISTS);
    // Whom it has seen is gone, and others are there.
    for number in [299, 0] {
        samba.delete(&dn(number));
        assert_eq!(ask(&client, &format!("c{number}@example.test")).await, ABSENT);
    }
    // Nobody is left whom it may see.
    let elsewhere = settings(&samba, &samba.ldaps_url(), &format!("CN=Builtin,{}", SambaAd::BASE));
    let (why, said) = ask(&super::client(&elsewhere), "nobody@example.test").await.unwrap_err();
    assert!(why == Why::Failed && said.contains("not a single recipient"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_in_clear_is_refused_by_a_strict_server() {
    let samba = SambaAd::builder().require_strong_auth().start();
    samba.add(&format!("dn: CN=anna,{}\nobjectClass: contact\nmail: anna@example.test\n", SambaAd::STAFF));
    let (why, said) =
        ask(&client(&settings(&samba, &samba.url(), SambaAd::STAFF)), "anna@example.test").await.unwrap_err();
    assert!(why == Why::Failed && said.contains("the bind was refused: strongerAuthRequired (8)"), "{said}");
    let start_tls = settings(&samba, &samba.url(), SambaAd::STAFF).replace("allow_plain", "start_tls");
    assert_eq!(ask(&client(&start_tls), "anna@example.test").await, EXISTS);
    // Nobody in particular may ask nothing.
    let nobody =
        format!("urls = [{:?}]\nbase = \"{}\"\nschema = \"active-directory\"", samba.url(), SambaAd::STAFF);
    let (why, said) = ask(&client(&nobody), "anna@example.test").await.unwrap_err();
    assert!(why == Why::Failed && said.contains("operationsError (1)"), "{said}");
}

/// MS-ADTS 3.1.1.3.1.3.3: a part of the values is sent when that is asked for, or when there are many.
#[tokio::test(flavor = "multi_thread")]
async fn the_rest_of_a_long_list_is_fetched() {
    let samba = SambaAd::start();
    let values: String =
        (0..50).map(|index| format!("proxyAddresses: smtp:a{index}@example.test\n")).collect();
    let dn = format!("CN=many,{}", SambaAd::STAFF);
    samba.add(&format!("dn: {dn}\nobjectClass: contact\n{values}"));
    let client = client(&settings(&samba, &samba.ldaps_url(), SambaAd::BASE));
    let (_, mut ldap) = client.servers.connect(Duration::from_secs(2)).await.unwrap();
    let found = ldap
        .search(&dn, ldap3::Scope::Base, "(objectClass=*)", ["proxyAddresses;range=0-9", "mail"])
        .await
        .unwrap();
    let mut object = found.0.into_iter().find_map(Object::read).unwrap();
    assert!(!object.is_whole("proxyAddresses"));
    assert_eq!(object.values("proxyAddresses").count(), 10);
    object::complete(&mut ldap, &mut object).await.unwrap();
    assert!(object.is_whole("proxyAddresses"));
    assert_eq!(client.shape.recipients(&object, SystemTime::now()).len(), 50);
}

/// With the schema of others, users who have no address but in `proxyAddresses` would be unknown.
#[tokio::test(flavor = "multi_thread")]
async fn it_is_not_taken_for_another_directory() {
    let samba = SambaAd::start();
    let wrong = settings(&samba, &samba.url(), SambaAd::BASE)
        .replace("schema = \"active-directory\"", "schema = \"inet-org-person\"");
    let unset = settings(&samba, &samba.url(), SambaAd::BASE).replace("schema = \"active-directory\"", "");
    for settings in [wrong, unset] {
        for _ in 0..2 {
            let (why, said) = ask(&client(&settings), "nobody@example.test").await.unwrap_err();
            assert!(why == Why::Failed && said.contains("set schema = \"active-directory\""), "{said}");
        }
        let own = client(&format!("attributes = [\"mail\"]\n{settings}"));
        if let Err((_, said)) = ask(&own, "nobody@example.test").await {
            assert!(!said.contains("schema"), "{said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_of_ones_own() {
    let samba = SambaAd::start();
    samba.add(&format!(
        "dn: CN=anna,{}\nobjectClass: user\nsAMAccountName: anna\nuserAccountControl: 544\n\
         proxyAddresses: smtp:alias@example.test\nmail: anna@example.test\n\n",
        SambaAd::STAFF
    ));
    for schema in ["active-directory", "inet-org-person"] {
        let usual = settings(&samba, &samba.ldaps_url(), SambaAd::BASE).replace("active-directory", schema);
        // The references to the DNS zones and the configuration are no part elsewhere, whatever `schema` says.
        let right = client(&format!("{usual}attributes = [\"proxyAddresses\", \"MAIL\"]"));
        assert_eq!(ask(&right, "alias@example.test").await, EXISTS, "{schema}");
        assert_eq!(ask(&right, "nobody@example.test").await, ABSENT, "{schema}");
        for more in [
            "attributes = [\"proxyAdresses\", \"mail\"]",
            "attributes = [\"mail\"]\nfilter = \"(|(mail=*)(proxyAdresses=*))\"",
        ] {
            let misspelt = client(&format!("{usual}{more}"));
            assert_eq!(ask(&misspelt, "anna@example.test").await, EXISTS, "{schema}");
            let (why, said) = ask(&misspelt, "alias@example.test").await.unwrap_err();
            assert!(why == Why::Failed && said.contains("\"proxyAdresses\""), "{schema}: {said}");
        }
    }
    let catalogue = settings(&samba, &samba.catalogue_url(), "");
    let catalogue = client(&format!("{catalogue}attributes = [\"proxyAddresses\", \"mail\"]"));
    assert_eq!(ask(&catalogue, "nobody@example.test").await, ABSENT);
}
