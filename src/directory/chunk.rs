//! Sorted keys with their bits, front-coded, and their merge: what an index is built from.

use std::{
    cmp::Ordering,
    collections::{BinaryHeap, binary_heap::PeekMut},
};

/// Sorted keys. Each says how many bytes it shares with the one before it.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// For each key: shared length, rest length (2 bytes each), bits, rest.
    bytes: Vec<u8>,
}

impl<'a> FromIterator<(&'a [u8], u8)> for Chunk {
    /// Of sorted keys, each shorter than 64 KiB.
    fn from_iter<I: IntoIterator<Item = (&'a [u8], u8)>>(keys: I) -> Self {
        let mut bytes = Vec::new();
        let mut before: &[u8] = b"";
        for (key, bits) in keys {
            let shared = key.iter().zip(before).take_while(|(a, b)| a == b).count();
            for length in [shared, key.len() - shared] {
                let length = u16::try_from(length).expect("keys are shorter than 64 KiB");
                bytes.extend_from_slice(&length.to_ne_bytes());
            }
            bytes.push(bits);
            bytes.extend_from_slice(&key[shared..]);
            before = key;
        }
        bytes.shrink_to_fit();
        Self { bytes }
    }
}

/// The keys of several chunks in order, each once, with the bits that any of them has.
pub(super) struct Merge<'a> {
    cursors: BinaryHeap<Cursor<'a>>,
    key: Vec<u8>,
}

impl<'a> Merge<'a> {
    pub(super) fn new(chunks: &'a [Chunk]) -> Self {
        let cursors = chunks.iter().filter_map(|chunk| {
            let mut cursor = Cursor { rest: &chunk.bytes, key: Vec::new(), bits: 0 };
            cursor.advance().then_some(cursor)
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

/// A place in a chunk.
struct Cursor<'a> {
    rest: &'a [u8],
    key: Vec<u8>,
    bits: u8,
}

impl Cursor<'_> {
    /// Goes to the next key, if there is one.
    fn advance(&mut self) -> bool {
        let &[a, b, c, d, bits, ref rest @ ..] = self.rest else { return false };
        let (shared, length) = (u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d]));
        let (suffix, rest) = rest.split_at(usize::from(length));
        self.key.truncate(usize::from(shared));
        self.key.extend_from_slice(suffix);
        self.bits = bits;
        self.rest = rest;
        true
    }
}

/// The heap has the greatest on top: that is the cursor with the smallest key.
impl Ord for Cursor<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.key.cmp(&self.key)
    }
}

impl PartialOrd for Cursor<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Cursor<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Cursor<'_> {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_merge_is_what_a_map_would_hold(chunks in proptest::collection::vec(proptest::collection::vec(("[ab]{0,4}", 0_u8..4), 0..20), 0..6)) {
            let mut plain: BTreeMap<Vec<u8>, u8> = BTreeMap::new();
            let mut coded = Vec::new();
            for mut chunk in chunks {
                chunk.sort();
                for (key, bits) in &chunk {
                    *plain.entry(key.clone().into_bytes()).or_default() |= bits;
                }
                coded.push(chunk.iter().map(|(key, bits)| (key.as_bytes(), *bits)).collect::<Chunk>());
            }
            let mut merge = Merge::new(&coded);
            let mut merged = Vec::new();
            while let Some((key, bits)) = merge.next() {
                merged.push((key.to_vec(), bits));
            }
            prop_assert_eq!(merged, plain.into_iter().collect::<Vec<_>>());
        }
    }
}
