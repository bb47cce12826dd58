//! The files: plain or compressed text as syslog writes it, or the export format of the journal.
//!
//! Each is told by how it begins, not by its name. Lines, and fields of the journal, are of bounded length.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use flate2::bufread::MultiGzDecoder;
use jiff::{Timestamp, tz::TimeZone};

use super::{journal::Journal, stamp::Stamps};
use crate::files::Lines;

/// A log file.
pub(super) enum Input {
    Text { lines: Lines<Box<dyn BufRead>>, stamps: Stamps, line: String },
    Journal(Journal<Box<dyn BufRead>>),
}

/// What a program has logged.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry<'b> {
    pub(super) at: Timestamp,
    /// E.g. `postfix/smtpd`.
    pub(super) program: &'b str,
    pub(super) text: &'b str,
}

/// The next of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<'b> {
    Entry(Entry<'b>),
    /// Not a line of a log.
    Strange,
    End,
}

/// A file that is no use.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// It can't be opened, or is nothing that can be read to its end.
    #[error("{}: {error}", path.display())]
    Open {
        /// As given.
        path: PathBuf,
        /// As reported.
        error: io::Error,
    },
    /// It is compressed, or an export of the journal, and damaged.
    #[error(
        "{}: {error}: it is damaged or cut short; what is left of a compressed log: `zcat FILE | backstop replay -`",
        path.display()
    )]
    Damaged {
        /// As given.
        path: PathBuf,
        /// As reported.
        error: io::Error,
    },
    /// Something went wrong when it was read.
    #[error("{}: {error}", path.display())]
    Read {
        /// As given.
        path: PathBuf,
        /// As reported.
        error: io::Error,
    },
}

impl InputError {
    pub(super) fn reading(path: &Path, error: io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
                Self::Damaged { path, error }
            }
            _ => Self::Read { path, error },
        }
    }
}

impl Input {
    /// Whether a file can be opened; said before hours are spent on those before it.
    pub(super) fn check(path: &Path) -> Result<(), InputError> {
        let checked = || {
            if path.as_os_str() == STANDARD_INPUT {
                return Ok(());
            }
            let kind = fs::metadata(path)?.file_type();
            if kind.is_dir() {
                Err(io::ErrorKind::IsADirectory.into())
            } else if kind.is_char_device() || kind.is_block_device() {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a device, not a log"))
            } else if kind.is_file() {
                File::open(path).map(drop)
            } else {
                // To open a pipe twice may be once too often.
                Ok(())
            }
        };
        checked().map_err(|error| InputError::Open { path: path.to_owned(), error })
    }

    /// Opens a file; `-` is standard input. `progress` is told how many bytes were read since.
    pub(super) fn open(
        path: &Path,
        now: Timestamp,
        progress: impl FnMut(u64) + 'static,
    ) -> Result<Self, InputError> {
        let opened = || {
            if path.as_os_str() == STANDARD_INPUT {
                return Ok((Box::new(io::stdin()) as Box<dyn Read>, now));
            }
            let file = File::open(path)?;
            // A rotated log ends when it was written last. A copy of it may be younger.
            let changed = file.metadata()?.modified().unwrap_or_else(|_| SystemTime::now());
            let latest = Timestamp::try_from(changed).map_or(now, |changed| changed.min(now));
            Ok((Box::new(file) as Box<dyn Read>, latest))
        };
        let (reader, latest) = opened().map_err(|error| InputError::Open { path: path.to_owned(), error })?;
        let told = Told { reader, progress: Box::new(progress) };
        Self::read(Box::new(told), latest).map_err(|error| InputError::reading(path, error))
    }

    /// Reads what a file holds. Nothing in it is younger than `latest`.
    pub(super) fn read(reader: Box<dyn Read>, latest: Timestamp) -> io::Result<Self> {
        let (is_compressed, mut reader) = begins_with(reader, GZIP)?;
        if is_compressed {
            reader = Box::new(MultiGzDecoder::new(BufReader::with_capacity(BUFFER, reader)));
        }
        let (is_journal, reader) = begins_with(reader, JOURNAL)?;
        let reader: Box<dyn BufRead> = Box::new(BufReader::with_capacity(BUFFER, reader));
        Ok(if is_journal {
            Self::Journal(Journal::new(reader))
        } else {
            let stamps = Stamps::new(TimeZone::system(), latest);
            Self::Text { lines: Lines::new(reader), stamps, line: String::new() }
        })
    }

    pub(super) fn next(&mut self) -> io::Result<Next<'_>> {
        match self {
            Self::Journal(journal) => journal.next(),
            Self::Text { lines, stamps, line } => {
                let Some(read) = lines.next()? else { return Ok(Next::End) };
                line.clear();
                line.push_str(&String::from_utf8_lossy(read.text));
                Ok(split(line, stamps).map_or(Next::Strange, Next::Entry))
            }
        }
    }
}

/// `TIME HOST PROGRAM[PID]: TEXT`; programs that log without a daemon leave out the host.
fn split<'l>(line: &'l str, stamps: &mut Stamps) -> Option<Entry<'l>> {
    let (at, rest) = stamps.split(line)?;
    let rest = match rest.split_once(' ')? {
        (tag, _) if tag.ends_with(':') => rest,
        (_host, rest) => rest,
    };
    let (tag, text) = rest.split_once(": ").or_else(|| Some((rest.strip_suffix(':')?, "")))?;
    let program = tag.split('[').next()?;
    (!program.is_empty() && !program.contains(' ')).then_some(Entry { at, program, text })
}

/// Tells what is read, also of a line without an end.
struct Told {
    reader: Box<dyn Read>,
    progress: Box<dyn FnMut(u64)>,
}

impl Read for Told {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        (self.progress)(u64::try_from(read).unwrap_or(u64::MAX));
        Ok(read)
    }
}

/// Whether these bytes come first, however few of them a pipe gives at once; and the reader, with all of them.
fn begins_with(mut reader: Box<dyn Read>, bytes: &[u8]) -> io::Result<(bool, Box<dyn Read>)> {
    let mut begin = Vec::new();
    (&mut reader).take(bytes.len() as u64).read_to_end(&mut begin)?;
    Ok((begin == bytes, Box::new(io::Cursor::new(begin).chain(reader))))
}

const BUFFER: usize = 128 * 1024;
const STANDARD_INPUT: &str = "-";

/// RFC 1952 §2.3.1
const GZIP: &[u8] = &[0x1f, 0x8b];
/// `journalctl -o export`: each entry begins with it (systemd, JOURNAL_EXPORT_FORMATS).
const JOURNAL: &[u8] = b"__CURSOR=";

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn read(bytes: &[u8]) -> Vec<String> {
        let latest = "2026-03-01T00:00:00Z".parse().unwrap();
        let mut input = Input::read(Box::new(io::Cursor::new(bytes.to_vec())), latest).unwrap();
        let mut all = Vec::new();
        loop {
            match input.next().unwrap() {
                Next::Entry(Entry { at, program, text }) => all.push(format!("{at} {program}: {text}")),
                Next::Strange => all.push("strange".to_owned()),
                Next::End => return all,
            }
        }
    }

    const TEXT: &[u8] = b"2026-02-28T07:27:57Z mx postfix/smtpd[7]: connect from a[192.0.2.1]\r\n\
        2026-02-28T07:27:58Z mx sm-mta[7]: x\n2026-02-28T07:27:58Z kernel: [ 1.0] y: z\n\n\
        half a li\n2026-02-28T07:27:59Z mx postfix/qmgr[8]: \xff removed";

    fn expected() -> [&'static str; 6] {
        [
            "2026-02-28T07:27:57Z postfix/smtpd: connect from a[192.0.2.1]",
            "2026-02-28T07:27:58Z sm-mta: x",
            "2026-02-28T07:27:58Z kernel: [ 1.0] y: z",
            "strange",
            "strange",
            "2026-02-28T07:27:59Z postfix/qmgr: \u{fffd} removed",
        ]
    }

    #[test]
    fn text_is_read_line_by_line() {
        assert_eq!(read(TEXT), expected());
        assert!(read(b"").is_empty());
    }

    #[test]
    fn compressed_text_is_read_as_it_was() {
        // logrotate and cat(1) make files of several members
        let half = TEXT.len() / 2;
        let compress = |bytes: &[u8]| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        };
        let compressed = [compress(&TEXT[..half]), compress(&TEXT[half..])].concat();
        assert_eq!(read(&compressed), expected());
        let latest = Timestamp::UNIX_EPOCH;
        let cut = compressed[..compressed.len() - 20].to_vec();
        let mut input = Input::read(Box::new(io::Cursor::new(cut)), latest).unwrap();
        let error = loop {
            match input.next() {
                Ok(Next::End) => panic!("a file that was cut is read as if it were whole"),
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn the_journal_is_read_entry_by_entry() {
        let binary = [&b"MESSAGE\n"[..], &5_u64.to_le_bytes(), b"a\nb\x07c", b"\n"].concat();
        let journal = [
            &b"__CURSOR=s=1\n__REALTIME_TIMESTAMP=1772263677000001\nSYSLOG_IDENTIFIER=postfix/smtpd\n"[..],
            b"MESSAGE=connect from a\n\n",
            b"__CURSOR=s=2\n__REALTIME_TIMESTAMP=1772263678000000\n_COMM=x\n",
            &binary,
            b"SYSLOG_IDENTIFIER=sm-mta\n\n\n",
            b"__CURSOR=s=3\nMESSAGE=no time\n\n",
            b"__CURSOR=s=3\n__REALTIME_TIMESTAMP=1772263678000000\nSYSLOG_IDENTIFIER=a\nMESSAGE=one\nMESSAGE=two\n\n",
            b"__CURSOR=s=4\n__REALTIME_TIMESTAMP=1772263679000000\nSYSLOG_IDENTIFIER=a\nMESSAGE=last",
        ]
        .concat();
        assert_eq!(
            read(&journal),
            [
                "2026-02-28T07:27:57.000001Z postfix/smtpd: connect from a",
                "2026-02-28T07:27:58Z sm-mta: a\nb\x07c",
                "strange",
                "2026-02-28T07:27:58Z a: two",
                "2026-02-28T07:27:59Z a: last",
            ]
        );
        // a length that lies
        let lie = [&b"__CURSOR=s=1\nMESSAGE\n"[..], &u64::MAX.to_le_bytes(), b"abc"].concat();
        let mut input = Input::read(Box::new(io::Cursor::new(lie)), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(input.next().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
