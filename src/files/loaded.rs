//! What a parser gets, and what it gives back.

use std::{
    fmt::{self, Display},
    fs::File,
    io::{self, BufReader, Read, Take},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{lines::Lines, stamp::Stamp};

/// A file open for its parser.
#[derive(Debug)]
pub struct Text {
    path: Arc<Path>,
    stamp: Stamp,
    reader: BufReader<Take<File>>,
}

/// Parsed content.
#[derive(Debug)]
pub struct Loaded<T> {
    /// The content.
    pub content: T,
    /// How many entries it has; what "empty" and "shrunk" are judged by.
    pub entries: u64,
    /// The lines that were skipped.
    pub faults: Faults,
    /// Nobody is refused for what such a list lacks, so an empty or much shorter one is believed.
    pub may_shrink: bool,
}

/// Lines that a parser skipped. All are counted, the first few are kept for the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    /// How many.
    pub count: u64,
    /// The first [`Faults::KEPT`].
    pub first: Vec<Fault>,
}

/// A line that was skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub path: Arc<Path>,
    /// The line, from 1.
    pub line: u64,
    /// What is wrong with it, escaped.
    pub reason: String,
}

/// Why files could not be loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// Something about a whole file.
    #[error("{}: {error}", Escaped(path))]
    File {
        /// Which.
        path: PathBuf,
        /// What.
        error: FileError,
    },
    /// So many lines make no sense that the file must be of another format.
    #[error("{count} of {lines} lines make no sense, is this another format? {first}")]
    WrongFormat {
        /// Lines that make no sense.
        count: u64,
        /// Lines that say something.
        lines: u64,
        /// The first of them.
        first: Fault,
    },
    /// More than fits the index.
    #[error("it holds more than fits into memory")]
    TooMany,
}

/// What is wrong with a file as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The system refused.
    #[error("{}", told(*.0))]
    Io(io::ErrorKind),
    /// A directory, a pipe or a device.
    #[error("it is not a regular file")]
    NotAFile,
    /// It is larger than [`FILE_LIMIT`] bytes.
    #[error("it is larger than {FILE_LIMIT} bytes")]
    TooLarge,
    /// It says itself that it isn't the whole list.
    #[error("line {0} refers to another source, so the file does not name all users")]
    NotTheWhole(u64),
}

/// The two that an admin can do something about, with what.
fn told(kind: io::ErrorKind) -> String {
    match kind {
        io::ErrorKind::NotFound => {
            "there is no such file; put it there, or take its path out of the configuration".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "it may not be read; let the user that backstop runs as read it, and enter its directory"
                .to_owned()
        }
        kind => kind.to_string(),
    }
}

impl Text {
    /// Opens a regular file, without ever waiting for the other end of a pipe.
    pub(super) fn open(path: &Path) -> Result<Self, LoadError> {
        let fail = |error| LoadError::File { path: path.to_owned(), error };
        let io = |error: io::Error| fail(FileError::Io(error.kind()));
        let file = File::options()
            .read(true)
            .custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits())
            .open(path)
            .map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        if !metadata.is_file() {
            return Err(fail(FileError::NotAFile));
        }
        if metadata.len() > FILE_LIMIT {
            return Err(fail(FileError::TooLarge));
        }
        let reader = BufReader::with_capacity(BUFFER, file.take(FILE_LIMIT));
        Ok(Self { path: path.into(), stamp: Stamp::from(&metadata), reader })
    }

    /// Where it is.
    pub fn path(&self) -> &Arc<Path> {
        &self.path
    }

    /// Its lines, from where the last reader stopped.
    pub fn lines(&mut self) -> Lines<&mut BufReader<Take<File>>> {
        Lines::new(&mut self.reader)
    }

    /// The error of a read from this file.
    pub fn error(&self, error: &io::Error) -> LoadError {
        LoadError::File { path: self.path.to_path_buf(), error: FileError::Io(error.kind()) }
    }

    /// What it looked like when it was opened.
    pub(super) fn stamp(&self) -> &Stamp {
        &self.stamp
    }
}

impl Faults {
    /// How many are kept.
    pub const KEPT: usize = 5;

    /// Notes a bad line.
    pub fn note(&mut self, path: &Arc<Path>, line: u64, reason: &dyn Display) {
        self.count += 1;
        if self.first.len() < Self::KEPT {
            let reason = reason.to_string().escape_debug().to_string();
            self.first.push(Fault { path: Arc::clone(path), line, reason });
        }
    }

    /// Whether a file with `good` other lines can still be what it was said to be. One bad line is a slip
    /// however short the file is; more than one in ten is another format.
    ///
    /// # Errors
    /// [`LoadError::WrongFormat`].
    pub fn judge(&self, good: u64) -> Result<(), LoadError> {
        let lines = good.saturating_add(self.count);
        match self.first.first() {
            Some(first) if self.count > (lines / TOLERATED_SHARE).max(1) => {
                Err(LoadError::WrongFormat { count: self.count, lines, first: first.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Adds those of another file.
    pub fn append(&mut self, other: Self) {
        self.count += other.count;
        let room = Self::KEPT.saturating_sub(self.first.len());
        self.first.extend(other.first.into_iter().take(room));
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", Escaped(&self.path), self.line, self.reason)
    }
}

/// A path that can't break a log line.
pub(super) struct Escaped<'a>(pub(super) &'a Path);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.to_string_lossy().escape_debug())
    }
}

/// A larger file is refused: room for two hundred million addresses.
const FILE_LIMIT: u64 = 4 << 30;
const TOLERATED_SHARE: u64 = 10;
const BUFFER: usize = 128 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_not_another_format() {
        let path: Arc<Path> = Path::new("/x\n").into();
        for (bad, good, fine) in [
            (0, 0, true),
            (1, 0, true),
            (1, 4, true),
            (2, 4, false),
            (2, 18, true),
            (3, 18, false),
            (100, 900, true),
        ] {
            let mut faults = Faults::default();
            for line in 0..bad {
                faults.note(&path, line, &"no\u{1b}");
            }
            assert_eq!(faults.judge(good).is_ok(), fine, "{bad} bad, {good} good");
            assert!(faults.first.len() <= Faults::KEPT);
        }
        let mut faults = Faults::default();
        faults.note(&path, 7, &"bell\u{7}");
        assert_eq!(faults.first[0].to_string(), "/x\\n:7: bell\\u{7}");
    }
}
