//! The greylist over a store, with a clock of the test's own.

use super::*;
use crate::{
    defence::Metrics,
    store::{self, Store},
    telemetry::Registry,
};

const NOW: u64 = 1_800_000_000;
const MINUTE: u64 = 60;

struct Site {
    greylist: Greylist,
    anna: Address,
    bob: Address,
}

impl Site {
    fn new() -> Self {
        Self::with(Store::in_memory(store::Metrics::register(&Registry::default())))
    }

    fn with(store: Store) -> Self {
        let registry = Registry::default();
        let shared = Shared::new(store, Metrics::register(&registry));
        let config = Config { mode: Mode::All, ..Config::default() };
        let address = |text| Address::parse(text).expect("valid");
        Self {
            greylist: Greylist::new(&config, &shared),
            anna: address("anna@example.com"),
            bob: address("bob@example.com"),
        }
    }

    async fn ask(&self, from: (&str, Option<&str>), sender: &str, recipient: &Address, now: u64) -> Why {
        self.greylist.check(coming(from, sender, recipient), now, false).await.why
    }

    fn count(&self, outcome: &str) -> u64 {
        self.greylist.shared.metrics.greylist.with_label_values(&[outcome]).get()
    }

    async fn entries(&self, table: Table) -> Vec<Duration> {
        let list = self.greylist.shared.store.list(table).await.expect("it is in memory");
        list.into_iter().map(|entry| entry.left).collect()
    }
}

fn coming<'a>(
    (client, name): (&str, Option<&'a str>),
    sender: &'a str,
    recipient: &'a Address,
) -> Triplet<'a> {
    let client = client.parse().expect("an address");
    Triplet { client, name, sender: sender.as_bytes(), recipient, is_first: true }
}

const SOMEWHERE: (&str, Option<&str>) = ("198.51.100.7", None);
const FIRST: Why = Why::First(Duration::from_secs(5 * MINUTE));

#[tokio::test]
async fn who_comes_again_passes_from_then_on() {
    let site = Site::new();
    for (after, why) in [
        (0, FIRST),
        (1, Why::Early(Duration::from_secs(5 * MINUTE - 1))),
        (4 * MINUTE, Why::Early(Duration::from_secs(MINUTE))),
        (6 * MINUTE, Why::Returned),
        (7 * MINUTE, Why::Known),
        (30 * 24 * 60 * MINUTE, Why::Known),
    ] {
        let found = site.ask(SOMEWHERE, "<sender@example.org>", &site.anna, NOW + after).await;
        assert_eq!(found, why, "after {after} s");
    }
    let counted = ["first", "early", "returned", "known"].map(|outcome| site.count(outcome));
    assert_eq!(counted, [1, 2, 1, 2]);
}

#[tokio::test]
async fn others_wait_for_themselves() {
    let site = Site::new();
    let from = "<sender@example.org>";
    assert_eq!(site.ask(SOMEWHERE, from, &site.anna, NOW).await, FIRST);
    let later = NOW + 6 * MINUTE;
    assert_eq!(site.ask(SOMEWHERE, from, &site.bob, later).await, FIRST, "another recipient");
    assert_eq!(site.ask(SOMEWHERE, "<other@example.org>", &site.anna, later).await, FIRST, "another sender");
    assert_eq!(site.ask(("203.0.113.7", None), from, &site.anna, later).await, FIRST, "another network");
    assert_eq!(site.ask(("2001:db8::7", None), from, &site.anna, later).await, FIRST, "another network");
    assert_eq!(site.ask(("198.51.100.99", None), from, &site.anna, later).await, Why::Returned);
}

/// As Microsoft and Google send: each attempt from another network of theirs.
#[tokio::test]
async fn a_pool_with_a_confirmed_domain_waits_once() {
    let site = Site::new();
    let from = "<sender@gmail.com>";
    let pool = [
        ("198.51.100.7", Some("mail-a.google.com")),
        ("203.0.113.9", Some("mail-b.google.com")),
        ("192.0.2.1", Some("mail-c.google.com")),
    ];
    assert_eq!(site.ask(pool[0], from, &site.anna, NOW).await, FIRST);
    assert_eq!(site.ask(pool[1], from, &site.anna, NOW + 6 * MINUTE).await, Why::Returned);
    assert_eq!(site.ask(pool[2], from, &site.anna, NOW + 7 * MINUTE).await, Why::Known);
    // Once more, and the DNS does not answer: it is one of the networks that were seen.
    assert_eq!(site.ask(("203.0.113.77", None), from, &site.anna, NOW + 8 * MINUTE).await, Why::Known);
}

#[tokio::test]
async fn a_client_that_came_back_often_passes_with_everything() {
    let site = Site::new();
    let pool = Some("mx.example.org");
    for n in 0..5 {
        let sender = format!("<{}@example.org>", ["a", "b", "c", "d", "e"][n]);
        let from = (["198.51.100.7", "203.0.113.7"][n % 2], pool);
        assert_eq!(site.ask(from, &sender, &site.anna, NOW).await, FIRST, "{n}");
        assert_eq!(site.ask(from, &sender, &site.anna, NOW + 5 * MINUTE).await, Why::Returned, "{n}");
    }
    let new = "<new@example.org>";
    assert_eq!(site.ask(("192.0.2.9", pool), new, &site.bob, NOW + 6 * MINUTE).await, Why::Client);
    // Its domain is known by now, not those who share a network with it.
    assert_eq!(site.ask(("198.51.100.8", None), new, &site.bob, NOW + 6 * MINUTE).await, FIRST);
}

#[tokio::test]
async fn a_message_counts_once_for_its_client() {
    let site = Site::new();
    let recipients: Vec<Address> =
        (0..20).map(|n| Address::parse(format!("user{n}@example.com")).expect("valid")).collect();
    for (after, expected) in [(0, FIRST), (5 * MINUTE, Why::Returned)] {
        for (n, recipient) in recipients.iter().enumerate() {
            let coming = Triplet { is_first: n == 0, ..coming(SOMEWHERE, "<a@example.org>", recipient) };
            let found = site.greylist.check(coming, NOW + after, false).await.why;
            assert_eq!(found, expected, "all wait, and pass, at the same time");
        }
    }
    let next = site.ask(SOMEWHERE, "<b@example.org>", &site.anna, NOW + 6 * MINUTE).await;
    assert_eq!(next, FIRST, "one pass is no habit");
}

#[tokio::test]
async fn whoever_asks_or_reports_does_not_wait() {
    let site = Site::new();
    for sender in [
        "<>",
        "",
        "<double-bounce@mx.example.org>",
        "<double-bounceabc12@mx.example.org>",
        "<postmaster@example.org>",
    ] {
        assert_eq!(site.ask(SOMEWHERE, sender, &site.anna, NOW).await, Why::NoSender, "{sender}");
    }
    assert_eq!(site.entries(Table::Greylist).await, []);
    for odd in ["<no address>", "<a@b@c>", "\u{1}"] {
        assert_eq!(site.ask(SOMEWHERE, odd, &site.anna, NOW).await, FIRST, "{odd:?}");
        assert_eq!(site.ask(SOMEWHERE, odd, &site.anna, NOW + 5 * MINUTE).await, Why::Returned, "{odd:?}");
    }
}

#[tokio::test]
async fn a_rehearsal_leaves_no_trace() {
    let site = Site::new();
    let rehearse = |now| site.greylist.check(coming(SOMEWHERE, "<a@example.org>", &site.anna), now, true);
    assert_eq!(rehearse(NOW).await.why, FIRST);
    assert_eq!(rehearse(NOW + 6 * MINUTE).await.why, FIRST);
    assert_eq!(site.ask(SOMEWHERE, "<a@example.org>", &site.anna, NOW).await, FIRST);
    let early = rehearse(NOW + MINUTE).await;
    assert_eq!(early.left, Duration::from_secs(4 * MINUTE));
    assert!(early.why.to_string().ends_with("it passes in 240s"), "{}", early.why);
    assert_eq!(rehearse(NOW + 6 * MINUTE).await.why, Why::Returned);
    assert_eq!(site.entries(Table::Passed).await, []);
    assert_eq!((site.count("first"), site.count("returned")), (1, 0));
}

/// What is kept, and for how long.
#[tokio::test]
async fn what_waits_is_kept_apart_from_what_passed() {
    let site = Site::new();
    let days =
        |table: Vec<Duration>| table.iter().map(|left| left.as_secs().div_ceil(DAY)).collect::<Vec<_>>();
    site.ask(SOMEWHERE, "<a@example.org>", &site.anna, NOW).await;
    assert_eq!(days(site.entries(Table::Greylist).await), [2]);
    assert_eq!(days(site.entries(Table::Passed).await), [0; 0]);
    site.ask(SOMEWHERE, "<a@example.org>", &site.anna, NOW + 5 * MINUTE).await;
    assert_eq!(days(site.entries(Table::Passed).await), [35, 35], "the triplet and the client");
    // Those who are known by now leave nothing behind among those who wait.
    for key in site.greylist.shared.store.list(Table::Greylist).await.expect("in memory") {
        site.greylist.shared.store.later(vec![Op::Remove(Key::new(Table::Greylist, key.id))]);
    }
    assert_eq!(site.ask(SOMEWHERE, "<a@example.org>", &site.anna, NOW + 9 * MINUTE).await, Why::Known);
    assert_eq!(site.entries(Table::Greylist).await, []);
}

/// Strangers' attempts drive out those of everybody else: who comes again would always come for the first time.
#[tokio::test]
async fn a_flood_makes_nobody_wait_again_and_again() {
    let site = Site::with(Store::bounded(store::Metrics::register(&Registry::default()), 640));
    let ask = async |from: &str, now| site.ask(SOMEWHERE, from, &site.anna, now).await;
    assert_eq!(ask("<known@example.org>", NOW - DAY).await, FIRST);
    assert_eq!(ask("<known@example.org>", NOW - DAY + 5 * MINUTE).await, Why::Returned);
    assert_eq!((ask("<sender@example.org>", NOW).await, site.greylist.notice()), (FIRST, None));
    let mut waited = 0;
    for n in 0..10_000_u32 {
        let stranger = std::net::Ipv4Addr::from_bits(0x0a00_0000 + (n << 8)).to_string();
        let why = site.ask((&stranger, None), "<spam@example.net>", &site.bob, NOW + MINUTE).await;
        assert!(why == Why::Overrun || why == FIRST && waited == n, "{n}: {why:?}");
        waited += u32::from(why == FIRST);
    }
    assert!((100..700).contains(&waited), "{waited}");
    assert_eq!(site.count("overrun"), u64::from(10_000 - waited));
    let left = ask("<sender@example.org>", NOW + 2 * MINUTE).await;
    assert_eq!((left, left.left()), (Why::Overrun, Duration::ZERO));
    assert_eq!(ask("<known@example.org>", NOW + 2 * MINUTE).await, Why::Known, "what passed is kept apart");
    let notice = site.greylist.notice().expect("it says so");
    assert!(notice.contains("more first attempts than the store has room for"), "{notice}");
    // It remembers no more of them meanwhile.
    assert!(site.entries(Table::Greylist).await.len() <= 640);
    assert_eq!(ask("<another@example.org>", NOW + 3 * MINUTE).await, Why::Overrun);
}

#[test]
fn classes_that_wait() {
    let judges = |mode| {
        let site = Site::new();
        let greylist = Greylist { config: Config { mode, ..Config::default() }, ..site.greylist };
        let classes = [
            ClientClass::Trusted,
            ClientClass::Server,
            ClientClass::Unknown,
            ClientClass::Generic,
            ClientClass::Dynamic,
            ClientClass::Unnamed,
        ];
        classes.map(|class| greylist.judges(class))
    };
    assert_eq!(judges(Mode::Off), [false; 6]);
    assert_eq!(judges(Mode::Suspicious), [false, false, false, true, true, true]);
    assert_eq!(judges(Mode::All), [false, true, true, true, true, true]);
}

#[test]
fn settings_that_can_not_be_meant() {
    let wrong = |change: fn(&mut Config)| {
        let mut config = Config::default();
        change(&mut config);
        let mut keys = Vec::new();
        config.check(&mut |key, _| keys.push(key));
        keys
    };
    assert_eq!(wrong(|_| {}), [""; 0]);
    assert_eq!(wrong(|config| config.delay = Duration::ZERO), ["delay"]);
    assert_eq!(wrong(|config| config.delay = Duration::from_secs(2 * DAY)), ["delay", "window"]);
    assert_eq!(wrong(|config| config.window = Duration::from_secs(9 * MINUTE)), ["window"]);
    assert_eq!(wrong(|config| config.window = Duration::from_secs(366 * DAY)), ["window", "pass"]);
    assert_eq!(wrong(|config| config.pass = Duration::ZERO), ["pass"]);
    assert_eq!(wrong(|config| config.pass = config.window - Duration::from_secs(1)), ["pass"]);
    assert_eq!(wrong(|config| config.pass = config.window), [""; 0]);
    assert_eq!(wrong(|config| config.pass = Duration::MAX), ["pass"]);
    assert_eq!(wrong(|config| config.passes = 0), [""; 0]);
}
