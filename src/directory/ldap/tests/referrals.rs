//! Parts of a directory that are on another server.

use super::*;

fn elsewhere(url: &str) -> String {
    format!(
        "dn: ou=elsewhere,{}\nobjectClass: referral\nobjectClass: extensibleObject\nou: elsewhere\n\
         ref: {url}/ou=people,{}\n",
        Slapd::BASE,
        Slapd::BASE
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn references_are_followed_or_told() {
    let (here, mut there) = (Slapd::start(), Slapd::start());
    here.add(&format!("{}\n{}", person("anna"), elsewhere(&there.url())));
    there.add(&person("ben"));
    let settings = reader(&here, &[here.url()]);
    let (followed, left) = (client(&format!("{settings}follow_referrals = true")), client(&settings));
    for client in [&followed, &left] {
        assert_eq!(ask(client, "anna@example.test").await, EXISTS);
    }
    assert_eq!(ask(&followed, "ben@example.test").await, EXISTS);
    assert_eq!(ask(&followed, "nobody@example.test").await, ABSENT);
    for address in ["ben@example.test", "nobody@example.test"] {
        let (why, said) = ask(&left, address).await.unwrap_err();
        assert!(why == Why::Failed && said.contains("follow_referrals"), "{said}");
    }
    // Whom a catch-all takes here may be somebody there: nothing final rests on it.
    here.add(&person("all").replace("mail: all@", "mail: @"));
    let caught = |unsure| Ok(Some(Attributes { catch_all: true, unsure, ..Attributes::PLAIN }));
    assert_eq!(ask(&followed, "nobody@example.test").await, caught(false));
    assert_eq!(ask(&followed, "ben@example.test").await, EXISTS);
    assert_eq!(ask(&left, "ben@example.test").await, caught(true));
    there.pause();
    assert_eq!(ask(&followed, "nobody@example.test").await, caught(true));
    here.delete(&format!("uid=all,ou=people,{}", Slapd::BASE));
    assert_eq!(ask(&followed, "nobody@example.test").await.unwrap_err().0, Why::TimedOut);
    assert_eq!(ask(&followed, "anna@example.test").await, EXISTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_referral_of_the_whole_question() {
    let there = Slapd::start();
    there.add(&person("ben"));
    let here = Slapd::builder().global(&format!("referral {}", there.url())).start();
    // Outside of what the first one holds.
    let settings =
        reader(&here, &[here.url()]).replace("base = \"dc=example,dc=test\"", "base = \"dc=test\"");
    let (why, said) = ask(&client(&settings), "ben@example.test").await.unwrap_err();
    assert!(why == Why::Failed && said.contains("follow_referrals"), "{said}");
    let (why, said) =
        ask(&client(&format!("{settings}follow_referrals = true")), "ben@example.test").await.unwrap_err();
    assert!(why == Why::Failed && said.contains("there is no base \"dc=test\""), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn circles_end() {
    let here = Slapd::start();
    here.add(&elsewhere(&here.url()).replace("/ou=people,", "/"));
    let client = client(&format!("{}follow_referrals = true", reader(&here, &[here.url()])));
    assert_eq!(ask(&client, "nobody@example.test").await, ABSENT);
    let many: String = (0..20)
        .map(|index| {
            let entry = elsewhere("ldap://192.0.2.1").replace("elsewhere", &format!("e{index}"));
            format!(
                "{}\n",
                entry.replace("ou=people", &format!("ou=p{index}")).replace("192.0.2.1", "127.0.0.1:1")
            )
        })
        .collect();
    here.add(&many);
    let (why, _) = ask(&client, "nobody@example.test").await.unwrap_err();
    assert!(matches!(why, Why::Down | Why::Failed), "{why:?}");
}

/// A password goes nowhere in plain text because a server says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_referral_lowers_no_guard() {
    let (here, there) = (Slapd::start(), Slapd::start());
    here.add(&elsewhere(&there.url()));
    there.add(&person("ben"));
    let secure = |urls: &[String], more: &str| {
        let settings = reader(&here, urls).replace("allow_plain = true\n", "");
        client(&format!("{settings}follow_referrals = true\n{more}"))
    };
    let before = there.log().matches(" ACCEPT ").count();
    for (client, told) in [
        (secure(&[here.ldaps_url()], &format!("ca_file = {}", show(&here.ca()))), "it is a plain port"),
        (secure(&[here.ldapi_url()], ""), "the password would go over a plain connection"),
    ] {
        let (why, said) = ask(&client, "ben@example.test").await.unwrap_err();
        assert!(why == Why::Failed && said.contains(told), "{said}");
    }
    assert_eq!(there.log().matches(" ACCEPT ").count(), before);
    // The other server proves who it is, too.
    let (why, said) = ask(
        &secure(&[here.url()], &format!("start_tls = true\nca_file = {}", show(&here.ca()))),
        "ben@example.test",
    )
    .await
    .unwrap_err();
    assert!(why == Why::Down && said.contains("invalid peer certificate"), "{said}");
}

/// No more is asked for than one address can have: who is not among the first may be behind them.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_short_leaves_it_open_who_is_behind() {
    let slapd = Slapd::start();
    for number in 0..25 {
        slapd.add(&person(&format!("all{number}")).replace(&format!("mail: all{number}@"), "mail: @"));
    }
    slapd.add(&person("ben"));
    let caught = Attributes { catch_all: true, unsure: true, ..Attributes::PLAIN };
    assert_eq!(ask(&client(&reader(&slapd, &[slapd.url()])), "ben@example.test").await, Ok(Some(caught)));
}
