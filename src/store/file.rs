//! What is written down of the tables: a database in one file, a row for each entry.
//!
//! A row says when it was written, and how long it was to be kept from then on. So a clock that was set back never makes
//! anything last longer than it was told to; one that was set forward ends it early. While the process runs, only the
//! clock that nobody sets counts; when the other one jumps, everything is written anew.
//!
//! Blocks. Failure: a [`FileError`], after which the file is not used any more.

use std::time::{Duration, Instant, SystemTime};

use redb::{Database, ReadableTable, TableDefinition};

use super::{
    Table,
    disk::{Disk, millis},
    hashed::Id,
    memory::Memory,
    shard::{Changes, Data, Row},
};
use crate::clock;

/// An open file.
#[derive(Debug)]
pub(super) struct File {
    database: Database,
    clocks: Clocks,
}

/// Content that can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error(transparent)]
    Database(Box<redb::Error>),
    /// Not what this version writes.
    #[error("its content makes no sense")]
    Garbled,
}

impl<E: Into<redb::Error>> From<E> for FileError {
    fn from(error: E) -> Self {
        Self::Database(Box::new(error.into()))
    }
}

pub(super) type Result<T> = std::result::Result<T, FileError>;

/// Both clocks, read together.
#[derive(Debug, Clone, Copy)]
struct Clocks {
    now: Instant,
    wall: SystemTime,
}

impl File {
    /// Opens or makes it, and puts into memory what is not over.
    pub(super) fn open(disk: Disk, memory: &Memory) -> Result<Self> {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE);
        // Everything is read now anyway, and a damaged file must not be believed.
        builder.set_check_integrity_on_open(true);
        let database = builder.create_with_backend(disk)?;
        let clocks = Clocks::read();
        let transaction = database.begin_write()?;
        {
            let mut meta = transaction.open_table(META)?;
            let version = meta.get(VERSION)?.map(|version| version.value().to_vec());
            match version.as_deref() {
                None => drop(meta.insert(VERSION, &[FORMAT][..])?),
                Some([FORMAT]) => {}
                Some(_) => return Err(FileError::Garbled),
            }
        }
        for table in Table::ALL {
            let mut rows = transaction.open_table(definition(table))?;
            let mut is_any_over = false;
            for row in rows.iter()? {
                let (id, row) = row?;
                match decode(row.value(), clocks)? {
                    Some(row) => memory.load(table, id.value().into(), row, clocks.now),
                    None => is_any_over = true,
                }
            }
            if is_any_over {
                rows.retain(|_, row| decode(row, clocks).is_ok_and(|row| row.is_some()))?;
            }
        }
        transaction.commit()?;
        Ok(Self { database, clocks })
    }

    /// Writes down what has changed, in one transaction; also nothing, if `always`.
    pub(super) fn write(&mut self, memory: &Memory, always: bool) -> Result<()> {
        let clocks = Clocks::read();
        if clocks.jumped_since(self.clocks) {
            Table::ALL.into_iter().for_each(|table| memory.note_all(table));
        }
        let mut changed = Vec::new();
        for table in Table::ALL {
            let (is_all, mut rows) = changes(memory, table, clocks.now);
            if is_all || !rows.is_empty() {
                // In the order of the file, so that each of its pages is written once.
                rows.sort_by(|(a, _), (b, _)| a.cmp(b));
                changed.push((table, is_all, rows));
            }
        }
        if changed.is_empty() && !always {
            return Ok(());
        }
        let transaction = self.database.begin_write()?;
        for (table, is_all, rows) in &changed {
            if *is_all {
                transaction.delete_table(definition(*table))?;
            }
            let mut there = transaction.open_table(definition(*table))?;
            for (id, row) in rows {
                match row {
                    Some(row) => drop(there.insert(id.as_slice(), encode(row, clocks).as_slice())?),
                    None => drop(there.remove(id.as_slice())?),
                }
            }
        }
        {
            let mut meta = transaction.open_table(META)?;
            meta.insert(WRITTEN, &millis(clocks.wall).to_le_bytes()[..])?;
        }
        transaction.commit()?;
        self.clocks = clocks;
        Ok(())
    }
}

impl Clocks {
    fn read() -> Self {
        Self { now: clock::now(), wall: clock::wall() }
    }

    /// The clock that can be set was set meanwhile, by more than it is corrected in passing.
    fn jumped_since(self, before: Self) -> bool {
        let (then, now) = (millis(before.wall), millis(self.wall));
        let passed = u64::try_from((self.now - before.now).as_millis()).unwrap_or(u64::MAX);
        now.abs_diff(then.saturating_add(passed)) > JUMP
    }
}

/// What has changed in the table, and whether that is all that there is.
fn changes(memory: &Memory, table: Table, now: Instant) -> (bool, Vec<(Id, Option<Row>)>) {
    let mut parts: Vec<Changes> = memory.changes(table, now).collect();
    let is_all = parts.iter().any(|part| matches!(part, Changes::All(_)));
    if is_all {
        memory.note_all(table);
        parts = memory.changes(table, now).collect();
    }
    let rows = parts.into_iter().flat_map(|part| match part {
        Changes::Some(rows) => rows,
        Changes::All(rows) => rows.into_iter().map(|(id, row)| (id, Some(row))).collect(),
    });
    (is_all, rows.collect())
}

fn definition(table: Table) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(table.as_str())
}

/// When it was written (ms since 1970), how long it is kept from then on (ms), each 8 bytes; what it is; the value.
fn encode(row: &Row, clocks: Clocks) -> Vec<u8> {
    let left = u64::try_from(row.until.saturating_duration_since(clocks.now).as_millis()).unwrap_or(u64::MAX);
    let count;
    let (kind, data) = match &row.data {
        Data::Bytes(bytes) => (BYTES, &**bytes),
        Data::Count(number) => {
            count = number.to_le_bytes();
            (COUNT, &count[..])
        }
    };
    [&millis(clocks.wall).to_le_bytes()[..], &left.to_le_bytes(), &[kind], data].concat()
}

/// `None`: it is over.
fn decode(row: &[u8], clocks: Clocks) -> Result<Option<Row>> {
    let (written, row) = row.split_first_chunk().ok_or(FileError::Garbled)?;
    let (left, row) = row.split_first_chunk().ok_or(FileError::Garbled)?;
    let (kind, data) = row.split_first().ok_or(FileError::Garbled)?;
    let data = match *kind {
        BYTES => Data::Bytes(data.into()),
        COUNT => Data::Count(u64::from_le_bytes(data.try_into().map_err(|_| FileError::Garbled)?)),
        _ => return Err(FileError::Garbled),
    };
    let passed = millis(clocks.wall).saturating_sub(u64::from_le_bytes(*written));
    let left = u64::from_le_bytes(*left).saturating_sub(passed);
    let until = clocks.now.checked_add(Duration::from_millis(left)).ok_or(FileError::Garbled)?;
    Ok((left > 0).then_some(Row { data, until }))
}

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const VERSION: &str = "version";
/// When it was written to last.
const WRITTEN: &str = "written";
const FORMAT: u8 = 1;
const BYTES: u8 = 0;
const COUNT: u8 = 1;
/// In milliseconds.
const JUMP: u64 = 2000;
/// Memory for pages of the file.
const CACHE: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_lasts_no_longer_than_it_was_told_to_whatever_the_clock_says() {
        let hour = Duration::from_secs(3600);
        let written = Clocks { now: Instant::now(), wall: SystemTime::UNIX_EPOCH + hour * 24 * 365 * 50 };
        let row = Row { data: Data::Count(7), until: written.now + hour };
        let bytes = encode(&row, written);
        let left = |wall| {
            let clocks = Clocks { now: written.now, wall };
            decode(&bytes, clocks).unwrap().map(|row| {
                assert_eq!(row.data, Data::Count(7));
                row.until - written.now
            })
        };
        assert_eq!(left(written.wall), Some(hour));
        assert_eq!(left(written.wall + hour / 4), Some(hour * 3 / 4), "the process was away");
        assert_eq!(left(written.wall + hour), None);
        assert_eq!(left(written.wall + hour * 1000), None);
        assert_eq!(left(written.wall - hour * 1000), Some(hour), "set back");
        assert_eq!(left(SystemTime::UNIX_EPOCH), Some(hour), "a host without a clock");
    }

    #[test]
    fn what_this_version_does_not_write_is_no_row() {
        let clocks = Clocks::read();
        let until = clocks.now + Duration::from_secs(9);
        for data in [Data::Bytes(Box::default()), Data::Bytes((*b"xyz").into()), Data::Count(u64::MAX)] {
            let bytes = encode(&Row { data: data.clone(), until }, clocks);
            assert_eq!(decode(&bytes, clocks).unwrap().unwrap().data, data);
            for cut in 0..17 {
                assert!(decode(&bytes[..cut], clocks).is_err(), "{cut}");
            }
        }
        let strange = [&encode(&Row { data: Data::Count(1), until }, clocks)[..], &[0]].concat();
        assert!(decode(&strange, clocks).is_err());
        let mut strange = encode(&Row { data: Data::Count(1), until }, clocks);
        strange[16] = 9;
        assert!(decode(&strange, clocks).is_err());
        strange[16] = COUNT;
        strange[8..16].fill(0xff);
        // Longer than there are clocks for: no panic, whatever it is.
        let _ = decode(&strange, clocks);
    }

    #[test]
    fn a_clock_that_is_set_is_noticed_and_one_that_runs_is_not() {
        let before = Clocks::read();
        let second = Duration::from_secs(1);
        let after = |passed, set| Clocks { now: before.now + passed, wall: before.wall + set };
        assert!(!after(second, second).jumped_since(before));
        assert!(!after(second * 1000, second * 1001).jumped_since(before), "corrected in passing");
        assert!(after(second, second * 9).jumped_since(before));
        assert!(Clocks { now: before.now, wall: before.wall - second * 9 }.jumped_since(before));
    }
}
