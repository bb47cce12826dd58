use proptest::prelude::*;

use super::*;
use crate::{
    history::{Count, Refusal, Rule, Whom, queue::Batch},
    policy::Reason,
};

/// It was refused just now.
fn refuse(timeline: &mut Timeline, at: u64, reason: Reason, key: u32, enforced: bool) {
    let refusal = Refusal {
        at,
        rule: Rule { reason, domain: "example.test", is_permanent: true, enforced },
        client: Some([203, 0, (key % 8) as u8, 9].into()),
        sender: b"<a@elsewhere.test>",
        recipient: Whom::Text(b""),
        is_insider: key.is_multiple_of(5),
        is_good: key.is_multiple_of(3),
    };
    let recipient = format!("r{key}@example.test");
    note(timeline, &Refusal { recipient: Whom::Text(recipient.as_bytes()), ..refusal });
}

fn note(timeline: &mut Timeline, refusal: &Refusal<'_>) {
    let mut batch = Batch::default();
    batch.push(refusal);
    for noted in batch.iter() {
        timeline.note(noted.at, &noted);
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
                refuse(&mut timeline, now, Reason::UnknownRecipient, key, true);
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
        refuse(&mut timeline, NOW, Reason::SuspendedRecipient, key, false);
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
            let recipient = format!("{number}{long}");
            note(
                &mut timeline,
                &Refusal {
                    at: NOW + hour * HOUR,
                    rule: Rule {
                        reason: Reason::UnknownRecipient,
                        domain: "example.test",
                        is_permanent: true,
                        enforced: false,
                    },
                    client: Some(std::net::Ipv4Addr::from(number << 9).into()),
                    sender: long.as_bytes(),
                    recipient: Whom::Text(recipient.as_bytes()),
                    is_insider: false,
                    is_good: false,
                },
            );
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

/// What one hour is told of, and the day that it is part of, by recipient.
fn told(timeline: &Timeline, now: u64, seconds: u64) -> BTreeMap<String, u64> {
    let listed = timeline.summary(now, seconds).unknown_recipients;
    listed.into_iter().map(|listed| (listed.what, listed.times)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// More recipients than there is room for, over some days: no count is ever too high, neither while an hour is under way
    /// nor when it is part of its day, nor after a restart. The rule has all, and nothing that speaks against it is missing.
    #[test]
    fn an_hour_is_part_of_its_day_once(
        steps in proptest::collection::vec((0_u64..4000, 0_u32..400, any::<bool>()), 1..150),
    ) {
        let mut timeline = Timeline::new(NOW);
        let (mut now, mut model) = (NOW, BTreeMap::<String, u64>::new());
        let (mut times, mut insiders) = (0, 0);
        for (step, key, restarts) in steps {
            now += step / 100;
            // A night now and then.
            now += if step > 3950 { 5 * HOUR } else { 0 };
            for key in key..key + 20 {
                refuse(&mut timeline, now, Reason::UnknownRecipient, key, false);
                *model.entry(format!("r{key}@example.test")).or_default() += 1;
                (times, insiders) = (times + 1, insiders + u64::from(key.is_multiple_of(5)));
            }
            if restarts && step % 10 == 0 {
                timeline = serde_json::from_slice(&serde_json::to_vec(&timeline).unwrap()).unwrap();
                timeline.mend(now);
            }
        }
        let month = timeline.summary(now, 30 * DAY);
        for listed in &month.unknown_recipients {
            prop_assert!(listed.times <= model[&listed.what], "{} times {}", listed.what, listed.times);
        }
        prop_assert!(month.at_least || month.unknown_recipients.len() == model.len());
        let [(_, entry)] = month.rules.as_slice() else { panic!("one rule: {:?}", month.rules) };
        prop_assert_eq!((entry.times, entry.insiders, month.is_robbed), (times, insiders, false));
        let clients: u64 = month.clients.iter().map(|listed| listed.times).sum();
        prop_assert_eq!(clients, times);
    }
}

/// The hour under way is told of in its day, and stays there when it is over, and when its hour is forgotten.
#[test]
fn the_day_has_the_hour_under_way() {
    let mut timeline = Timeline::new(NOW);
    let expected = BTreeMap::from([("r1@example.test".to_owned(), 2), ("r2@example.test".to_owned(), 1)]);
    for key in [1, 2, 1] {
        refuse(&mut timeline, NOW, Reason::UnknownRecipient, key, true);
    }
    assert_eq!(told(&timeline, NOW, DAY * 3), expected);
    for later in [HOUR, 12 * HOUR, 13 * HOUR, 3 * DAY] {
        timeline.count(NOW + later, &Counted::default());
        assert_eq!(told(&timeline, NOW + later, 20 * DAY), expected, "{later} seconds later");
    }
    assert!(told(&timeline, NOW + 3 * DAY, 47 * HOUR).is_empty());
}

/// Before a day is over its last hour is part of it, and of both only the most frequent are kept.
#[test]
fn what_came_before_midnight_is_of_that_day() {
    let mut timeline = Timeline::new(NOW);
    let evening = NOW + 12 * HOUR - 1;
    for key in (0..200).chain(0..100).chain(0..50) {
        refuse(&mut timeline, evening, Reason::UnknownRecipient, key, true);
    }
    assert_eq!(told(&timeline, evening, DAY * 3).len(), 200);
    timeline.count(evening + 1, &Counted::default());
    let day = told(&timeline, evening + 1, DAY * 3);
    assert_eq!((day.len(), day["r0@example.test"], day["r49@example.test"]), (64, 3, 3));
    assert!(timeline.summary(evening + 1, DAY * 3).at_least);
}

/// In the file of an older version the hour under way is part of its day already.
#[test]
fn an_older_file_is_not_counted_twice() {
    let mut timeline = Timeline::new(NOW);
    for key in [1, 2, 1] {
        refuse(&mut timeline, NOW, Reason::UnknownRecipient, key, true);
    }
    let mut file = serde_json::to_value(&timeline).unwrap();
    let hour = &mut file["hours"]["buckets"][0];
    assert_eq!(hour.as_object_mut().unwrap().remove("is_apart"), Some(true.into()));
    for list in ["rules", "recipients", "clients", "networks"] {
        file["days"]["buckets"][0][list] = file["hours"]["buckets"][0][list].clone();
    }
    let mut timeline: Timeline = serde_json::from_value(file).unwrap();
    timeline.mend(NOW + 60);
    refuse(&mut timeline, NOW + 60, Reason::UnknownRecipient, 2, true);
    let expected = BTreeMap::from([("r1@example.test".to_owned(), 2), ("r2@example.test".to_owned(), 2)]);
    for later in [60, HOUR] {
        timeline.count(NOW + later, &Counted::default());
        assert_eq!(
            (told(&timeline, NOW + later, HOUR + 60), told(&timeline, NOW + later, 3 * DAY)),
            (expected.clone(), expected.clone()),
            "{later} seconds later"
        );
    }
}
