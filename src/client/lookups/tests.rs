//! Against a DNS server that lies, fails and is silent.

use std::{net::Ipv4Addr, time::Duration};

use backstop_harness::{Dns, Fault};

use super::*;
use crate::telemetry::Registry;

const DEADLINE: Duration = Duration::from_millis(400);

fn lookups(dns: &Dns, bad: &[&str], good: &[&str]) -> Arc<Lookups> {
    let lists = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a list")).collect();
    let questions = Questions {
        resolver: NameServer::At(dns.address()),
        bad: lists(bad),
        good: lists(good),
        names: true,
        deadline: DEADLINE,
    };
    Shared::new(Metrics::register(&Registry::default())).lookups(questions)
}

fn v4(last: u8) -> IpAddr {
    Ipv4Addr::new(203, 0, 113, last).into()
}

#[tokio::test]
async fn names_are_confirmed() {
    let dns = Dns::start();
    let v6: IpAddr = "2001:db8:1::9".parse().unwrap();
    dns.host(v4(1), "mail.example.org");
    dns.host(v6, "six.example.org");
    dns.name_of(v4(2), "mail.example.org");
    dns.name_of(v4(3), "gone.example.org");
    dns.name_of(v4(4), "late.example.org");
    dns.fault("late.example.org", Some(Fault::Silence));
    dns.name_of(v4(5), "broken.example.org");
    dns.fault("broken.example.org", Some(Fault::ServFail));
    dns.host(v4(6), "b.example.org");
    dns.host(v4(6), "a.example.org");
    dns.name_of(v4(6), "forged.example.net");
    dns.name_of(v4(7), "localhost");
    dns.host(v4(8), "cut.example.org");
    dns.fault("cut.example.org", Some(Fault::Truncation));
    dns.host(v4(9), "MixedCase.Example.ORG");
    // RFC 2317: the name is somebody else's to give.
    dns.alias("10.113.0.203.in-addr.arpa", "10.0-25.113.0.203.in-addr.arpa");
    dns.alias("www.example.org", "mail.example.org");
    for n in 0..20 {
        dns.name_of(v4(11), &format!("host{n}.example.org"));
    }
    for (last, fault) in
        [(12, Fault::ServFail), (13, Fault::Refused), (14, Fault::Silence), (15, Fault::Garbage)]
    {
        dns.host(v4(last), "mail.example.net");
        dns.fault_of(v4(last), Some(fault));
    }
    let lookups = lookups(&dns, &[], &[]);
    let one = |text: &str, is_confirmed| Reverse::Names(vec![Name { text: text.to_owned(), is_confirmed }]);
    use Confirmed::{No, Unknown, Yes};
    let all = Reverse::Names(
        [("a.example.org", Yes), ("b.example.org", Yes), ("forged.example.net", No)]
            .map(|(text, is_confirmed)| Name { text: text.to_owned(), is_confirmed })
            .into(),
    );
    for (client, expected) in [
        (v4(1), one("mail.example.org", Yes)),
        (v6, one("six.example.org", Yes)),
        (v4(2), one("mail.example.org", No)),
        (v4(3), one("gone.example.org", No)),
        (v4(4), one("late.example.org", Unknown)),
        (v4(5), one("broken.example.org", Unknown)),
        (v4(6), all),
        (v4(7), Reverse::Names(Vec::new())),
        (v4(8), one("cut.example.org", Yes)),
        (v4(9), one("mixedcase.example.org", Yes)),
        (v4(10), Reverse::Unnamed),
        (v4(11), Reverse::Many),
        (v4(12), Reverse::Unknown),
        (v4(13), Reverse::Unknown),
        (v4(14), Reverse::Unknown),
        (v4(15), Reverse::Unknown),
        (v4(16), Reverse::Unnamed),
    ] {
        let begun = Instant::now();
        let found = lookups.seen(client).await;
        assert_eq!(found.reverse, expected, "{client}");
        assert!(begun.elapsed() < DEADLINE * 3, "{client}: {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn lists_answer_side_by_side_and_a_broken_one_slows_nobody() {
    let dns = Dns::start();
    dns.list("bl.example", v4(1), Ipv4Addr::new(127, 0, 0, 10));
    dns.list("bl.example", v4(2), Ipv4Addr::new(127, 0, 0, 4));
    for last in 1..100 {
        dns.list("full.example", v4(last), Ipv4Addr::new(127, 255, 255, 254));
    }
    for zone in ["bl", "dead", "slow1", "slow2", "wl"] {
        dns.list(&format!("{zone}.example"), [127, 0, 0, 2].into(), Ipv4Addr::new(127, 0, 0, 2));
    }
    dns.fault("dead.example", Some(Fault::Silence));
    dns.fault("slow1.example", Some(Fault::Delay(DEADLINE / 2)));
    dns.fault("slow2.example", Some(Fault::Delay(DEADLINE / 2)));
    let bad = ["bl.example=127.0.0.10", "full.example", "dead.example", "slow1.example", "slow2.example"];
    let lookups = lookups(&dns, &bad, &["wl.example"]);
    let begun = Instant::now();
    let seen = lookups.seen(v4(1)).await;
    let full = Listing::Refused(Ipv4Addr::new(127, 255, 255, 254));
    let listed = Listing::Listed(Ipv4Addr::new(127, 0, 0, 10));
    assert_eq!(seen.bad, [listed, full, Listing::Failed, Listing::Clear, Listing::Clear]);
    assert_eq!(seen.good, [Listing::Clear]);
    assert!(begun.elapsed() < DEADLINE * 2, "{:?}", begun.elapsed());
    let trouble: Vec<String> = lookups.notices().collect();
    assert_eq!(trouble.len(), 2, "{trouble:?}");
    dns.fault("slow1.example", None);
    dns.fault("slow2.example", None);
    let begun = Instant::now();
    let seen = lookups.seen(v4(2)).await;
    assert_eq!(seen.bad, [Listing::Clear, full, Listing::Spared, Listing::Clear, Listing::Clear]);
    assert!(begun.elapsed() < DEADLINE, "{:?}", begun.elapsed());
    // It is noticed when it is back.
    dns.fault("dead.example", None);
    let mut last = 10;
    loop {
        let seen = lookups.seen(v4(last)).await;
        if seen.bad[2] == Listing::Clear {
            break;
        }
        assert!(last < 250, "{seen:?}");
        last += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(lookups.notices().count(), 1);
}

#[tokio::test]
async fn who_asks_at_the_same_time_waits_for_one_answer() {
    let dns = Dns::start();
    dns.host(v4(1), "mail.example.org");
    dns.fault_of(v4(1), Some(Fault::Delay(DEADLINE / 4)));
    let lookups = lookups(&dns, &[], &[]);
    let all = join_all((0..50).map(|_| lookups.seen(v4(1)))).await;
    assert!(all.iter().all(|seen| Arc::ptr_eq(seen, &all[0])));
    assert!(Arc::ptr_eq(&all[0], &lookups.seen(v4(1)).await));
    assert_eq!(dns.asked("1.113.0.203.in-addr.arpa"), 1);
    // One session's end is not the end of the question.
    dns.fault_of(v4(2), Some(Fault::Delay(DEADLINE / 4)));
    dns.host(v4(2), "mail.example.org");
    let given_up = timeout(Duration::from_millis(5), lookups.seen(v4(2))).await;
    assert!(given_up.is_err());
    let Reverse::Names(_) = lookups.seen(v4(2)).await.reverse else { panic!("it was asked") };
}

#[tokio::test]
async fn the_same_questions_share_what_they_remember() {
    let dns = Dns::start();
    let shared = Shared::new(Metrics::register(&Registry::default()));
    let questions = |zone: &str| Questions {
        resolver: NameServer::At(dns.address()),
        bad: vec![zone.parse().unwrap()],
        good: Vec::new(),
        names: false,
        deadline: DEADLINE,
    };
    let first = shared.lookups(questions("a.example"));
    assert!(Arc::ptr_eq(&first, &shared.lookups(questions("a.example"))));
    assert!(!Arc::ptr_eq(&first, &shared.lookups(questions("b.example"))));
    // What is known of a list is kept where other things change.
    let later = shared.lookups(Questions { deadline: DEADLINE * 2, ..questions("a.example") });
    assert!(!Arc::ptr_eq(&first, &later) && Arc::ptr_eq(&first.bad[0], &later.bad[0]));
    let other = shared.lookups(questions("a.example=127.0.0.2"));
    assert!(!Arc::ptr_eq(&first.bad[0], &other.bad[0]));
    assert_eq!(first.seen(v4(1)).await.reverse, Reverse::Unasked);
}

/// A flood of clients whose names and lists are silent: the descriptors set aside suffice, and nobody waits for long.
#[tokio::test]
async fn questions_are_bounded() {
    let open_files = || std::fs::read_dir("/proc/self/fd").expect("it is there").count();
    let dns = Dns::start();
    let zones = ["a.example", "b.example", "c.example", "d.example"];
    for silent in zones.iter().chain(&["arpa"]) {
        dns.fault(silent, Some(Fault::Silence));
    }
    let questions = Questions {
        resolver: NameServer::At(dns.address()),
        bad: zones.map(|zone| zone.parse().expect("a list")).into(),
        good: Vec::new(),
        names: true,
        deadline: DEADLINE * 3,
    };
    let lookups = Shared::new(Metrics::register(&Registry::default())).lookups(questions);
    let before = open_files();
    let mut most = 0;
    let begun = Instant::now();
    // Of many owners.
    let clients = (0..=255).map(|owner| IpAddr::from([203, owner, 113, 9]));
    let mut all = std::pin::pin!(join_all(clients.map(|client| lookups.seen(client))));
    let all = loop {
        tokio::select! {
            all = &mut all => break all,
            () = tokio::time::sleep(Duration::from_millis(1)) => most = most.max(open_files()),
        }
    };
    assert!(begun.elapsed() < DEADLINE * 5, "{:?}", begun.elapsed());
    assert!(all.iter().all(|seen| seen.reverse == Reverse::Unknown));
    for list in 0..zones.len() {
        let busy = all.iter().filter(|seen| seen.bad[list] == Listing::Busy).count();
        assert!(busy > 100, "{list}: {busy}");
    }
    // One server is asked.
    let bound = before + usize::try_from(DESCRIPTORS / 2).expect("a small number") + 16;
    assert!(most > before + 3 * AT_ONCE && most <= bound, "{before} before, then {most}, at most {bound}");
}

/// Who has many addresses, and name servers that keep silent, holds up his neighbours and nobody else.
#[tokio::test]
async fn one_owner_of_slow_names_leaves_turns_to_others() {
    let dns = Dns::start();
    dns.fault("8.b.d.0.1.0.0.2.ip6.arpa", Some(Fault::Silence));
    dns.host(v4(1), "mail.example.org");
    let lookups = lookups(&dns, &[], &[]);
    let flood = (0..200).map(|n| IpAddr::from([0x2001, 0xdb8, n, 0, 0, 0, 0, 1]));
    let flood = join_all(flood.map(|client| lookups.seen(client)));
    let (slow, other) = tokio::join!(flood, lookups.seen(v4(1)));
    assert!(slow.iter().all(|seen| seen.reverse == Reverse::Unknown));
    let name = Name { text: "mail.example.org".to_owned(), is_confirmed: Confirmed::Yes };
    assert_eq!(other.reverse, Reverse::Names(vec![name]));
    // What a client calls itself is a question to its owner, too.
    dns.fault("slow.example", Some(Fault::Silence));
    let deadline = Instant::now() + DEADLINE;
    let flood = (0..200).map(|n| IpAddr::from([0x2001, 0xdb8, n, 0, 0, 0, 0, 1]));
    let flood = join_all(flood.map(|client| lookups.confirm("host.slow.example", client, deadline)));
    let (slow, other) = tokio::join!(flood, lookups.confirm("mail.example.org", v4(1), deadline));
    assert!(slow.iter().all(|confirmed| *confirmed == Confirmed::Unknown));
    assert_eq!(other, Confirmed::Yes);
}

#[test]
fn names_of_hosts() {
    for (text, expected) in [
        ("mail.example.org", Some("mail.example.org")),
        ("Mail.Example.ORG.", Some("mail.example.org")),
        ("a_b-c.example", Some("a_b-c.example")),
        ("192.0.2.1", Some("192.0.2.1")),
        ("localhost", None),
        ("", None),
        (".", None),
        ("a..b", None),
        ("[192.0.2.1]", None),
        ("a\\032b.example", None),
        ("mün.example", None),
        ("a b.example", None),
        ("a\n.example", None),
    ] {
        assert_eq!(host_name(text).as_deref(), expected, "{text:?}");
    }
    assert!(host_name(&format!("{}.example", "a".repeat(64))).is_none());
    assert!(host_name(&format!("{}example", "a.".repeat(130))).is_none());
}
