//! What became of each address since the copy of the index was begun: at the next start that is laid over the copy.
//!
//! Each record is bound to those before it by a digest, and the copy names the one it begins with. So whatever is missing,
//! altered, older, newer or of another file is noticed, and the copy is not used.

use std::collections::HashMap;

use redb::{Database, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction};
use ring::{
    digest::{Context, SHA256},
    rand::{SecureRandom, SystemRandom},
};

use super::store::{META, Result, StoreError, Touched};

/// A place in the journal, and what stands for all that is before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) sequence: u64,
    digest: [u8; 16],
}

impl Head {
    pub(super) const LENGTH: usize = 24;

    /// The place behind the next record.
    fn next(self, record: &[u8]) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(&self.encode());
        context.update(record);
        let whole = context.finish();
        let mut digest = [0; 16];
        digest.copy_from_slice(&whole.as_ref()[..16]);
        Self { sequence: self.sequence + 1, digest }
    }

    pub(super) fn encode(self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        bytes[..8].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[8..].copy_from_slice(&self.digest);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (sequence, rest) = bytes.split_first_chunk()?;
        Some(Self { sequence: u64::from_le_bytes(*sequence), digest: rest.try_into().ok()? })
    }
}

/// Where the journal of a file ends; `None` if there is none, and no copy can be used.
pub(super) fn end(database: &Database) -> Result<Option<Head>> {
    let meta = database.begin_read()?.open_table(META)?;
    let head = meta.get(HEAD)?.map(|head| Head::decode(head.value()).ok_or(StoreError::Garbled));
    head.transpose()
}

/// Begins a journal with a copy that nobody can have yet.
pub(super) fn begin(transaction: &WriteTransaction) -> Result<Head> {
    let mut head = Head { sequence: 0, digest: [0; 16] };
    SystemRandom::new().fill(&mut head.digest).map_err(|_| StoreError::Random)?;
    transaction.delete_table(JOURNAL)?;
    transaction.open_table(META)?.insert(HEAD, head.encode().as_slice())?;
    Ok(head)
}

/// No copy can be used any more, until a journal begins.
pub(super) fn give_up(transaction: &WriteTransaction) -> Result<()> {
    if transaction.open_table(META)?.remove(HEAD)?.is_some() {
        transaction.delete_table(JOURNAL)?;
    }
    Ok(())
}

/// Adds what became of addresses, if there is a journal. Records up to `copied` are not needed any more: some of them go.
pub(super) fn append(transaction: &WriteTransaction, touched: &[Touched], copied: u64) -> Result<()> {
    let mut meta = transaction.open_table(META)?;
    let head = meta.get(HEAD)?.map(|head| Head::decode(head.value()).ok_or(StoreError::Garbled));
    let Some(head) = head.transpose()? else { return Ok(()) };
    if touched.is_empty() {
        return Ok(());
    }
    let record = encode(touched);
    let head = head.next(&record);
    meta.insert(HEAD, head.encode().as_slice())?;
    let mut journal = transaction.open_table(JOURNAL)?;
    journal.insert(head.sequence, record.as_slice())?;
    prune(&mut journal, copied)
}

fn prune(journal: &mut Table<'_, u64, &'static [u8]>, copied: u64) -> Result<()> {
    for _ in 0..MOST_PRUNED {
        if journal.first()?.is_none_or(|(sequence, _)| sequence.value() > copied) {
            break;
        }
        journal.pop_first()?;
    }
    Ok(())
}

/// What became of addresses behind this place, and in how many records' words; `None` if the journal does not lead from there to its end.
pub(super) fn since(database: &Database, copied: Head) -> Result<Option<(Vec<Touched>, usize)>> {
    let Some(end) = end(database)? else { return Ok(None) };
    let mut head = copied;
    let mut touched: HashMap<Box<[u8]>, Option<u8>> = HashMap::new();
    let mut told = 0;
    if copied.sequence < end.sequence {
        let journal = database.begin_read()?.open_table(JOURNAL)?;
        for row in journal.range(copied.sequence + 1..=end.sequence)? {
            let (sequence, record) = row?;
            head = head.next(record.value());
            let Some(now) = decode(record.value()).filter(|_| sequence.value() == head.sequence) else {
                return Ok(None);
            };
            told += now.len();
            touched.extend(now);
        }
    }
    Ok((head == end).then(|| (touched.into_iter().collect(), told)))
}

/// For each address: bits, or [`GONE`]; length of the key (2 bytes); key.
fn encode(touched: &[Touched]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(touched.iter().map(|(key, _)| key.len() + 3).sum());
    for (key, now) in touched {
        let length = u16::try_from(key.len()).expect("longer keys were left out");
        bytes.push(now.unwrap_or(GONE));
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(key);
    }
    bytes
}

fn decode(mut bytes: &[u8]) -> Option<Vec<Touched>> {
    let mut touched = Vec::new();
    while let [bits, a, b, rest @ ..] = bytes {
        let (key, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes([*a, *b])))?;
        touched.push((key.into(), Some(*bits).filter(|bits| *bits != GONE)));
        bytes = rest;
    }
    bytes.is_empty().then_some(touched)
}

const JOURNAL: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("journal");
const HEAD: &str = "journal";
/// No attributes.
const GONE: u8 = 0xff;
/// Records that go with one transaction.
const MOST_PRUNED: usize = 1000;
