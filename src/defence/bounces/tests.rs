//! Who is called unsolicited, with a clock of the test's own.

mod redis;

use super::{alive::Alive, *};
use crate::{
    defence::Metrics,
    store::{self, Key, Op, Store, Table},
    telemetry::Registry,
};

const NOW: u64 = 1_800_000_000;
const DAY: u64 = 24 * 60 * 60;
const REMEMBER: Duration = Duration::from_secs(14 * DAY);

struct Host(Bounces);

impl Host {
    async fn start(store: &Store, now: u64) -> Self {
        let shared = Shared::new(store.clone(), Metrics::register(&Registry::default()));
        let host = Self(Bounces::new(&enforce(), &shared, &Delimiters::default(), Vec::new()));
        host.beat(now).await;
        host
    }

    async fn beat(&self, now: u64) {
        let terms = self.0.terms().expect("it is on");
        self.0.shared.senders.beat(now, &terms).await.expect("it is in memory");
    }

    async fn note(&self, sender: &str) {
        self.0.note(&address(sender));
        self.0.shared.senders.flush(REMEMBER, NOW - 15 * DAY).await;
    }

    async fn bounce(&self, recipients: &[&str], now: u64) -> Solicited {
        let recipients: Vec<_> = recipients.iter().map(|text| address(text)).collect();
        self.0.solicited(&recipients, now, false).await
    }

    /// What it says of itself, as if it had said it then.
    async fn alive(&self, at: u64) -> Vec<u8> {
        let ops = [Op::Get(self.0.shared.senders.alive_key())];
        let said = self.0.shared.store.run(&ops).await.expect("in memory").remove(0).value();
        let said = said.and_then(|said| Alive::decode(&said)).expect("it did");
        Alive { at, ..said }.encode()
    }

    fn since(&self) -> Option<u64> {
        self.0.shared.senders.since()
    }
}

fn enforce() -> Config {
    Config { unsolicited: Unsolicited::Enforce, ..Config::default() }
}

fn store() -> Store {
    Store::in_memory(store::Metrics::register(&Registry::default()))
}

fn address(text: &str) -> Address {
    Address::parse(text).expect("valid")
}

/// One that remembers for 14 days already, and knows that anna wrote. The process is another one since then.
async fn experienced() -> (Store, Host) {
    let store = store();
    Host::start(&store, NOW - 15 * DAY).await.note("anna+news@example.com").await;
    let host = Host::start(&store, NOW).await;
    assert_eq!(host.since(), Some(NOW - 15 * DAY), "a restart is no gap");
    (store, host)
}

#[tokio::test]
async fn who_wrote_gets_bounces_and_nobody_else() {
    let (_, host) = experienced().await;
    for (recipients, expected) in [
        (&["anna@example.com"][..], Solicited::Wrote),
        (&["ANNA@Example.COM"], Solicited::Wrote),
        (&["anna+list@example.com"], Solicited::Wrote),
        (&["bob@example.com"], Solicited::No),
        // Nobody knows yet who writes from there.
        (&["anna@example.org"], Solicited::Learning),
        (&["bob@example.com", "anna@example.org"], Solicited::Learning),
        // One of several is enough, and a bounce for nobody who is defended is not looked at.
        (&["bob@example.com", "anna@example.com"], Solicited::Wrote),
        (&["bob@example.com", "carl@example.com"], Solicited::No),
        (&[], Solicited::Nobody),
        // Tags of signers and forwarders; lists.
        (&["prvs=1234abcdef=bob@example.com"], Solicited::Machine),
        (&["SRS0=HHH=TT=example.org=bob@example.com"], Solicited::Machine),
        (&["staff-bounces@example.com"], Solicited::Machine),
        (&["staff-bounces+bob=example.org@example.com"], Solicited::Machine),
        (&["owner-staff@example.com"], Solicited::Machine),
        (&["staff-return-12-bob=example.org@example.com"], Solicited::Machine),
        (&["staff-request@example.com"], Solicited::Machine),
        (&["dmarc-reports@example.com"], Solicited::Machine),
        (&["tlsrpt@example.com"], Solicited::Machine),
        (&["journal.2026@example.com"], Solicited::Machine),
        (&["bouncer@example.com"], Solicited::No),
    ] {
        assert_eq!(host.bounce(recipients, NOW).await, expected, "{recipients:?}");
    }
}

#[tokio::test]
async fn nobody_is_unsolicited_for_the_first_fourteen_days() {
    let host = Host::start(&store(), NOW).await;
    for (after, expected) in
        [(0, Solicited::Learning), (14 * DAY - 1, Solicited::Learning), (14 * DAY, Solicited::No)]
    {
        assert_eq!(host.bounce(&["bob@example.com"], NOW + after).await, expected, "after {after} s");
    }
}

#[tokio::test]
async fn status_says_how_long_yet() {
    let store = store();
    let today = clock::since_1970().as_secs();
    let host = Host::start(&store, 1_700_000_000).await;
    assert_eq!(host.0.notices(), [""; 0]);
    store.later(vec![Op::Remove(Key::new(Table::Secrets, "bounces/since"))]);
    host.beat(today).await;
    let notices = host.0.notices();
    let [notice] = &notices[..] else { panic!("it began today: {notices:?}") };
    assert!(notice.starts_with("bounces: senders are remembered since 20"), "{notice}");
}

/// Who wrote meanwhile is not known.
#[tokio::test]
async fn after_a_gap_it_begins_anew() {
    // The host was away for longer than five minutes, or has joined the others: nothing says that it was alive.
    let (store, host) = experienced().await;
    let alive = store.list(Table::Secrets).await.expect("in memory").into_iter();
    for entry in alive.filter(|entry| entry.id.starts_with(b"bounces/alive/")) {
        assert!(entry.left <= Duration::from_secs(5 * 60));
        store.later(vec![Op::Remove(Key::new(Table::Secrets, entry.id))]);
    }
    // It was there a moment ago: then other things are gone as well, such as when the clock of the store is set forward.
    assert_eq!(host.bounce(&["bob@example.com"], NOW).await, Solicited::StoreDown, "at once");
    host.beat(NOW).await;
    assert_eq!(host.since(), Some(NOW));
    assert!(host.0.shared.senders.trouble().expect("it says so").contains("before its time"));
    let (store, host) = experienced().await;
    store.later(vec![Op::Remove(host.0.shared.senders.alive_key())]);
    let other = Host::start(&store, NOW).await;
    assert_eq!(other.since(), Some(NOW));
    for host in [&host, &other] {
        assert_eq!(host.bounce(&["bob@example.com"], NOW).await, Solicited::Learning, "all of them know");
        assert_eq!(host.bounce(&["anna@example.com"], NOW).await, Solicited::Wrote);
    }
    // The store was emptied under a process that runs.
    for id in ["bounces/secret", "bounces/since"] {
        let (store, host) = experienced().await;
        store.later(vec![Op::Remove(Key::new(Table::Secrets, id))]);
        host.beat(NOW).await;
        assert_eq!(host.bounce(&["bob@example.com"], NOW).await, Solicited::Learning, "{id}");
    }
}

#[tokio::test]
async fn before_the_store_answered_nobody_is_unsolicited() {
    let shared = Shared::new(store(), Metrics::register(&Registry::default()));
    let host = Host(Bounces::new(&enforce(), &shared, &Delimiters::default(), Vec::new()));
    assert_eq!(host.bounce(&["bob@example.com"], NOW).await, Solicited::StoreDown);
    // Who writes meanwhile is not forgotten, and known at once.
    host.note("bob@example.com").await;
    assert_eq!(host.bounce(&["bob@example.com"], NOW).await, Solicited::Wrote);
    host.beat(NOW).await;
    host.0.shared.senders.flush(REMEMBER, NOW - 15 * DAY).await;
    let stored = shared.store.list(Table::Senders).await.expect("in memory");
    assert_eq!(stored.len(), 2, "he, and his domain");
}

#[tokio::test]
async fn the_store_holds_no_names_and_two_hosts_understand_each_other() {
    let (store, one) = experienced().await;
    let two = Host::start(&store, NOW).await;
    one.note("bob@example.com").await;
    assert_eq!(two.bounce(&["bob@example.com"], NOW).await, Solicited::Wrote);
    for table in Table::ALL {
        for entry in store.list(table).await.expect("in memory") {
            for text in [entry.id, entry.value] {
                assert!(!String::from_utf8_lossy(&text).contains("bob"), "{table:?}");
            }
        }
    }
    // Another site's hashes are others.
    let ids = |entries: Vec<store::Entry>| entries.into_iter().map(|entry| entry.id).collect::<Vec<_>>();
    let (elsewhere, _) = experienced().await;
    let (ours, theirs) = (store.list(Table::Senders).await, elsewhere.list(Table::Senders).await);
    let (ours, theirs) = (ids(ours.expect("in memory")), ids(theirs.expect("in memory")));
    assert_eq!((ours.len(), theirs.len()), (3, 2), "with the domain");
    assert!(!theirs.iter().any(|id| ours.contains(id)));
}

/// A host without a clock of its own begins in 1970; then it learns what time it is.
#[tokio::test]
async fn a_clock_that_is_set_forward_makes_nobody_unsolicited() {
    let host = Host::start(&store(), 0).await;
    host.beat(NOW).await;
    assert_eq!(host.bounce(&["bob@example.com"], NOW).await, Solicited::Learning);
    host.beat(NOW + 60).await;
    assert_eq!(host.since(), Some(NOW), "and goes on from there");
}

/// A store that comes back from an old copy has lost who wrote since.
#[tokio::test]
async fn a_store_that_went_back_is_told_again() {
    for (minutes, since) in [(20, NOW - 15 * DAY), (50, NOW)] {
        let (store, host) = experienced().await;
        host.note("bob@example.com").await;
        let old = host.alive(NOW - minutes * 60).await;
        for entry in store.list(Table::Senders).await.expect("in memory") {
            store.later(vec![Op::Remove(Key::new(Table::Senders, entry.id))]);
        }
        let ttl = REMEMBER;
        store.later(vec![Op::Put { key: host.0.shared.senders.alive_key(), value: old, ttl }]);
        host.beat(NOW).await;
        host.0.shared.senders.flush(REMEMBER, NOW - 15 * DAY).await;
        assert_eq!(host.since(), Some(since), "{minutes} minutes");
        let other = Host::start(&store, NOW).await;
        assert_eq!(other.bounce(&["bob@example.com"], NOW).await, Solicited::Wrote, "{minutes} minutes");
    }
}

/// A flood of senders that nobody can be told of is noticed, and makes nobody unsolicited.
#[tokio::test]
async fn what_is_lost_is_a_gap() {
    let (_, host) = experienced().await;
    for n in 0..=100_000 {
        host.0.note(&address(&format!("user{n}@example.com")));
    }
    host.beat(NOW).await;
    assert_eq!(host.since(), Some(NOW));
    assert_eq!(host.bounce(&["carl@example.com"], NOW).await, Solicited::Learning);
}

/// A stolen account writes in so many names that others are given up, who get bounces all the same.
#[tokio::test]
async fn what_the_store_gives_up_is_a_gap() {
    let store = Store::bounded(store::Metrics::register(&Registry::default()), 640);
    Host::start(&store, NOW - 15 * DAY).await.note("anna@example.com").await;
    let host = Host::start(&store, NOW - 60).await;
    assert_eq!(host.bounce(&["bob@example.com"], NOW).await, Solicited::No);
    for n in 0..1000 {
        host.0.note(&address(&format!("user{n}@example.com")));
    }
    host.0.shared.senders.flush(REMEMBER, NOW - 15 * DAY).await;
    assert_eq!(host.bounce(&["bob@example.com"], NOW).await, Solicited::Evicted, "at once");
    host.beat(NOW).await;
    assert_eq!(host.since(), Some(NOW));
    assert_eq!(host.bounce(&["bob@example.com"], NOW).await, Solicited::Learning);
    assert_eq!(host.bounce(&["user1@example.com"], NOW).await, Solicited::Wrote);
    assert!(host.0.shared.senders.trouble().expect("it says so").contains("no room for all"));
    host.0.shared.senders.flush(REMEMBER, NOW - 15 * DAY).await;
    // What is told again does not fit either. Then nobody writes any more.
    host.beat(NOW + 60).await;
    host.beat(NOW + 120).await;
    assert!(host.since() <= Some(NOW + 60), "{:?}", host.since());
}

/// If one of them was away, the other's word would stand for it.
#[tokio::test]
async fn two_hosts_of_one_name_are_noticed() {
    let (store, one) = experienced().await;
    let two = Host::start(&store, NOW + 30).await;
    assert_eq!((one.since(), two.since()), (Some(NOW - 15 * DAY), Some(NOW - 15 * DAY)), "as by a restart");
    for at in [NOW + 60, NOW + 120] {
        one.beat(at).await;
        two.beat(at + 30).await;
        for host in [&one, &two] {
            assert!(host.since() >= Some(at), "{:?}", host.since());
            assert_eq!(host.bounce(&["bob@example.com"], at + 30).await, Solicited::Learning);
            assert!(host.0.shared.senders.trouble().expect("it says so").contains("same host name"));
        }
    }
    // One is left.
    two.beat(NOW + 180).await;
    assert_eq!(two.since(), Some(NOW + 150));
    two.beat(NOW + 5000).await;
    assert_eq!(two.since(), Some(NOW + 5000), "the clock was set");
}

/// Bounces come to other names than users write with, or users write by a way that nobody sees.
#[tokio::test]
async fn where_senders_are_not_seen_as_they_are_nobody_is_unsolicited() {
    let (store, _) = experienced().await;
    let shared = Shared::new(store, Metrics::register(&Registry::default()));
    let host = Host(Bounces::new(
        &enforce(),
        &shared,
        &Delimiters::default(),
        vec!["smtp_generic_maps rewrites senders".to_owned()],
    ));
    host.beat(NOW).await;
    assert_eq!(host.bounce(&["bob@example.com"], NOW).await, Solicited::Unseen);
    assert_eq!(host.bounce(&["anna@example.com"], NOW).await, Solicited::Wrote);
    assert!(Solicited::Unseen.is_solicited() && Solicited::Unseen.as_str().starts_with("could not find out"));
    let notices = host.0.notices();
    assert_eq!(notices[0], "bounces: none is called unsolicited: smtp_generic_maps rewrites senders");
}

/// Who wrote while nobody saw it did so yesterday, too.
#[tokio::test]
async fn who_was_unseen_until_now_wrote_perhaps() {
    let (store, _) = experienced().await;
    let shared = Shared::new(store, Metrics::register(&Registry::default()));
    let host = |unseen| Host(Bounces::new(&enforce(), &shared, &Delimiters::default(), unseen));
    let blind = host(vec!["non_smtpd_milters does not name Backstop".to_owned()]);
    let seeing = host(Vec::new());
    for (now, host) in [(NOW, &blind), (NOW + 60, &blind), (NOW + 61, &seeing)] {
        host.beat(now).await;
        assert_eq!(host.since(), Some(now));
    }
    // Sessions that began before the setting changed, or just after it.
    assert_eq!(blind.bounce(&["bob@example.com"], NOW + 61).await, Solicited::Unseen);
    blind.beat(NOW + 62).await;
    assert_eq!(seeing.bounce(&["bob@example.com"], NOW + 14 * DAY).await, Solicited::StoreDown);
    seeing.beat(NOW + 63).await;
    seeing.beat(NOW + 123).await;
    for (now, expected) in [
        (NOW + 63, Solicited::Learning),
        (NOW + 62 + 14 * DAY, Solicited::Learning),
        (NOW + 63 + 14 * DAY, Solicited::No),
    ] {
        assert_eq!(seeing.bounce(&["bob@example.com"], now).await, expected, "{now}");
    }
}

/// Who wrote three weeks ago was forgotten after two, and `mary-ann@` was noted as such before `-` began a sub-address.
#[tokio::test]
async fn a_changed_configuration_does_not_find_who_wrote_before() {
    let longer = Config { remember: REMEMBER * 2, ..enforce() };
    for (config, delimiters) in [(longer, "+"), (enforce(), "+-")] {
        let (store, host) = experienced().await;
        host.note("mary-ann@example.com").await;
        let shared = Shared::new(store, Metrics::register(&Registry::default()));
        let changed = Host(Bounces::new(&config, &shared, &Delimiters::new(delimiters), Vec::new()));
        changed.beat(NOW).await;
        assert_eq!(changed.since(), Some(NOW), "{delimiters}");
        assert_eq!(changed.bounce(&["bob@example.com"], NOW).await, Solicited::Learning);
        assert!(changed.0.shared.senders.trouble().expect("it says so").contains("recipients.delimiters"));
        changed.beat(NOW + 60).await;
        assert_eq!(changed.since(), Some(NOW), "it goes on from there");
        // And so do hosts that have different ones.
        let bob = ["bob@example.com"];
        if delimiters == "+-" {
            assert_eq!(host.bounce(&bob, NOW + 60).await, Solicited::Learning);
            host.beat(NOW + 60).await;
            assert_eq!(host.since(), Some(NOW + 60));
        }
    }
}

/// Before a domain came here its users wrote elsewhere.
#[tokio::test]
async fn a_domain_that_is_new_here_is_learned_by_itself() {
    let (_, host) = experienced().await;
    for (recipients, after, expected) in [
        (&["bob@example.org"][..], 0, Solicited::Learning),
        (&["bob@example.com"], 0, Solicited::No),
        (&["bob@example.org"], 14 * DAY - 1, Solicited::Learning),
        (&["bob@example.org", "bob@example.com"], 14 * DAY - 1, Solicited::Learning),
        (&["bob@example.org"], 14 * DAY, Solicited::No),
    ] {
        assert_eq!(host.bounce(recipients, NOW + after).await, expected, "{recipients:?} after {after} s");
    }
    // A rehearsal leaves no trace.
    let net = [address("bob@example.net")];
    for after in [0, 15 * DAY] {
        assert_eq!(host.0.solicited(&net, NOW + after, true).await, Solicited::Learning);
    }
}

/// An MTA that goes on without Backstop lets mail out which nobody sees.
#[tokio::test]
async fn an_mta_that_was_sent_away_is_a_gap() {
    let (_, host) = experienced().await;
    assert_eq!(host.bounce(&["bob@example.com"], NOW).await, Solicited::No);
    host.0.miss();
    assert_eq!(host.bounce(&["bob@example.com"], NOW).await, Solicited::StoreDown, "at once");
    host.beat(NOW).await;
    assert_eq!(host.since(), Some(NOW));
    assert_eq!(host.bounce(&["bob@example.com"], NOW).await, Solicited::Learning);
    assert!(host.0.shared.senders.trouble().expect("it says so").contains("limits.sessions"));
    host.beat(NOW + 60).await;
    assert_eq!(host.since(), Some(NOW), "it is over");
}

/// What was told last counts from the end of the process on.
#[tokio::test]
async fn a_restart_may_take_five_minutes() {
    let host = Host::start(&store(), 1).await;
    let stop = tokio_util::sync::CancellationToken::new();
    stop.cancel();
    let alive = host.alive(0).await;
    host.0.shared.senders.run(|| host.0.terms(), stop).await;
    let today = clock::since_1970().as_secs();
    assert_eq!(Alive::decode(&alive).map(|alive| alive.at), Some(0));
    let said = host.0.shared.store.list(Table::Secrets).await.expect("in memory").into_iter();
    let said: Vec<_> = said.filter(|entry| entry.id.starts_with(b"bounces/alive/")).collect();
    let at = Alive::decode(&said[0].value).expect("it did").at;
    assert!(today - at < 60 && said[0].left > Duration::from_secs(4 * 60), "{at} {:?}", said[0].left);
}

/// While it is on it goes on by itself; switched off it forgets when it began.
#[tokio::test]
async fn it_runs_while_it_is_switched_on() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let host = Host::start(&store(), NOW).await;
    let senders = &host.0.shared.senders;
    let (is_on, stop) = (AtomicBool::new(true), tokio_util::sync::CancellationToken::new());
    let run = senders.run(|| is_on.load(Ordering::Relaxed).then(|| host.0.terms()).flatten(), stop.clone());
    let watch = async {
        host.0.note(&address("bob@example.com"));
        while host.0.shared.store.list(Table::Senders).await.expect("in memory").is_empty() {
            tokio::task::yield_now().await;
        }
        is_on.store(false, Ordering::Relaxed);
        while senders.since().is_some() {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    tokio::join!(run, watch);
    let left = host.0.shared.store.list(Table::Secrets).await.expect("in memory");
    assert!(!left.iter().any(|entry| entry.id.starts_with(b"bounces/alive/")), "{left:?}");
}
