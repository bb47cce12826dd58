//! What the server remembers of its decisions, for `backstop report`: counts by hour and by day, and who was refused most.
//!
//! A recipient that passes costs one atomic count. A refusal is handed over through a queue that never makes a session
//! wait; one task counts it in lists of bounded size. Of the last decisions, a sample is kept as they were made. Failure: when
//! the queue is full, a refusal is counted, and what is lost is its details (`missed`); what can't be written to disk stays in
//! memory.

mod attack;
mod bucket;
mod file;
mod judge;
mod keeper;
mod minute;
mod network;
mod queue;
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
use tokio::sync::{Mutex, Notify};

use crate::{
    address::Address,
    policy::{Decision, Reason, Stage, Verdict},
};

pub use attack::Attack;
pub use judge::{Evidence, Judgement, Looks, judge};
pub use keeper::Sight;
pub use minute::Minute;
pub use recent::{Recent, Recents};
pub use summary::{Count, Listed, Sample, Summary, Watched};
pub use text::{bounded, cut};

use keeper::Kept;
use queue::{Handed, Queue};
use recent::Latest;

/// What one server process remembers.
#[derive(Debug)]
pub struct History {
    counts: [AtomicU64; CELLS],
    missed: AtomicU64,
    queue: Queue,
    hurry: Notify,
    kept: Mutex<Kept>,
    latest: Latest,
}

/// A refusal or deferral, enforced or only watched.
#[derive(Debug, Clone, Copy)]
pub struct Refusal<'a> {
    /// In seconds since 1970.
    pub at: u64,
    /// What was decided, and where.
    pub rule: Rule<&'a str>,
    /// The client's address, where the MTA tells it.
    pub client: Option<IpAddr>,
    /// As the client wrote it; of a long one the beginning is kept.
    pub sender: &'a [u8],
    /// Likewise.
    pub recipient: Whom<'a>,
    /// The client is trusted or authenticated.
    pub is_insider: bool,
    /// The client asks for recipients that exist.
    pub is_good: bool,
}

/// Whom a client wanted to write to.
#[derive(Debug, Clone, Copy)]
pub enum Whom<'a> {
    /// In the form in which it is compared.
    Address(&'a Address),
    /// No address: as the client wrote it.
    Text(&'a [u8]),
}

/// What may be enforced, or watched, by itself: a reason in a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rule<D = String> {
    /// Why.
    pub reason: Reason,
    /// As the configuration or detection names it, so that there are few; empty where no recipient was asked for.
    pub domain: D,
    /// It was permanent.
    pub is_permanent: bool,
    /// `false`: it was only watched, the mail passed.
    pub enforced: bool,
}

impl History {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            counts: [const { AtomicU64::new(0) }; CELLS],
            missed: AtomicU64::new(0),
            queue: Queue::default(),
            hurry: Notify::new(),
            kept: Mutex::new(Kept::new()),
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
    pub fn note(&self, refusal: &Refusal<'_>) {
        match self.queue.push(refusal) {
            Handed::Over => {}
            Handed::AtHalf => self.hurry.notify_one(),
            Handed::Not => {
                self.missed.fetch_add(1, Ordering::Relaxed);
            }
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

impl<D> Rule<D> {
    /// The same in another domain.
    fn of<E>(self, domain: E) -> Rule<E> {
        let Self { reason, is_permanent, enforced, .. } = self;
        Rule { reason, domain, is_permanent, enforced }
    }
}

impl PartialEq<Rule> for Rule<&str> {
    fn eq(&self, other: &Rule) -> bool {
        let of = |domain| (self.reason, self.is_permanent, self.enforced, domain);
        of(self.domain) == (other.reason, other.is_permanent, other.enforced, &*other.domain)
    }
}

impl From<Rule<&str>> for Rule {
    fn from(rule: Rule<&str>) -> Self {
        rule.of(rule.domain.to_owned())
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
/// Refusals that wait for their task; at most 7 MB, if all their texts are as long as can be.
const QUEUE: usize = 4096;

#[cfg(test)]
mod tests;
