//! A part of a table in memory: bounded, each entry until its time.
//!
//! Reads no clock and waits for nothing. What is full makes room by giving up the least useful of a few entries taken at
//! random: a flood gives up its own entries.

use std::{
    mem,
    time::{Duration, Instant},
};

use indexmap::IndexMap;
use smallvec::SmallVec;

use super::{
    Outcome,
    hashed::{Given, Hashed, Id, Wanted},
    op::{Op, lasting},
};

/// Some entries of one table.
#[derive(Debug)]
pub(super) struct Shard {
    entries: IndexMap<Hashed, Kept, Given>,
    capacity: usize,
    /// Expiry looks here next.
    next: usize,
    /// The state of what chooses at random.
    chance: u64,
    journal: Option<Journal>,
    /// Something was given up before its time: by how much it was older than what took its place.
    given_up: Option<Duration>,
}

/// What has changed since it was taken last.
#[derive(Debug, Default)]
pub(super) struct Journal {
    ids: Vec<Hashed>,
    /// Those whose rows are to go, though the same may have been put there again: with a count that is not written.
    gone: Vec<Hashed>,
    /// So much that it is not worth listing.
    is_all: bool,
}

/// A value or a count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Data {
    Bytes(Box<[u8]>),
    Count(u64),
}

/// An entry, and until when it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) data: Data,
    pub(super) until: Instant,
}

#[derive(Debug)]
struct Kept {
    row: Row,
    /// The journal has it.
    is_noted: bool,
    /// It was written down, perhaps with another value.
    is_written: bool,
}

/// What is to be written down of a shard.
#[derive(Debug)]
pub(super) enum Changes {
    /// Of these, `None` for what is gone.
    Some(Vec<(Id, Option<Row>)>),
    /// There are these and no others.
    All(Vec<(Id, Row)>),
}

impl Shard {
    /// Nothing yet; with a journal if `is_journaled`. `seed` is for chance.
    pub(super) fn new(capacity: usize, is_journaled: bool, seed: u64) -> Self {
        let journal = is_journaled.then(Journal::default);
        Self { entries: IndexMap::default(), capacity, next: 0, chance: seed | 1, journal, given_up: None }
    }

    /// Does one thing, about this key.
    pub(super) fn run(&mut self, id: Wanted<'_>, op: &Op, now: Instant) -> Outcome {
        match op {
            Op::Get(_) => Outcome::Value(self.get(id, now).map(Data::to_bytes)),
            Op::Count(_) => Outcome::Count(self.get(id, now).map_or(0, Data::to_count)),
            Op::Put { value, ttl, .. } => {
                self.put(
                    id,
                    Row { data: Data::Bytes(value.as_slice().into()), until: now + lasting(*ttl) },
                    now,
                );
                Outcome::Done
            }
            Op::PutNew { value, ttl, .. } => {
                let there = self.get(id, now).map(Data::to_bytes);
                if there.is_none() {
                    self.put(
                        id,
                        Row { data: Data::Bytes(value.as_slice().into()), until: now + lasting(*ttl) },
                        now,
                    );
                }
                Outcome::Value(there)
            }
            Op::Add { by, ttl, .. } => {
                let there = self.entries.get(&id).filter(|kept| kept.row.until > now);
                let until = there.map_or(now + lasting(*ttl), |kept| kept.row.until);
                let sum = there.map_or(0, |kept| kept.row.data.to_count()).saturating_add(u64::from(*by));
                self.put(id, Row { data: Data::Count(sum), until }, now);
                Outcome::Count(sum)
            }
            Op::Remove(_) => {
                if let Some(at) = self.entries.get_index_of(&id) {
                    self.take(at);
                } else {
                    // Nobody has it, but what was written down may.
                    self.note_gone(id.to_owned());
                }
                Outcome::Done
            }
        }
    }

    /// Takes what was written down. It is not noted as a change.
    pub(super) fn load(&mut self, id: Wanted<'_>, row: Row, now: Instant) {
        if self.entries.len() >= self.capacity {
            self.make_room(row.until, now);
        }
        self.entries.insert(id.to_owned(), Kept { row, is_noted: false, is_written: true });
    }

    /// All entries that are not over.
    pub(super) fn rows(&self, now: Instant) -> impl Iterator<Item = (&Id, &Row)> {
        self.entries.iter().map(|(key, kept)| (&key.id, &kept.row)).filter(move |(_, row)| row.until > now)
    }

    /// Gives up what is over among the next so many, so that all are looked at in turn.
    pub(super) fn sweep(&mut self, count: usize, now: Instant) {
        for _ in 0..count.min(self.entries.len()) {
            match self.entries.get_index(self.next) {
                Some((_, kept)) if kept.row.until <= now => self.take(self.next),
                Some(_) => self.next += 1,
                None => self.next = 0,
            }
        }
    }

    /// What has changed since the last time. A count below `least` is left out until it is more.
    pub(super) fn changes(&mut self, least: u64, now: Instant) -> Changes {
        let journal = self.journal.as_mut().map(mem::take).unwrap_or_default();
        if journal.is_all {
            self.entries.values_mut().for_each(|kept| (kept.is_noted, kept.is_written) = (false, true));
            return Changes::All(self.rows(now).map(|(id, row)| (id.clone(), row.clone())).collect());
        }
        let gone = journal.gone.into_iter().map(|key| (key.id, None));
        let changes = journal.ids.into_iter().filter_map(|key| {
            let kept = self.entries.get_mut(&key.wanted())?;
            kept.is_noted = false;
            if !kept.is_written && matches!(kept.row.data, Data::Count(count) if count < least) {
                return None;
            }
            kept.is_written = true;
            Some((key.id, Some(kept.row.clone())))
        });
        Changes::Some(gone.chain(changes).collect())
    }

    /// From here on everything counts as changed.
    pub(super) fn note_all(&mut self) {
        if let Some(journal) = &mut self.journal {
            *journal = Journal { is_all: true, ..Journal::default() };
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn get(&self, id: Wanted<'_>, now: Instant) -> Option<&Data> {
        self.entries.get(&id).filter(|kept| kept.row.until > now).map(|kept| &kept.row.data)
    }

    fn put(&mut self, id: Wanted<'_>, row: Row, now: Instant) {
        match self.entries.get_mut(&id) {
            Some(kept) => {
                kept.row = row;
                if mem::replace(&mut kept.is_noted, true) {
                    return;
                }
            }
            None => {
                if self.entries.len() >= self.capacity {
                    self.make_room(row.until, now);
                }
                self.entries.insert(id.to_owned(), Kept { row, is_noted: true, is_written: false });
            }
        }
        self.note(id.to_owned());
    }

    /// What was given up before its time since this was asked last: how old it was, if all here are kept equally long.
    pub(super) fn given_up(&mut self) -> Option<Duration> {
        self.given_up.take()
    }

    /// Gives up the least useful of a few, for what ends then: what is over, then low counts, then what ends next.
    fn make_room(&mut self, until: Instant, now: Instant) {
        let length = self.entries.len();
        let chosen: SmallVec<[usize; SAMPLES]> = (0..SAMPLES).map(|_| self.any(length)).collect();
        let worth = |at: &usize| {
            let (_, kept) = self.entries.get_index(*at)?;
            let count = if let Data::Count(count) = kept.row.data { count } else { 0 };
            Some((kept.row.until > now, count, kept.row.until))
        };
        if let Some(at) = chosen.into_iter().min_by_key(worth) {
            let given_up = self.entries.get_index(at).filter(|(_, kept)| kept.row.until > now);
            if let Some((_, kept)) = given_up {
                self.given_up = Some(until.saturating_duration_since(kept.row.until));
            }
            self.take(at);
        }
    }

    /// A number below `length`. xorshift64 (Marsaglia): nobody outside knows the seed.
    fn any(&mut self, length: usize) -> usize {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        usize::try_from(self.chance % length.max(1) as u64).unwrap_or(0)
    }

    fn take(&mut self, at: usize) {
        if let Some((id, kept)) = self.entries.swap_remove_index(at)
            && kept.is_written
        {
            self.note_gone(id);
        }
    }

    fn note(&mut self, id: Hashed) {
        if let Some(journal) = self.journal_with_room() {
            journal.ids.push(id);
        }
    }

    fn note_gone(&mut self, id: Hashed) {
        if let Some(journal) = self.journal_with_room() {
            journal.gone.push(id);
        }
    }

    /// `None`: no change is listed.
    fn journal_with_room(&mut self) -> Option<&mut Journal> {
        let most = self.capacity.saturating_mul(2);
        if self.journal.as_ref().is_some_and(|journal| journal.ids.len() + journal.gone.len() >= most) {
            self.note_all();
        }
        self.journal.as_mut().filter(|journal| !journal.is_all)
    }
}

impl Data {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes.to_vec(),
            Self::Count(count) => count.to_string().into_bytes(),
        }
    }

    /// 0 for what is no count.
    pub(super) fn to_count(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => {
                std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
            }
            Self::Count(count) => *count,
        }
    }
}

/// Of so many the least useful one goes.
const SAMPLES: usize = 8;
