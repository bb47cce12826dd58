//! State in the memory of this process, written down in a file of its own directory.
//!
//! Answers never wait for the disk. Twice a second what has changed is written in one transaction; what is to be kept at
//! once waits for its own. Failure: what can't be written stays in memory and is written when that can be done, with one
//! line in the log; a file that can't be used is moved aside and made anew of what is in memory.

use std::{
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    Op, Outcome, Table,
    disk::{Disk, Health, move_aside},
    file::{File, FileError, Result},
    memory::Memory,
};
use crate::clock;

/// Tables with a file.
#[derive(Debug)]
pub(super) struct Embedded {
    pub(super) memory: Memory,
    path: PathBuf,
    health: Arc<Health>,
    /// Held while it is written.
    file: Mutex<Option<File>>,
    /// Another process can't have the directory meanwhile.
    _lock: fs::File,
}

impl Embedded {
    /// Opens or makes the file in this directory, which is there. Waits a moment for another process to leave it. Blocks.
    ///
    /// # Errors
    /// When another process has it.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        Self::open_with(directory, Memory::new(true))
    }

    /// The same with other bounds.
    pub(super) fn open_with(directory: &Path, memory: Memory) -> io::Result<Self> {
        let lock = lock_directory(directory)?;
        let path = directory.join(NAME);
        let health = Health::new("the store's file");
        let file = guard(|| File::open(Disk::open(Some(path.clone()), Arc::clone(&health)), &memory));
        let embedded = Self { memory, path, health, file: Mutex::default(), _lock: lock };
        let file = file.map_or_else(|error| embedded.make_anew(&error), Some);
        *embedded.file() = file;
        embedded.memory.loaded(clock::now());
        Ok(embedded)
    }

    pub(super) fn run(&self, ops: &[Op]) -> Vec<Outcome> {
        self.memory.run(ops)
    }

    /// Why nothing can be written down; `None` while it can.
    pub(super) fn trouble(&self) -> Option<String> {
        self.health.error()
    }

    /// Writes down what has changed; when it returns and there is no trouble, all that was told before is on disk. Blocks.
    pub(super) fn write(&self) {
        let mut slot = self.file();
        let Some(file) = slot.as_mut() else { return };
        // While there is trouble the disk wants to be tried.
        let always = self.trouble().is_some();
        if let Err(error) = guard(|| file.write(&self.memory, always)) {
            let broken = slot.take();
            let _ = guard(|| {
                drop(broken);
                Ok(())
            });
            *slot = self.make_anew(&error);
        }
    }

    /// Writes down what has changed, and closes the file. Blocks.
    pub(super) fn close(&self) {
        self.write();
        let file = self.file().take();
        let _ = guard(|| {
            drop(file);
            Ok(())
        });
    }

    fn make_anew(&self, error: &FileError) -> Option<File> {
        tracing::error!(
            path = %self.path.display(), %error,
            "the store's file can't be used; it is moved aside, and made anew of what is in memory"
        );
        move_aside(&self.path);
        let make = |path| {
            Table::ALL.into_iter().for_each(|table| self.memory.note_all(table));
            guard(|| {
                // It is empty: what is loaded from it is nothing.
                let mut file = File::open(Disk::open(path, Arc::clone(&self.health)), &self.memory)?;
                file.write(&self.memory, true)?;
                Ok(file)
            })
        };
        let made = make(Some(self.path.clone())).or_else(|error| {
            self.health.failed(&io::Error::other(error.to_string()), Some(&self.path));
            make(None)
        });
        made.ok()
    }

    fn file(&self) -> MutexGuard<'_, Option<File>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The directory, for this process alone. Where the file system knows no locks, nobody is kept out.
fn lock_directory(directory: &Path) -> io::Result<fs::File> {
    let handle = fs::File::open(directory)?;
    let begun = Instant::now();
    while let Err(fs::TryLockError::WouldBlock) = handle.try_lock() {
        if begun.elapsed() > PATIENCE {
            return Err(io::Error::other("another process has it"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(handle)
}

/// A damaged file may make the library panic.
fn guard<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(FileError::Garbled))
}

const NAME: &str = "store.redb";
/// Who goes before us may be writing the last of it.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 3 });
