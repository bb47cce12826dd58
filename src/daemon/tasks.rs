//! The tasks that the process lives by.
//!
//! Failure: the first that ends before all are told to, ends the process with an error.

use std::{io, sync::Arc};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::{Error, build::Parts};

/// All of them.
pub(super) struct Core {
    tasks: JoinSet<Ended>,
    parts: Arc<Parts>,
    stopping: CancellationToken,
}

/// The end of one: its name, and what went wrong.
type Ended = (&'static str, io::Result<()>);

impl Core {
    pub(super) fn new(parts: &Arc<Parts>) -> Self {
        Self { tasks: JoinSet::new(), parts: Arc::clone(parts), stopping: CancellationToken::new() }
    }

    /// Runs what goes on until it is stopped.
    pub(super) fn run<W>(&mut self, name: &'static str, work: impl FnOnce(Arc<Parts>, CancellationToken) -> W)
    where
        W: Future<Output = ()> + Send + 'static,
    {
        let work = work(Arc::clone(&self.parts), self.stopping.clone());
        self.tasks.spawn(async move {
            work.await;
            (name, Ok(()))
        });
    }

    /// The same for what serves somebody, and may fail.
    pub(super) fn serve<W>(&mut self, name: &'static str, work: impl FnOnce(CancellationToken) -> W)
    where
        W: Future<Output = io::Result<()>> + Send + 'static,
    {
        let work = work(self.stopping.clone());
        self.tasks.spawn(async move { (name, work.await) });
    }

    /// Waits until one of them ends, which none should.
    pub(super) async fn ended(&mut self) -> Error {
        match self.tasks.join_next().await {
            Some(Ok((name, result))) => {
                error!(part = name, error = ?result.err(), "a part that must always run has ended");
                Error::Part(name)
            }
            Some(Err(_)) => Error::Part("a core task (it panicked)"),
            None => Error::Part("everything"),
        }
    }

    /// Stops all, and waits for their end.
    pub(super) async fn stop(mut self) {
        self.stopping.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}
