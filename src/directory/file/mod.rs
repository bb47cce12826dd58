//! Recipients from a text file: one submodule for each format.
//!
//! Bad lines are skipped, counted and told with file, line and reason; a file where they abound is refused as
//! a whole. Never does a file that could not be understood become a shorter list that looks right.

mod addresses;
mod aliases;
mod passwd;
mod virtual_map;

use std::{
    io::{self, BufRead},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    Builder, Index,
    entry::{Entry, EntryError},
};
use crate::{
    files::{Faults, FileError, Grammar, Line, Lines, LoadError, Loaded, Text, Unbalanced},
    policy::Attributes,
};

/// `[directory.NAME.file]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The file. Its content is [followed](#files-that-change).
    pub path: PathBuf,
    /// [What the file looks like](#formats-of-recipient-files).
    #[serde(default)]
    pub format: Format,
}

/// What a file of recipients looks like.
#[derive(Default, Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// One a line: `user@example.com`, `user`, or `@example.com` for all of a domain.
    #[default]
    Addresses,
    /// aliases(5): `name: where it goes`.
    Aliases,
    /// postmap(1): `key value`; virtual alias, virtual mailbox and relay recipient maps, Sendmail's virtusertable.
    Virtual,
    /// passwd(5).
    Passwd,
    /// Dovecot's passwd-file.
    DovecotPasswd,
    /// pcre_table(5).
    Pcre,
    /// regexp_table(5).
    Regexp,
}

impl Format {
    /// Whether it is a table of regular expressions, to be loaded with [`crate::files::load_table`] and not [`load_list`].
    pub fn grammar(self) -> Option<Grammar> {
        match self {
            Self::Pcre => Some(Grammar::Pcre),
            Self::Regexp => Some(Grammar::Regexp),
            _ => None,
        }
    }

    /// The word for it in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Addresses => "addresses",
            Self::Aliases => "aliases",
            Self::Virtual => "virtual",
            Self::Passwd => "passwd",
            Self::DovecotPasswd => "dovecot-passwd",
            Self::Pcre => "pcre",
            Self::Regexp => "regexp",
        }
    }
}

/// Reads lists of recipients into one index.
///
/// # Errors
/// When a file can't be read, is of another format, or says that it isn't the whole list.
///
/// # Panics
/// Never for any file; for [`Format::Pcre`] and [`Format::Regexp`], which have no list.
pub fn load_list(texts: &mut [Text], format: Format) -> Result<Loaded<Index>, LoadError> {
    let mut builder = Builder::default();
    let mut faults = Faults::default();
    for text in texts {
        let mut page = Page::new(Arc::clone(text.path()), &mut builder);
        let read = page.read(&mut text.lines(), format);
        let (of_page, good) = (page.faults, page.good);
        read.map_err(|error| match error {
            ReadError::Io(error) => text.error(&error),
            ReadError::NotTheWhole(line) => {
                LoadError::File { path: text.path().to_path_buf(), error: FileError::NotTheWhole(line) }
            }
        })?;
        of_page.judge(good)?;
        faults.append(of_page);
    }
    let content = builder.finish();
    let entries = content.len() as u64;
    Ok(Loaded { content, entries, faults, may_shrink: false })
}

/// The list in a file's bytes, with the number of lines that were understood and that were not; `None`: it says that it isn't whole. For
/// tests/fuzz.
#[doc(hidden)]
#[must_use]
pub fn fuzz_list(bytes: &[u8], format: Format) -> Option<(Index, u64, u64)> {
    let mut builder = Builder::default();
    let mut page = Page::new(Path::new("list").into(), &mut builder);
    page.read(&mut Lines::new(bytes), format).ok()?;
    let (good, bad) = (page.good, page.faults.count);
    Some((builder.finish(), good, bad))
}

/// One file on its way into the index.
struct Page<'a> {
    path: Arc<Path>,
    builder: &'a mut Builder,
    faults: Faults,
    /// Lines that were understood.
    good: u64,
}

impl<'a> Page<'a> {
    fn new(path: Arc<Path>, builder: &'a mut Builder) -> Self {
        Self { path, builder, faults: Faults::default(), good: 0 }
    }

    fn read<R: BufRead>(&mut self, lines: &mut Lines<R>, format: Format) -> Result<(), ReadError> {
        match format {
            Format::Addresses => addresses::read(lines, self),
            Format::Aliases => aliases::read(lines, self),
            Format::Virtual => virtual_map::read(lines, self),
            Format::Passwd => passwd::read(lines, self),
            Format::DovecotPasswd => passwd::read_dovecot(lines, self),
            Format::Pcre | Format::Regexp => unreachable!("a table of regular expressions has no list"),
        }
    }

    /// Takes what a line says.
    fn take(&mut self, line: u64, said: Result<Said, BadLine>) {
        match said {
            Ok(said) => {
                self.good += 1;
                if let Said::Entry(entry) = said {
                    self.builder.add(&entry, Attributes::default());
                }
            }
            Err(bad) => self.faults.note(&self.path, line, &bad),
        }
    }
}

/// What a good line says.
enum Said {
    /// There is this recipient.
    Entry(Entry),
    /// Something else.
    Nothing,
}

/// Why a line is skipped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum BadLine {
    #[error("{1} in {0:?}")]
    Entry(String, EntryError),
    #[error(transparent)]
    Quote(#[from] Unbalanced),
    #[error("longer than {} bytes", crate::files::LINE_LIMIT)]
    TooLong,
    #[error("a NUL byte")]
    Nul,
    #[error("not UTF-8")]
    NotUtf8,
    #[error("more than an address; only the address counts")]
    Words,
    #[error("a key without a value")]
    NoValue,
    #[error("no colon after the name")]
    NoColon,
    #[error("it continues no line")]
    Indented,
}

/// Why a file can't be used at all.
enum ReadError {
    Io(io::Error),
    NotTheWhole(u64),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The text of a line that is needed whole.
fn whole<'a>(line: &Line<'a>) -> Result<&'a [u8], BadLine> {
    if line.cut {
        return Err(BadLine::TooLong);
    }
    if line.text.contains(&0) {
        return Err(BadLine::Nul);
    }
    Ok(line.text)
}

/// The entry that a key names.
fn entry(key: &[u8]) -> Result<Said, BadLine> {
    Entry::parse(key).map(Said::Entry).map_err(|error| BadLine::Entry(excerpt(key), error))
}

/// The entry of a system's user.
fn user(name: &[u8]) -> Result<Said, BadLine> {
    let text = std::str::from_utf8(name).map_err(|_| BadLine::NotUtf8)?;
    Entry::from_name(text).map(Said::Entry).map_err(|error| BadLine::Entry(excerpt(name), error))
}

/// Enough of a key for the log.
fn excerpt(key: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(&key[..key.len().min(80)]).into_owned();
    if key.len() > 80 {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests;
