//! OpenLDAP, which has RFC 4533.

use backstop_harness::Slapd;

use super::*;

const PEOPLE: &str = "ou=people,dc=example,dc=test";

fn person(name: &str, below: &str) -> String {
    format!(
        "dn: uid={name},{below}\nobjectClass: inetOrgPerson\nuid: {name}\ncn: {name}\nsn: x\nmail: {name}@example.test\n\n"
    )
}

fn change(name: &str, what: &str) -> String {
    format!("dn: uid={name},{PEOPLE}\nchangetype: modify\n{what}\n\n")
}

fn below(slapd: &Slapd, base: &str, feed: &str) -> Config {
    config(&slapd.url(), base, "inet-org-person", (Slapd::READER, &slapd.password_file()), feed)
}

fn seeded(count: u32) -> Slapd {
    let mut slapd = Slapd::start();
    slapd.seed(count);
    slapd
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_change_is_seen_at_once() {
    let slapd = seeded(1200);
    let feed = Following::start(&below(&slapd, Slapd::BASE, "auto"), NEVER);
    feed.wait_complete();
    assert_eq!(feed.replica.addresses(), 2400);
    feed.wait_current();
    slapd.add(&person("new", PEOPLE));
    feed.sees("new@example.test");
    slapd.modify(&change("new", "replace: mail\nmail: other@example.test\nmail: third@example.test"));
    feed.sees("other@example.test");
    feed.sees("third@example.test");
    feed.misses("new@example.test");
    slapd.rename(&format!("uid=new,{PEOPLE}"), "uid=renamed");
    slapd.modify(&change("renamed", "delete: mail\nmail: third@example.test"));
    feed.misses("third@example.test");
    assert!(feed.find("other@example.test").is_some());
    slapd.modify(&change("renamed", "delete: mail"));
    feed.misses("other@example.test");
    slapd.modify(&change("renamed", "add: mail\nmail: back@example.test"));
    feed.sees("back@example.test");
    slapd.delete(&format!("uid=renamed,{PEOPLE}"));
    feed.misses("back@example.test");
    slapd.delete(&format!("uid=u000007,{PEOPLE}"));
    feed.misses("a000007@example.test");
    assert_eq!(feed.replica.addresses(), 2398);
    assert_eq!(feed.failures(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_goes_on_from_its_cookie() {
    let mut slapd = seeded(1200);
    let config = below(&slapd, Slapd::BASE, "syncrepl");
    let feed = Following::start(&config, NEVER);
    feed.wait_complete();
    let writer = feed.stop().await;
    let cookie = writer.cookie().unwrap();

    // The session log knows these (slapo-syncprov(5)).
    slapd.add(&person("new", PEOPLE));
    slapd.modify(&change("u000001", "replace: mail\nmail: changed@example.test"));
    slapd.modify(&change(
        "u000002",
        "delete: mail\n-\ndelete: mailAlternateAddress\n-\ndelete: proxyAddresses",
    ));
    slapd.delete(&format!("uid=u000003,{PEOPLE}"));
    let feed = Following::resume(writer, &config, NEVER);
    feed.sees("new@example.test");
    feed.sees("changed@example.test");
    feed.misses("u000001@example.test");
    feed.misses("u000002@example.test");
    feed.misses("u000003@example.test");
    assert_eq!(feed.replica.addresses(), 2397);
    assert!(slapd.log().contains("nentries=0"), "the log tells of searches");
    let writer = feed.stop().await;
    assert_ne!(writer.cookie().unwrap(), cookie);

    // A restart empties the session log: slapd tells who is still there.
    for number in 100..150 {
        slapd.delete(&format!("uid=u{number:06},{PEOPLE}"));
    }
    slapd.add(&person("late", PEOPLE));
    slapd.restart();
    let feed = Following::resume(writer, &config, NEVER);
    feed.sees("late@example.test");
    feed.misses("u000149@example.test");
    feed.misses("a000100@example.test");
    assert_eq!(feed.replica.addresses(), 2298);

    // A cookie of other times: with another filter everything is listed.
    let writer = feed.stop().await;
    let narrow: Config = serde_json::from_value(serde_json::json!({
        "urls": config.urls, "base": config.base, "bind_dn": config.bind_dn, "password_file": config.password_file,
        "allow_plain": true, "attributes": ["mailAlternateAddress"],
    }))
    .unwrap();
    let feed = Following::resume(writer, &narrow, NEVER);
    wait_until(Duration::from_secs(20), "the listing", || feed.replica.holds_back());
    assert_eq!(feed.failures(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_hangs_or_is_new_is_noticed() {
    let mut slapd = seeded(50);
    let feed = Following::start(&below(&slapd, Slapd::BASE, "syncrepl"), Duration::from_secs(3));
    feed.wait_current();
    slapd.restart();
    feed.wait_failure("");
    slapd.add(&person("after", PEOPLE));
    wait_until(Duration::from_secs(10), "a change after the restart", || {
        feed.find("after@example.test").is_some()
    });
    feed.wait_current();

    slapd.pause();
    feed.wait_outdated();
    feed.wait_failure("no answer in time");
    assert_eq!(feed.replica.addresses(), 101, "nothing is lost");
    slapd.resume();
    slapd.delete(&format!("uid=after,{PEOPLE}"));
    wait_until(Duration::from_secs(20), "a change after the pause", || {
        feed.find("after@example.test").is_none()
    });
    feed.wait_current();

    // Another database behind the same name, and older than the cookie: slapd answers 53.
    let writer = feed.stop().await;
    drop(slapd);
    let other = seeded(10);
    let feed = Following::resume(writer, &below(&other, Slapd::BASE, "syncrepl"), NEVER);
    wait_until(Duration::from_secs(20), "the other's list", || feed.replica.holds_back());
    other.add(&person("there", PEOPLE));
    feed.sees("there@example.test");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_moves_as_a_whole_is_seen() {
    let slapd = seeded(20);
    slapd.add(&format!("dn: ou=team,{PEOPLE}\nobjectClass: organizationalUnit\nou: team\n\n"));
    slapd.add(&person("one", &format!("ou=team,{PEOPLE}")));
    let feed = Following::start(&below(&slapd, PEOPLE, "auto"), NEVER);
    feed.wait_current();
    feed.sees("one@example.test");
    let r#move = |from: &str, to: &str| {
        format!(
            "dn: ou=team,{from}\nchangetype: modrdn\nnewrdn: ou=team\ndeleteoldrdn: 1\nnewsuperior: {to}\n\n"
        )
    };
    slapd.modify(&r#move(PEOPLE, "ou=groups,dc=example,dc=test"));
    feed.misses("one@example.test");
    slapd.add(&person("two", "ou=team,ou=groups,dc=example,dc=test"));
    slapd.modify(&r#move("ou=groups,dc=example,dc=test", PEOPLE));
    feed.sees("one@example.test");
    feed.sees("two@example.test");
    assert_eq!(feed.replica.addresses(), 42);
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_find_everything_or_count_for_nothing() {
    let slapd = seeded(1200);
    let feed = Following::start(&below(&slapd, Slapd::BASE, "paged"), Duration::from_secs(1));
    feed.wait_complete();
    assert_eq!(feed.replica.addresses(), 2400);
    assert!(!feed.replica.is_current(), "a list is old at once");
    slapd.delete(&format!("uid=u000003,{PEOPLE}"));
    slapd.add(&person("new", PEOPLE));
    let soon = Duration::from_secs(10);
    wait_until(soon, "a new one", || feed.find("new@example.test").is_some());
    wait_until(soon, "a deletion", || feed.find("u000003@example.test").is_none());
    assert_eq!(feed.failures(), [""; 0]);

    // slapd refuses pages above size.pr (slapd.conf(5)).
    let large = Config { page_size: 5000, ..below(&slapd, Slapd::BASE, "paged") };
    let feed = Following::start(&large, NEVER);
    feed.wait_failure("illegal pagedResults page size");
    assert!(!feed.replica.is_complete());

    // An account that may see everything, but only 500 at once, gets it by pages; one that may have none of those either
    // (slapd.conf(5), size.prtotal) gets nowhere: no part passes for the whole.
    for (limit, lists) in [("unlimited", true), ("disabled", false)] {
        let limits = format!("limits anonymous size.soft=500 size.hard=500 size.prtotal={limit}");
        let mut limited = Slapd::builder().database(&limits).anonymous().start();
        limited.seed(1200);
        let nobody: Config = serde_json::from_value(serde_json::json!({
            "urls": [limited.url()], "base": Slapd::BASE, "page_size": 400,
        }))
        .unwrap();
        let feed = Following::start(&nobody, NEVER);
        if lists {
            feed.wait_complete();
            assert_eq!(feed.replica.addresses(), 2400);
            assert_eq!(feed.failures(), [""; 0]);
        } else {
            feed.wait_failure(" (");
            assert!(!feed.replica.is_complete());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_elsewhere_makes_nobody_absent() {
    let slapd = seeded(20);
    slapd.add(
        "dn: ou=far,dc=example,dc=test\nobjectClass: referral\nobjectClass: extensibleObject\nou: far\nref: ldap://127.0.0.1:1/ou=far,dc=example,dc=test\n\n",
    );
    let feed = Following::start(&below(&slapd, Slapd::BASE, "syncrepl"), NEVER);
    feed.wait_complete();
    slapd.add(&person("new", PEOPLE));
    feed.sees("new@example.test");
    assert!(!feed.replica.is_current());
}

mod full {
    use std::time::Instant;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_hundred_thousand_people() {
        let mut slapd = seeded(100_000);
        let config = below(&slapd, Slapd::BASE, "syncrepl");
        let began = Instant::now();
        let feed = Following::start(&config, NEVER);
        feed.wait_complete();
        eprintln!("100 000 entries in {:?}", began.elapsed());
        assert_eq!(feed.replica.addresses(), 200_000);
        feed.wait_current();
        slapd.add(&person("new", PEOPLE));
        feed.sees("new@example.test");
        slapd.delete(&format!("uid=u099999,{PEOPLE}"));
        feed.misses("u099999@example.test");

        // The session log is gone, so that slapd names all who are still there.
        let writer = feed.stop().await;
        for number in 0..20 {
            slapd.delete(&format!("uid=u{number:06},{PEOPLE}"));
        }
        slapd.restart();
        let began = Instant::now();
        let feed = Following::resume(writer, &config, NEVER);
        let minute = Duration::from_secs(60);
        wait_until(minute, "the deletions", || feed.replica.addresses() == 200_001 - 42);
        eprintln!("resumed in {:?}", began.elapsed());

        let began = Instant::now();
        let feed = Following::start(&below(&slapd, Slapd::BASE, "paged"), NEVER);
        feed.wait_complete();
        eprintln!("by pages in {:?}", began.elapsed());
        assert_eq!(feed.replica.addresses(), 200_001 - 42);
    }
}

/// slapo-memberof(5) changes entries behind the back of slapo-syncprov(5).
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_into_a_group_that_the_filter_asks_for_is_never_absent() {
    let slapd = Slapd::builder().database("overlay memberof\n").start();
    for name in ["u0", "u1"] {
        slapd.add(&person(name, PEOPLE));
    }
    let group = "cn=mailers,ou=people,dc=example,dc=test";
    slapd.add(&format!("dn: {group}\nobjectClass: groupOfNames\ncn: mailers\nmember: uid=u0,{PEOPLE}\n\n"));
    let config =
        Config { filter: Some(format!("(memberOf={group})")), ..below(&slapd, Slapd::BASE, "syncrepl") };
    let feed = Following::start(&config, Duration::from_secs(4));
    feed.wait_complete();
    feed.sees("u0@example.test");
    slapd.modify(&format!("dn: {group}\nchangetype: modify\nadd: member\nmember: uid=u1,{PEOPLE}\n\n"));
    wait_until(Duration::from_secs(15), "the listing", || {
        assert!(!feed.replica.is_current(), "nobody is absent without a question");
        feed.find("u1@example.test").is_some()
    });
    assert_eq!(feed.failures(), [""; 0]);
}

/// No server tells that rights were taken away.
#[tokio::test(flavor = "multi_thread")]
async fn everything_is_listed_again_at_long_intervals() {
    let slapd = seeded(20);
    let feed = Following::start(&below(&slapd, Slapd::BASE, "syncrepl"), Duration::from_millis(50));
    feed.wait_current();
    // The search that persists gives way to one from the start.
    wait_until(Duration::from_secs(20), "the end of the search", || slapd.log().contains("ABANDON"));
    feed.wait_current();
    slapd.add(&person("new", PEOPLE));
    feed.sees("new@example.test");
    assert_eq!(feed.replica.addresses(), 41);
    assert_eq!(feed.failures(), [""; 0]);
}

/// The session log names who is gone: the rights of the account may have gone.
#[tokio::test(flavor = "multi_thread")]
async fn many_deletions_at_once_are_left_to_a_listing() {
    let slapd = seeded(600);
    let config = below(&slapd, Slapd::BASE, "syncrepl");
    let feed = Following::start(&config, NEVER);
    feed.wait_complete();
    let writer = feed.stop().await;
    for number in 0..110 {
        slapd.delete(&format!("uid=u{number:06},{PEOPLE}"));
    }
    let feed = Following::resume(writer, &config, NEVER);
    wait_until(Duration::from_secs(20), "the listing", || feed.replica.holds_back());
    feed.wait_current();
    assert_eq!(feed.replica.addresses(), 1200);
    assert_eq!(feed.failures(), [""; 0]);
}

/// From a backup, and used before the feed is back: slapd takes the cookie, and does not tell of what it has again.
#[tokio::test(flavor = "multi_thread")]
async fn who_was_restored_is_never_absent() {
    let mut slapd = seeded(50);
    let backup = slapd.backup();
    let config = below(&slapd, Slapd::BASE, "syncrepl");
    let feed = Following::start(&config, NEVER);
    feed.wait_current();
    slapd.delete(&format!("uid=u000005,{PEOPLE}"));
    feed.misses("u000005@example.test");
    let writer = feed.stop().await;
    slapd.restore(&backup);
    slapd.add(&person("later", PEOPLE));
    let feed = Following::resume(writer, &config, Duration::from_secs(4));
    feed.sees("later@example.test");
    wait_until(Duration::from_secs(15), "the listing", || {
        let is_current = feed.replica.is_current();
        let is_known = feed.find("u000005@example.test").is_some();
        assert!(is_known || !is_current, "nobody is absent without a question");
        is_known
    });
    feed.wait_current();
    assert_eq!(feed.failures(), [""; 0]);
}

/// The account may search for an address that it may not read: a question finds him, and no feed tells of him.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_hidden_is_never_absent() {
    let hidden = format!("access to dn.exact=\"uid=late,{PEOPLE}\" attrs=mail by * search");
    let slapd = Slapd::builder().access(&hidden).start();
    slapd.add(&person("early", PEOPLE));
    let config = below(&slapd, Slapd::BASE, "syncrepl");
    let feed = Following::start(&config, NEVER);
    feed.wait_current();
    slapd.add(&person("late", PEOPLE));
    let late = "late@example.test".parse::<Address>().unwrap();
    let client = Client::build("directory.test", &config).unwrap();
    assert!(client.look_up(&late).await.unwrap().is_some());
    feed.wait_outdated();
    // Also when he is there from the start.
    let feed = Following::start(&config, NEVER);
    feed.sees("early@example.test");
    slapd.add(&person("new", PEOPLE));
    feed.sees("new@example.test");
    assert!(!feed.replica.is_current());
    assert_eq!(feed.failures(), [""; 0]);
}

/// A part of the tree that is given to another server while the feed runs: whoever is there is not known here.
#[tokio::test(flavor = "multi_thread")]
async fn a_referral_that_comes_later_ends_certainty() {
    let slapd = Slapd::start();
    slapd.add(&person("u0", PEOPLE));
    let feed = Following::start(&below(&slapd, Slapd::BASE, "auto"), NEVER);
    feed.wait_current();
    slapd.add(
        "dn: ou=far,dc=example,dc=test\nobjectClass: referral\nobjectClass: extensibleObject\nou: far\nref: ldap://127.0.0.1:1/ou=far,dc=example,dc=test\n\n",
    );
    feed.wait_outdated();
    slapd.add(&person("new", PEOPLE));
    feed.sees("new@example.test");
    assert!(!feed.replica.is_current());
    assert_eq!(feed.failures(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misspelt_attribute_is_no_list() {
    let slapd = seeded(3);
    let mut config = below(&slapd, Slapd::BASE, "auto");
    config.attributes = Some(vec!["mail".to_owned(), "mailAlternatAddress".to_owned()]);
    let feed = Following::start(&config, NEVER);
    wait_until(SEEN, "the feed to fail", || !feed.failures().is_empty());
    assert!(feed.failures()[0].contains("\"mailAlternatAddress\""), "{:?}", feed.failures());
    assert!(!feed.replica.is_complete());
}
