//! Builds an index of entries in any order: one thread reads them, one sorts and compresses, and in the end all merge.

use std::{
    collections::VecDeque,
    num::NonZero,
    panic::resume_unwind,
    sync::{Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
};

use super::{
    Entry, Index,
    chunk::{Merge, PAGE, Run},
    index::{PART, Sorted, bits, stored},
    keys::Keys,
};
use crate::policy::Attributes;

/// Collects entries in any order, with repetitions.
#[derive(Default)]
pub struct Builder {
    keys: Keys,
    sorter: Option<Sorter>,
    /// What was sorted here, where there is no thread to be had.
    runs: Vec<Run>,
}

/// The thread that sorts what is full.
struct Sorter {
    full: mpsc::SyncSender<Keys>,
    thread: JoinHandle<Vec<Run>>,
}

impl Builder {
    /// Adds an entry; attributes of the same entry add up. An entry longer than any address can be is ignored.
    pub fn add(&mut self, entry: &Entry, attributes: Attributes) {
        self.key(&entry.key(), bits(attributes));
    }

    /// The same of a key as it is told.
    pub(super) fn key(&mut self, key: &[u8], bits: u8) {
        self.keys.add(&stored(key), bits);
        if self.keys.is_full() {
            self.flush();
        }
    }

    /// The index of what was added.
    ///
    /// # Panics
    /// Never: what is built here is valid.
    pub fn finish(mut self) -> Index {
        let Some(sorter) = self.sorter.take() else {
            self.runs.push(self.keys.sort());
            return merge(self.runs);
        };
        let Sorter { full, thread } = sorter;
        // The thread has the last one too, and ends.
        let _ = full.send(self.keys);
        drop(full);
        self.runs.extend(thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        merge(self.runs)
    }

    /// Has sorted and compressed what was collected, while more is.
    pub(super) fn flush(&mut self) {
        let keys = std::mem::take(&mut self.keys);
        if self.sorter.is_none() {
            let (full, keys) = mpsc::sync_channel::<Keys>(1);
            let thread = thread::Builder::new().spawn(move || keys.iter().map(Keys::sort).collect());
            self.sorter = thread.ok().map(|thread| Sorter { full, thread });
        }
        let Some(sorter) = &self.sorter else {
            self.runs.push(keys.sort());
            return;
        };
        if let Err(mpsc::SendError(keys)) = sorter.full.send(keys) {
            // It panicked: whoever waits for it will hear of that.
            drop(keys);
        }
    }
}

/// Builds ranges of the keys side by side, in their order; what was merged is freed on the way.
fn merge(runs: Vec<Run>) -> Index {
    let mut firsts: Vec<&[u8]> = runs.iter().flat_map(Run::firsts).collect();
    firsts.sort_unstable();
    // So many pages have about the keys of a part.
    let begins = firsts.into_iter().step_by(PART / PAGE).skip(1).map(Box::from);
    let begins: Vec<Box<[u8]>> = [Box::default()].into_iter().chain(begins).collect();
    let mut jobs = VecDeque::new();
    for (at, from) in begins.iter().enumerate() {
        let to = begins.get(at + 1).cloned();
        let range: Vec<Run> = runs.iter().map(|run| run.range(from, to.as_deref())).collect();
        jobs.push_back((at, range, from.clone(), to));
    }
    drop(runs);
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let hands = cores.min(MOST_HANDS).min(jobs.len());
    let (jobs, built) = (Mutex::new(jobs), Mutex::new(Vec::new()));
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let work = || {
        while let Some((at, runs, from, to)) = next() {
            let index = build(runs, &from, to.as_deref());
            built.lock().unwrap_or_else(PoisonError::into_inner).push((at, index));
        }
    };
    thread::scope(|scope| {
        for _ in 1..hands {
            // Where there is no thread to be had, the others do it.
            let _ = thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    let mut built = built.into_inner().unwrap_or_else(PoisonError::into_inner);
    built.sort_unstable_by_key(|(at, _)| *at);
    built.into_iter().map(|(_, index)| index).collect()
}

/// The index of the keys from this one on, and before that one.
fn build(runs: Vec<Run>, from: &[u8], to: Option<&[u8]>) -> Index {
    let mut sorted = Sorted::default();
    let mut merge = Merge::new(runs, from);
    while let Some((key, bits)) = merge.next() {
        if to.is_some_and(|to| key >= to) {
            break;
        }
        sorted.add(key, bits);
    }
    sorted.finish()
}

/// Threads that build.
const MOST_HANDS: usize = 8;
