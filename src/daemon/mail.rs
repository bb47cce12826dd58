//! The threads that serve MTAs, each with an event loop of its own: an answer never waits for pages, files or reports, and no
//! thread is woken to look whether another one has too much to do.
//!
//! Failure: none of its own; a thread that the system does not give ends the start.

use std::{io, thread::available_parallelism, time::Instant};

use tokio::runtime::{Builder, Handle, Runtime};

use super::LEAVE;

/// One at least.
pub(super) struct Threads(Vec<Runtime>);

impl Threads {
    /// One for each processor, as far as that is any use.
    pub(super) fn start() -> io::Result<Self> {
        let count = available_parallelism().map_or(1, usize::from).min(MOST);
        let thread =
            |_| Builder::new_multi_thread().worker_threads(1).thread_name("mail").enable_all().build();
        (0..count).map(thread).collect::<io::Result<_>>().map(Self)
    }

    /// The first one, and the others.
    pub(super) fn handles(&self) -> Handles {
        let mut all = self.0.iter().map(|runtime| runtime.handle().clone());
        let first = all.next().expect("there is one at least");
        Handles { first, others: all.collect() }
    }

    /// After the last session. All of them together take no longer than one may.
    pub(super) fn end(self) {
        let until = Instant::now() + LEAVE;
        let leave =
            |runtime: Runtime| runtime.shutdown_timeout(until.saturating_duration_since(Instant::now()));
        self.0.into_iter().for_each(leave);
    }
}

/// Where connections are accepted, and who takes some off it.
#[derive(Clone)]
pub(super) struct Handles {
    pub(super) first: Handle,
    pub(super) others: Vec<Handle>,
}

/// One answers tens of thousands of sessions in a second, many times what an MTA on the same host has.
const MOST: usize = 8;
