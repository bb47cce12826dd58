//! The threads that serve MTAs, each with an event loop of its own: an answer never waits for pages, files or reports, and no
//! thread is woken to look whether another one has too much to do.
//!
//! Failure: none of its own; a thread that the system does not give ends the start.

use std::{
    io,
    sync::mpsc,
    thread::{self, available_parallelism},
};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

use super::LEAVE;

/// One at least.
pub(super) struct Threads {
    handles: Vec<Handle>,
    stop: CancellationToken,
    /// Closed when the last thread has ended.
    ended: mpsc::Receiver<()>,
}

impl Threads {
    /// One for each processor, as far as that is any use.
    pub(super) fn start() -> io::Result<Self> {
        let count = available_parallelism().map_or(1, usize::from).min(MOST);
        let stop = CancellationToken::new();
        let (running, ended) = mpsc::channel();
        let begin = |_| begin(stop.clone(), running.clone());
        let handles = (0..count).map(begin).collect::<io::Result<_>>()?;
        drop(running);
        Ok(Self { handles, stop, ended })
    }

    /// The first one, and the others.
    pub(super) fn handles(&self) -> Handles {
        let mut all = self.handles.iter().cloned();
        let first = all.next().expect("there is one at least");
        Handles { first, others: all.collect() }
    }

    /// After the last session. All of them together take no longer than one may, and who is still at work then is left.
    pub(super) fn end(self) {
        self.stop.cancel();
        // Nobody sends anything: it ends with the last thread, or with the time.
        let _ = self.ended.recv_timeout(2 * LEAVE);
    }
}

/// A thread that runs what it is given until it is stopped; `running` goes with it.
fn begin(stop: CancellationToken, running: mpsc::Sender<()>) -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().thread_name("mail").enable_all().build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new().name("mail".to_owned()).spawn(move || {
        runtime.block_on(stop.cancelled_owned());
        runtime.shutdown_timeout(LEAVE);
        drop(running);
    })?;
    Ok(handle)
}

/// Where connections are accepted, and who takes some off it.
#[derive(Clone)]
pub(super) struct Handles {
    pub(super) first: Handle,
    pub(super) others: Vec<Handle>,
}

/// One answers tens of thousands of sessions in a second, many times what an MTA on the same host has.
const MOST: usize = 8;
