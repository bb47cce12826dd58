//! What a feed told, written down: changes one by one, and listings with what they take away.
//!
//! Blocks while it reads and writes. What is on disk and what is in memory are the same whenever it returns without an
//! error; after an error it is given up and made anew from what is in memory.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    ops::Bound,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Instant,
};

use super::{
    Change, ObjectId, Recipient,
    content::Content,
    held::{Held, Limits, Survey, judge},
    store::{HELD, LEAVING, Result, Row, Store, StoreError, Tables, Touched},
};
use crate::{directory::index::bits, store::disk::Disk};

/// The store of one replica, and the listing under way.
#[derive(Debug)]
pub(super) struct Ledger {
    // Dropped before the store, in the order written here.
    building: Option<Building>,
    /// What a listing told lately, not on disk yet.
    lately: Vec<(ObjectId, Vec<Row>)>,
    store: Store,
    pub(super) cookie: Option<Vec<u8>>,
    /// Only who opened it last may write.
    pub(super) term: u64,
    listing: Option<Listing>,
}

/// The thread that builds an index. It reads the file, which is not closed while it does.
#[derive(Debug)]
struct Building {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Building {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // It tells of its panics itself.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// The objects that a listing named so far.
#[derive(Debug, Default)]
struct Listing {
    /// As hashes, with a key of its own: if two are the same once in a million years, an object stays that is gone.
    seen: Vec<u64>,
    hasher: RandomState,
}

impl Listing {
    fn see(&mut self, id: &[u8]) {
        self.seen.push(self.hasher.hash_one(id));
    }

    fn has_seen(&self, id: &[u8]) -> bool {
        self.seen.binary_search(&self.hasher.hash_one(id)).is_ok()
    }
}

impl Ledger {
    /// Opens the file, and puts into memory what it holds.
    pub(super) fn open(path: Option<PathBuf>, content: &Content) -> Result<Self> {
        let disk = Disk::open(path, Arc::clone(&content.disk));
        let store = Store::open(disk)?;
        let ((cookie, held, complete, confirmed), _) = store.write(|tables| {
            let held = tables.get(HELD_BACK)?;
            let held = held.map(|held| Held::decode(&held, Instant::now()).ok_or(StoreError::Garbled));
            let confirmed = tables.get(CONFIRMED)?.and_then(|bytes| bytes.try_into().ok());
            Ok((
                tables.get(COOKIE)?,
                held.transpose()?,
                tables.get(COMPLETE)?.is_some(),
                confirmed.map_or(0, u64::from_le_bytes),
            ))
        })?;
        content.memory.reset(store.index()?(&AtomicBool::new(false))?);
        content.confirmed.store(confirmed, Ordering::Relaxed);
        content.hold(held);
        content.complete.store(complete, Ordering::Release);
        Ok(Self { store, cookie, term: 0, listing: None, lately: Vec::new(), building: None })
    }

    /// A new one in an empty file, of what is in memory. The feed has to list everything: which objects there are was
    /// lost, so each address is one of its own until then.
    pub(super) fn anew(path: Option<PathBuf>, content: &Content) -> Result<Self> {
        let disk = Disk::open(path, Arc::clone(&content.disk));
        let store = Store::open(disk)?;
        let mut rows: Vec<Row> = Vec::new();
        let transaction = store.begin()?;
        let write = |rows: &mut Vec<Row>| {
            transaction.write(|tables| {
                tables.untold();
                for row in rows.drain(..) {
                    let id = [b"\0address ", &*row.key].concat().into_boxed_slice();
                    tables.put(&id, &[row])?;
                }
                Ok(())
            })
        };
        content.memory.for_each(|key, bits| {
            rows.push(Row { key: key.into(), bits });
            if rows.len() >= CHUNK { write(&mut rows).map(drop) } else { Ok(()) }
        })?;
        write(&mut rows)?;
        transaction.write(|tables| {
            if content.complete.load(Ordering::Acquire) {
                tables.set(COMPLETE, Some(&[1]))?;
            }
            tables.set(CONFIRMED, Some(&content.confirmed.load(Ordering::Relaxed).to_le_bytes()))
        })?;
        transaction.commit()?;
        content.hold(None);
        Ok(Self { store, cookie: None, term: 0, listing: None, lately: Vec::new(), building: None })
    }

    pub(super) fn apply(
        &mut self,
        content: &Content,
        changes: Vec<Change>,
        cookie: Option<Vec<u8>>,
    ) -> Result<()> {
        self.commit(content)?;
        let ((), touched) = self.store.write(|tables| {
            for change in &changes {
                match change {
                    Change::Put(id, recipients) => tables.put(id, &rows(recipients))?,
                    Change::Remove(id) => tables.remove(id)?,
                }
            }
            if cookie.is_some() {
                tables.set(COOKIE, cookie.as_deref())?;
            }
            Ok(())
        })?;
        if let Some(listing) = &mut self.listing {
            for change in &changes {
                if let Change::Put(id, _) = change {
                    listing.see(id);
                }
            }
        }
        if cookie.is_some() {
            self.cookie = cookie;
        }
        content.memory.change(touched);
        self.build_if_due(content)
    }

    pub(super) fn begin_listing(&mut self) {
        self.listing = Some(Listing::default());
    }

    pub(super) fn list(&mut self, content: &Content, page: &[(ObjectId, Vec<Recipient>)]) -> Result<()> {
        let listing = self.listing.get_or_insert_default();
        let mut new: HashMap<Box<[u8]>, u8> = HashMap::new();
        for (id, recipients) in page {
            listing.see(id);
            let rows = rows(recipients);
            for row in rows.iter().filter(|row| content.memory.get(&row.key).is_none()) {
                *new.entry(row.key.clone()).or_default() |= row.bits;
            }
            self.lately.push((id.clone(), rows));
        }
        content.memory.change(new.into_iter().map(|(key, bits)| (key, Some(bits))).collect());
        // Large parts are worth their sorting, and the memory that they take is a part of the whole.
        let most = MOST_LATELY.max(usize::try_from(content.memory.len() / 8).unwrap_or(usize::MAX));
        if self.lately.len() >= most { self.commit(content) } else { Ok(()) }
    }

    pub(super) fn keep(&mut self, ids: &[ObjectId]) {
        let listing = self.listing.get_or_insert_default();
        ids.iter().for_each(|id| listing.see(id));
    }

    /// Gives what is held back.
    pub(super) fn end_listing(
        &mut self,
        content: &Content,
        cookie: Option<Vec<u8>>,
        limits: Limits,
    ) -> Result<Option<Held>> {
        self.commit(content)?;
        let mut listing = self.listing.take().unwrap_or_default();
        listing.seen.sort_unstable();
        listing.seen.dedup();
        let is_lost = |id: &[u8], row: &Row| row.bits & LEAVING != 0 || !listing.has_seen(id);
        let (had, before, now) = (content.memory.len(), content.held(), Instant::now());
        let ((held, many), touched) = self.store.write(|tables| {
            let survey = Survey { had, ..survey(tables, is_lost)? };
            let held = judge(survey, before, limits, now);
            let many = held.is_none() && survey.lost > MANY;
            if many {
                tables.untold();
            }
            rework(tables, |id, row| match (is_lost(id, row), held) {
                (true, None) => None,
                (true, Some(_)) => Some(row.bits | HELD),
                (false, _) => Some(row.bits & !HELD),
            })?;
            tables.set(COOKIE, cookie.as_deref())?;
            tables.set(HELD_BACK, held.map(Held::encode).as_deref())?;
            if held.is_none() {
                tables.set(COMPLETE, Some(&[1]))?;
            }
            Ok((held, many))
        })?;
        self.cookie = cookie;
        self.settle(content, touched, many)?;
        content.hold(held);
        if held.is_none() {
            content.complete.store(true, Ordering::Release);
        }
        Ok(held)
    }

    /// Takes away what is held back.
    pub(super) fn accept(&mut self, content: &Content) -> Result<()> {
        self.commit(content)?;
        let Some(held) = content.held() else { return Ok(()) };
        let many = held.from.saturating_sub(held.to) > MANY;
        let ((), touched) = self.store.write(|tables| {
            if many {
                tables.untold();
            }
            rework(tables, |_, row| (row.bits & HELD == 0).then_some(row.bits))?;
            tables.set(HELD_BACK, None)?;
            tables.set(COMPLETE, Some(&[1]))
        })?;
        self.settle(content, touched, many)?;
        content.hold(None);
        content.accepted();
        content.complete.store(true, Ordering::Release);
        Ok(())
    }

    /// Writes down how old the content is.
    pub(super) fn save(&mut self, content: &Content) -> Result<()> {
        self.commit(content)?;
        let confirmed = content.confirmed.load(Ordering::Relaxed).to_le_bytes();
        self.store.write(|tables| tables.set(CONFIRMED, Some(&confirmed)))?;
        Ok(())
    }

    fn settle(&mut self, content: &Content, touched: Vec<Touched>, many: bool) -> Result<()> {
        if many {
            content.memory.reset(self.store.index()?(&AtomicBool::new(false))?);
            return Ok(());
        }
        content.memory.change(touched);
        self.build_if_due(content)
    }

    /// Puts on disk, and into force, what a listing told so far.
    pub(super) fn commit(&mut self, content: &Content) -> Result<()> {
        if self.lately.is_empty() {
            return Ok(());
        }
        let mut lately = std::mem::take(&mut self.lately);
        // In the order of the file. What was listed twice stays in the order in which it was.
        lately.sort_by(|(a, _), (b, _)| a.cmp(b));
        let ((), touched) =
            self.store.write(|tables| lately.iter().try_for_each(|(id, rows)| tables.list(id, rows)))?;
        content.memory.change(touched);
        self.build_if_due(content)
    }

    /// Builds a new index beside everything else when there are many changes.
    fn build_if_due(&mut self, content: &Content) -> Result<()> {
        if !content.memory.is_due(if cfg!(test) { 8 } else { LEAST_CHANGES }) {
            return Ok(());
        }
        let build = self.store.index()?;
        let before = content.memory.freeze();
        let memory = Arc::clone(&content.memory);
        let name = Arc::clone(&content.name);
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new().name("replica-index".to_owned()).spawn({
            let before = Arc::clone(&before);
            let memory = Arc::clone(&memory);
            let stop = Arc::clone(&stop);
            move || {
                let built = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| build(&stop)));
                let built = built.unwrap_or(Err(StoreError::Garbled));
                if let Err(error) = &built {
                    tracing::debug!(directory = %name, %error, "the index could not be built anew");
                }
                memory.built(&before, built.ok());
            }
        });
        match thread {
            Ok(thread) => self.building = Some(Building { stop, thread: Some(thread) }),
            Err(_) => memory.built(&before, None),
        }
        Ok(())
    }
}

/// The recipients as they are stored: sorted, each once.
fn rows(recipients: &[Recipient]) -> Vec<Row> {
    let mut rows: Vec<Row> = recipients
        .iter()
        .map(|recipient| Row { key: (*recipient.entry.key()).into(), bits: bits(recipient.attributes) })
        .filter(|row| row.key.len() <= usize::from(u16::MAX))
        .collect();
    rows.sort();
    rows.dedup_by(|second, first| {
        let same = first.key == second.key;
        if same {
            first.bits |= second.bits;
        }
        same
    });
    rows
}

/// Counts the addresses that go when these rows do. An address of several objects goes with the last of them.
fn survey(tables: &Tables<'_>, is_lost: impl Fn(&[u8], &Row) -> bool) -> Result<Survey> {
    let mut survey = Survey::default();
    // Rows that are lost of addresses that have more than one, and how many of these are held back already.
    let mut shared: HashMap<Box<[u8]>, (usize, usize)> = HashMap::new();
    for object in tables.objects(Bound::Unbounded)? {
        let (id, rows) = object?;
        for row in rows.into_iter().filter(|row| is_lost(&id, row)) {
            let held = usize::from(row.bits & HELD != 0);
            if tables.count(&row.key)? == 1 {
                survey.lost += 1;
                survey.newly += u64::from(held == 0);
            } else {
                let (lost, old) = shared.entry(row.key).or_default();
                *lost += 1;
                *old += held;
            }
        }
    }
    for (key, (lost, held)) in shared {
        if tables.count(&key)? == lost {
            survey.lost += 1;
            survey.newly += u64::from(held < lost);
        }
    }
    Ok(survey)
}

/// Gives every row the bits that `rework` says, or takes it away.
fn rework(tables: &mut Tables<'_>, rework: impl Fn(&[u8], &Row) -> Option<u8>) -> Result<()> {
    let mut from: Option<ObjectId> = None;
    loop {
        let mut changed = Vec::new();
        let mut last = None;
        let begin = from.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        for object in tables.objects(begin)? {
            let (id, rows) = object?;
            let new: Vec<Row> = rows
                .iter()
                .filter_map(|row| Some(Row { key: row.key.clone(), bits: rework(&id, row)? }))
                .collect();
            if new != rows {
                changed.push((id.clone(), new));
            }
            if changed.len() >= CHUNK {
                last = Some(id);
                break;
            }
        }
        for (id, rows) in changed {
            tables.put(&id, &rows)?;
        }
        match last {
            Some(last) => from = Some(last),
            None => return Ok(()),
        }
    }
}

const COOKIE: &str = "cookie";
const COMPLETE: &str = "complete";
const CONFIRMED: &str = "confirmed";
const HELD_BACK: &str = "held";
/// Objects that are handled at once.
const CHUNK: usize = 10_000;
/// With more addresses gone than that, the index is built anew at once.
const MANY: u64 = if cfg!(test) { 20 } else { 100_000 };
/// With fewer changes than that, it is not worth it.
const LEAST_CHANGES: usize = 10_000;
/// Objects that a listing tells of before they are written down.
const MOST_LATELY: usize = 100_000;
