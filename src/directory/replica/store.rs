//! What a replica has on disk: the objects with their recipients, and each address with its objects.
//!
//! Several objects may share an address: it goes when the last of them does, and their attributes add up. A recipient
//! that a listing no longer had is marked until the listing is complete and believed; see `held`.

use std::{collections::HashSet, ops::Bound};

use redb::{Database, ReadableDatabase, ReadableTable, Table, TableDefinition, TableError, WriteTransaction};

use super::{
    ObjectId,
    journal::{self, Head},
};
use crate::{
    directory::{Builder, Index, index::SUSPENDED},
    store::disk::Disk,
};

/// The tables of one replica.
#[derive(Debug)]
pub(super) struct Store {
    database: Database,
    /// The journal up to here is in the copy.
    copied: u64,
}

/// Content that can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    #[error(transparent)]
    Database(Box<redb::Error>),
    /// Not what this version writes.
    #[error("its content makes no sense")]
    Garbled,
    /// The system has no random numbers.
    #[error("no random numbers")]
    Random,
}

impl<E: Into<redb::Error>> From<E> for StoreError {
    fn from(error: E) -> Self {
        Self::Database(Box::new(error.into()))
    }
}

pub(super) type Result<T> = std::result::Result<T, StoreError>;

/// One recipient of an object: its key in the index, and bits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    pub(super) key: Box<[u8]>,
    pub(super) bits: u8,
}

/// The latest that the object itself was listed with does not have it any more.
pub(super) const LEAVING: u8 = 0x40;
/// The last complete listing did not have it, and was not believed.
pub(super) const HELD: u8 = 0x80;
/// The attributes.
const ATTRIBUTES: u8 = 0x3f;

/// An address that was touched: what it is now, `None` if it is gone.
pub(super) type Touched = (Box<[u8]>, Option<u8>);

impl Store {
    /// Opens it, and makes it of an empty file. `check`: looks at every page, because a damaged file must not be believed;
    /// without, nothing may be written before [`Store::check`].
    pub(super) fn open(disk: Disk, check: bool) -> Result<Self> {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE);
        builder.set_check_integrity_on_open(check);
        let store = Self { database: builder.create_with_backend(disk)?, copied: 0 };
        match store.get(VERSION)?.as_deref() {
            Some([FORMAT]) => {}
            // What the first one wrote has no journal, and is the same otherwise.
            None | Some([1]) if check => {
                store.write(|tables| tables.set(VERSION, Some(&[FORMAT])))?;
            }
            _ => return Err(StoreError::Garbled),
        }
        Ok(store)
    }

    /// Looks at every page, which takes as long as the file is large. What is there then is whole, but may be what was there
    /// some time before.
    pub(super) fn check(&mut self) -> Result<()> {
        self.database.check_integrity()?;
        Ok(())
    }

    /// What is remembered under this name.
    pub(super) fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        match self.database.begin_read()?.open_table(META) {
            Ok(meta) => Ok(meta.get(name)?.map(|value| value.value().to_vec())),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// One transaction, on disk when this returns; gives also what became of every address that was touched.
    pub(super) fn write<T>(
        &self,
        work: impl FnOnce(&mut Tables<'_>) -> Result<T>,
    ) -> Result<(T, Vec<Touched>)> {
        let transaction = self.begin()?;
        let done = transaction.write(work)?;
        transaction.commit()?;
        Ok(done)
    }

    /// Begins a transaction. No other one can begin until it is committed or dropped.
    pub(super) fn begin(&self) -> Result<Transaction> {
        let mut transaction = self.database.begin_write()?;
        // After a crash it is opened as it is, and not walked through first.
        transaction.set_quick_repair(true);
        Ok(Transaction { transaction, copied: self.copied })
    }

    /// The index of all addresses.
    pub(super) fn index(&self) -> Result<Index> {
        let mut builder = Builder::default();
        self.for_each(|key, bits| builder.key(key, bits))?;
        Ok(builder.finish())
    }

    /// Tells each address, and what goes for it.
    pub(super) fn for_each(&self, mut each: impl FnMut(&[u8], u8)) -> Result<()> {
        let addresses = self.database.begin_read()?.open_table(ADDRESSES)?;
        let mut key = Vec::new();
        let mut all = None;
        for row in addresses.iter()? {
            let (row, bits) = row?;
            if row.value().0 != key {
                if let Some(bits) = all {
                    each(&key, bits);
                }
                key.clear();
                key.extend_from_slice(row.value().0);
                all = None;
            }
            all = Some(together(all, bits.value()));
        }
        if let Some(bits) = all {
            each(&key, bits);
        }
        Ok(())
    }

    /// Where the journal ends; `None` if there is none.
    pub(super) fn journal(&self) -> Result<Option<Head>> {
        journal::end(&self.database)
    }

    /// What became of addresses since the copy, and how often that was told; `None` if the copy is not of this file.
    pub(super) fn since(&self, copy: Head) -> Result<Option<(Vec<Touched>, usize)>> {
        journal::since(&self.database, copy)
    }

    /// From here on the journal has what becomes of each address.
    pub(super) fn begin_journal(&mut self) -> Result<Head> {
        self.copied = 0;
        let transaction = self.begin()?;
        let head = journal::begin(&transaction.transaction)?;
        transaction.commit()?;
        Ok(head)
    }

    /// Makes the copy worthless.
    pub(super) fn give_up_journal(&self) -> Result<()> {
        let transaction = self.begin()?;
        journal::give_up(&transaction.transaction)?;
        transaction.commit()
    }

    /// The journal up to this place is in the copy.
    pub(super) fn is_copied(&mut self, copy: Head) {
        self.copied = copy.sequence;
    }
}

/// What is not on disk yet.
pub(super) struct Transaction {
    transaction: WriteTransaction,
    copied: u64,
}

impl std::fmt::Debug for Transaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Transaction")
    }
}

impl Transaction {
    /// A part of it; gives also what became of every address that was touched.
    pub(super) fn write<T>(
        &self,
        work: impl FnOnce(&mut Tables<'_>) -> Result<T>,
    ) -> Result<(T, Vec<Touched>)> {
        let mut tables = Tables {
            objects: self.transaction.open_table(OBJECTS)?,
            addresses: self.transaction.open_table(ADDRESSES)?,
            meta: self.transaction.open_table(META)?,
            edits: Vec::new(),
            touched: HashSet::new(),
            is_told: true,
        };
        let done = work(&mut tables)?;
        tables.settle()?;
        let (is_told, touched) = (tables.is_told, tables.told()?);
        drop(tables);
        if is_told && touched.len() <= MOST_JOURNALED {
            journal::append(&self.transaction, &touched, self.copied)?;
        } else {
            journal::give_up(&self.transaction)?;
        }
        Ok((done, touched))
    }

    /// Puts it on disk.
    pub(super) fn commit(self) -> Result<()> {
        Ok(self.transaction.commit()?)
    }
}

/// An address, the object that has it, and the attributes; `None`: not any more.
struct Edit {
    key: Box<[u8]>,
    id: Box<[u8]>,
    attributes: Option<u8>,
}

/// The tables within a transaction.
pub(super) struct Tables<'t> {
    /// Object to its rows.
    objects: Table<'t, &'static [u8], &'static [u8]>,
    /// Address and object to attributes.
    addresses: Table<'t, (&'static [u8], &'static [u8]), u8>,
    meta: Table<'t, &'static str, &'static [u8]>,
    /// What is to be done with the addresses, in this order.
    edits: Vec<Edit>,
    touched: HashSet<Box<[u8]>>,
    /// Whether what is touched is remembered.
    is_told: bool,
}

impl Tables<'_> {
    /// The object stands for these and no others, from now on.
    pub(super) fn put(&mut self, id: &ObjectId, rows: &[Row]) -> Result<()> {
        let old = self.rows(id)?;
        for gone in old.iter().filter(|old| !has(rows, &old.key)) {
            self.edit(&gone.key, id, None);
        }
        self.replace(id, &old, rows)
    }

    /// The object stands for these; the others that it had are marked.
    pub(super) fn list(&mut self, id: &ObjectId, rows: &[Row]) -> Result<()> {
        let old = match self.objects.get(&**id)? {
            Some(old) if old.value() == encode(rows) => return Ok(()),
            Some(old) => decode(old.value())?,
            None => Vec::new(),
        };
        let leaving = old.iter().filter(|old| !has(rows, &old.key));
        let leaving = leaving.map(|old| Row { key: old.key.clone(), bits: old.bits | LEAVING });
        let mut all: Vec<Row> = rows.iter().cloned().chain(leaving).collect();
        all.sort();
        if all == old { Ok(()) } else { self.replace(id, &old, &all) }
    }

    /// The object is gone.
    pub(super) fn remove(&mut self, id: &ObjectId) -> Result<()> {
        self.put(id, &[])
    }

    /// The rows of an object, sorted.
    pub(super) fn rows(&self, id: &[u8]) -> Result<Vec<Row>> {
        self.objects.get(id)?.map_or(Ok(Vec::new()), |rows| decode(rows.value()))
    }

    /// The next objects, in order, from this one on, or behind it.
    pub(super) fn objects(
        &self,
        from: Bound<&[u8]>,
    ) -> Result<impl Iterator<Item = Result<(ObjectId, Vec<Row>)>> + '_> {
        let objects = self.objects.range::<&[u8]>((from, Bound::Unbounded))?;
        Ok(objects.map(|object| {
            let (id, rows) = object?;
            Ok((id.value().into(), decode(rows.value())?))
        }))
    }

    /// How many objects had the address when the transaction began.
    pub(super) fn count(&self, key: &[u8]) -> Result<usize> {
        let mut count = 0;
        self.each(key, |_| count += 1)?;
        Ok(count)
    }

    /// From here on it is not told what became of each address.
    pub(super) fn untold(&mut self) {
        self.is_told = false;
        self.touched = HashSet::new();
    }

    /// Remembers or forgets it.
    pub(super) fn set(&mut self, name: &str, value: Option<&[u8]>) -> Result<()> {
        match value {
            Some(value) => drop(self.meta.insert(name, value)?),
            None => drop(self.meta.remove(name)?),
        }
        Ok(())
    }

    /// Writes the rows of an object in the place of the old ones. Those that are gone have been removed.
    pub(super) fn replace(&mut self, id: &[u8], old: &[Row], rows: &[Row]) -> Result<()> {
        for row in rows {
            let attributes = row.bits & ATTRIBUTES;
            let before = old.iter().find(|old| old.key == row.key).map(|old| old.bits & ATTRIBUTES);
            if before != Some(attributes) {
                self.edit(&row.key, id, Some(attributes));
            }
        }
        if rows.is_empty() {
            self.objects.remove(id)?;
        } else {
            self.objects.insert(id, encode(rows).as_slice())?;
        }
        if self.edits.len() >= MOST_EDITS { self.settle() } else { Ok(()) }
    }

    fn edit(&mut self, key: &[u8], id: &[u8], attributes: Option<u8>) {
        self.edits.push(Edit { key: key.into(), id: id.into(), attributes });
        if self.is_told {
            self.touched.insert(key.into());
        }
    }

    /// Brings the addresses up to date, in their order: a page of the file is then written once, and not for each of its
    /// addresses.
    fn settle(&mut self) -> Result<()> {
        // Of several edits of the same, which stay in order, the last one counts.
        self.edits.sort_by(|a, b| (&a.key, &a.id).cmp(&(&b.key, &b.id)));
        let edits = std::mem::take(&mut self.edits);
        for same in edits.chunk_by(|a, b| (&a.key, &a.id) == (&b.key, &b.id)) {
            let Some(Edit { key, id, attributes }) = same.last() else { continue };
            match attributes {
                Some(attributes) => drop(self.addresses.insert((&**key, &**id), attributes)?),
                None => drop(self.addresses.remove((&**key, &**id))?),
            }
        }
        Ok(())
    }

    fn each(&self, key: &[u8], mut each: impl FnMut(u8)) -> Result<()> {
        for row in self.addresses.range((key, &[][..])..)? {
            let (row, bits) = row?;
            if row.value().0 != key {
                break;
            }
            each(bits.value());
        }
        Ok(())
    }

    fn told(&mut self) -> Result<Vec<Touched>> {
        let touched = std::mem::take(&mut self.touched);
        let told = touched.into_iter().map(|key| {
            let mut all = None;
            self.each(&key, |bits| all = Some(together(all, bits)))?;
            Ok((key, all))
        });
        told.collect()
    }
}

/// What goes for an address of several objects. While one of them is not suspended, mail has somewhere to go; what else
/// goes for one of them goes for all.
fn together(all: Option<u8>, bits: u8) -> u8 {
    all.map_or(bits, |all| (all | bits) & !SUSPENDED | (all & bits))
}

fn has(rows: &[Row], key: &[u8]) -> bool {
    rows.binary_search_by(|row| (*row.key).cmp(key)).is_ok()
}

/// For each row: bits, length of the key (2 bytes), key.
fn encode(rows: &[Row]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(rows.iter().map(|row| row.key.len() + 3).sum());
    for row in rows {
        let length = u16::try_from(row.key.len()).expect("longer keys were left out");
        bytes.push(row.bits);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&row.key);
    }
    bytes
}

fn decode(mut bytes: &[u8]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    while let [bits, a, b, rest @ ..] = bytes {
        let length = usize::from(u16::from_le_bytes([*a, *b]));
        let (key, rest) = rest.split_at_checked(length).ok_or(StoreError::Garbled)?;
        rows.push(Row { key: key.into(), bits: *bits });
        bytes = rest;
    }
    if bytes.is_empty() { Ok(rows) } else { Err(StoreError::Garbled) }
}

const OBJECTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("objects");
const ADDRESSES: TableDefinition<'_, (&[u8], &[u8]), u8> = TableDefinition::new("addresses");
pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const VERSION: &str = "version";
const FORMAT: u8 = 2;
/// More are not remembered.
const MOST_EDITS: usize = 1_000_000;
/// With more changes at once, a new copy of the index is worth more than a journal.
const MOST_JOURNALED: usize = if cfg!(test) { 10 } else { 10_000 };
/// Memory for pages of the file.
const CACHE: usize = 32 << 20;
