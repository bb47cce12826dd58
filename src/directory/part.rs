//! A range of the keys of an index, and how it is searched: a static B-tree of front-coded keys.
//!
//! The lowest level has all keys, in blocks. Each level above says where the blocks of the one below begin, under the shortest
//! beginning of their first key that is greater than the key before it.

use super::block::{Cursor, Writer, common, search};

/// Keys in order, each with a byte of bits.
///
/// As bytes: the levels from the lowest on; where each of them ends, and the number of keys (4 bytes each, the lowest
/// first); the number of levels (1 byte). Values of a level above are places in the one below.
pub(super) struct Part {
    bytes: Vec<u8>,
    /// Where each level ends.
    ends: Box<[usize]>,
    first: Box<[u8]>,
    keys: usize,
}

impl Part {
    /// The part that these bytes were of; `None` if they were of none. In bytes that nobody wrote anything may be found, but
    /// each look-up ends, and soon.
    pub(super) fn new(bytes: Vec<u8>) -> Option<Self> {
        let (&levels, rest) = bytes.split_last()?;
        let (rest, keys) = rest.split_last_chunk()?;
        let ends = rest.get(rest.len().checked_sub(usize::from(levels) * PLACE)?..)?;
        let ends: Box<[usize]> = ends.as_chunks().0.iter().copied().map(place).collect();
        let mut first = Cursor::<1>::new(0, Vec::new());
        let is_sorted = ends.is_sorted() && ends.last().is_some_and(|last| *last <= bytes.len());
        if !is_sorted || !first.advance(&bytes[..*ends.first()?]) {
            return None;
        }
        let keys = place(*keys);
        Some(Self { bytes, ends, first: first.key.into(), keys })
    }

    /// The bits of exactly this key.
    pub(super) fn get(&self, key: &[u8]) -> Option<u8> {
        let (mut at, mut known) = (0, usize::MAX);
        for level in (1..self.ends.len()).rev() {
            let begin = self.ends[level - 1];
            at = place(search(self.bytes.get(begin + at..)?, key, &mut known)?.value);
        }
        let found = search::<1>(self.bytes.get(at..)?, key, &mut known)?;
        found.is_same.then_some(found.value[0])
    }

    /// Behind the last key before this one, in [`Part::lowest`].
    pub(super) fn seek(&self, key: &[u8]) -> Cursor<1> {
        let (mut at, mut before) = (0, Vec::new());
        for level in (1..self.ends.len()).rev() {
            let mut above = Cursor::new(at, before);
            above.advance_to(self.level(level), key);
            (at, before) = (place(above.value), above.key);
        }
        let mut lowest = Cursor::new(at, before);
        lowest.advance_to(self.lowest(), key);
        lowest
    }

    /// All keys with their bits.
    pub(super) fn lowest(&self) -> &[u8] {
        self.level(0)
    }

    /// The first key.
    pub(super) fn first(&self) -> &[u8] {
        &self.first
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.keys
    }

    /// What [`Part::new`] makes it of.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn level(&self, level: usize) -> &[u8] {
        let begin = level.checked_sub(1).map_or(0, |below| self.ends[below]);
        &self.bytes[begin..self.ends[level]]
    }
}

/// Writes a part of keys that come in order.
#[derive(Default)]
pub(super) struct PartBuilder {
    lowest: Writer<1>,
    above: Vec<Writer<PLACE>>,
    /// A beginning of the first key.
    first: Option<u8>,
}

impl PartBuilder {
    /// Adds a key with its bits.
    ///
    /// # Panics
    /// If it is not behind the one before, or empty, or longer than 65 535 bytes.
    pub(super) fn add(&mut self, key: &[u8], bits: u8) {
        let lowest = &mut self.lowest;
        assert!(*lowest.before < *key, "keys come in order, each comes once, and none is empty");
        assert!(key.len() <= u16::MAX.into(), "longer keys were left out");
        self.first.get_or_insert(key[0]);
        if lowest.begins_block(key) && lowest.keys > 0 {
            let (least, mut block) = (&key[..=common(&lowest.before, key)], lowest.bytes.len());
            for level in 0.. {
                if level == self.above.len() {
                    self.above.push(Writer::default());
                    self.above[level].put(self.first.as_slice(), bytes_of(0));
                }
                let above = &mut self.above[level];
                let begins = above.begins_block(least);
                let begin = above.bytes.len();
                above.put(least, bytes_of(block));
                if !begins {
                    break;
                }
                block = begin;
            }
        }
        self.lowest.put(key, [bits]);
        let bytes = &mut self.lowest.bytes;
        if (FEW..MAPPED).contains(&bytes.capacity()) {
            bytes.reserve_exact(MAPPED);
        }
    }

    /// Whether no more keys should be added: there are so many, or they are long.
    pub(super) fn is_full(&self, keys: usize) -> bool {
        self.lowest.keys >= keys || self.lowest.bytes.len() >= LONG
    }

    /// The part; `None` if there are no keys.
    pub(super) fn finish(mut self) -> Option<Part> {
        let keys = self.lowest.keys;
        self.lowest.end_block();
        let mut bytes = self.lowest.bytes;
        let mut numbers = vec![bytes.len()];
        for mut above in self.above {
            above.end_block();
            bytes.extend_from_slice(&above.bytes);
            numbers.push(bytes.len());
        }
        let levels = u8::try_from(numbers.len()).expect("each has a fraction of the keys of the one below");
        numbers.push(keys);
        for number in numbers {
            bytes.extend(bytes_of(number));
        }
        bytes.push(levels);
        bytes.shrink_to_fit();
        Part::new(bytes)
    }
}

fn place(bytes: [u8; PLACE]) -> usize {
    u32::from_le_bytes(bytes) as usize
}

fn bytes_of(place: usize) -> [u8; PLACE] {
    u32::try_from(place).expect("a part is smaller than 4 GiB").to_le_bytes()
}

/// Bytes of a place in a level, and of other numbers.
const PLACE: usize = size_of::<u32>();
/// Bytes of keys after which a part ends.
const LONG: usize = 1 << 30;
/// A buffer that has so many bytes may become large.
const FEW: usize = 64 << 10;
/// A buffer of so many bytes is a mapping of its own, also when it was shrunk: what is freed goes back to the system, and is not
/// kept by the C library (mallopt(3), `M_MMAP_THRESHOLD`: 32 MB at most).
pub(super) const MAPPED: usize = 33 << 20;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    /// Keys that share much, begin each other, or have the first and last bytes there are.
    fn key() -> impl Strategy<Value = Vec<u8>> {
        let shared = select(vec![0, 1, 2, 126, 127, 128, 253, 254, 255, 256, 257, 300, 600]);
        let tail = vec(select(vec![0, 1, b'@', b'a', 0xfe, 0xff]), 1..5);
        (select(vec![0, b'a', 0xff]), shared, tail)
            .prop_map(|(byte, shared, tail)| [vec![byte; shared], tail].concat())
    }

    fn part(keys: &BTreeMap<Vec<u8>, u8>) -> Option<Part> {
        let mut builder = PartBuilder::default();
        keys.iter().for_each(|(key, bits)| builder.add(key, *bits));
        builder.finish()
    }

    /// All keys from this one on, as long as there can be more.
    fn from(part: &Part, key: &[u8]) -> Vec<(Vec<u8>, u8)> {
        let (mut keys, mut cursor) = (Vec::new(), part.seek(key));
        while cursor.advance(part.lowest()) {
            keys.push((cursor.key.clone(), cursor.value[0]));
            assert!(keys.len() <= part.as_bytes().len());
        }
        keys
    }

    proptest! {
        #[test]
        fn it_finds_what_a_map_does(keys in proptest::collection::btree_map(key(), 0_u8..3, 1..60), other in vec(key(), 0..20)) {
            let part = part(&keys).unwrap();
            let read = Part::new(part.as_bytes().to_vec()).unwrap();
            prop_assert_eq!((part.len(), part.first()), (keys.len(), &**keys.first_key_value().unwrap().0));
            prop_assert_eq!((read.len(), read.first()), (part.len(), part.first()));
            let near = keys.keys().flat_map(|key| [[key, &b"\0"[..]].concat(), key[..key.len() - 1].to_vec()]);
            for sought in keys.keys().cloned().chain(near).chain(other) {
                prop_assert_eq!(read.get(&sought), keys.get(&sought).copied(), "{:?}", sought);
                let expected: Vec<_> = keys.range(sought.clone()..).map(|(key, bits)| (key.clone(), *bits)).collect();
                prop_assert_eq!(from(&read, &sought), expected);
            }
        }

        #[test]
        fn whatever_the_bytes_are_a_search_ends(
            keys in proptest::collection::btree_map(key(), 0_u8..3, 1..60),
            damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            sought in vec(key(), 1..10),
        ) {
            let mut bytes = part(&keys).unwrap().as_bytes().to_vec();
            for (at, byte) in damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Some(part) = Part::new(bytes) {
                for key in keys.into_keys().chain(sought) {
                    part.get(&key);
                    from(&part, &key);
                }
            }
        }

        #[test]
        fn other_bytes_are_no_part_or_end(bytes in vec(any::<u8>(), 0..60), sought in key()) {
            if let Some(part) = Part::new(bytes) {
                part.get(&sought);
                from(&part, &sought);
            }
        }
    }

    #[test]
    fn keys_may_be_as_long_as_they_can_be() {
        let keys = (0..20_u8).map(|n| ([vec![b'a'; 65_000], vec![n; 535]].concat(), n)).collect();
        let part = part(&keys).unwrap();
        for (key, bits) in &keys {
            assert_eq!(part.get(key), Some(*bits));
        }
        assert_eq!(from(&part, b""), keys.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn of_nothing_there_is_none() {
        assert!(part(&BTreeMap::new()).is_none());
        assert!(Part::new(Vec::new()).is_none());
    }
}
