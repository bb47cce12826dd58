//! The generator: what an MTA under load does to its milter. One connection for each SMTP session, as MTAs have it.
//!
//! Closed loop: so many sessions at the same time, the next one begins when one has ended. Open loop: sessions begin at a
//! fixed rate, whatever becomes of those before. One thread drives them all. The first failure ends the run: a figure of
//! a milter that fails is none.

mod answers;
mod latencies;
mod mix;
mod session;
mod stream;
mod told;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::{JoinSet, LocalSet};
use tokio::time::{sleep_until, timeout};

pub use answers::Answers;
pub use latencies::Latencies;
pub use mix::{Mix, Recipient, Visit};
use session::Session;

use crate::{Endpoint, Error};

/// A load.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    /// Who asks for whom.
    pub mix: Mix,
    /// The number of the first session: what was driven before should not come again.
    pub first: u64,
    /// So many sessions.
    pub sessions: u64,
    /// When they begin.
    pub pace: Pace,
    /// Where somebody is accepted, a short message follows.
    pub deliver: bool,
    /// The run takes no longer, or fails.
    pub within: Duration,
}

/// When sessions begin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// So many at the same time.
    Closed(u32),
    /// So many in a second.
    Open(f64),
}

impl Load {
    /// The attack, with `sessions` sessions of which eight run at the same time.
    #[must_use]
    pub fn attack(addresses: u64, sessions: u64) -> Self {
        let within = Duration::from_secs(600);
        Self {
            mix: Mix::attack(addresses),
            first: 0,
            sessions,
            pace: Pace::Closed(8),
            deliver: false,
            within,
        }
    }

    /// The sessions that follow these.
    #[must_use]
    pub fn next(&self) -> Self {
        Self { first: self.first + self.sessions, ..self.clone() }
    }

    /// Drives the milter that listens there.
    ///
    /// # Errors
    /// The first that went wrong.
    pub fn drive(&self, endpoint: &Endpoint) -> Result<Answers, Error> {
        Idle::none()?.drive(self, endpoint)
    }
}

/// Connections on which a client has connected and then nothing happens. They end with the value.
pub struct Idle {
    runtime: tokio::runtime::Runtime,
    sessions: Vec<Session>,
}

impl Idle {
    /// None.
    ///
    /// # Errors
    /// When there can't be a runtime.
    pub fn none() -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(Self { runtime: runtime.map_err(Error::io("start"))?, sessions: Vec::new() })
    }

    /// Opens `count` of them, which have negotiated and told of a client.
    ///
    /// # Errors
    /// When one can't be opened.
    pub fn open(endpoint: &Endpoint, count: u64) -> Result<Self, Error> {
        let mut idle = Self::none()?;
        let mix = Mix::good(1);
        let opened = async {
            let mut sessions = Vec::new();
            for number in 0..count {
                let mut session = Session::open(endpoint).await?;
                session.connect(&mix.visit(number)).await?;
                session.flush().await?;
                sessions.push(session);
            }
            Ok::<_, Error>(sessions)
        };
        idle.sessions = idle
            .runtime
            .block_on(async { timeout(OPENING, opened).await.unwrap_or(Err(Error::Late(OPENING))) })?;
        Ok(idle)
    }

    /// So many are open.
    #[must_use]
    pub fn count(&self) -> usize {
        self.sessions.len()
    }

    /// Drives the milter that listens there, while these are open.
    ///
    /// # Errors
    /// The first that went wrong.
    pub fn drive(&self, load: &Load, endpoint: &Endpoint) -> Result<Answers, Error> {
        let begun = Instant::now();
        let driven = LocalSet::new();
        let driven = driven.run_until(async {
            let driven = async {
                match load.pace {
                    Pace::Closed(at_once) => closed(load, at_once, endpoint).await,
                    Pace::Open(rate) => open(load, rate, endpoint).await,
                }
            };
            timeout(load.within, driven).await.unwrap_or(Err(Error::Late(load.within)))
        });
        let mut answers = self.runtime.block_on(driven)?;
        answers.time = begun.elapsed();
        Ok(answers)
    }
}

async fn closed(load: &Load, at_once: u32, endpoint: &Endpoint) -> Result<Answers, Error> {
    let (next, end) = (Rc::new(Cell::new(load.first)), load.first + load.sessions);
    let answers = Rc::new(RefCell::new(Answers::default()));
    let mut workers = JoinSet::new();
    for _ in 0..at_once.max(1) {
        let (next, answers, load, endpoint) = (next.clone(), answers.clone(), load.clone(), endpoint.clone());
        workers.spawn_local(async move {
            let mut mine = Answers::default();
            while next.get() < end {
                let number = next.replace(next.get() + 1);
                one(&load, number, &endpoint, &mut mine).await?;
            }
            answers.borrow_mut().take(mine);
            Ok(())
        });
    }
    joined(workers, &answers).await
}

async fn open(load: &Load, rate: f64, endpoint: &Endpoint) -> Result<Answers, Error> {
    let begun = tokio::time::Instant::now();
    let answers = Rc::new(RefCell::new(Answers::default()));
    let mut sessions = JoinSet::new();
    for place in 0..load.sessions {
        sleep_until(begun + Duration::from_secs_f64(place as f64 / rate)).await;
        while let Some(ended) = sessions.try_join_next() {
            flatten(ended)?;
        }
        let (answers, load, endpoint) = (answers.clone(), load.clone(), endpoint.clone());
        sessions.spawn_local(async move {
            let mut mine = Answers::default();
            one(&load, load.first + place, &endpoint, &mut mine).await?;
            answers.borrow_mut().take(mine);
            Ok(())
        });
    }
    joined(sessions, &answers).await
}

async fn one(load: &Load, number: u64, endpoint: &Endpoint, answers: &mut Answers) -> Result<(), Error> {
    let visit = load.mix.visit(number);
    Session::open(endpoint).await?.visit(&visit, load.deliver, answers).await
}

async fn joined(
    mut tasks: JoinSet<Result<(), Error>>,
    answers: &Rc<RefCell<Answers>>,
) -> Result<Answers, Error> {
    while let Some(ended) = tasks.join_next().await {
        flatten(ended)?;
    }
    Ok(answers.take())
}

fn flatten(ended: Result<Result<(), Error>, tokio::task::JoinError>) -> Result<(), Error> {
    ended.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Err(Error::Closed),
    })
}

/// Opening idle connections takes no longer.
const OPENING: Duration = Duration::from_secs(120);
