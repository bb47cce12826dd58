//! An SMTP client that keeps an MTA busy: whole sessions, one after the other, on several connections at once.
//!
//! It waits for each reply before it goes on (no pipelining) and notes how long it waited. It connects to loopback only,
//! and each session comes from an address of its own there, as the [`Mix`] has it: 198.18.7.9 connects from 127.18.7.9.
//! Failure: the first reply that is not the expected one ends the load; nothing that went wrong is ever measured.

mod session;
mod steps;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub use steps::{Step, Steps};

use crate::Error;
use crate::drive::Mix;

/// A closed loop: each connection begins its next session when the one before has ended.
#[derive(Debug, Clone)]
pub struct Load {
    /// Who asks for whom. Of each session the first recipient counts.
    pub mix: Mix,
    /// The number of the first session: what was driven before should not come again.
    pub first: u64,
    /// So many sessions in all.
    pub sessions: u64,
    /// So many at the same time.
    pub at_once: usize,
    /// Where the recipient is accepted, a message of four kilobytes follows.
    pub deliver: bool,
}

/// The MTA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    /// It is told the client's address as a proxy tells it, in a line before all others (`PROXY TCP4 …`).
    pub is_proxied: bool,
    /// It refuses those who do not exist; else it takes everybody.
    pub refuses: bool,
}

/// What a load found.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Sessions.
    pub sessions: u64,
    /// From the first connection to the end of the last.
    pub took: Duration,
    /// How long each step of the sessions took.
    pub steps: Steps,
}

impl Load {
    /// Unknown recipients only, with `addresses` others that are known; eight sessions at the same time.
    #[must_use]
    pub fn attack(addresses: u64, sessions: u64) -> Self {
        let mix = Mix { unknown: 1.0, ..Mix::attack(addresses) };
        Self { mix, first: 0, sessions, at_once: 8, deliver: false }
    }

    /// Known recipients only, each with a message.
    #[must_use]
    pub fn good(addresses: u64, sessions: u64) -> Self {
        Self { mix: Mix::good(addresses), deliver: true, ..Self::attack(addresses, sessions) }
    }

    /// The sessions that follow these.
    #[must_use]
    pub fn next(&self) -> Self {
        Self { first: self.first + self.sessions, ..self.clone() }
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// The first that is met: a connection that fails, a reply that is not the expected one.
    ///
    /// # Panics
    /// Never, unless one of its threads does.
    pub fn drive(&self, target: Target) -> Result<Outcome, Error> {
        let next = AtomicU64::new(self.first);
        let end = self.first + self.sessions;
        let begun = Instant::now();
        let noted: Vec<Result<Steps, Error>> = thread::scope(|scope| {
            let work = || self.work(target, &next, end);
            let threads: Vec<_> = (0..self.at_once).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no thread panics")).collect()
        });
        let took = begun.elapsed();
        let mut steps = Steps::default();
        for noted in noted {
            steps.take(noted?);
        }
        Ok(Outcome { sessions: self.sessions, took, steps })
    }

    /// What each thread does.
    fn work(&self, target: Target, next: &AtomicU64, end: u64) -> Result<Steps, Error> {
        let mut steps = Steps::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= end {
                return Ok(steps);
            }
            if let Err(error) = session::run(self, target, number, &mut steps) {
                next.store(end, Ordering::Relaxed); // the others need not go on
                return Err(error);
            }
        }
    }
}

impl Outcome {
    /// Sessions per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.sessions as f64 / self.took.as_secs_f64()
    }
}
