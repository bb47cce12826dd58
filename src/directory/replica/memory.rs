//! What look-ups see: the index, and over it what has changed since it was built.
//!
//! Everything in it is immutable and replaced as a whole, so that a look-up takes no lock and allocates nothing. Changes
//! come as small maps, which are merged as they become many: one change costs a few copies of itself, and a look-up
//! finds few maps. When there are many changes, a thread folds them into a new index.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;

use super::{store::Touched, sum::Sum};
use crate::{
    address::{Address, Domain},
    directory::{
        index::{self, Index, Sorted, Stored, as_told, stored},
        similar::Near,
    },
    files::Turns,
    policy::Attributes,
};

/// The addresses of one replica. Only its writer changes them, and the thread that builds the next index.
#[derive(Debug)]
pub(super) struct Memory {
    view: ArcSwap<View>,
    turns: Turns,
    addresses: AtomicU64,
}

/// The list at one time.
#[derive(Debug, Default)]
pub(super) struct View {
    index: Arc<Index>,
    /// Newest last.
    levels: Vec<Arc<Level>>,
    /// So many of the levels are in the index that is being built.
    frozen: usize,
}

/// Keys that changed: their bits, or that they are gone.
type Level = HashMap<Arc<[u8]>, Option<u8>>;

impl Memory {
    pub(super) fn new() -> Self {
        Self { view: ArcSwap::default(), turns: Turns::default(), addresses: AtomicU64::new(0) }
    }

    /// What is known of the address. The catch-all doesn't count.
    pub(super) fn find(&self, address: &Address) -> Option<Attributes> {
        self.view.load().find(address)
    }

    /// The bits of exactly this key.
    pub(super) fn get(&self, key: &[u8]) -> Option<u8> {
        self.view.load().get(key)
    }

    /// Whether the list takes everything that is sent to the domain.
    pub(super) fn catches_all(&self, domain: &Domain) -> bool {
        let view = self.view.load();
        if view.levels.is_empty() {
            return view.index.catches_all(domain);
        }
        let key = [b"@", domain.as_str().as_bytes()].concat();
        view.get(&key).is_some()
    }

    /// How many addresses there are.
    pub(super) fn len(&self) -> u64 {
        self.addresses.load(Ordering::Relaxed)
    }

    /// All keys with their bits.
    pub(super) fn for_each<E>(&self, mut each: impl FnMut(&[u8], u8) -> Result<(), E>) -> Result<(), E> {
        let mut plain = Vec::new();
        self.view.load_full().for_each(|key, bits| each(as_told(key, &mut plain), bits))
    }

    /// Everything, to be compared with `like`; `None` if it is not in its order, or a look-up does not find it.
    pub(super) fn sum(&self, like: &Sum) -> Option<Sum> {
        let mut sum = like.other();
        let (mut before, mut plain): (Option<Stored>, _) = (None, Vec::new());
        let view = self.view.load_full();
        let in_order = view.for_each(|key, bits| {
            let told = as_told(key, &mut plain);
            if before.as_deref().is_some_and(|before| before >= key) || view.get(told) != Some(bits) {
                return Err(());
            }
            let before = before.get_or_insert_default();
            before.clear();
            before.extend_from_slice(key);
            sum.add(told, bits);
            Ok(())
        });
        in_order.ok().map(|()| sum)
    }

    /// Whoever has attributes is not known any more.
    pub(super) fn forget_attributes(&self) {
        let mut touched: Vec<Touched> = Vec::new();
        let told = self.for_each(|key, bits| {
            touched.extend((bits != 0).then(|| (key.into(), None)));
            Ok::<_, Infallible>(())
        });
        let Ok(()) = told;
        self.change(touched);
    }

    /// Keys that are near, while `each` wants more.
    pub(super) fn search(&self, near: &Near, each: &mut dyn FnMut(&[u8], u8) -> bool) {
        let view = self.view.load();
        for key in view.levels.iter().flat_map(|level| level.keys()) {
            if let Some(distance) = near.distance(key)
                && view.get(key).is_some()
                && !each(key, distance)
            {
                return;
            }
        }
        near.search(&view.index, &mut |key, distance| view.get(key).is_none() || each(key, distance));
    }

    /// Puts changes into force, all at once.
    pub(super) fn change(&self, touched: Vec<Touched>) {
        if touched.is_empty() {
            return;
        }
        let (level, come, gone) = self.view.load_full().level(touched);
        let level = Arc::new(level);
        let _turn = self.turns.begin();
        self.view.rcu(|view| {
            let mut levels = view.levels.clone();
            levels.push(Arc::clone(&level));
            merge(&mut levels, view.frozen);
            View { index: Arc::clone(&view.index), levels, frozen: view.frozen }
        });
        self.addresses.fetch_add(come, Ordering::Relaxed);
        self.addresses.fetch_sub(gone, Ordering::Relaxed);
    }

    /// Takes the place of everything: the index, and what came since.
    pub(super) fn reset(&self, index: Index, since: Vec<Touched>) {
        let mut view = View { index: Arc::new(index), ..View::default() };
        let mut addresses = view.index.len() as u64;
        if !since.is_empty() {
            let (level, come, gone) = view.level(since);
            addresses = addresses + come - gone;
            view.levels.push(Arc::new(level));
        }
        self.addresses.store(addresses, Ordering::Relaxed);
        let _turn = self.turns.begin();
        self.view.store(Arc::new(view));
    }

    /// The number of the present list; `None`: it is being changed just now.
    pub(super) fn turn(&self) -> Option<u64> {
        self.turns.now()
    }

    /// How many changes are beside the index.
    pub(super) fn changes(&self) -> usize {
        self.view.load().changes()
    }

    /// Everything as of now, to be folded into a new index: [`Memory::folded`] has to be told how that went.
    pub(super) fn freeze(&self) -> Arc<View> {
        self.view.rcu(|view| View {
            index: Arc::clone(&view.index),
            levels: view.levels.clone(),
            frozen: view.levels.len(),
        });
        self.view.load_full()
    }

    /// The index takes the place of what was frozen. `None`: it came to nothing.
    pub(super) fn folded(&self, before: &View, index: Option<&Arc<Index>>) {
        self.view.rcu(|view| {
            let is_same = Arc::ptr_eq(&view.index, &before.index);
            match index {
                Some(index) if is_same => {
                    View { index: Arc::clone(index), levels: view.levels[view.frozen..].to_vec(), frozen: 0 }
                }
                // Everything was replaced meanwhile, or nothing is.
                _ => View { index: Arc::clone(&view.index), levels: view.levels.clone(), frozen: 0 },
            }
        });
    }

    /// Bytes of the index, and changes beside it.
    pub(super) fn size(&self) -> (usize, usize) {
        let view = self.view.load();
        (view.index.size(), view.changes())
    }
}

impl View {
    /// The index of all of it; `None` if it is told to stop.
    pub(super) fn fold(&self, stop: &AtomicBool) -> Option<Arc<Index>> {
        if self.levels.is_empty() {
            return Some(Arc::clone(&self.index));
        }
        let mut sorted = Sorted::default();
        let folded = self.for_each(|key, bits| {
            sorted.add(key, bits);
            if stop.load(Ordering::Relaxed) { Err(()) } else { Ok(()) }
        });
        folded.ok().map(|()| Arc::new(sorted.finish()))
    }

    /// All keys with their bits, as an index stores them and in that order.
    fn for_each<E>(&self, mut each: impl FnMut(&[u8], u8) -> Result<(), E>) -> Result<(), E> {
        let mut changed: Vec<(Box<[u8]>, Option<u8>)> = Vec::new();
        for (at, level) in self.levels.iter().enumerate() {
            let newer = &self.levels[at + 1..];
            let last = level.iter().filter(|(key, _)| newer.iter().all(|newer| !newer.contains_key(*key)));
            changed.extend(last.map(|(key, bits)| ((*stored(key)).into(), *bits)));
        }
        changed.sort_unstable();
        let mut changed = changed.into_iter().peekable();
        let mut tell = |key: &[u8], bits: Option<u8>| bits.map_or(Ok(()), |bits| each(key, bits));
        let mut walk = self.index.walk(b"");
        while let Some((key, bits)) = walk.next() {
            while let Some((before, now)) = changed.next_if(|(before, _)| **before < *key) {
                tell(&before, now)?;
            }
            match changed.next_if(|(same, _)| **same == *key) {
                Some((_, now)) => tell(key, now)?,
                None => tell(key, Some(bits))?,
            }
        }
        changed.try_for_each(|(key, now)| tell(&key, now))
    }

    fn find(&self, address: &Address) -> Option<Attributes> {
        if self.levels.is_empty() {
            return self.index.find(address);
        }
        let key = address.key();
        let exact = self.get(key);
        let anywhere = self.get(&key[..=address.local().len()]);
        match (exact, anywhere) {
            (None, None) => None,
            (exact, anywhere) => Some(index::attributes(exact.unwrap_or(0) | anywhere.unwrap_or(0))),
        }
    }

    fn get(&self, key: &[u8]) -> Option<u8> {
        let changed = self.levels.iter().rev().find_map(|level| level.get(key));
        changed.copied().unwrap_or_else(|| self.index.get(key))
    }

    /// Changes to all this, and how many addresses come and go with them.
    fn level(&self, touched: Vec<Touched>) -> (Level, u64, u64) {
        let (mut come, mut gone) = (0, 0);
        let mut level = Level::with_capacity(touched.len());
        for (key, now) in touched {
            match (self.get(&key), now) {
                (None, Some(_)) => come += 1,
                (Some(_), None) => gone += 1,
                _ => {}
            }
            level.insert(key.into(), now);
        }
        (level, come, gone)
    }

    fn changes(&self) -> usize {
        self.levels.iter().map(|level| level.len()).sum()
    }
}

/// Merges the newest levels until each is less than a quarter of the one below it.
fn merge(levels: &mut Vec<Arc<Level>>, frozen: usize) {
    while levels.len() >= frozen + 2
        && let [.., older, newer] = levels.as_slice()
        && older.len() < newer.len() * 4
    {
        let mut merged = Level::clone(older);
        merged.extend(newer.iter().map(|(key, bits)| (Arc::clone(key), *bits)));
        levels.truncate(levels.len() - 2);
        levels.push(Arc::new(merged));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static STOP: AtomicBool = AtomicBool::new(false);

    fn touched(keys: &[(&str, Option<u8>)]) -> Vec<Touched> {
        keys.iter().map(|(key, now)| (key.as_bytes().into(), *now)).collect()
    }

    /// Of ten, `u0@x` to `u9@x`, and a change that is not folded yet.
    fn memory() -> Memory {
        let memory = Memory::new();
        let mut sorted = Sorted::default();
        (0..10).for_each(|n| sorted.add(&stored(format!("u{n}@x").as_bytes()), 0));
        memory.reset(sorted.finish(), touched(&[("u0@x", None), ("u1@x", Some(1)), ("new@x", Some(0))]));
        memory
    }

    fn knows(memory: &Memory, known: &[(&str, Option<u8>)]) {
        for (key, now) in known {
            assert_eq!(memory.get(key.as_bytes()), *now, "{key}");
        }
        let mut all = 0;
        let counted = memory.for_each(|_, _| {
            all += 1;
            Ok::<_, ()>(())
        });
        counted.unwrap();
        assert_eq!(memory.len(), all);
    }

    /// What changes while a thread folds counts, and nothing of it is in the folded index.
    #[test]
    fn what_changes_while_it_is_folded_counts() {
        let memory = memory();
        let view = memory.freeze();
        memory.change(touched(&[("u0@x", Some(2)), ("new@x", None), ("u2@x", None)]));
        memory.change(touched(&[("u2@x", Some(1)), ("newer@x", Some(0))]));
        let known = [
            ("u0@x", Some(2)),
            ("u1@x", Some(1)),
            ("u2@x", Some(1)),
            ("u3@x", Some(0)),
            ("new@x", None),
            ("newer@x", Some(0)),
        ];
        knows(&memory, &known);
        let index = view.fold(&STOP).unwrap();
        memory.change(touched(&[("u3@x", None)]));
        memory.folded(&view, Some(&index));
        assert!(memory.changes() < 10, "what is folded is beside it no more");
        for (key, then) in
            [("u0@x", None), ("u1@x", Some(1)), ("u2@x", Some(0)), ("new@x", Some(0)), ("newer@x", None)]
        {
            assert_eq!(index.get(key.as_bytes()), then, "{key} when it began");
        }
        let known = known.map(|(key, now)| (key, now.filter(|_| key != "u3@x")));
        knows(&memory, &known);
        // And once more, of all of that.
        let view = memory.freeze();
        memory.folded(&view, view.fold(&STOP).as_ref());
        assert_eq!(memory.changes(), 0);
        knows(&memory, &known);
    }

    #[test]
    fn a_fold_of_what_was_replaced_counts_for_nothing() {
        let memory = memory();
        let view = memory.freeze();
        memory.reset(Index::default(), touched(&[("u7@x", Some(1))]));
        memory.change(touched(&[("u8@x", Some(0))]));
        memory.folded(&view, view.fold(&STOP).as_ref());
        knows(
            &memory,
            &[("u7@x", Some(1)), ("u8@x", Some(0)), ("u0@x", None), ("u9@x", None), ("new@x", None)],
        );
    }

    #[test]
    fn a_fold_that_is_stopped_changes_nothing() {
        let memory = memory();
        let view = memory.freeze();
        assert!(view.fold(&AtomicBool::new(true)).is_none());
        memory.folded(&view, None);
        memory.change(touched(&[("u2@x", None)]));
        knows(&memory, &[("u0@x", None), ("u1@x", Some(1)), ("u2@x", None), ("new@x", Some(0))]);
    }

    /// Not only what an index has to say: what does not find it may be damaged, too.
    #[test]
    fn what_a_look_up_would_not_find_is_missed() {
        let mut sorted = Sorted::default();
        (10..60).for_each(|n| sorted.add(&stored(format!("u{n}@x").as_bytes()), n % 2));
        let memory = Memory::new();
        let index = sorted.finish();
        let bytes: Vec<u8> = index.as_bytes().flatten().copied().collect();
        memory.reset(index, Vec::new());
        let sum = memory.sum(&Sum::new()).unwrap();
        let mut hidden = 0;
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            let Ok(index) = Index::from_bytes([damaged]) else { continue };
            memory.reset(index, Vec::new());
            let is_found = (10..60).all(|n| memory.get(format!("u{n}@x").as_bytes()) == Some(n % 2));
            let is_same = memory.sum(&sum).is_some_and(|found| found.is_same(&sum));
            assert!(is_found || !is_same, "byte {at}");
            let mut told = sum.other();
            let Ok(()) = memory.for_each(|key, bits| {
                told.add(key, bits);
                Ok::<_, Infallible>(())
            });
            hidden += usize::from(!is_found && told.is_same(&sum));
        }
        assert!(hidden > 0, "some of it is not seen by going through all keys");
    }
}
