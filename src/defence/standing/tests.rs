//! Blocks and trusts, as they are told and found.

use super::*;
use crate::{defence::Metrics, store, telemetry::Registry};

fn standings() -> Standings {
    let registry = Registry::default();
    let store = Store::in_memory(store::Metrics::register(&registry));
    let shared = Shared::new(store, Metrics::register(&registry));
    Standings::new(&shared, &Harvest::new(&harvest::Config::default(), &shared))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

const HOUR: Duration = Duration::from_secs(60 * 60);

/// RFC 4291 §2.5.1: an interface's own part is 64 bits long; RFC 6177: a site has a /64 at least.
#[tokio::test]
async fn a_block_is_of_what_one_host_has_to_itself() {
    for (blocked, client, expected) in [
        ("203.0.113.9", "203.0.113.9", true),
        ("203.0.113.9", "::ffff:203.0.113.9", true),
        ("::ffff:203.0.113.9", "203.0.113.9", true),
        ("203.0.113.9", "203.0.113.8", false),
        ("2001:db8:1:2::9", "2001:db8:1:2:ffff::1", true),
        ("2001:db8:1:2::9", "2001:db8:1:3::9", false),
    ] {
        let standings = standings();
        assert!(!standings.block(ip(blocked), "why", HOUR).await.unwrap());
        let found = standings.find(ip(client)).await;
        assert_eq!((found.trusted, found.blocked.is_some()), (false, expected), "{blocked} {client}");
        assert!(standings.block(ip(blocked), "why", HOUR).await.unwrap(), "it was before");
        assert_eq!(standings.release(ip(client)).await.unwrap().before, expected);
        assert_eq!(standings.find(ip(blocked)).await.blocked.is_some(), !expected);
    }
}

/// What an admin says last counts, also where that is less.
#[tokio::test(start_paused = true)]
async fn a_block_by_hand_ends_when_it_was_told_to() {
    clock::stopped::set(std::time::SystemTime::UNIX_EPOCH + HOUR);
    let registry = Registry::default();
    let store = Store::in_memory(store::Metrics::register(&registry));
    let shared = Shared::new(store, Metrics::register(&registry));
    let harvest = Harvest::new(&harvest::Config { unknown: 1, ..harvest::Config::default() }, &shared);
    let (standings, client) = (Standings::new(&shared, &harvest), ip("203.0.113.9"));
    let lately = standings.find(client).await.lately.expect("it is counted");
    let nobody = crate::address::Address::parse("nobody@example.test").unwrap();
    harvest.note(client, lately, crate::defence::Guess::Unknown(&nobody), crate::defence::Purpose::Mail);
    assert!(standings.find(client).await.blocked.is_some());
    assert!(standings.block(client, "", Duration::from_secs(1)).await.unwrap(), "it was blocked before");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(standings.find(client).await.blocked, None);
}

#[tokio::test]
async fn a_trust_is_of_the_very_address() {
    let standings = standings();
    standings.trust(ip("2001:db8::9"), HOUR).await.unwrap();
    standings.trust(ip("::ffff:192.168.1.9"), HOUR).await.unwrap();
    for (client, expected) in
        [("2001:db8::9", true), ("2001:db8::8", false), ("192.168.1.9", true), ("192.168.1.8", false)]
    {
        assert_eq!(standings.find(ip(client)).await.trusted, expected, "{client}");
    }
    let trusted: Vec<String> =
        standings.trusted().await.unwrap().into_iter().map(|listed| listed.client).collect();
    assert_eq!(trusted, ["192.168.1.9", "2001:db8::9"]);
}

/// Who is not trusted as far as the store knows may have been given up.
#[tokio::test]
async fn what_the_store_gives_up_may_have_been_a_trust() {
    let registry = Registry::default();
    let store = Store::bounded(store::Metrics::register(&registry), 64);
    let shared = Shared::new(store, Metrics::register(&registry));
    let standings = Standings::new(&shared, &Harvest::new(&harvest::Config::default(), &shared));
    assert!(!standings.find(ip("203.0.113.9")).await.unsure);
    for last in 0..=255 {
        standings.trust(IpAddr::from([198, 51, 100, last]), HOUR).await.unwrap();
    }
    assert!(standings.find(ip("203.0.113.9")).await.unsure);
    let trusted = standings.trusted().await.unwrap();
    let found = standings.find(trusted[0].client.parse().unwrap()).await;
    assert!(found.trusted && !found.unsure, "{found:?}");
}

/// A log-in of a client that an admin trusts for a day.
#[tokio::test]
async fn a_trust_is_never_cut_short() {
    let standings = standings();
    let client = ip("203.0.113.9");
    assert_eq!(standings.trust(client, HOUR).await.unwrap(), Trust { before: false, left: HOUR });
    let again = standings.trust(client, HOUR / 60).await.unwrap();
    assert!(again.before && again.left > HOUR / 2, "{again:?}");
    assert!(standings.trusted().await.unwrap()[0].left > HOUR / 2);
    assert_eq!(standings.trust(client, HOUR * 2).await.unwrap(), Trust { before: true, left: HOUR * 2 });
    assert!(standings.trusted().await.unwrap()[0].left > HOUR);
}

#[tokio::test]
async fn blocks_are_listed_as_networks_with_reason_and_time() {
    let standings = standings();
    standings.block(ip("2001:db8:1:2::9"), "it guesses", HOUR).await.unwrap();
    let blocked = standings.blocked().await.unwrap();
    assert_eq!(blocked.len(), 1);
    assert_eq!((blocked[0].client.as_str(), blocked[0].reason.as_str()), ("2001:db8:1:2::/64", "it guesses"));
    assert!(blocked[0].left <= HOUR && blocked[0].left > HOUR / 2, "{blocked:?}");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let standings = standings();
    for client in ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255"] {
        assert!(matches!(standings.trust(ip(client), HOUR).await, Err(Refused::NoClient(_))), "{client}");
        assert!(matches!(standings.block(ip(client), "", HOUR).await, Err(Refused::NoClient(_))), "{client}");
    }
    for client in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
        assert!(matches!(standings.trust(ip(client), HOUR).await, Err(Refused::Loopback(_))), "{client}");
        assert!(matches!(standings.block(ip(client), "", HOUR).await, Err(Refused::Loopback(_))), "{client}");
    }
    let client = ip("203.0.113.9");
    for ttl in [Duration::ZERO, LONGEST_BLOCK + Duration::from_secs(1), Duration::MAX] {
        assert!(matches!(standings.trust(client, ttl).await, Err(Refused::Time(_))), "{ttl:?}");
        assert!(matches!(standings.block(client, "", ttl).await, Err(Refused::Time(_))), "{ttl:?}");
    }
    for why in ["two\nlines", "\u{1b}[2J", &"x".repeat(MOST_REASON + 1)] {
        assert!(matches!(standings.block(client, why, HOUR).await, Err(Refused::Reason)), "{why:?}");
    }
    let found = standings.find(client).await;
    assert!(!found.trusted && found.blocked.is_none(), "{found:?}");
}

/// What the client is told, and what the lists say, depends on who blocked it.
#[tokio::test]
async fn blocks_by_hand_are_told_from_those_for_guesses() {
    let standings = standings();
    let (guesser, other) = (ip("203.0.113.9"), ip("203.0.113.8"));
    let op = block_for_guessing(network::of(guesser), "guessed recipients: 20 of 20 are unknown", HOUR);
    standings.store.run(&[op]).await.unwrap();
    standings.block(other, "guessed recipients: by hand", HOUR).await.unwrap();
    // As another program would write it into a Redis that is shared.
    let strange = Op::Put { key: block(network::of(ip("203.0.113.7"))), value: vec![], ttl: HOUR };
    standings.store.run(&[strange]).await.unwrap();
    for (client, by_hand, why) in [
        (guesser, false, "guessed recipients: 20 of 20 are unknown"),
        (other, true, "guessed recipients: by hand"),
        (ip("203.0.113.7"), true, ""),
    ] {
        let found = standings.find(client).await.blocked.expect("it is blocked");
        assert_eq!((found.by_hand, found.why.as_str()), (by_hand, why));
    }
    let listed = standings.blocked().await.unwrap();
    let reasons: Vec<&str> = listed.iter().map(|listed| listed.reason.as_str()).collect();
    assert_eq!(reasons, ["", "guessed recipients: by hand", "guessed recipients: 20 of 20 are unknown"]);
}
