//! What the server remembers of its decisions, for `backstop report`: counts by hour and by day, and who was refused most.
//!
//! A recipient that passes costs one atomic count. A refusal is handed over through a queue that never makes a session
//! wait; one task folds it into lists of bounded size. Of the last decisions, a sample is kept as they were made. Failure: when
//! the queue is full, a refusal is counted, and what is lost is its details (`missed`); what can't be written to disk stays in
//! memory.

mod attack;
mod bucket;
mod file;
mod judge;
mod keeper;
mod minute;
mod recent;
mod sketch;
mod summary;
mod text;
mod timeline;
mod top;

use std::{
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, Notify, mpsc};

use crate::policy::{Decision, Reason, Stage, Verdict};

pub use attack::Attack;
pub use judge::{Evidence, Judgement, Looks, judge};
pub use keeper::Sight;
pub use minute::Minute;
pub use recent::{Recent, Recents};
pub use summary::{Count, Listed, Sample, Summary, Watched};
pub use text::{bounded, cut};

use keeper::Kept;
use recent::Latest;

/// What one server process remembers.
#[derive(Debug)]
pub struct History {
    counts: [AtomicU64; CELLS],
    missed: AtomicU64,
    queue: mpsc::Sender<Refusal>,
    hurry: Notify,
    kept: Mutex<Kept>,
    latest: Latest,
}

/// A refusal or deferral, enforced or only watched.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// In seconds since 1970.
    pub at: u64,
    /// What was decided, and where.
    pub rule: Rule,
    /// The client's address, where the MTA tells it.
    pub client: Option<IpAddr>,
    /// As the client wrote it, bounded in length.
    pub sender: String,
    /// In the form in which it is compared if it is an address, else as the client wrote it; bounded in length.
    pub recipient: String,
    /// The client is trusted or authenticated.
    pub is_insider: bool,
    /// The client asks for recipients that exist.
    pub is_good: bool,
}

/// What may be enforced, or watched, by itself: a reason in a domain.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rule {
    /// Why.
    pub reason: Reason,
    /// As the configuration or detection names it, so that there are few; empty where no recipient was asked for.
    pub domain: String,
    /// It was permanent.
    pub is_permanent: bool,
    /// `false`: it was only watched, the mail passed.
    pub enforced: bool,
}

impl History {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        Self {
            counts: [const { AtomicU64::new(0) }; CELLS],
            missed: AtomicU64::new(0),
            queue,
            hurry: Notify::new(),
            kept: Mutex::new(Kept::new(waiting)),
            latest: Latest::new(),
        }
    }

    /// Counts a decision. Costs an atomic addition.
    pub fn count(&self, stage: Stage, decision: &Decision<'_>) {
        let cell = cell(decision.verdict(), decision.reason, decision.enforced);
        if let Some(count) = self.counts.get(cell).filter(|_| is_counted(stage, decision)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether evidence should be collected for a decision that is about to be made: [`keep`](Self::keep) may be called with
    /// it. Not for all of them, where there are many. Never waits.
    pub fn explains(&self, now: Instant) -> bool {
        self.latest.is_explained(now)
    }

    /// Keeps a decision for [`recent`](Self::recent), unless there are too many; only then it is put together. Never waits.
    pub fn keep(&self, stage: Stage, decision: &Decision<'_>, now: Instant, build: impl FnOnce() -> Recent) {
        if is_counted(stage, decision) {
            self.latest.keep(decision.reply.is_some(), now, build);
        }
    }

    /// The last decisions, at most 200; of many, some. No session waits for that.
    #[must_use]
    pub fn recent(&self) -> Recents {
        self.latest.list()
    }

    /// Remembers a refusal, which has been counted. Never waits.
    pub fn note(&self, refusal: Refusal) {
        if self.queue.try_send(refusal).is_err() {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
        if self.queue.capacity() < QUEUE / 2 {
            self.hurry.notify_one();
        }
    }

    /// What was counted since this was called last.
    fn counted(&self) -> Vec<Count> {
        let mut counted = Vec::new();
        for verdict in VERDICTS {
            for reason in Reason::ALL {
                for enforced in [false, true] {
                    let count = self.counts.get(cell(verdict, reason, enforced));
                    let times = count.map_or(0, |count| count.swap(0, Ordering::Relaxed));
                    if times > 0 {
                        counted.push(Count { reason, verdict: verdict.as_str().to_owned(), enforced, times });
                    }
                }
            }
        }
        counted
    }
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}

/// A client or a message that passes is no recipient; the end of a trap's message is no other refusal.
fn is_counted(stage: Stage, decision: &Decision<'_>) -> bool {
    match stage {
        Stage::Rcpt => true,
        Stage::Connect => decision.reply.is_some(),
        Stage::EndOfMessage => decision.reply.is_some() && decision.reason != Reason::SpamTrap,
    }
}

fn cell(verdict: Verdict, reason: Reason, enforced: bool) -> usize {
    ((verdict as usize) * Reason::ALL.len() + reason as usize) * 2 + usize::from(enforced)
}

const VERDICTS: [Verdict; 3] = [Verdict::Continue, Verdict::Reject, Verdict::Defer];
const CELLS: usize = VERDICTS.len() * Reason::ALL.len() * 2;
/// Refusals that wait for their task; at most 4 MB.
const QUEUE: usize = 4096;

#[cfg(test)]
mod tests;
