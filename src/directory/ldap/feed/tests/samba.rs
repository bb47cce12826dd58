//! Active Directory, by Samba.

use backstop_harness::SambaAd;

use super::*;

const STAFF: &str = SambaAd::STAFF;

fn user(name: &str, below: &str) -> String {
    format!(
        "dn: CN={name},{below}\nobjectClass: user\nsAMAccountName: {name}\nuserAccountControl: 544\n\
         proxyAddresses: SMTP:{name}@example.test\nproxyAddresses: smtp:{name}.alias@example.test\n\n"
    )
}

fn unit(name: &str, below: &str) -> String {
    format!("dn: OU={name},{below}\nobjectClass: organizationalUnit\n\n")
}

fn change(name: &str, what: &str) -> String {
    format!("dn: CN={name},{STAFF}\nchangetype: modify\n{what}\n\n")
}

fn r#move(rdn: &str, from: &str, to: &str) -> String {
    format!("dn: {rdn},{from}\nchangetype: modrdn\nnewrdn: {rdn}\ndeleteoldrdn: 1\nnewsuperior: {to}\n\n")
}

fn below(samba: &SambaAd, base: &str, who: &str, feed: &str) -> Config {
    let mut config = config(&samba.url(), base, "active-directory", (who, &samba.password_file()), feed);
    config.suspended_when = vec![crate::directory::ldap::SuspendedWhen::Disabled];
    config
}

/// Everything but deletions, which not every feed sees.
fn change_everything(samba: &SambaAd, feed: &Following, tag: &str) {
    let name = |kind: &str| format!("{kind}{tag}");
    let address = |kind: &str| format!("{kind}{tag}@example.test");
    let (sub, out) = (name("sub"), name("out"));
    samba.add(&unit(&sub, STAFF));
    samba.add(&unit(&out, SambaAd::BASE));
    let (inside, outside) = (format!("OU={sub},{STAFF}"), format!("OU={out},{}", SambaAd::BASE));

    let new = name("new");
    samba.add(&user(&new, STAFF));
    feed.sees(&address("new"));
    assert!(!feed.find(&address("new")).unwrap().suspended);
    samba.modify(&change(&new, &format!("add: proxyAddresses\nproxyAddresses: smtp:{}", address("second"))));
    feed.sees(&address("second"));
    samba.modify(&change(
        &new,
        &format!("delete: proxyAddresses\nproxyAddresses: smtp:{}", address("second")),
    ));
    feed.misses(&address("second"));
    samba.modify(&change(&new, "replace: userAccountControl\nuserAccountControl: 546"));
    let suspended = |address: &str| feed.find(address).is_some_and(|attributes| attributes.suspended);
    wait_until(SEEN, "the suspension", || suspended(&address("new")));
    samba.modify(&change(&new, "replace: userAccountControl\nuserAccountControl: 544"));
    wait_until(SEEN, "the end of the suspension", || !suspended(&address("new")));

    let renamed = name("renamed");
    samba.rename(&format!("CN={new},{STAFF}"), &format!("CN={renamed}"));
    samba.modify(&change(&renamed, &format!("add: mail\nmail: {}", address("renamed"))));
    feed.sees(&address("renamed"));
    let rdn = format!("CN={renamed}");
    samba.modify(&r#move(&rdn, STAFF, &inside));
    samba.add(&user(&name("marker"), STAFF));
    feed.sees(&address("marker"));
    assert!(feed.find(&address("new")).is_some(), "it is still below the base");
    samba.modify(&r#move(&rdn, &inside, &outside));
    feed.misses(&address("new"));
    samba.modify(&r#move(&rdn, &outside, &inside));
    feed.sees(&address("new"));

    // Nobody tells of what is in there.
    let rdn = format!("OU={sub}");
    samba.modify(&r#move(&rdn, STAFF, &outside));
    feed.misses(&address("new"));
    samba.modify(&r#move(&rdn, &outside, STAFF));
    feed.sees(&address("new"));
    feed.sees(&address("renamed"));
    samba.modify(&format!(
        "dn: CN={renamed},{inside}\nchangetype: modify\ndelete: proxyAddresses\n-\ndelete: mail\n\n"
    ));
    feed.misses(&address("new"));
    feed.misses(&address("renamed"));
}

fn fill(samba: &SambaAd) {
    samba.add(&(0..30).map(|number| user(&format!("u{number:02}"), STAFF)).collect::<String>());
}

/// One kind of feed, for an account, through all kinds of changes.
async fn follow_changes(samba: &mut SambaAd, name: &str, who: &str, sees_deleted: bool) {
    let tag = format!("-{name}-{}", if sees_deleted { "admin" } else { "reader" });
    let config = below(samba, STAFF, who, name);
    let feed = Following::start(&config, NEVER);
    feed.wait_current();
    change_everything(samba, &feed, &tag);
    let gone = format!("gone{tag}");
    samba.add(&user(&gone, STAFF));
    let address = format!("{gone}@example.test");
    feed.sees(&address);
    samba.delete(&format!("CN={gone},{STAFF}"));
    if sees_deleted {
        feed.misses(&address);
    }
    // And while nobody looks.
    let writer = feed.stop().await;
    samba.restart();
    samba.add(&user(&format!("late{tag}"), STAFF));
    let feed = Following::resume(writer, &config, Duration::from_secs(3));
    feed.sees(&format!("late{tag}@example.test"));
    wait_until(Duration::from_secs(15), "a deletion", || feed.find(&address).is_none());
    feed.wait_current();
    assert_eq!(feed.failures(), [""; 0]);
    feed.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_seen_at_once_with_the_right_to_replicate() {
    let mut samba = SambaAd::start();
    fill(&samba);
    follow_changes(&mut samba, "dirsync", SambaAd::ADMINISTRATOR, true).await;
}

mod full {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn changes_are_seen_at_once_by_any_feed() {
        let mut samba = SambaAd::start();
        fill(&samba);
        follow_changes(&mut samba, "dirsync", SambaAd::SERVICE, false).await;
        follow_changes(&mut samba, "usn", SambaAd::ADMINISTRATOR, true).await;
        follow_changes(&mut samba, "usn", SambaAd::SERVICE, false).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_as_a_whole_and_its_restart() {
    let mut samba = SambaAd::start();
    fill(&samba);
    let config = below(&samba, SambaAd::BASE, SambaAd::ADMINISTRATOR, "auto");
    let feed = Following::start(&config, Duration::from_secs(5));
    feed.wait_current();
    assert_eq!(
        feed.replica.addresses(),
        60,
        "what is aside (DNS zones, the configuration) is no part elsewhere"
    );
    samba.restart();
    samba.delete(&format!("CN=u07,{STAFF}"));
    wait_until(Duration::from_secs(15), "a deletion after the restart", || {
        feed.find("u07@example.test").is_none()
    });
    samba.pause();
    feed.wait_outdated();
    feed.wait_failure("no answer in time");
    samba.resume();
    samba.delete(&format!("CN=u08,{STAFF}"));
    wait_until(Duration::from_secs(15), "a deletion after the pause", || {
        feed.find("u08@example.test").is_none()
    });
    feed.wait_current();
}

/// `memberOf` is a back link: who comes into a group is not changed himself, and no feed of changes names him. Nor does any
/// tell that rights were taken away.
#[tokio::test(flavor = "multi_thread")]
async fn what_no_feed_of_changes_tells() {
    let samba = SambaAd::start();
    fill(&samba);
    samba.add(&format!(
        "dn: CN=mailers,{STAFF}\nobjectClass: group\nsAMAccountName: mailers\nmember: CN=u00,{STAFF}\n\n"
    ));
    for way in ["dirsync", "usn"] {
        let config = Config {
            filter: Some(format!("(memberOf=CN=mailers,{STAFF})")),
            ..below(&samba, STAFF, SambaAd::ADMINISTRATOR, way)
        };
        let feed = Following::start(&config, Duration::from_secs(4));
        feed.wait_complete();
        feed.sees("u00@example.test");
        samba.modify(&change("mailers", &format!("add: member\nmember: CN=u01,{STAFF}")));
        wait_until(Duration::from_secs(15), "the listing", || {
            assert!(!feed.replica.is_current(), "nobody is absent without a question");
            feed.find("u01@example.test").is_some()
        });
        assert_eq!(feed.failures(), [""; 0]);
        feed.stop().await;
        samba.modify(&change("mailers", &format!("delete: member\nmember: CN=u01,{STAFF}")));
    }

    let wrong = Config {
        schema: crate::directory::ldap::Schema::InetOrgPerson,
        suspended_when: Vec::new(),
        ..below(&samba, STAFF, SambaAd::ADMINISTRATOR, "auto")
    };
    let feed = Following::start(&wrong, NEVER);
    feed.wait_failure("the server is Active Directory: set schema = \"active-directory\"");
    assert!(!feed.replica.is_complete());

    // So many lose their addresses at once that it looks like a loss of rights: a listing tells, and is held back.
    let mut left = Vec::new();
    for way in ["dirsync", "usn"] {
        let config = below(&samba, STAFF, SambaAd::ADMINISTRATOR, way);
        let feed = Following::start(&config, NEVER);
        feed.wait_current();
        assert_eq!(feed.replica.addresses(), 60);
        left.push((config, feed.stop().await));
    }
    let loss = |number| change(&format!("u{number:02}"), "delete: proxyAddresses");
    samba.modify(&(1..26).map(loss).collect::<String>());
    for (config, writer) in left {
        let feed = Following::resume(writer, &config, Duration::from_secs(3));
        wait_until(Duration::from_secs(20), "the listing", || feed.replica.holds_back());
        assert_eq!(feed.replica.addresses(), 60);
        assert_eq!(feed.failures(), [""; 0]);
        feed.stop().await;
    }

    // Not one recipient is left to be seen.
    let config = below(&samba, STAFF, SambaAd::ADMINISTRATOR, "usn");
    let feed = Following::start(&config, NEVER);
    feed.wait_current();
    let lone = |number| change(&format!("u{number:02}"), "delete: proxyAddresses");
    samba.modify(&[0, 26, 27, 28, 29].map(lone).concat());
    feed.wait_failure("not a single recipient can be seen");
    assert!(feed.replica.addresses() > 0);
    feed.wait_outdated();
}
