//! What an index is built from: runs of keys in order, and their merge.

use std::{
    cmp::Ordering,
    collections::{BinaryHeap, binary_heap::PeekMut},
    sync::Arc,
    vec,
};

use super::{
    block::Cursor,
    part::{Part, PartBuilder},
};

/// Keys in order, in pages that are freed one by one.
#[derive(Default)]
pub(super) struct Run(Vec<Arc<Part>>);

impl Run {
    /// Of keys in order, which may come twice: then their bits add up.
    pub(super) fn of<'a>(keys: impl Iterator<Item = (&'a [u8], u8)>) -> Self {
        let (mut pages, mut page) = (Vec::new(), PartBuilder::default());
        let mut keys = keys.peekable();
        while let Some((key, mut bits)) = keys.next() {
            while let Some((_, more)) = keys.next_if(|(next, _)| *next == key) {
                bits |= more;
            }
            if page.is_full(PAGE) {
                pages.extend(std::mem::take(&mut page).finish().map(Arc::new));
            }
            page.add(key, bits);
        }
        pages.extend(page.finish().map(Arc::new));
        Self(pages)
    }

    /// The first key of each page.
    pub(super) fn firsts(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(|page| page.first())
    }

    /// The pages that may have keys from this one on, and before that one.
    pub(super) fn range(&self, from: &[u8], to: Option<&[u8]>) -> Self {
        let end = to.map_or(self.0.len(), |to| self.0.partition_point(|page| page.first() < to));
        let begin = self.0.partition_point(|page| page.first() < from);
        Self(self.0[begin.saturating_sub(1).min(end)..end].to_vec())
    }
}

/// The keys of several runs in order, each once, with the bits that any of them has. Pages that were told are freed.
pub(super) struct Merge {
    places: BinaryHeap<Place>,
    key: Vec<u8>,
}

impl Merge {
    /// From this key on.
    pub(super) fn new(runs: Vec<Run>, from: &[u8]) -> Self {
        let places = runs.into_iter().filter_map(|Run(pages)| {
            let mut pages = pages.into_iter();
            let page = pages.next()?;
            let mut place = Place { cursor: page.seek(from), page, pages };
            place.advance().then_some(place)
        });
        Self { places: places.collect(), key: Vec::new() }
    }

    /// The next key and its bits.
    pub(super) fn next(&mut self) -> Option<(&[u8], u8)> {
        self.key.clone_from(&self.places.peek()?.cursor.key);
        let mut bits = 0;
        while let Some(mut first) = self.places.peek_mut() {
            if first.cursor.key != self.key {
                break;
            }
            bits |= first.cursor.value[0];
            if !first.advance() {
                PeekMut::pop(first);
            }
        }
        Some((&self.key, bits))
    }
}

/// A place in a run. The greatest of a heap is the one with the smallest key.
struct Place {
    cursor: Cursor<1>,
    page: Arc<Part>,
    pages: vec::IntoIter<Arc<Part>>,
}

impl Place {
    /// Goes to the next key, if there is one.
    fn advance(&mut self) -> bool {
        while !self.cursor.advance(self.page.lowest()) {
            let Some(page) = self.pages.next() else { return false };
            (self.page, self.cursor) = (page, Cursor::new(0, Vec::new()));
        }
        true
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        other.cursor.key.cmp(&self.cursor.key)
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.cursor.key == other.cursor.key
    }
}

impl Eq for Place {}

/// Keys of a page.
pub(super) const PAGE: usize = if cfg!(test) { 1 << 6 } else { 1 << 14 };

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_merge_is_what_a_map_would_hold(chunks in proptest::collection::vec(proptest::collection::vec(("[ab]{1,9}", 0_u8..4), 0..200), 0..6), from in "[ab]{0,9}", to in proptest::option::of("[ab]{0,9}")) {
            let mut plain: BTreeMap<Vec<u8>, u8> = BTreeMap::new();
            let mut coded = Vec::new();
            for mut chunk in chunks {
                chunk.sort();
                for (key, bits) in &chunk {
                    *plain.entry(key.clone().into_bytes()).or_default() |= bits;
                }
                coded.push(Run::of(chunk.iter().map(|(key, bits)| (key.as_bytes(), *bits))));
            }
            let (from, to) = (from.as_bytes(), to.as_deref().map(str::as_bytes));
            let within = |key: &[u8]| key >= from && to.is_none_or(|to| key < to);
            plain.retain(|key, _| within(key));
            let coded = coded.iter().map(|run| run.range(from, to)).collect();
            let mut merge = Merge::new(coded, from);
            let mut merged = Vec::new();
            while let Some((key, bits)) = merge.next() {
                if !within(key) {
                    break;
                }
                merged.push((key.to_vec(), bits));
            }
            prop_assert_eq!(merged, plain.into_iter().collect::<Vec<_>>());
        }
    }
}
