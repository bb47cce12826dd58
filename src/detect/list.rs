//! Lists what is in an indexed table: the index is the truth that the MTA uses, not the text beside it.

use std::path::{Path, PathBuf};

use super::command::{CommandError, run};
use super::{How, Options, Source, cdb};

/// One line of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The left side, as it is in the table.
    pub key: String,
    /// The right side.
    pub value: String,
}

/// Why a table could not be listed.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The program that lists it failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A file could not be read.
    #[error("{0}: {1}")]
    File(PathBuf, #[source] std::io::Error),
    /// A file is broken.
    #[error("{0}: {1}")]
    Cdb(PathBuf, #[source] cdb::CdbError),
    /// A source of this kind has no entries to list: it is asked, or read as text.
    #[error("{0} is not a table that can be listed")]
    NotListed(String),
}

/// The entries of a [`How::Listed`] or [`How::Cdb`] source.
///
/// # Errors
/// When the program or the file fails, or the source is of another kind.
pub async fn list(options: &Options, source: &Source) -> Result<Vec<Entry>, ListError> {
    match &source.how {
        How::Listed { program, arguments } => Ok(parse(&run(options, program, arguments, b"").await?)),
        How::Cdb(path) => read_cdb(path).await,
        _ => Err(ListError::NotListed(source.name.clone())),
    }
}

/// `key<TAB>value` lines, as `postmap -s` and `makemap -u` print them.
fn parse(text: &str) -> Vec<Entry> {
    let entry = |line: &str| {
        let (key, value) = line.split_once('\t').unwrap_or((line, ""));
        Entry { key: key.to_owned(), value: value.trim_start().to_owned() }
    };
    text.lines()
        .filter(|line| !line.is_empty())
        .map(entry)
        .filter(|entry| !MARKS.contains(&&*entry.key))
        .collect()
}

async fn read_cdb(path: &Path) -> Result<Vec<Entry>, ListError> {
    let bytes = tokio::fs::read(path).await.map_err(|error| ListError::File(path.to_owned(), error))?;
    let records = cdb::records(&bytes).map_err(|error| ListError::Cdb(path.to_owned(), error))?;
    // Postfix ends keys and values with a NUL in some table types
    let text =
        |bytes: &[u8]| String::from_utf8_lossy(bytes.strip_suffix(b"\0").unwrap_or(bytes)).into_owned();
    Ok(records.into_iter().map(|(key, data)| Entry { key: text(key), value: text(data) }).collect())
}

/// What `postalias` and `newaliases` add for themselves.
const MARKS: [&str; 3] = ["@", "YP_LAST_MODIFIED", "YP_MASTER_NAME"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_of_postmap() {
        // captured from `postmap -s hash:` on a database made by postalias, Postfix 3.7.11
        let text = "@\t@\nYP_LAST_MODIFIED\t1795299902\nYP_MASTER_NAME\tvm\nfoo+bar\tz\nowner-list\tx, y\n\"a b\"@a.test\tq\n";
        let keys: Vec<(String, String)> =
            parse(text).into_iter().map(|entry| (entry.key, entry.value)).collect();
        let expected = [("foo+bar", "z"), ("owner-list", "x, y"), ("\"a b\"@a.test", "q")];
        assert_eq!(keys, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }
}
