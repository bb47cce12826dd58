//! What stat(2) says of a file, to see whether it changed.

use std::{
    fs::Metadata,
    io,
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, SystemTime},
};

/// The identity and state of the file at a path; equal stamps mean "not touched".
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stamp {
    /// A regular file. The change time can't be set back by programs, as the modification time can.
    File { device: u64, inode: u64, size: u64, modified: (i64, i64), changed: (i64, i64) },
    /// Something else: a directory, a pipe, a device.
    NotAFile,
    /// Nothing there.
    Missing,
    /// Something that can't be looked at.
    Unreadable(io::ErrorKind),
}

impl Stamp {
    /// The state of whatever `path` leads to, through symbolic links.
    pub(super) fn of(path: &Path) -> Self {
        match std::fs::metadata(path) {
            Ok(metadata) => Self::from(&metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::Missing,
            Err(error) => Self::Unreadable(error.kind()),
        }
    }

    /// How long ago the file changed, as far as the file system's clock can be believed.
    pub(super) fn age(&self, now: SystemTime) -> Duration {
        let Self::File { changed: (seconds, nanos), .. } = *self else { return Duration::ZERO };
        let (Ok(seconds), Ok(nanos)) = (u64::try_from(seconds), u32::try_from(nanos)) else {
            return Duration::ZERO;
        };
        let changed = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
        now.duration_since(changed).unwrap_or_default()
    }

    #[cfg(test)]
    pub(super) fn sample(size: u64) -> Self {
        Self::File { device: 1, inode: 2, size, modified: (3, 4), changed: (5, 6) }
    }
}

impl From<&Metadata> for Stamp {
    fn from(metadata: &Metadata) -> Self {
        if !metadata.is_file() {
            return Self::NotAFile;
        }
        Self::File {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}
