//! The file under a database: one that can always be written.
//!
//! When the disk is full, read-only or not there, what is written stays in memory, as blocks over the file as it was
//! last, and goes to the disk when that can be written again. The store above never sees a write fail, so that it never
//! has to give up what it knows. Reads that fail, and a disk that loses what it took, are errors.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::{Duration, Instant, SystemTime},
};

use nix::{
    errno::Errno,
    fcntl::{FallocateFlags, fallocate},
};

use crate::clock;

/// A file, as redb wants it.
#[derive(Debug)]
pub(crate) struct Disk {
    path: Option<PathBuf>,
    health: Arc<Health>,
    inner: RwLock<Inner>,
    /// Where the simulated disk ends.
    #[cfg(test)]
    pub(crate) capacity: Arc<std::sync::atomic::AtomicU64>,
}

/// Whether the disk can be written.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// What the file is, for the log.
    what: String,
    error: Mutex<Option<String>>,
}

#[derive(Debug)]
struct Inner {
    file: Option<File>,
    /// It was not opened for reading only.
    is_writable: bool,
    /// What could not be written; from its first block on nothing is, until all of it can be.
    unsaved: Option<Unsaved>,
}

#[derive(Debug)]
struct Unsaved {
    /// Of the whole file.
    length: u64,
    /// So much of the file on disk counts.
    base: u64,
    blocks: HashMap<u64, Box<[u8]>>,
    /// It is not tried again before.
    pause: Instant,
}

impl Disk {
    /// Opens or makes the file, for this process alone. With no path, or where that is impossible, it is empty and in
    /// memory; a file that can be read only is read.
    pub(crate) fn open(path: Option<PathBuf>, health: Arc<Health>) -> Self {
        let (file, unsaved) = match path.as_deref().map(|path| (path, open(path))) {
            None => (None, Some(Unsaved::of(0))),
            Some((_, Ok(file))) => (Some(file), None),
            Some((path, Err(error))) => {
                health.failed(&error, Some(path));
                let file = only_read(path);
                let length = file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |data| data.len());
                (file, Some(Unsaved::of(length)))
            }
        };
        let is_writable = unsaved.is_none();
        Self {
            path,
            health,
            inner: RwLock::new(Inner { file, is_writable, unsaved }),
            #[cfg(test)]
            capacity: Arc::new(u64::MAX.into()),
        }
    }

    fn inner(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn inner_mut(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_file(&self, file: &File, offset: u64, data: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        if offset + data.len() as u64 > self.capacity.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(Errno::ENOSPC.into());
        }
        file.write_all_at(data, offset)
    }

    /// Writes what is unsaved, the first block last: it says where the rest is.
    fn save(&self, inner: &mut Inner) -> io::Result<()> {
        let (Some(path), Some(unsaved)) = (&self.path, &inner.unsaved) else { return Ok(()) };
        if !inner.is_writable {
            let read = inner.file.take();
            // A lock is held once.
            drop(read);
            match open(path) {
                Ok(file) => inner.file = Some(file),
                Err(error) => {
                    inner.file = if unsaved.base > 0 { only_read(path) } else { None };
                    return Err(error);
                }
            }
            inner.is_writable = true;
        }
        let Some(file) = &inner.file else { return Ok(()) };
        #[cfg(test)]
        if unsaved.length > self.capacity.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(Errno::ENOSPC.into());
        }
        if file.metadata()?.len() > unsaved.base {
            file.set_len(unsaved.base)?;
        }
        // A disk that becomes full half-way would leave neither the old state nor the new one.
        match fallocate(file, FallocateFlags::empty(), 0, unsaved.length.max(1).cast_signed()) {
            Ok(()) | Err(Errno::EOPNOTSUPP) => {}
            Err(errno) => return Err(errno.into()),
        }
        file.set_len(unsaved.length)?;
        for (&block, data) in unsaved.blocks.iter().filter(|(block, _)| **block != 0) {
            self.write_file(file, block * BLOCK, within(block, data, unsaved.length))?;
        }
        file.sync_data()?;
        if let Some(first) = unsaved.blocks.get(&0) {
            self.write_file(file, 0, within(0, first, unsaved.length))?;
            file.sync_data()?;
        }
        Ok(())
    }

    /// From here on what is written stays in memory.
    fn give_up<'i>(&self, inner: &'i mut Inner, error: &io::Error) -> io::Result<&'i mut Unsaved> {
        let length = inner.file.as_ref().map_or(Ok(0), |file| file.metadata().map(|data| data.len()))?;
        self.health.failed(error, self.path.as_deref());
        Ok(inner.unsaved.insert(Unsaved::of(length)))
    }
}

impl redb::StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        let inner = self.inner();
        match (&inner.unsaved, &inner.file) {
            (Some(unsaved), _) => Ok(unsaved.length),
            (None, Some(file)) => Ok(file.metadata()?.len()),
            (None, None) => Ok(0),
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let inner = self.inner();
        match (&inner.unsaved, &inner.file) {
            (Some(unsaved), file) => unsaved.read(file.as_ref(), offset, out),
            (None, Some(file)) => file.read_exact_at(out, offset),
            (None, None) => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut inner = self.inner_mut();
        let inner = &mut *inner;
        if let (None, Some(file)) = (&inner.unsaved, &inner.file) {
            match file.set_len(length) {
                Ok(()) => return Ok(()),
                Err(error) => drop(self.give_up(inner, &error)?),
            }
        }
        if let Some(unsaved) = &mut inner.unsaved {
            unsaved.set_len(inner.file.as_ref(), length)?;
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        {
            let inner = self.inner();
            match (&inner.unsaved, &inner.file) {
                // What the disk took and lost is lost: the store has to begin anew.
                (None, Some(file)) => return file.sync_data(),
                (None, None) => return Ok(()),
                (Some(unsaved), _) if unsaved.pause > clock::now() => return Ok(()),
                (Some(_), _) => {}
            }
        }
        let mut inner = self.inner_mut();
        match self.save(&mut inner) {
            Ok(()) if self.path.is_some() => {
                inner.unsaved = None;
                self.health.works();
            }
            Ok(()) => {}
            Err(error) => {
                self.health.failed(&error, self.path.as_deref());
                if let Some(unsaved) = &mut inner.unsaved {
                    unsaved.pause = clock::now() + PAUSE;
                }
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        {
            let inner = self.inner();
            if let (None, Some(file)) = (&inner.unsaved, &inner.file)
                && self.write_file(file, offset, data).is_ok()
            {
                return Ok(());
            }
        }
        let mut inner = self.inner_mut();
        let inner = &mut *inner;
        if let (None, Some(file)) = (&inner.unsaved, &inner.file) {
            match self.write_file(file, offset, data) {
                Ok(()) => return Ok(()),
                Err(error) => drop(self.give_up(inner, &error)?),
            }
        }
        match &mut inner.unsaved {
            Some(unsaved) => unsaved.write(inner.file.as_ref(), offset, data),
            None => Ok(()),
        }
    }
}

impl Health {
    /// Of a file; `what` it is, for the log: "directory corp: the replica's file".
    pub(crate) fn new(what: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { what: what.into(), error: Mutex::default() })
    }

    /// Why nothing can be written; `None` while it can.
    pub(crate) fn error(&self) -> Option<String> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The log has a line when it begins.
    pub(crate) fn failed(&self, error: &io::Error, path: Option<&Path>) {
        let before = self.error.lock().unwrap_or_else(PoisonError::into_inner).replace(error.to_string());
        if before.is_none() {
            let path = path.unwrap_or(Path::new("")).display();
            tracing::error!(%path, %error, "{} can't be written; what changes is kept in memory", self.what);
        }
    }

    fn works(&self) {
        let before = self.error.lock().unwrap_or_else(PoisonError::into_inner).take();
        if before.is_some() {
            tracing::info!("{} is written again", self.what);
        }
    }
}

impl Unsaved {
    fn of(length: u64) -> Self {
        Self { length, base: length, blocks: HashMap::new(), pause: clock::now() + PAUSE }
    }

    fn read(&self, file: Option<&File>, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset + out.len() as u64 > self.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (block, from, part) in parts(offset, out.len()) {
            let out = &mut out[part];
            match self.blocks.get(&block) {
                Some(data) => out.copy_from_slice(&data[from..from + out.len()]),
                None => read_file(file, self.base, block * BLOCK + from as u64, out)?,
            }
        }
        Ok(())
    }

    fn write(&mut self, file: Option<&File>, offset: u64, data: &[u8]) -> io::Result<()> {
        for (block, from, part) in parts(offset, data.len()) {
            let data = &data[part];
            self.block(file, block)?[from..from + data.len()].copy_from_slice(data);
        }
        self.length = self.length.max(offset + data.len() as u64);
        Ok(())
    }

    /// What comes new is zero, also where the file on disk has something.
    fn set_len(&mut self, file: Option<&File>, length: u64) -> io::Result<()> {
        if length < self.length {
            self.blocks.retain(|block, _| block * BLOCK < length);
            let within = usize::try_from(length % BLOCK).expect("less than a block");
            if within > 0 {
                self.block(file, length / BLOCK)?[within..].fill(0);
            }
            self.base = self.base.min(length);
        }
        self.length = length;
        Ok(())
    }

    /// The block, read from the file when it is changed for the first time.
    fn block(&mut self, file: Option<&File>, block: u64) -> io::Result<&mut Box<[u8]>> {
        use std::collections::hash_map::Entry;
        Ok(match self.blocks.entry(block) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(free) => {
                let mut data = vec![0; BLOCK_LEN].into_boxed_slice();
                read_file(file, self.base, block * BLOCK, &mut data)?;
                free.insert(data)
            }
        })
    }
}

/// Moves a file that can't be used out of the way.
pub(crate) fn move_aside(path: &Path) {
    let mut aside = path.as_os_str().to_owned();
    aside.push(DAMAGED);
    if let Err(error) = std::fs::rename(path, &aside)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::error!(path = %path.display(), %error, "a damaged file can't be moved aside");
    }
}

/// Milliseconds since 1970.
pub(crate) fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Opens or makes it, for this process alone.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(io::Error::other(InUse)),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The file where it can't be written, if nobody else has it.
fn only_read(path: &Path) -> Option<File> {
    let file = File::open(path).ok()?;
    file.try_lock().ok()?;
    Some(file)
}

#[derive(Debug, thiserror::Error)]
#[error("another process has it")]
struct InUse;

/// What the file holds up to `end`, and zero behind it.
fn read_file(file: Option<&File>, end: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
    let there = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX).min(out.len());
    let (read, zero) = out.split_at_mut(there);
    if let Some(file) = file {
        file.read_exact_at(read, offset)?;
    }
    zero.fill(0);
    Ok(())
}

/// The blocks that a range touches: which, from where in it, and which part of the range.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == length {
            return None;
        }
        let at = offset + done as u64;
        let from = usize::try_from(at % BLOCK).expect("less than a block");
        let begin = done;
        done = length.min(begin + BLOCK_LEN - from);
        Some((at / BLOCK, from, begin..done))
    })
}

/// The part of a block before the file's end.
fn within(block: u64, data: &[u8], length: u64) -> &[u8] {
    let rest = usize::try_from(length - block * BLOCK).unwrap_or(usize::MAX);
    &data[..rest.min(data.len())]
}

/// Behind the name of a file that was moved aside.
pub(crate) const DAMAGED: &str = ".damaged";
const BLOCK: u64 = 4096;
const BLOCK_LEN: usize = 4096;
/// Between two attempts to write.
const PAUSE: Duration = Duration::from_secs(if cfg!(test) { 0 } else { 10 });

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use proptest::prelude::*;
    use redb::StorageBackend;

    use super::*;

    #[derive(Debug, Clone)]
    enum Event {
        Write(u64, Vec<u8>),
        SetLen(u64),
        Sync,
        /// The disk gets larger or smaller.
        Capacity(Option<u64>),
    }

    fn event() -> impl Strategy<Value = Event> {
        let bytes = (any::<u8>(), 0_usize..9000).prop_map(|(byte, length)| vec![byte; length]);
        prop_oneof![
            4 => (0_u64..40_000, bytes).prop_map(|(at, bytes)| Event::Write(at, bytes)),
            2 => (0_u64..50_000).prop_map(Event::SetLen),
            2 => Just(Event::Sync),
            1 => proptest::option::of(0_u64..50_000).prop_map(Event::Capacity),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        /// redb writes within the length only.
        #[test]
        fn whatever_the_disk_does_it_holds_what_was_written(events in proptest::collection::vec(event(), 1..40)) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("file");
            let health = Health::new("the test's file");
            let disk = Disk::open(Some(path.clone()), Arc::clone(&health));
            let mut model: Vec<u8> = Vec::new();
            for event in events {
                match event {
                    Event::Write(at, bytes) => {
                        let at = usize::try_from(at).unwrap();
                        if at + bytes.len() <= model.len() {
                            disk.write(at as u64, &bytes).unwrap();
                            model[at..at + bytes.len()].copy_from_slice(&bytes);
                        }
                    }
                    Event::SetLen(length) => {
                        disk.set_len(length).unwrap();
                        model.resize(usize::try_from(length).unwrap(), 0);
                    }
                    Event::Sync => {
                        disk.sync_data().unwrap();
                        if health.error().is_none() {
                            prop_assert!(std::fs::read(&path).unwrap() == model, "on disk");
                        }
                    }
                    Event::Capacity(capacity) => disk.capacity.store(capacity.unwrap_or(u64::MAX), Ordering::Relaxed),
                }
                prop_assert_eq!(disk.len().unwrap(), model.len() as u64);
                let mut read = vec![1; model.len()];
                disk.read(0, &mut read).unwrap();
                prop_assert!(read == model);
                let middle = model.len() / 3..model.len() / 2;
                let mut part = vec![1; middle.len()];
                disk.read(middle.start as u64, &mut part).unwrap();
                prop_assert!(part == model[middle]);
                prop_assert!(disk.read(model.len() as u64, &mut [0]).is_err());
            }
            disk.capacity.store(u64::MAX, Ordering::Relaxed);
            disk.sync_data().unwrap();
            prop_assert_eq!(health.error(), None);
            prop_assert!(std::fs::read(&path).unwrap() == model, "in the end");
        }
    }
}
