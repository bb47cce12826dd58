//! The end of all sessions, as each of them sees it come: no new connections, and a session ends when no message is under
//! way.

use std::{
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering},
    task::Context,
};

use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

/// Whether it has begun.
#[derive(Debug, Default)]
pub(super) struct Drain {
    /// Set first: to look at it takes no lock.
    is_on: AtomicBool,
    token: CancellationToken,
}

impl Drain {
    pub(super) fn begin(&self) {
        self.is_on.store(true, Ordering::Release);
        self.token.cancel();
    }

    pub(super) fn has_begun(&self) -> bool {
        self.is_on.load(Ordering::Acquire)
    }

    /// Until it begins.
    pub(super) fn wait(&self) -> WaitForCancellationFuture<'_> {
        self.token.cancelled()
    }
}

/// Has a task woken when it begins: says so to the system once, and only looks after that. Of one task.
pub(super) struct Watch<'w, 'd> {
    drain: &'d Drain,
    wait: Pin<&'w mut WaitForCancellationFuture<'d>>,
    is_registered: bool,
}

impl<'w, 'd> Watch<'w, 'd> {
    pub(super) fn new(drain: &'d Drain, wait: Pin<&'w mut WaitForCancellationFuture<'d>>) -> Self {
        Self { drain, wait, is_registered: false }
    }

    /// Whether it has begun; if not, the task is woken then.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> bool {
        if self.is_registered {
            return self.drain.has_begun();
        }
        self.is_registered = true;
        self.wait.as_mut().poll(context).is_ready()
    }
}
