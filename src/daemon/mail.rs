//! The threads that serve MTAs, each with an event loop of its own: an answer never waits for pages, files or reports, and no
//! thread is woken to look whether another one has too much to do.
//!
//! Failure: a listener that breaks, and a thread that ends, are told; a thread that the system does not give ends the start.

use std::{
    io,
    sync::{Arc, mpsc},
    thread::{self, available_parallelism},
};

use tokio::{runtime::Handle, sync::mpsc::Sender};
use tokio_util::sync::CancellationToken;

use super::LEAVE;
use crate::{
    net::{Listener, event_loop},
    server::Server,
};

/// None, at first.
pub(super) struct Threads {
    stop: CancellationToken,
    running: mpsc::Sender<()>,
    /// Closed when the last thread has ended.
    ended: mpsc::Receiver<()>,
}

impl Threads {
    pub(super) fn new() -> Self {
        let (running, ended) = mpsc::channel();
        Self { stop: CancellationToken::new(), running, ended }
    }

    /// One for each processor, as far as that is any use. The work that is given waits until all listeners have been drained;
    /// its error is that of the first that broke.
    pub(super) fn start(
        &self,
        server: &Arc<Server>,
        listeners: Vec<Listener>,
    ) -> io::Result<impl Future<Output = io::Result<()>> + use<>> {
        let listeners: Vec<_> = listeners.into_iter().map(Arc::new).collect();
        let count = available_parallelism().map_or(1, usize::from).min(MOST);
        let (told, mut accepted) = tokio::sync::mpsc::channel(1);
        for _ in 0..count {
            let thread = Thread {
                server: Arc::clone(server),
                listeners: listeners.clone(),
                told: told.clone(),
                stop: self.stop.clone(),
            };
            let (home, running) = (Handle::current(), self.running.clone());
            thread::Builder::new().name("mail".to_owned()).spawn(move || {
                let _context = home.enter();
                thread.run();
                drop(running);
            })?;
        }
        Ok(async move { accepted.recv().await.unwrap_or(Ok(())) })
    }

    /// After the last session. All of them together take no longer than one may, and who is still at work then is left.
    pub(super) fn end(self) {
        let Self { stop, running, ended } = self;
        stop.cancel();
        drop(running);
        // Nobody sends anything: it ends with the last thread, or with the time.
        let _ = ended.recv_timeout(2 * LEAVE);
    }
}

struct Thread {
    server: Arc<Server>,
    listeners: Vec<Arc<Listener>>,
    /// What went wrong; its end is that of the thread's part.
    told: Sender<io::Result<()>>,
    stop: CancellationToken,
}

impl Thread {
    fn run(self) {
        let Self { server, listeners, told, stop } = self;
        let broken = told.downgrade();
        let served = event_loop::run(async move {
            for listener in listeners {
                let (server, told) = (Arc::clone(&server), told.clone());
                event_loop::spawn(Box::pin(async move {
                    if let Err(error) = server.accept(listener).await {
                        let _ = told.send(Err(error)).await;
                    }
                }));
            }
            drop((server, told));
            stop.cancelled().await;
        });
        // Without anybody left to tell it for, that is told by the end of all.
        if let (Err(error), Some(told)) = (served, broken.upgrade()) {
            let _ = told.try_send(Err(error));
        }
    }
}

/// One answers tens of thousands of sessions in a second, many times what an MTA on the same host has.
const MOST: usize = 8;
