//! Who may come in at a control socket, which a reload may change.
//!
//! The kernel keeps the others out by the socket's mode and group (unix(7)); who came in before a change has to come in
//! again. Failure: a change that can't be made leaves everything as it was.

use std::{
    io,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::net::UnixFile;

use super::Peer;

/// The way in to a socket.
#[derive(Debug)]
pub struct Door {
    file: Arc<UnixFile>,
    permit: Mutex<Permit>,
    /// How often that was changed.
    changes: AtomicU64,
}

/// For whom a socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permit {
    /// Its mode: who may write may connect.
    pub mode: u32,
    /// The id of the group that owns it; `None`: the process' own.
    pub group: Option<u32>,
}

/// What a connection came in by.
#[derive(Debug, Clone)]
pub(super) struct Visit {
    door: Arc<Door>,
    changes: u64,
}

impl Door {
    pub(super) fn new(file: Arc<UnixFile>, permit: Permit) -> Self {
        Self { file, permit: Mutex::new(permit), changes: AtomicU64::new(0) }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// From now on the socket is for these. Connections that are open carry out nothing more. Gives for whom it was.
    ///
    /// # Errors
    /// The process may not give it to the group.
    pub fn permit(&self, permit: Permit) -> io::Result<Permit> {
        let mut current = self.permit.lock().unwrap_or_else(PoisonError::into_inner);
        self.file.permit(permit.mode, permit.group)?;
        self.changes.fetch_add(1, Ordering::Relaxed);
        Ok(std::mem::replace(&mut *current, permit))
    }

    pub(super) fn visit(self: &Arc<Self>) -> Visit {
        Visit { door: Arc::clone(self), changes: self.changes.load(Ordering::Relaxed) }
    }
}

impl Visit {
    /// Whether the peer is one of those for whom the socket is. Besides the kernel: somebody may have opened the file to
    /// others, or the peer connected before it was closed to him.
    pub(super) fn admits(&self, peer: &Peer) -> bool {
        let permit = *self.door.permit.lock().unwrap_or_else(PoisonError::into_inner);
        let is_for_a_group = permit.mode & 0o020 != 0;
        is_for_a_group || peer.is_own()
    }

    /// The door was changed since.
    pub(super) fn is_over(&self) -> bool {
        self.changes != self.door.changes.load(Ordering::Relaxed)
    }
}
