//! Who may come in at a control socket, which a reload may change.
//!
//! The kernel keeps the others out by the socket's mode and group (unix(7)); who came in before a change has to come in
//! again. Failure: a change that can't be made leaves everything as it was.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use crate::net::UnixFile;

use super::{Peer, socket::id_of};

/// The way in to a socket.
#[derive(Debug)]
pub struct Door {
    file: Arc<UnixFile>,
    mode: AtomicU32,
    /// How often that was changed.
    changes: AtomicU64,
}

/// What a connection came in by.
#[derive(Debug, Clone)]
pub(super) struct Visit {
    door: Arc<Door>,
    changes: u64,
}

impl Door {
    pub(super) fn new(file: Arc<UnixFile>, mode: u32) -> Self {
        Self { file, mode: AtomicU32::new(mode), changes: AtomicU64::new(0) }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// From now on the socket has this mode and group (a name or a number; empty: the process' own). Connections that are
    /// open carry out nothing more. Blocks.
    ///
    /// # Errors
    /// There is no such group, or the process may not give it the socket.
    pub fn permit(&self, mode: u32, group: &str) -> io::Result<()> {
        self.file.permit(mode, id_of(group)?)?;
        self.mode.store(mode, Ordering::Relaxed);
        self.changes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn visit(self: &Arc<Self>) -> Visit {
        Visit { door: Arc::clone(self), changes: self.changes.load(Ordering::Relaxed) }
    }
}

impl Visit {
    /// Whether the peer is one of those for whom the socket is. Besides the kernel: somebody may have opened the file to
    /// others, or the peer connected before it was closed to him.
    pub(super) fn admits(&self, peer: &Peer) -> bool {
        let is_for_a_group = self.door.mode.load(Ordering::Relaxed) & 0o020 != 0;
        is_for_a_group || peer.is_own()
    }

    /// The door was changed since.
    pub(super) fn is_over(&self) -> bool {
        self.changes != self.door.changes.load(Ordering::Relaxed)
    }
}
