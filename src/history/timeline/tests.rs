use proptest::prelude::*;

use super::*;
use crate::{
    history::{Count, Refusal, Rule},
    policy::Reason,
};

fn refusal(at: u64, reason: Reason, key: u32, enforced: bool) -> Refusal {
    Refusal {
        at,
        rule: Rule { reason, domain: "example.test".to_owned(), is_permanent: true, enforced },
        client: Some(format!("203.0.{}.9", key % 8).parse().unwrap()),
        sender: "<a@elsewhere.test>".to_owned(),
        recipient: format!("r{key}@example.test"),
        is_insider: key.is_multiple_of(5),
        is_good: key.is_multiple_of(3),
    }
}

fn counted(reason: Reason, times: u64) -> Counted {
    let count = Count { reason, verdict: "reject".to_owned(), enforced: true, times };
    let greylist = vec![("first".to_owned(), times)];
    Counted { seconds: 1, disabled: 0, counts: vec![count], missed: 1, greylist }
}

/// Noon.
const NOW: u64 = 20_000 * DAY + 12 * HOUR;

proptest! {
    /// Against a list of everything that ever happened.
    #[test]
    fn it_tells_what_a_full_list_tells(
        steps in proptest::collection::vec((0_u64..20_000, 0_u32..40, 0_u64..3), 1..300),
        window in prop_oneof![1_u64..48 * 3600, 48_u64 * 3600 + 1..30 * 86_400],
    ) {
        let mut timeline = Timeline::new(NOW);
        let (mut now, mut all) = (NOW, Vec::new());
        for (step, key, times) in steps {
            now += step;
            timeline.count(now, &counted(Reason::UnknownRecipient, times));
            for _ in 0..times {
                timeline.note(now, &refusal(now, Reason::UnknownRecipient, key, true).into());
                all.push((now, key));
            }
        }
        let summary = timeline.summary(now, window);
        let length = if window <= HOURS * HOUR { HOUR } else { DAY };
        prop_assert!(summary.since <= now && summary.since >= NOW);
        // No more than a bucket is told in addition, and nothing is left out but what is older than is kept.
        prop_assert!(summary.since == NOW || summary.since + length > now - window);
        let within: Vec<_> = all.iter().filter(|(at, _)| *at >= summary.since).collect();
        let times = summary.decisions.iter().map(|count| count.times).sum::<u64>();
        prop_assert_eq!(times, within.len() as u64);
        prop_assert_eq!(summary.greylist.get("first").copied().unwrap_or(0), within.len() as u64);
        prop_assert!(!summary.at_least);
        let mut model: HashMap<String, (u64, u64)> = HashMap::new();
        for (at, key) in within {
            let entry = model.entry(format!("r{key}@example.test")).or_default();
            *entry = (entry.0 + 1, *at);
        }
        let told: HashMap<_, _> = summary
            .unknown_recipients
            .iter()
            .map(|listed| (listed.what.clone(), (listed.times, listed.last.at)))
            .collect();
        prop_assert_eq!(told, model);
        let by_client: u64 = summary.clients.iter().map(|listed| listed.times).sum();
        let by_network: u64 = summary.networks.iter().map(|listed| listed.times).sum();
        let by_rule: u64 = summary.rules.iter().map(|(_, entry)| entry.times).sum();
        prop_assert_eq!((by_client, by_network, by_rule), (times, times, times));
    }
}

#[test]
fn insiders_and_good_clients_are_told_apart() {
    let mut timeline = Timeline::new(NOW);
    for key in 0..15 {
        timeline.note(NOW, &refusal(NOW, Reason::SuspendedRecipient, key, false).into());
    }
    let summary = timeline.summary(NOW, HOUR);
    let [(rule, entry)] = summary.rules.as_slice() else { panic!("one rule: {:?}", summary.rules) };
    assert_eq!((rule.reason, rule.enforced), (Reason::SuspendedRecipient, false));
    assert_eq!((entry.times, entry.insiders, entry.good), (15, 3, 5));
    assert_eq!(entry.samples.len(), MOST_SAMPLES);
    assert!(summary.unknown_recipients.is_empty(), "they exist");
}

/// An hour is forgotten after two days, a day after a month, and memory does not grow.
#[test]
fn what_is_old_is_forgotten() {
    let mut timeline = Timeline::new(NOW);
    for hour in 0..24 * 60 {
        timeline.count(NOW + hour * HOUR, &counted(Reason::Harvest, 1));
    }
    let now = NOW + (24 * 60 - 1) * HOUR;
    assert_eq!((timeline.hours.buckets.len(), timeline.days.buckets.len()), (49, 31));
    let times = |seconds| timeline.summary(now, seconds).decisions.first().map_or(0, |count| count.times);
    assert_eq!((times(1), times(HOUR), times(48 * HOUR)), (2, 2, 49));
    // From here on by days: of the last, 12 hours have begun.
    assert_eq!(times(49 * HOUR), 24 + 24 + 12);
    let all = timeline.summary(now, u64::MAX);
    assert_eq!((all.since, all.decisions[0].times), ((now / DAY - 30) * DAY, 30 * 24 + 12));
    // After a year without a decision nothing is left.
    let year = now + 365 * DAY;
    timeline.count(year, &Counted::default());
    assert!(timeline.summary(year, u64::MAX).decisions.is_empty());
}

/// What a clock that was a year ahead has left behind is dropped when it is right again.
#[test]
fn a_wrong_clock_does_no_harm_for_long() {
    let mut timeline = Timeline::new(NOW);
    timeline.count(NOW, &counted(Reason::Harvest, 1));
    timeline.count(NOW + 365 * DAY, &counted(Reason::Harvest, 5));
    timeline.count(NOW, &counted(Reason::Harvest, 2));
    let summary = timeline.summary(NOW, DAY);
    assert_eq!(summary.decisions[0].times, 2);
    timeline.count(0, &counted(Reason::Harvest, 1));
    timeline.summary(0, u64::MAX);
    timeline.count(u64::MAX, &counted(Reason::Harvest, 1));
}

#[test]
fn what_is_watched_counts_from_its_own_beginning() {
    let mut timeline = Timeline::new(NOW);
    let since = |timeline: &Timeline| {
        let watched = timeline.summary(NOW, 1).watched;
        watched.into_iter().map(|watched| (watched.what, watched.since - NOW)).collect::<Vec<_>>()
    };
    timeline.watch(NOW, &["mode".to_owned()]);
    timeline.watch(NOW + 60, &["mode".to_owned(), "domain:example.test".to_owned()]);
    assert_eq!(since(&timeline), [("domain:example.test".to_owned(), 60), ("mode".to_owned(), 0)]);
    timeline.watch(NOW + 120, &["domain:example.test".to_owned()]);
    timeline.watch(NOW + 180, &["mode".to_owned(), "domain:example.test".to_owned()]);
    assert_eq!(since(&timeline), [("domain:example.test".to_owned(), 60), ("mode".to_owned(), 180)]);
    for hour in 0..48 {
        timeline.count(NOW + hour * HOUR, &Counted { seconds: 1800, ..Counted::default() });
    }
    let running = |since| timeline.deciding_since(NOW + 48 * HOUR, since);
    assert_eq!(running(NOW), 24 * HOUR, "half of the time");
    assert_eq!(running(NOW + 47 * HOUR), HOUR, "not more than has gone by");
}

/// The lists at their fullest fit into what is read.
#[test]
fn the_file_is_bounded() {
    let mut timeline = Timeline::new(NOW);
    let long = "x".repeat(300);
    let mut number = 0_u32;
    for hour in 0..40 {
        for _ in 0..300 {
            number += 1;
            let at = NOW + hour * HOUR;
            let mut refusal = refusal(at, Reason::UnknownRecipient, number, false);
            refusal.sender = crate::history::bounded(long.as_bytes());
            refusal.recipient = crate::history::bounded(format!("{number}{long}").as_bytes());
            refusal.client = Some(std::net::Ipv4Addr::from(number << 9).into());
            timeline.note(at, &refusal.into());
        }
    }
    let text = serde_json::to_vec(&timeline).unwrap();
    assert!(text.len() < 16 << 20, "{} bytes", text.len());
    let mut read: Timeline = serde_json::from_slice(&text).unwrap();
    read.mend(NOW + 40 * HOUR);
    let same = |timeline: &Timeline| {
        let summary = timeline.summary(NOW + 40 * HOUR, 40 * HOUR);
        let sample = summary.clients.first().map(|listed| listed.last.clone()).unwrap_or_default();
        (summary.at_least, summary.unknown_recipients, summary.networks, sample)
    };
    assert_eq!(same(&read), same(&timeline));
    assert!(same(&read).0);
}

/// Nothing was watched while nothing was decided.
#[test]
fn the_time_while_it_was_disabled_does_not_count() {
    let mut timeline = Timeline::new(NOW);
    for day in 0..7 {
        let disabled = if day < 3 { DAY / 2 } else { 0 };
        let counted = Counted { seconds: DAY / 2, disabled, ..Counted::default() };
        timeline.count(NOW + day * DAY, &counted);
    }
    let now = NOW + 7 * DAY;
    assert_eq!(timeline.deciding_since(now, NOW), 4 * DAY / 2);
    assert_eq!(timeline.summary(now, 7 * DAY).running_seconds, 7 * DAY / 2);
}
