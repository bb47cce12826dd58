//! What a feed told, written down: changes one by one, and listings with what they take away.
//!
//! Blocks while it reads and writes. What is on disk and what is in memory are the same whenever it returns without an
//! error; after an error it is given up and made anew from what is in memory.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    ops::Bound,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{
    Change, ObjectId, Recipient,
    content::{Content, guard},
    copy,
    fold::Fold,
    held::{Held, Limits, Survey, judge},
    journal::Head,
    store::{HELD, LEAVING, Result, Row, Store, StoreError, Tables, Touched},
    sum::Sum,
};
use crate::{clock, directory::index::bits, store::disk::Disk};

/// The store of one replica, and the listing under way.
#[derive(Debug)]
pub(super) struct Ledger {
    fold: Option<Fold>,
    /// So many addresses are in the journal.
    journaled: usize,
    /// No copy of the index is made before.
    pause: Option<Instant>,
    /// Every page of the file was looked at.
    is_checked: bool,
    /// What a listing told lately, not on disk yet.
    lately: Vec<(ObjectId, Vec<Row>)>,
    store: Store,
    pub(super) cookie: Option<Vec<u8>>,
    /// Only who opened it last may write.
    pub(super) term: u64,
    listing: Option<Listing>,
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
    /// Opens the file, and puts into memory what it holds: the copy of the index with what came since, if there is a copy
    /// that belongs to the file.
    pub(super) fn open(path: Option<PathBuf>, content: &Content) -> Result<Self> {
        let copied = path.as_deref().map_or(Ok(None), copy::read).unwrap_or_else(|error| {
            tracing::debug!(directory = %content.name, %error, "the copy of the index is not used");
            None
        });
        let open = |check| Store::open(Disk::open(path.clone(), Arc::clone(&content.disk)), check);
        if let Some((head, index)) = copied
            && let Ok(mut ledger) = guard(|| Ok(Self::of(open(false)?, false)))
        {
            if let Ok(Some((touched, journaled))) = guard(|| ledger.since(head)) {
                ledger.journaled = journaled;
                ledger.store.is_copied(head);
                content.sure.store(false, Ordering::Release);
                content.memory.reset(index, touched);
                ledger.remember(content)?;
                return Ok(ledger);
            }
            ledger.store.check()?;
            return ledger.read(content);
        }
        Self::of(open(true)?, true).read(content)
    }

    /// Puts into memory what the file holds, all of which was looked at.
    fn read(mut self, content: &Content) -> Result<Self> {
        self.is_checked = true;
        self.load(content)?;
        // No copy goes with it.
        self.store.give_up_journal()?;
        self.fold_if_due(content)?;
        Ok(self)
    }

    /// What came since the copy of the index; `None` if it is not of this file.
    fn since(&self, copy: Head) -> Result<Option<(Vec<Touched>, usize)>> {
        let since = self.store.since(copy)?;
        Ok(if self.store.get(COMPLETE)?.is_some() { since } else { None })
    }

    fn of(store: Store, is_checked: bool) -> Self {
        Self {
            fold: None,
            journaled: 0,
            pause: None,
            is_checked,
            lately: Vec::new(),
            store,
            cookie: None,
            term: 0,
            listing: None,
        }
    }

    fn load(&mut self, content: &Content) -> Result<()> {
        content.memory.reset(self.store.index()?, Vec::new());
        self.remember(content)?;
        content.sure.store(true, Ordering::Release);
        Ok(())
    }

    /// Puts into memory what the file holds beside addresses.
    fn remember(&mut self, content: &Content) -> Result<()> {
        let held = self.store.get(HELD_BACK)?;
        let held = held.map(|held| Held::decode(&held, clock::now()).ok_or(StoreError::Garbled));
        let confirmed = self.store.get(CONFIRMED)?.and_then(|bytes| bytes.try_into().ok());
        self.cookie = self.store.get(COOKIE)?;
        content.hold(held.transpose()?);
        content.confirmed.store(confirmed.map_or(0, u64::from_le_bytes), Ordering::Relaxed);
        content.complete.store(self.store.get(COMPLETE)?.is_some(), Ordering::Release);
        Ok(())
    }

    /// Looks at every page of the file, unless that was done, and compares what is in memory with it: a file that was opened
    /// with a copy of the index was not read. Before it is written, or believed any further, it has to be.
    pub(super) fn check(&mut self, content: &Content) -> Result<()> {
        if self.is_checked {
            return Ok(());
        }
        let begun = clock::now();
        let before = self.store.journal()?;
        self.store.check()?;
        if self.store.journal()? != before {
            tracing::warn!(directory = %content.name, "the replica's file was damaged, and is what it was before");
            self.store.give_up_journal()?;
            self.load(content)?;
        } else if self.is_in(content)? {
            self.remember(content)?;
            content.sure.store(true, Ordering::Release);
        } else {
            tracing::error!(
                directory = %content.name,
                "the copy of the index is not what the replica's file says, which is read; please report it"
            );
            content.doubt();
            self.store.give_up_journal()?;
            self.load(content)?;
        }
        self.is_checked = true;
        tracing::debug!(directory = %content.name, took = ?clock::since(begun), "the replica's file is whole");
        self.fold_if_due(content)
    }

    /// Whether what is in memory is what the file says.
    fn is_in(&self, content: &Content) -> Result<bool> {
        let mut sum = Sum::new();
        self.store.for_each(|key, bits| sum.add(key, bits))?;
        Ok(content.memory.sum(&sum).is_some_and(|memory| memory.is_same(&sum)))
    }

    /// A new one in an empty file, of what is in memory. The feed has to list everything: which objects there are was
    /// lost, so each address is one of its own until then.
    pub(super) fn anew(path: Option<PathBuf>, content: &Content) -> Result<Self> {
        let disk = Disk::open(path, Arc::clone(&content.disk));
        let store = Store::open(disk, true)?;
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
        let mut ledger = Self::of(store, true);
        ledger.fold_if_due(content)?;
        Ok(ledger)
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
        self.change(content, touched)
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
        let (had, before, now) = (content.memory.len(), content.held(), clock::now());
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
        self.fold_if_due(content)?;
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
        self.fold_if_due(content)
    }

    /// Writes down how old the content is. Not before all of the file was looked at.
    pub(super) fn save(&mut self, content: &Content) -> Result<()> {
        if !self.is_checked {
            return Ok(());
        }
        self.commit(content)?;
        let confirmed = content.confirmed.load(Ordering::Relaxed).to_le_bytes();
        self.store.write(|tables| tables.set(CONFIRMED, Some(&confirmed)))?;
        self.fold_if_due(content)
    }

    fn settle(&mut self, content: &Content, touched: Vec<Touched>, many: bool) -> Result<()> {
        if many {
            content.memory.reset(self.store.index()?, Vec::new());
            return self.fold_if_due(content);
        }
        self.change(content, touched)
    }

    fn change(&mut self, content: &Content, touched: Vec<Touched>) -> Result<()> {
        self.journaled += touched.len();
        content.memory.change(touched);
        self.fold_if_due(content)
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
        self.change(content, touched)
    }

    /// Has the changes folded into a new index when there are many, and that written down when the list is complete. What is
    /// in memory has to be what is in the file.
    fn fold_if_due(&mut self, content: &Content) -> Result<()> {
        if let Some(fold) = self.fold.take_if(|fold| fold.is_done()) {
            self.folded(fold)?;
        }
        let is_complete = content.is_complete();
        let share = content.memory.len() / if is_complete { 32 } else { 4 };
        let most = LEAST_CHANGES.max(usize::try_from(share).unwrap_or(usize::MAX));
        // While no copy can be made, or one takes too long, the journal must not grow for ever.
        if self.journaled > most.saturating_mul(LONGEST_JOURNAL) && self.store.journal()?.is_some() {
            self.store.give_up_journal()?;
            self.journaled = 0;
        }
        if self.fold.is_some() {
            return Ok(());
        }
        let is_wanted = is_complete && self.pause.is_none_or(|at| at <= clock::now());
        // Beside a file that another process has, there is its copy.
        let file = content.path().filter(|_| is_wanted && content.disk.error().is_none());
        let journal = self.store.journal()?;
        // While everything is listed for the first time there will soon be more.
        let is_missing = journal.is_none() && self.listing.is_none();
        let is_worth_a_copy = file.is_some() && (is_missing || self.journaled > most);
        if !is_worth_a_copy && content.memory.changes() <= most {
            return Ok(());
        }
        let copy = match (file, journal) {
            (None, _) => None,
            (Some(file), Some(head)) => Some((file, head)),
            (Some(file), None) => {
                self.journaled = 0;
                Some((file, self.store.begin_journal()?))
            }
        };
        self.fold = Some(Fold::begin(&content.name, &content.memory, copy, self.journaled));
        Ok(())
    }

    fn folded(&mut self, mut fold: Fold) -> Result<()> {
        let is_written = fold.end();
        // Meanwhile so much may have changed that the journal was given up, and the copy with it.
        if let Some(head) = fold.head
            && self.store.journal()?.is_some()
        {
            if is_written {
                self.journaled = self.journaled.saturating_sub(fold.journaled);
                self.store.is_copied(head);
            } else {
                self.store.give_up_journal()?;
                self.pause = Some(clock::now() + PAUSE);
            }
        }
        Ok(())
    }

    /// So many addresses are in the journal.
    #[cfg(test)]
    pub(super) fn journaled(&self) -> Result<usize> {
        Ok(self.store.journal()?.map_or(0, |_| self.journaled))
    }

    /// Waits until a copy of the index is written, if one is due. For tests and benches.
    pub(super) fn wait_for_copy(&mut self, content: &Content) -> Result<()> {
        self.commit(content)?;
        // What is under way may be a fold without a copy.
        for _ in 0..2 {
            if let Some(fold) = self.fold.take() {
                self.folded(fold)?;
            }
            self.fold_if_due(content)?;
        }
        self.fold.take().map_or(Ok(()), |fold| self.folded(fold))
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
/// With fewer changes than that, a new index is not worth it.
const LEAST_CHANGES: usize = if cfg!(test) { 8 } else { 10_000 };
/// With so many times more changes than are worth a new index, the journal is given up, and the copy with it.
const LONGEST_JOURNAL: usize = 4;
/// After a copy of the index that could not be written.
const PAUSE: Duration = Duration::from_secs(600);
/// Objects that a listing tells of before they are written down.
const MOST_LATELY: usize = 100_000;
