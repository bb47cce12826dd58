use std::{sync::Arc, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::*;
use crate::policy::Replies;

fn decision(reason: Reason, replies: &Replies) -> Decision<'_> {
    Decision { reason, reply: replies.of(reason), enforced: true }
}

fn refuse(history: &History, number: u32) {
    let recipient = Address::parse(format!("r{number}@example.test")).unwrap();
    history.note(&Refusal {
        at: 1,
        rule: Rule {
            reason: Reason::UnknownRecipient,
            domain: "example.test",
            is_permanent: true,
            enforced: true,
        },
        client: None,
        sender: b"",
        recipient: Whom::Address(&recipient),
        is_insider: false,
        is_good: false,
    });
}

#[tokio::test]
async fn every_decision_about_a_recipient_is_counted_once() {
    let (history, replies) = (History::new(), Replies::default());
    let rcpt = Stage::Rcpt;
    for (stage, reason, times) in [
        (rcpt, Reason::Ok, 3),
        (rcpt, Reason::UnknownRecipient, 2),
        (rcpt, Reason::SpamTrap, 1),
        // the same recipient again
        (Stage::EndOfMessage, Reason::SpamTrap, 5),
        // no recipient
        (Stage::Connect, Reason::Ok, 7),
        (Stage::EndOfMessage, Reason::Ok, 7),
        (Stage::Connect, Reason::DeniedClient, 4),
    ] {
        for _ in 0..times {
            history.count(stage, &decision(reason, &replies));
        }
    }
    let summary = history.summary(3600).await;
    let counts: Vec<_> =
        summary.decisions.iter().map(|count| (count.reason, &*count.verdict, count.times)).collect();
    let expected = [
        (Reason::DeniedClient, "reject", 4),
        (Reason::Ok, "continue", 3),
        (Reason::UnknownRecipient, "reject", 2),
        (Reason::SpamTrap, "reject", 1),
    ];
    // A trap has no reply of its own at RCPT; whatever it is told, it is counted.
    for (reason, _, times) in expected {
        assert!(counts.iter().any(|count| (count.0, count.2) == (reason, times)), "{reason}: {counts:?}");
    }
    assert_eq!(counts.len(), expected.len(), "{counts:?}");
    assert_eq!(history.summary(3600).await.decisions, summary.decisions, "asking changes nothing");
}

#[tokio::test]
async fn the_minute_under_way_is_the_last_one() {
    let (history, replies) = (History::new(), Replies::default());
    let watched = Decision { enforced: false, ..decision(Reason::UnknownRecipient, &replies) };
    history.count(Stage::Rcpt, &decision(Reason::Ok, &replies));
    history.count(Stage::Rcpt, &decision(Reason::UnknownRecipient, &replies));
    history.count(Stage::Rcpt, &watched);
    history.count(Stage::Rcpt, &decision(Reason::Greylisted, &replies));
    let minutes = history.minutes().await;
    // A minute may have begun since then.
    let [.., before, last] = minutes[..] else { panic!("there are 180") };
    let counted = if last.passed == 1 { last } else { before };
    assert_eq!((counted.passed, counted.refused, counted.deferred, counted.watched), (1, 1, 1, 1));
}

/// Nobody takes from the queue: what does not fit is counted.
#[tokio::test]
async fn a_full_queue_makes_nobody_wait() {
    let history = History::new();
    for number in 0..QUEUE as u32 + 10 {
        refuse(&history, number % 50);
    }
    let summary = history.summary(3600).await;
    assert_eq!(summary.missed, 10);
    assert_eq!(summary.unknown_recipients.iter().map(|listed| listed.times).sum::<u64>(), QUEUE as u64);
}

#[tokio::test]
async fn it_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    for start in 1..=3_u64 {
        let history = Arc::new(History::new());
        history.open(directory.path()).await;
        let stop = CancellationToken::new();
        let greylist = || Sight {
            greylist: vec![("first".to_owned(), 2)],
            watched: vec!["mode".to_owned()],
            ..Sight::default()
        };
        let task = TaskTracker::new().spawn(Arc::clone(&history).run(greylist, stop.clone()));
        history.count(Stage::Rcpt, &decision(Reason::UnknownRecipient, &Replies::default()));
        refuse(&history, 7);
        let told = async {
            // The task may not have looked yet.
            while history.summary(3600).await.greylist.get("first") != Some(&(2 * start)) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), told).await.expect("it looks each second");
        stop.cancel();
        task.await.unwrap();
        let summary = history.summary(3600).await;
        assert_eq!(summary.unknown_recipients[0].times, start);
        assert_eq!((summary.decisions[0].times, summary.watched.len()), (start, 1));
    }
}
