//! Keys as they come, and how they are put into order.

use super::{chunk::Run, part::MAPPED};

/// Keys with their bits, in any order, with repetitions.
#[derive(Default)]
pub(super) struct Keys {
    /// Each behind its length (2 bytes) and bits (1 byte).
    arena: Vec<u8>,
    starts: Vec<u32>,
}

/// A key on its way to its place: eight bytes of it, as a number that is the greater the later they come, and where it starts.
type Item = (u64, u32);

impl Keys {
    /// Adds a key, unless it is longer than any address can be.
    pub(super) fn add(&mut self, key: &[u8], bits: u8) {
        let Ok(length) = u16::try_from(key.len()) else { return };
        if self.starts.len() == FEW {
            self.arena.reserve_exact(MAPPED);
            self.starts.reserve_exact(MAPPED / size_of::<u32>());
        }
        self.starts.push(u32::try_from(self.arena.len()).expect("a chunk is smaller than 4 GiB"));
        self.arena.extend_from_slice(&length.to_ne_bytes());
        self.arena.push(bits);
        self.arena.extend_from_slice(key);
    }

    /// Whether there are so many that they should be sorted.
    pub(super) fn is_full(&self) -> bool {
        self.arena.len() >= CHUNK
    }

    /// All of them in order.
    pub(super) fn sort(self) -> Run {
        let Self { arena, starts } = self;
        let mut items: Vec<Item> = starts.into_iter().map(|start| (0, start)).collect();
        sort(&arena, &mut items, 0);
        Run::of(items.iter().map(|(_, start)| entry(&arena, *start)))
    }
}

/// Sorts keys that have their first `depth` bytes in common. To compare whole keys would be to go through all memory.
fn sort(arena: &[u8], items: &mut [Item], depth: usize) {
    let key = |item: &Item| entry(arena, item.1).0;
    if items.len() < FEW_ALIKE || depth > DEEP {
        items.sort_unstable_by(|a, b| key(a).cmp(key(b)));
        return;
    }
    for item in &mut *items {
        item.0 = word(key(item), depth);
    }
    items.sort_unstable_by_key(|(word, _)| *word);
    for alike in items.chunk_by_mut(|(a, _), (b, _)| a == b).filter(|alike| alike.len() > 1) {
        if alike.iter().all(|item| key(item).len() <= depth + WORD) {
            // If they differ, then in zeros at the end.
            alike.sort_unstable_by_key(|item| key(item).len());
        } else {
            sort(arena, alike, depth + WORD);
        }
    }
}

/// The bytes of a key from here on. Where it ends they are zero.
fn word(key: &[u8], from: usize) -> u64 {
    let rest = key.get(from..).unwrap_or_default();
    let mut word = [0; WORD];
    match rest.first_chunk() {
        Some(first) => word = *first,
        None => word[..rest.len()].copy_from_slice(rest),
    }
    u64::from_be_bytes(word)
}

/// The key that starts here, and its bits.
fn entry(arena: &[u8], start: u32) -> (&[u8], u8) {
    let start = start as usize;
    let length = usize::from(u16::from_ne_bytes([arena[start], arena[start + 1]]));
    (&arena[start + HEAD..start + HEAD + length], arena[start + 2])
}

const HEAD: usize = 3;
/// Bytes of keys that are sorted at once.
const CHUNK: usize = if cfg!(test) { 1 << 20 } else { 16 << 20 };
/// A longer list may be long.
const FEW: usize = 10_000;
/// Bytes that are compared at once.
const WORD: usize = size_of::<u64>();
/// Fewer keys are compared one with the other;
const FEW_ALIKE: usize = if cfg!(test) { 3 } else { 16 };
/// as are those that have more in common.
const DEEP: usize = 512;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;
    use crate::directory::chunk::Merge;

    proptest! {
        #[test]
        fn they_are_in_order(keys in vec((select(vec![0, 1, 7, 8, 9, 511, 512, 530]), vec(select(vec![0, 1, 0xff]), 1..12), 0_u8..3), 0..80)) {
            let (mut all, mut plain) = (Keys::default(), BTreeMap::new());
            for (shared, tail, bits) in keys {
                let key = [vec![0; shared], tail].concat();
                all.add(&key, bits);
                *plain.entry(key).or_default() |= bits;
            }
            let mut merge = Merge::new(vec![all.sort()], b"");
            let mut sorted = Vec::new();
            while let Some((key, bits)) = merge.next() {
                sorted.push((key.to_vec(), bits));
            }
            prop_assert_eq!(sorted, plain.into_iter().collect::<Vec<_>>());
        }
    }
}
