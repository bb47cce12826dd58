//! Sorted keys with their bits, front-coded in pages, and their merge: what an index is built from.

use std::{
    cmp::Ordering,
    collections::{BinaryHeap, binary_heap::PeekMut},
    sync::Arc,
};

/// Sorted keys.
#[derive(Debug, Default)]
pub(super) struct Run(Vec<Arc<Page>>);

/// Some of them; a key says how many bytes it shares with the one before it.
#[derive(Debug)]
pub(super) struct Page {
    first: Box<[u8]>,
    /// For each key: shared length, twice the rest's length and 1 if there are bits (as numbers of seven bits a byte), bits
    /// if there are, rest.
    bytes: Vec<u8>,
}

impl Page {
    /// So many keys are in each but the last.
    pub(super) const KEYS: usize = if cfg!(test) { 1 << 6 } else { 1 << 14 };
}

impl Run {
    /// Of sorted keys, which may be there twice.
    pub(super) fn of<'a>(keys: impl Iterator<Item = (&'a [u8], u8)>) -> Self {
        let (mut pages, mut bytes) = (Vec::new(), Vec::new());
        let (mut first, mut before, mut count): (&[u8], &[u8], usize) = (b"", b"", 0);
        for (key, bits) in keys {
            if count == 0 {
                (first, before) = (key, b"");
            }
            let shared = key.iter().zip(before).take_while(|(a, b)| a == b).count();
            number(&mut bytes, shared);
            number(&mut bytes, (key.len() - shared) << 1 | usize::from(bits != 0));
            bytes.extend((bits != 0).then_some(bits));
            bytes.extend_from_slice(&key[shared..]);
            before = key;
            count += 1;
            if count == Page::KEYS {
                pages.push(Arc::new(Page { first: first.into(), bytes: bytes.as_slice().into() }));
                bytes.clear();
                count = 0;
            }
        }
        if count > 0 {
            pages.push(Arc::new(Page { first: first.into(), bytes }));
        }
        Self(pages)
    }

    /// The first key of each page.
    pub(super) fn firsts(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(|page| &*page.first)
    }

    /// The pages that may have keys from this one on, and before that one.
    pub(super) fn range(&self, from: Option<&[u8]>, to: Option<&[u8]>) -> Self {
        let end = to.map_or(self.0.len(), |to| self.0.partition_point(|page| *page.first < *to));
        let begin = from.map_or(0, |from| self.0.partition_point(|page| *page.first < *from));
        Self(self.0[begin.saturating_sub(1).min(end)..end].to_vec())
    }
}

/// The keys of several runs in order, each once, with the bits that any of them has. What was told is freed.
pub(super) struct Merge {
    cursors: BinaryHeap<Cursor>,
    key: Vec<u8>,
}

impl Merge {
    /// From this key on.
    pub(super) fn new(runs: Vec<Run>, from: Option<&[u8]>) -> Self {
        let cursors = runs.into_iter().filter_map(|Run(pages)| {
            let mut cursor = Cursor { pages: pages.into_iter(), page: None, at: 0, key: Vec::new(), bits: 0 };
            loop {
                if !cursor.advance() {
                    return None;
                }
                if from.is_none_or(|from| *cursor.key >= *from) {
                    return Some(cursor);
                }
            }
        });
        Self { cursors: cursors.collect(), key: Vec::new() }
    }

    /// The next key and its bits.
    pub(super) fn next(&mut self) -> Option<(&[u8], u8)> {
        self.key.clear();
        let mut bits = {
            let first = self.cursors.peek()?;
            self.key.extend_from_slice(&first.key);
            first.bits
        };
        while let Some(mut first) = self.cursors.peek_mut() {
            if first.key != self.key {
                break;
            }
            bits |= first.bits;
            if !first.advance() {
                PeekMut::pop(first);
            }
        }
        Some((&self.key, bits))
    }
}

/// A place in a run.
struct Cursor {
    pages: std::vec::IntoIter<Arc<Page>>,
    page: Option<Arc<Page>>,
    at: usize,
    key: Vec<u8>,
    bits: u8,
}

impl Cursor {
    /// Goes to the next key, if there is one.
    fn advance(&mut self) -> bool {
        loop {
            if let Some(page) = &self.page
                && let Some(rest) = page.bytes.get(self.at..).filter(|rest| !rest.is_empty())
            {
                let mut left = rest;
                let (shared, length) = (take_number(&mut left), take_number(&mut left));
                self.bits = 0;
                if length & 1 == 1
                    && let Some((&bits, behind)) = left.split_first()
                {
                    (self.bits, left) = (bits, behind);
                }
                let (suffix, left) = left.split_at(length >> 1);
                self.key.truncate(shared);
                self.key.extend_from_slice(suffix);
                self.at += rest.len() - left.len();
                return true;
            }
            self.page = self.pages.next();
            self.at = 0;
            if self.page.is_none() {
                return false;
            }
        }
    }
}

/// The heap has the greatest on top: that is the cursor with the smallest key.
impl Ord for Cursor {
    fn cmp(&self, other: &Self) -> Ordering {
        other.key.cmp(&self.key)
    }
}

impl PartialOrd for Cursor {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Cursor {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Cursor {}

/// Seven bits a byte, the lowest first; the top bit says that more follow.
fn number(bytes: &mut Vec<u8>, mut number: usize) {
    while number > 0x7f {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push((number & 0x7f) as u8);
}

fn take_number(bytes: &mut &[u8]) -> usize {
    let (mut number, mut shift) = (0, 0);
    while let Some((&byte, rest)) = bytes.split_first() {
        *bytes = rest;
        number |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    number
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_merge_is_what_a_map_would_hold(chunks in proptest::collection::vec(proptest::collection::vec(("[ab]{0,9}", 0_u8..4), 0..200), 0..6), from in proptest::option::of("[ab]{0,9}"), to in proptest::option::of("[ab]{0,9}")) {
            let mut plain: BTreeMap<Vec<u8>, u8> = BTreeMap::new();
            let mut coded = Vec::new();
            for mut chunk in chunks {
                chunk.sort();
                for (key, bits) in &chunk {
                    *plain.entry(key.clone().into_bytes()).or_default() |= bits;
                }
                coded.push(Run::of(chunk.iter().map(|(key, bits)| (key.as_bytes(), *bits))));
            }
            let (from, to) = (from.as_deref().map(str::as_bytes), to.as_deref().map(str::as_bytes));
            let within = |key: &[u8]| from.is_none_or(|from| key >= from) && to.is_none_or(|to| key < to);
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
