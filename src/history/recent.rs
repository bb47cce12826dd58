//! The last decisions, each with what led to it, for who looks at them.
//!
//! What is kept is decided before anything is put together for it; under load it is a sample. Passes and refusals have each
//! their own room, so that neither drives the other out. Failure: where somebody reads just now, or too many come, a
//! decision is left out, and counted.

use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError, TryLockError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    policy::{Reason, Stage, Trace, Verdict},
    telemetry::{Pace, Rate},
};

/// A decision that was made. All texts are as the peer wrote them, bounded in length: who shows them escapes them.
#[derive(Debug, Clone)]
pub struct Recent {
    /// In seconds since 1970.
    pub at: u64,
    /// The number of the session, as in the log.
    pub session: u64,
    /// When the MTA asked.
    pub stage: Stage,
    /// What was decided.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// `false`: it was only watched, the mail passed.
    pub enforced: bool,
    /// Code and text of the reply as it was sent, or would have been; `None`: continue.
    pub reply: Option<String>,
    /// The client's address, where the MTA tells it.
    pub client: Option<IpAddr>,
    /// Its name, as the MTA found it.
    pub name: Option<String>,
    /// What it calls itself, where the MTA was asked for that.
    pub helo: Option<String>,
    /// Behind MAIL FROM; `None` before that.
    pub sender: Option<String>,
    /// Behind RCPT TO; at the end of a bounce, whom it is for; empty where there is none.
    pub recipient: String,
    /// The client is trusted or authenticated.
    pub is_insider: bool,
    /// What led to it, in the words of `backstop check`, found out then. Under load without evidence.
    pub explanation: Trace,
}

/// The last decisions.
#[derive(Debug, Clone, Default)]
pub struct Recents {
    /// The newest first.
    pub decisions: Vec<Arc<Recent>>,
    /// So many more were made meanwhile.
    pub left_out: u64,
}

/// Where they are kept.
#[derive(Debug)]
pub(super) struct Latest {
    began: Instant,
    /// All that could have been kept.
    decided: AtomicU64,
    explained: Rate,
    passes: Room,
    refusals: Room,
}

#[derive(Debug, Default)]
struct Room {
    rate: Rate,
    /// Each with its number among all, in the order in which they came.
    kept: Mutex<VecDeque<(u64, Arc<Recent>)>>,
}

impl Latest {
    pub(super) fn new() -> Self {
        let (passes, refusals) = (Room::default(), Room::default());
        Self {
            began: Instant::now(),
            decided: AtomicU64::new(0),
            explained: Rate::default(),
            passes,
            refusals,
        }
    }

    /// Whether it is worth it to collect the evidence for a decision.
    pub(super) fn is_explained(&self, now: Instant) -> bool {
        self.explained.allows(EXPLAINED, self.since(now))
    }

    /// Keeps a decision, if there is room; only then it is put together.
    pub(super) fn keep(&self, is_refusal: bool, now: Instant, build: impl FnOnce() -> Recent) {
        let number = self.decided.fetch_add(1, Ordering::Relaxed);
        let (room, pace) = if is_refusal { (&self.refusals, REFUSALS) } else { (&self.passes, PASSES) };
        if room.rate.allows(pace, self.since(now)) {
            room.push(number, build);
        }
    }

    pub(super) fn list(&self) -> Recents {
        let mut kept = [self.passes.copy(), self.refusals.copy()].concat();
        kept.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
        // Since the oldest that is listed.
        let oldest = kept.last().map_or(0, |(number, _)| *number);
        let made = self.decided.load(Ordering::Relaxed).saturating_sub(oldest);
        let left_out = made.saturating_sub(kept.len() as u64);
        Recents { decisions: kept.into_iter().map(|(_, decision)| decision).collect(), left_out }
    }

    fn since(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.began)
    }
}

impl Room {
    fn push(&self, number: u64, build: impl FnOnce() -> Recent) {
        let mut kept = match self.kept.try_lock() {
            Ok(kept) => kept,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Somebody else has it just now.
            Err(TryLockError::WouldBlock) => return,
        };
        let gone = if kept.len() < MOST { None } else { kept.pop_front() };
        kept.push_back((number, Arc::new(build())));
        drop(kept);
        drop(gone);
    }

    /// Pointers only: who would push meanwhile does not, and nobody waits for this.
    fn copy(&self) -> Vec<(u64, Arc<Recent>)> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// Of passes, and of refusals.
const MOST: usize = 100;
/// A small site sees all of them, and a large one those of the last minute.
const PASSES: Pace = Pace::new(Duration::from_millis(500), 50);
const REFUSALS: Pace = Pace::new(Duration::from_millis(250), 100);
/// Evidence is some strings: at most so much of it is made for what then is not kept.
const EXPLAINED: Pace = Pace::new(Duration::from_millis(50), 200);

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(number: u64) -> Recent {
        Recent {
            at: 1,
            session: number,
            stage: Stage::Rcpt,
            verdict: Verdict::Continue,
            reason: Reason::Ok,
            enforced: true,
            reply: None,
            client: None,
            name: None,
            helo: None,
            sender: None,
            recipient: String::new(),
            is_insider: false,
            explanation: Trace::default(),
        }
    }

    fn sessions(recents: &Recents) -> Vec<u64> {
        recents.decisions.iter().map(|recent| recent.session).collect()
    }

    #[test]
    fn the_newest_come_first_whatever_they_are() {
        let latest = Latest::new();
        for number in 0..10 {
            latest.keep(number % 3 == 0, latest.began, || decision(number));
        }
        let recents = latest.list();
        assert_eq!(sessions(&recents), (0..10).rev().collect::<Vec<_>>());
        assert_eq!(recents.left_out, 0);
        assert!(Latest::new().list().decisions.is_empty());
    }

    /// An attack of a thousand a second, and a pass now and then.
    #[test]
    fn neither_drives_the_other_out_and_nothing_is_built_in_vain() {
        let latest = Latest::new();
        let mut built = 0;
        for number in 0..60_000_u64 {
            let now = latest.began + Duration::from_millis(number);
            latest.keep(number % 1000 != 0, now, || {
                built += 1;
                decision(number)
            });
        }
        let recents = latest.list();
        let (passes, refusals): (Vec<u64>, Vec<u64>) =
            sessions(&recents).into_iter().partition(|number| number % 1000 == 0);
        assert_eq!(passes, (0..60).rev().map(|second| second * 1000).collect::<Vec<_>>());
        assert_eq!(refusals.len(), MOST);
        let seconds = refusals.iter().map(|number| number / 1000).collect::<std::collections::BTreeSet<_>>();
        assert!(seconds.len() >= 25, "what is kept tells of more than a moment: {seconds:?}");
        assert_eq!(recents.left_out, 60_000 - 160);
        assert!(built <= 60 + 100 + 60 * 4, "{built}");
    }

    #[test]
    fn who_reads_makes_nobody_wait() {
        let latest = Latest::new();
        latest.keep(true, latest.began, || decision(1));
        let reader = latest.refusals.kept.lock().unwrap();
        latest.keep(true, latest.began, || unreachable!("nothing is put together for it"));
        drop(reader);
        assert_eq!((sessions(&latest.list()), latest.list().left_out), (vec![1], 1));
    }

    #[test]
    fn evidence_is_collected_for_so_many() {
        let latest = Latest::new();
        let explained = |millis| latest.is_explained(latest.began + Duration::from_millis(millis));
        assert_eq!((0..10_000).filter(|_| explained(0)).count(), 200);
        assert_eq!((0..10_000).filter(|millis| explained(*millis)).count(), 199, "20 a second");
    }
}
