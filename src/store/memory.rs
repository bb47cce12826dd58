//! State in the memory of this process: tables in parts, each with a lock of its own that is held for an instant.
//!
//! What a table gives up before its time is counted, in another table: so the count is written down with what is gone.

use std::{
    hash::BuildHasher,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    Entry, Evictions, Key, LONGEST, Op, Outcome, Table,
    evicted::Lately,
    hashed::{Id, Keys, Wanted},
    shard::{Changes, Data, Row, Shard},
};
use crate::clock;

/// Each table by itself, so that a flood of one leaves the others alone.
#[derive(Debug)]
pub(super) struct Memory {
    /// Which part a key is in: nobody outside can tell.
    hasher: Keys,
    shards: Box<[Mutex<Shard>]>,
    /// For each table: something was put there, ever. Many sites use few tables.
    is_used: [AtomicBool; Table::ALL.len()],
    /// For each table.
    evicted: [Lately; Table::ALL.len()],
}

impl Memory {
    /// Empty; if `is_journaled`, what changes is noted until it is taken.
    pub(super) fn new(is_journaled: bool) -> Self {
        Self::with_capacity(is_journaled, Table::capacity)
    }

    /// The same with other bounds.
    pub(super) fn with_capacity(is_journaled: bool, capacity: impl Fn(Table) -> usize) -> Self {
        let hasher = Keys::default();
        let shards = (0..Table::ALL.len() * SHARDS).map(|at| {
            let capacity = capacity(Table::ALL[at / SHARDS]).div_ceil(SHARDS);
            Mutex::new(Shard::new(capacity, is_journaled, hasher.hash_one(at)))
        });
        Self { shards: shards.collect(), is_used: Default::default(), evicted: Default::default(), hasher }
    }

    pub(super) fn run(&self, ops: &[Op]) -> Vec<Outcome> {
        self.run_at(ops, clock::now())
    }

    /// The same, for whoever does not want to know what came of it.
    pub(super) fn tell(&self, ops: &[Op]) {
        let now = clock::now();
        ops.iter().for_each(|op| drop(self.run_one(op, now)));
    }

    /// The same at a time.
    pub(super) fn run_at(&self, ops: &[Op], now: Instant) -> Vec<Outcome> {
        ops.iter().map(|op| self.run_one(op, now)).collect()
    }

    fn run_one(&self, op: &Op, now: Instant) -> Outcome {
        let Key { table, id } = op.key();
        if !self.is_used(*table) {
            match op {
                Op::Get(_) => return Outcome::Value(None),
                Op::Count(_) => return Outcome::Count(0),
                Op::Put { .. } | Op::PutNew { .. } | Op::Add { .. } | Op::Remove(_) => self.use_table(*table),
            }
        }
        let (mut shard, id) = self.shard(*table, id);
        let outcome = shard.run(id, op, now);
        self.count(*table, &mut shard, now);
        outcome
    }

    /// The value that is there.
    pub(super) fn value(&self, table: Table, id: &[u8], now: Instant) -> Option<Vec<u8>> {
        if !self.is_used(table) {
            return None;
        }
        let (shard, id) = self.shard(table, id);
        shard.get(id, now).map(Data::to_bytes)
    }

    /// The count that is there, or 0.
    pub(super) fn number(&self, table: Table, id: &[u8], now: Instant) -> u64 {
        if !self.is_used(table) {
            return 0;
        }
        let (shard, id) = self.shard(table, id);
        shard.get(id, now).map_or(0, Data::to_count)
    }

    /// Whether anything was put there, ever.
    pub(super) fn is_used(&self, table: Table) -> bool {
        self.is_used[table as usize].load(Ordering::Relaxed)
    }

    /// All of a table, in the order of the keys.
    pub(super) fn list(&self, table: Table) -> Vec<Entry> {
        self.list_at(table, clock::now())
    }

    /// The same at a time.
    pub(super) fn list_at(&self, table: Table, now: Instant) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        for shard in self.shards(table) {
            let shard = lock(shard);
            entries.extend(shard.rows(now).map(|(id, row)| Entry {
                id: id.to_vec(),
                value: row.data.to_bytes(),
                left: row.until - now,
            }));
        }
        entries.sort_by(|a, b| a.id.cmp(&b.id));
        entries
    }

    /// How much of a table was given up before its time, ever; what else is there is not counted.
    pub(super) fn evictions(&self, table: Table) -> Evictions {
        let key = evicted_key(table);
        let counted = self.run_one(&Op::Count(key), clock::now());
        Evictions { run: String::new(), count: counted.count(), may_evict: true }
    }

    /// Whether lately something of a table was given up that was younger than this; if all of it is kept equally long.
    pub(super) fn has_evicted(&self, table: Table, age: Duration, now: Instant) -> bool {
        self.evicted[table as usize].is_any_below(age, now)
    }

    /// Counts what is given up already, as it did not fit when it was loaded.
    pub(super) fn loaded(&self, now: Instant) {
        for table in Table::ALL {
            for shard in self.shards(table) {
                self.count(table, &mut lock(shard), now);
            }
        }
    }

    /// While the part is locked, so that nobody sees it without what it lost, and before it is written down. What is in
    /// the table of the counts itself is few, and what it gives up can't be counted there.
    fn count(&self, table: Table, shard: &mut Shard, now: Instant) {
        let Some(age) = shard.given_up() else { return };
        self.evicted[table as usize].tell(age, now);
        if table != COUNTS {
            let key = evicted_key(table);
            self.run_one(&Op::Add { key, by: 1, ttl: LONGEST }, now);
        }
    }

    /// Takes what was written down.
    pub(super) fn load(&self, table: Table, id: Id, row: Row, now: Instant) {
        self.use_table(table);
        let (mut shard, id) = self.shard(table, &id);
        shard.load(id, row, now);
    }

    /// Gives up a part of what is over: all of it is looked at when this was called [`ROUNDS`] times.
    pub(super) fn sweep(&self, now: Instant) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            let count = shard.len().div_ceil(ROUNDS);
            shard.sweep(count, now);
        }
    }

    /// How many entries a table has, with those that are over and not given up yet.
    pub(super) fn len(&self, table: Table) -> usize {
        self.shards(table).iter().map(|shard| lock(shard).len()).sum()
    }

    /// What has changed in a table since it was taken last, each part by itself.
    pub(super) fn changes(&self, table: Table, now: Instant) -> impl Iterator<Item = Changes> {
        self.shards(table).iter().map(move |shard| lock(shard).changes(table.least_written(), now))
    }

    /// From here on all of the table counts as changed.
    pub(super) fn note_all(&self, table: Table) {
        self.shards(table).iter().for_each(|shard| lock(shard).note_all());
    }

    /// Before anything is put there: whoever is told of it finds it.
    fn use_table(&self, table: Table) {
        self.is_used[table as usize].store(true, Ordering::Relaxed);
    }

    fn shard<'i>(&self, table: Table, id: &'i [u8]) -> (MutexGuard<'_, Shard>, Wanted<'i>) {
        let (shards, id) = (self.shards(table), Wanted::new(&self.hasher, id));
        (lock(&shards[id.part(shards.len())]), id)
    }

    fn shards(&self, table: Table) -> &[Mutex<Shard>] {
        let at = table as usize * SHARDS;
        &self.shards[at..at + SHARDS]
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn evicted_key(table: Table) -> Key {
    Key::new(COUNTS, format!("evicted/{}", table.as_str()))
}

/// Written down last of all.
const COUNTS: Table = Table::Secrets;

/// Parts of a table.
const SHARDS: usize = 64;
/// What is over goes within so many rounds.
pub(super) const ROUNDS: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn put(table: Table, n: usize, ttl: u64) -> Op {
        let key = Key::new(table, n.to_string());
        Op::Put { key, value: b"x".to_vec(), ttl: Duration::from_secs(ttl) }
    }

    #[test]
    fn what_is_over_is_not_there_and_goes_by_itself() {
        let memory = Memory::new(false);
        let start = Instant::now();
        let ops: Vec<Op> = (0..1000).map(|n| put(Table::Trusts, n, 10 + n as u64 % 2)).collect();
        memory.run_at(&ops, start);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(memory.list_at(Table::Trusts, at(9)).len(), 1000);
        assert_eq!(memory.list_at(Table::Trusts, at(10)).len(), 500, "over at that instant");
        assert_eq!(memory.list_at(Table::Trusts, at(11)).len(), 0);
        let key = Key::new(Table::Trusts, "0");
        assert_eq!(memory.run_at(&[Op::Get(key.clone())], at(10)), [Outcome::Value(None)]);
        assert_eq!(memory.run_at(&[Op::Get(key)], at(9)), [Outcome::Value(Some(b"x".to_vec()))]);
        assert_eq!(memory.len(Table::Trusts), 1000, "nobody asked for the others");
        for _ in 0..2 * ROUNDS {
            memory.sweep(at(10));
        }
        assert_eq!(memory.len(Table::Trusts), 500);
    }

    /// A harvest from a million addresses drives out neither the blocks nor who guesses most.
    #[test]
    fn a_flood_gives_up_its_own_least_useful_entries() {
        const CAPACITY: usize = 6400;
        let memory = Memory::with_capacity(true, |_| CAPACITY);
        let now = Instant::now();
        let hour = Duration::from_secs(3600);
        let add = |name: String, by| Op::Add { key: Key::new(Table::Harvest, name), by, ttl: hour };
        for n in 0..100 {
            memory.run_at(&[put(Table::Blocks, n, 60), put(Table::Suspensions, n, 60)], now);
            memory.run_at(&[add(format!("guesser {n}"), 19)], now);
        }
        for n in 0..CAPACITY * 10 {
            memory.run_at(&[add(format!("flood {n}"), 1)], now);
        }
        assert!(memory.len(Table::Harvest) <= CAPACITY);
        assert_eq!((memory.len(Table::Blocks), memory.len(Table::Suspensions)), (100, 100));
        let there =
            |n: usize| memory.run_at(&[Op::Count(Key::new(Table::Harvest, format!("guesser {n}")))], now);
        let kept = (0..100).filter(|&n| there(n) == [Outcome::Count(19)]).count();
        assert!(kept >= 99, "{kept} of 100 that guess much are known");
        // What is not written down for a long time is bounded, too.
        let noted: usize = Table::ALL.iter().map(|&table| memory.changes(table, now).count()).sum();
        assert_eq!(noted, SHARDS * Table::ALL.len());
    }

    /// And what is over makes room without a word.
    #[test]
    fn what_is_given_up_before_its_time_is_told() {
        const CAPACITY: usize = 6400;
        let memory = Memory::with_capacity(false, |_| CAPACITY);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let fill = |from: usize, now| {
            (from..from + 2 * CAPACITY)
                .for_each(|n| drop(memory.run_at(&[put(Table::Greylist, n, 1000)], now)));
        };
        let young = |age, now| memory.has_evicted(Table::Greylist, Duration::from_secs(age), at(now));
        memory.run_at(&[put(Table::Greylist, 0, 1000)], start);
        let before = memory.evictions(Table::Greylist);
        assert!(before.is_none_since(&before.to_bytes()) && !young(1000, 0));
        fill(0, start);
        let after = memory.evictions(Table::Greylist);
        assert!(!after.is_none_since(&before.to_bytes()), "{after:?}");
        assert!(after.count >= CAPACITY as u64 && young(1, 0), "{after:?}");
        assert!(!young(1000, 4000), "long ago");
        for table in [Table::Senders, Table::Secrets] {
            assert_eq!(memory.evictions(table).count, 0, "{table:?}");
            assert!(!memory.has_evicted(table, Duration::MAX, start), "{table:?}");
        }
        // All is over, one by one.
        let memory = Memory::with_capacity(false, |_| CAPACITY);
        for n in 0..3 * CAPACITY {
            memory.run_at(&[put(Table::Greylist, n, 1)], at(2 * n as u64));
        }
        assert_eq!(memory.evictions(Table::Greylist).count, 0);
        // Old ones are given up, and no young ones: there are many of the former.
        for n in 0..CAPACITY {
            memory.run_at(&[put(Table::Greylist, n, 100_000)], start);
        }
        for n in CAPACITY..CAPACITY + CAPACITY / 10 {
            memory.run_at(&[put(Table::Greylist, n, 100_000)], at(7200));
        }
        assert!(memory.has_evicted(Table::Greylist, Duration::from_secs(7201), at(7200)));
        assert!(!memory.has_evicted(Table::Greylist, Duration::from_secs(3600), at(7200)));
    }

    #[test]
    fn of_equal_entries_those_go_that_end_next() {
        const CAPACITY: usize = 6400;
        let memory = Memory::with_capacity(false, |_| CAPACITY);
        let now = Instant::now();
        for n in 0..CAPACITY {
            memory.run_at(&[put(Table::Greylist, n, if n % 2 == 0 { 10 } else { 1000 })], now);
        }
        for n in CAPACITY..CAPACITY + CAPACITY / 4 {
            memory.run_at(&[put(Table::Greylist, n, 1000)], now);
        }
        let left = memory.list_at(Table::Greylist, now);
        let lasting = left.iter().filter(|entry| entry.left > Duration::from_secs(500)).count();
        // One sample of eight in 256 has none that ends soon.
        assert!(lasting > (CAPACITY / 2 + CAPACITY / 4) * 97 / 100, "{lasting} of {}", left.len());
    }
}
