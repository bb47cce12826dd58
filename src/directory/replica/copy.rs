//! A copy of the index in a file of its own, beside the replica's: read whole at the next start, if it is whole.
//!
//! It says nothing by itself: the replica's file says whether it is of that file, and what came since ([`super::journal`]). A
//! copy that is missing, cut short, altered or of another version is as good as none.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN};

use super::journal::Head;
use crate::directory::Index;

/// Why a copy can't be used, or made.
#[derive(Debug, thiserror::Error)]
pub(super) enum CopyError {
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is not what was written.
    #[error("it is cut short, damaged, or of another version")]
    Garbled,
    /// Nobody wants it any more.
    #[error("it was told to stop")]
    Stopped,
}

/// Where the copy of this replica's file is.
pub(super) fn path(file: &Path) -> PathBuf {
    file.with_extension("index")
}

/// Where it is written until it is whole.
pub(super) fn path_of_new(file: &Path) -> PathBuf {
    file.with_extension("index.new")
}

/// Writes the index as of this place in the journal, in the place of the copy before. It is on disk when this returns; what
/// comes to nothing takes no room on it.
pub(super) fn write(file: &Path, head: Head, index: &Index, stop: &AtomicBool) -> Result<(), CopyError> {
    let new = path_of_new(file);
    let written = write_new(&new, head, index, stop).and_then(|()| Ok(fs::rename(&new, path(file))?));
    if written.is_err() {
        // There may be none.
        let _ = fs::remove_file(&new);
    }
    written?;
    // The name has to last, too.
    new.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())?;
    Ok(())
}

fn write_new(new: &Path, head: Head, index: &Index, stop: &AtomicBool) -> Result<(), CopyError> {
    let mut options = File::options();
    let opened = options.write(true).create(true).truncate(true).mode(0o600).open(new)?;
    let mut out = Digested { file: opened, context: Context::new(&SHA256) };
    out.put(MAGIC)?;
    out.put(&head.encode())?;
    out.put(&(index.as_bytes().count() as u64).to_le_bytes())?;
    for part in index.as_bytes() {
        out.put(&(part.len() as u64).to_le_bytes())?;
    }
    for piece in index.as_bytes().flat_map(|part| part.chunks(PIECE)) {
        if stop.load(Ordering::Relaxed) {
            return Err(CopyError::Stopped);
        }
        out.put(piece)?;
    }
    let Digested { file: mut opened, context } = out;
    opened.write_all(context.finish().as_ref())?;
    Ok(opened.sync_all()?)
}

/// The index, and its place in the journal; `None` if there is no copy.
pub(super) fn read(file: &Path) -> Result<Option<(Head, Index)>, CopyError> {
    let file = match File::open(path(file)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut left = file.metadata()?.len();
    let mut from = Digested { file, context: Context::new(&SHA256) };
    let mut take = |length: u64| {
        left = left.checked_sub(length).ok_or(CopyError::Garbled)?;
        let mut bytes = vec![0; usize::try_from(length).map_err(|_| CopyError::Garbled)?];
        from.take(&mut bytes)?;
        Ok::<_, CopyError>(bytes)
    };
    if take(MAGIC.len() as u64)? != MAGIC {
        return Err(CopyError::Garbled);
    }
    let head = Head::decode(&take(Head::LENGTH as u64)?).ok_or(CopyError::Garbled)?;
    let number = |bytes: Vec<u8>| bytes.try_into().map(u64::from_le_bytes).map_err(|_| CopyError::Garbled);
    let parts = number(take(8)?)?;
    let lengths = take(parts.checked_mul(8).ok_or(CopyError::Garbled)?)?;
    let lengths = lengths.chunks(8).map(|length| number(length.to_vec())).collect::<Result<Vec<_>, _>>()?;
    let parts = lengths.into_iter().map(&mut take).collect::<Result<Vec<_>, _>>()?;
    if left != SHA256_OUTPUT_LEN as u64 {
        return Err(CopyError::Garbled);
    }
    let Digested { file: mut rest, context } = from;
    let mut digest = [0; SHA256_OUTPUT_LEN];
    rest.read_exact(&mut digest)?;
    if context.finish().as_ref() != digest {
        return Err(CopyError::Garbled);
    }
    let index = Index::from_bytes(parts).map_err(|_| CopyError::Garbled)?;
    Ok(Some((head, index)))
}

/// A file with the digest of what was read or written.
struct Digested {
    file: File,
    context: Context,
}

impl Digested {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.context.update(bytes);
        self.file.write_all(bytes)
    }

    fn take(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        for piece in bytes.chunks_mut(PIECE) {
            self.file.read_exact(piece)?;
            self.context.update(piece);
        }
        Ok(())
    }
}

/// With the version of what follows: place in the journal, number of parts, their lengths, the parts, SHA-256 of all that.
const MAGIC: &[u8] = b"backstop index 2\n";
/// Small enough for the processor's memory.
const PIECE: usize = 256 << 10;
