//! What look-ups see: the index, and over it what has changed since it was built.
//!
//! Everything in it is immutable and replaced as a whole, so that a look-up takes no lock and allocates nothing. Changes
//! come as small maps, which are merged as they become many: one change costs a few copies of itself, and a look-up
//! finds few maps. When the changes have become a quarter of the list, a new index is built.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;

use super::store::Touched;
use crate::{
    address::{Address, Domain},
    directory::{
        index::{self, Index},
        similar::Near,
    },
    policy::Attributes,
};

/// The addresses of one replica. Only its writer changes them, and the thread that builds the next index.
#[derive(Debug)]
pub(super) struct Memory {
    view: ArcSwap<View>,
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
        Self { view: ArcSwap::default(), addresses: AtomicU64::new(0) }
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

    /// All keys with their bits, in order.
    pub(super) fn for_each<E>(&self, mut each: impl FnMut(&[u8], u8) -> Result<(), E>) -> Result<(), E> {
        let view = self.view.load();
        let mut changed: Vec<(&[u8], Option<u8>)> = Vec::new();
        for (at, level) in view.levels.iter().enumerate() {
            let newer = &view.levels[at + 1..];
            let last = level.iter().filter(|(key, _)| newer.iter().all(|newer| !newer.contains_key(*key)));
            changed.extend(last.map(|(key, bits)| (&**key, *bits)));
        }
        changed.sort_unstable();
        let mut changed = changed.into_iter().peekable();
        let mut tell = |key: &[u8], bits: Option<u8>| bits.map_or(Ok(()), |bits| each(key, bits));
        view.index.for_each(|key, bits| {
            while let Some((before, now)) = changed.next_if(|(before, _)| *before < key) {
                tell(before, now)?;
            }
            match changed.next_if(|(same, _)| *same == key) {
                Some((_, now)) => tell(key, now),
                None => tell(key, Some(bits)),
            }
        })?;
        changed.try_for_each(|(key, now)| tell(key, now))
    }

    /// Keys that are near, while `each` wants more.
    pub(super) fn search(&self, near: &Near, each: &mut dyn FnMut(&[u8]) -> bool) {
        let view = self.view.load();
        for key in view.levels.iter().flat_map(|level| level.keys()) {
            if near.accepts(key) && view.get(key).is_some() && !each(key) {
                return;
            }
        }
        view.index.search(near, &mut |key| view.get(key).is_none() || each(key));
    }

    /// Puts changes into force, all at once.
    pub(super) fn change(&self, touched: Vec<Touched>) {
        if touched.is_empty() {
            return;
        }
        let view = self.view.load_full();
        let (mut come, mut gone) = (0, 0);
        let mut level = Level::with_capacity(touched.len());
        for (key, now) in touched {
            match (view.get(&key), now) {
                (None, Some(_)) => come += 1,
                (Some(_), None) => gone += 1,
                _ => {}
            }
            level.insert(key.into(), now);
        }
        drop(view);
        let level = Arc::new(level);
        self.view.rcu(|view| {
            let mut levels = view.levels.clone();
            levels.push(Arc::clone(&level));
            merge(&mut levels, view.frozen);
            View { index: Arc::clone(&view.index), levels, frozen: view.frozen }
        });
        self.addresses.fetch_add(come, Ordering::Relaxed);
        self.addresses.fetch_sub(gone, Ordering::Relaxed);
    }

    /// Takes the place of everything.
    pub(super) fn reset(&self, index: Index) {
        self.addresses.store(index.len() as u64, Ordering::Relaxed);
        self.view.store(Arc::new(View { index: Arc::new(index), ..View::default() }));
    }

    /// Whether there are so many changes that a new index is worth its building, and none is under way; `least`: fewer
    /// never are.
    pub(super) fn is_due(&self, least: usize) -> bool {
        let view = self.view.load();
        view.frozen == 0 && view.changes() > least.max(view.index.len() / 4)
    }

    /// An index of everything as of now is being built. Gives what [`Memory::built`] needs.
    pub(super) fn freeze(&self) -> Arc<Index> {
        self.view.rcu(|view| View {
            index: Arc::clone(&view.index),
            levels: view.levels.clone(),
            frozen: view.levels.len(),
        });
        Arc::clone(&self.view.load().index)
    }

    /// It takes the place of the index as it was, and of the changes that were there when the building began. `None`: it
    /// came to nothing.
    pub(super) fn built(&self, before: &Arc<Index>, index: Option<Index>) {
        let index = index.map(Arc::new);
        self.view.rcu(|view| {
            if !Arc::ptr_eq(&view.index, before) {
                // Everything was replaced meanwhile.
                return View {
                    index: Arc::clone(&view.index),
                    levels: view.levels.clone(),
                    frozen: view.frozen,
                };
            }
            match &index {
                Some(index) => {
                    View { index: Arc::clone(index), levels: view.levels[view.frozen..].to_vec(), frozen: 0 }
                }
                None => View { index: Arc::clone(&view.index), levels: view.levels.clone(), frozen: 0 },
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
