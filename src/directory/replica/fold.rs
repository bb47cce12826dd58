//! The thread that folds changes into a new index, and writes that down.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use super::{copy, journal::Head, memory::Memory};

/// One that is under way. Dropped, it stops.
#[derive(Debug)]
pub(super) struct Fold {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<bool>>,
    /// What is written down, as of where in the journal.
    pub(super) head: Option<Head>,
    /// So many addresses were in the journal when it began.
    pub(super) journaled: usize,
}

impl Fold {
    /// Folds what is in memory now, which is what is in the file at the place in the journal; `copy`: and writes it down.
    pub(super) fn begin(
        name: &Arc<str>,
        memory: &Arc<Memory>,
        copy: Option<(PathBuf, Head)>,
        journaled: usize,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let head = copy.as_ref().map(|(_, head)| *head);
        let view = memory.freeze();
        let thread = std::thread::Builder::new().name("replica-index".to_owned()).spawn({
            let (name, memory, stop, view) =
                (Arc::clone(name), Arc::clone(memory), Arc::clone(&stop), Arc::clone(&view));
            move || {
                let index = catch_unwind(AssertUnwindSafe(|| view.fold(&stop))).ok().flatten();
                memory.folded(&view, index.as_ref());
                let (Some(index), Some((file, head))) = (index, copy) else { return false };
                let written = copy::write(&file, head, &index, &stop);
                if let Err(error) = &written {
                    tracing::debug!(directory = %name, %error, "the copy of the index could not be written");
                }
                written.is_ok()
            }
        });
        if thread.is_err() {
            memory.folded(&view, None);
        }
        Self { stop, thread: thread.ok(), head, journaled }
    }

    pub(super) fn is_done(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for it. Whether the copy was written.
    pub(super) fn end(&mut self) -> bool {
        self.thread.take().is_some_and(|thread| thread.join().unwrap_or(false))
    }
}

impl Drop for Fold {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.end();
    }
}
