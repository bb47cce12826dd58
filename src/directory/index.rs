//! The compact, exact, immutable index of known recipients: a finite-state map from key to attributes.
//!
//! A look-up walks bytes that are shared between millions of keys; it never allocates, locks or fails.
//! Building takes memory for one chunk of keys as they come, and for all of them front-coded.

use fst::{Automaton, IntoStreamer, Map, MapBuilder, Streamer, raw};

use super::{
    Entry,
    chunk::{Chunk, Merge},
};
use crate::{
    address::{Address, Domain},
    policy::Attributes,
};

/// Recipients by key: `local@domain`, `local@` (in any domain), `@domain` (catch-all).
///
/// Eight bytes a key, and a microsecond a look-up, for names of people at few domains.
pub struct Index {
    map: Map<Vec<u8>>,
}

/// Collects entries in any order, with repetitions.
#[derive(Default)]
pub struct Builder {
    /// Keys as they came, each behind its length (2 bytes) and attributes (1 byte).
    arena: Vec<u8>,
    starts: Vec<u32>,
    chunks: Vec<Chunk>,
}

impl Index {
    /// What is known of the address itself, or of its local part in any domain. The catch-all doesn't count.
    pub fn find(&self, address: &Address) -> Option<Attributes> {
        let key = address.key();
        let at = address.local().len() + 1;
        let fst = self.map.as_fst();
        let local = walk(fst, At::root(fst), &key[..at])?;
        let anywhere = local.value();
        let exact = walk(fst, local, &key[at..]).and_then(|end| end.value());
        match (exact, anywhere) {
            (None, None) => None,
            (exact, anywhere) => Some(attributes(exact.unwrap_or(0) | anywhere.unwrap_or(0))),
        }
    }

    /// Whether the list takes everything that is sent to the domain.
    pub fn catches_all(&self, domain: &Domain) -> bool {
        let fst = self.map.as_fst();
        walk(fst, At::root(fst), b"@")
            .and_then(|at| walk(fst, at, domain.as_str().as_bytes()))
            .is_some_and(|end| end.value().is_some())
    }

    /// The bits of exactly this key.
    pub(super) fn get(&self, key: &[u8]) -> Option<u8> {
        let fst = self.map.as_fst();
        walk(fst, At::root(fst), key)?.value()
    }

    /// All keys that the automaton accepts, in order, while `each` wants more.
    pub(super) fn search(&self, automaton: impl Automaton, each: &mut dyn FnMut(&[u8]) -> bool) {
        let mut stream = self.map.search(automaton).into_stream();
        while let Some((key, _)) = stream.next() {
            if !each(key) {
                return;
            }
        }
    }

    /// All keys with their bits, in order.
    pub(super) fn for_each<E>(&self, mut each: impl FnMut(&[u8], u8) -> Result<(), E>) -> Result<(), E> {
        let mut stream = self.map.stream();
        while let Some((key, bits)) = stream.next() {
            each(key, u8::try_from(bits).unwrap_or_default())?;
        }
        Ok(())
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// No entries.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Bytes of memory.
    pub fn size(&self) -> usize {
        self.map.as_fst().as_bytes().len()
    }
}

impl Default for Index {
    fn default() -> Self {
        Builder::default().finish()
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Index({} entries, {} bytes)", self.len(), self.size())
    }
}

impl Builder {
    /// Adds an entry; attributes of the same entry add up. An entry longer than any address can be is ignored.
    pub fn add(&mut self, entry: &Entry, attributes: Attributes) {
        self.key(&entry.key(), attributes);
    }

    /// The index of what was added.
    ///
    /// # Panics
    /// Never: what is built here is valid.
    pub fn finish(mut self) -> Index {
        self.flush();
        drop((self.arena, self.starts));
        let mut builder = MapBuilder::memory();
        let mut merge = Merge::new(&self.chunks);
        while let Some((key, bits)) = merge.next() {
            builder.insert(key, u64::from(bits)).expect("keys are sorted, and each is there once");
        }
        index(builder)
    }

    fn key(&mut self, key: &[u8], attributes: Attributes) {
        let Ok(length) = u16::try_from(key.len()) else { return };
        self.starts.push(u32::try_from(self.arena.len()).expect("a chunk is smaller than 4 GiB"));
        self.arena.extend_from_slice(&length.to_ne_bytes());
        self.arena.push(bits(attributes));
        self.arena.extend_from_slice(key);
        if self.arena.len() >= CHUNK {
            self.flush();
        }
    }

    /// Sorts and compresses what was collected.
    fn flush(&mut self) {
        if self.starts.is_empty() {
            return;
        }
        let arena = &self.arena;
        self.starts.sort_unstable_by(|&a, &b| entry(arena, a).0.cmp(entry(arena, b).0));
        self.chunks.push(self.starts.iter().map(|&start| entry(arena, start)).collect());
        self.arena.clear();
        self.starts.clear();
    }
}

/// Builds an index of keys that come in order.
pub(super) struct Sorted {
    builder: MapBuilder<Vec<u8>>,
}

impl Default for Sorted {
    fn default() -> Self {
        Self { builder: MapBuilder::memory() }
    }
}

impl Sorted {
    /// Adds a key with its bits.
    ///
    /// # Errors
    /// If it is not behind the one before.
    pub(super) fn add(&mut self, key: &[u8], bits: u8) -> Result<(), fst::Error> {
        self.builder.insert(key, bits.into())
    }

    /// The index of what was added.
    pub(super) fn finish(self) -> Index {
        index(self.builder)
    }
}

fn index(builder: MapBuilder<Vec<u8>>) -> Index {
    let map = builder.into_map();
    Index { map: map.map_data(shrunk).expect("a built map is valid") }
}

/// A place in the map on the way to a key.
#[derive(Clone, Copy)]
struct At<'f> {
    node: raw::Node<'f>,
    output: raw::Output,
}

impl<'f> At<'f> {
    fn root(fst: &'f raw::Fst<Vec<u8>>) -> Self {
        Self { node: fst.root(), output: raw::Output::zero() }
    }

    /// The value, if a key ends here.
    fn value(&self) -> Option<u8> {
        let value = || self.output.cat(self.node.final_output()).value();
        self.node.is_final().then(|| u8::try_from(value()).expect("values are made of bits of one byte"))
    }
}

fn walk<'f>(fst: &'f raw::Fst<Vec<u8>>, mut at: At<'f>, key: &[u8]) -> Option<At<'f>> {
    for &byte in key {
        let transition = at.node.transition(at.node.find_input(byte)?);
        at = At { node: fst.node(transition.addr), output: at.output.cat(transition.out) };
    }
    Some(at)
}

fn shrunk(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.shrink_to_fit();
    bytes
}

/// The key that starts at `start` in the arena, and its attributes.
fn entry(arena: &[u8], start: u32) -> (&[u8], u8) {
    let start = start as usize;
    let length = usize::from(u16::from_ne_bytes([arena[start], arena[start + 1]]));
    (&arena[start + HEAD..start + HEAD + length], arena[start + 2])
}

/// The attributes as they stand in an index.
pub(super) fn bits(attributes: Attributes) -> u8 {
    (u8::from(attributes.suspended) * SUSPENDED) | (u8::from(attributes.restricted) * RESTRICTED)
}

/// The attributes that these bits say.
pub(super) fn attributes(bits: u8) -> Attributes {
    Attributes { suspended: bits & SUSPENDED != 0, restricted: bits & RESTRICTED != 0, catch_all: false }
}

const HEAD: usize = 3;
pub(super) const SUSPENDED: u8 = 1;
const RESTRICTED: u8 = 2;
/// Bytes of keys that are sorted at once.
const CHUNK: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn index(entries: &[&str]) -> Index {
        let mut builder = Builder::default();
        for entry in entries {
            builder.add(&Entry::parse(entry.as_bytes()).unwrap(), Attributes::default());
        }
        builder.finish()
    }

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn the_three_kinds_of_key_do_not_mix() {
        let index =
            index(&["joe@example.com", "ann", "@example.org", "\"odd@example.net\"", "ANN@Example.COM"]);
        assert_eq!(index.len(), 5);
        for (text, found) in [
            ("joe@example.com", true),
            ("JOE@EXAMPLE.COM.", true),
            ("joe@example.org", false),
            ("jo@example.com", false),
            ("joe@example.co", false),
            ("joe@example.com.au", false),
            ("ann@example.com", true),
            ("ann@anything", true),
            ("anna@example.com", false),
            ("x@example.org", false),
            ("odd@example.net", false),
            ("\"odd@example.net\"@x", true),
        ] {
            assert_eq!(index.find(&address(text)).is_some(), found, "{text}");
        }
        assert!(index.catches_all(&Domain::parse("Example.org").unwrap()));
        assert!(!index.catches_all(&Domain::parse("example.com").unwrap()));
        assert!(!index.catches_all(&Domain::parse("mail.example.org").unwrap()));
    }

    #[test]
    fn attributes_add_up() {
        let mut builder = Builder::default();
        let joe = Entry::parse(b"joe@x").unwrap();
        builder.add(&joe, Attributes { suspended: true, ..Attributes::default() });
        builder.add(&joe, Attributes::default());
        builder.flush();
        builder.add(&joe, Attributes { restricted: true, ..Attributes::default() });
        builder.add(&Entry::parse(b"ann").unwrap(), Attributes { suspended: true, ..Attributes::default() });
        builder
            .add(&Entry::parse(b"ann@x").unwrap(), Attributes { restricted: true, ..Attributes::default() });
        let index = builder.finish();
        let both = Attributes { suspended: true, restricted: true, catch_all: false };
        assert_eq!(index.find(&address("joe@x")), Some(both));
        assert_eq!(index.find(&address("ann@x")), Some(both));
        assert_eq!(
            index.find(&address("ann@y")),
            Some(Attributes { suspended: true, ..Attributes::default() })
        );
        assert_eq!(index.len(), 3);
    }

    #[test]
    fn an_empty_index_knows_nobody() {
        let index = Builder::default().finish();
        assert_eq!((index.len(), index.find(&address("a@b"))), (0, None));
    }

    /// More keys than one chunk holds, in an order that is neither sorted nor random. Run with `--release`, and
    /// `--no-capture`, it tells what a key and a look-up cost.
    #[test]
    fn a_million_addresses_are_found_and_no_others() {
        const COUNT: u64 = 1_000_000;
        let name = |n: u64| {
            let n = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let first = ["anna", "bert", "chris", "dora", "emil", "franz", "gerda", "hans"][(n % 8) as usize];
            format!("{first}.{:x}@{}.example.com", n >> 32, ["mail", "sales", "lab"][(n >> 8) as usize % 3])
        };
        let known: Vec<Address> = (0..COUNT).map(|n| address(&name(n))).collect();
        let set: std::collections::HashSet<&Address> = known.iter().collect();
        let unknown =
            (COUNT..COUNT * 2).step_by(10).map(|n| address(&name(n))).filter(|one| !set.contains(one));
        let unknown: Vec<Address> = unknown.collect();

        let begun = std::time::Instant::now();
        let mut builder = Builder::default();
        for (n, address) in known.iter().enumerate() {
            let attributes = Attributes { suspended: n % 1000 == 0, ..Attributes::default() };
            builder.add(&Entry::Address(address.clone()), attributes);
        }
        let index = builder.finish();
        let built = begun.elapsed();
        assert_eq!(index.len(), set.len());

        let begun = std::time::Instant::now();
        for (n, address) in known.iter().enumerate() {
            assert_eq!(index.find(address).map(|found| found.suspended), Some(n % 1000 == 0), "{address}");
        }
        let hits = begun.elapsed() / u32::try_from(known.len()).unwrap();
        let begun = std::time::Instant::now();
        for address in &unknown {
            assert_eq!(index.find(address), None, "{address}");
        }
        let misses = begun.elapsed() / u32::try_from(unknown.len()).unwrap();
        println!(
            "{} keys: {:.2} bytes/key, built in {built:.2?}; {hits:.0?} for a known one, {misses:.0?} for an unknown one",
            index.len(),
            index.size() as f64 / index.len() as f64,
        );
    }

    proptest! {
        #[test]
        fn it_answers_like_a_plain_map(entries in proptest::collection::vec(("[ab]{1,3}", "[xy]{1,2}", 0_u8..3, any::<bool>()), 0..60), flush in 0_usize..60) {
            let mut builder = Builder::default();
            let mut plain: HashMap<String, bool> = HashMap::new();
            for (n, (local, domain, kind, suspended)) in entries.into_iter().enumerate() {
                let text = match kind { 0 => format!("{local}@{domain}"), 1 => local, _ => format!("@{domain}") };
                *plain.entry(text.clone()).or_default() |= suspended;
                builder.add(&Entry::parse(text.as_bytes()).unwrap(), Attributes { suspended, ..Attributes::default() });
                if n == flush { builder.flush(); }
            }
            let index = builder.finish();
            prop_assert_eq!(index.len(), plain.len());
            for local in ["a", "b", "ab", "ba", "aaa", "bab"] {
                for domain in ["x", "y", "xy", "yx"] {
                    let (exact, bare) = (plain.get(&format!("{local}@{domain}")), plain.get(local));
                    let expected = (exact.is_some() || bare.is_some()).then(|| *exact.unwrap_or(&false) || *bare.unwrap_or(&false));
                    let found = index.find(&address(&format!("{local}@{domain}"))).map(|found| found.suspended);
                    prop_assert_eq!(found, expected);
                    prop_assert_eq!(index.catches_all(&Domain::parse(domain).unwrap()), plain.contains_key(&format!("@{domain}")));
                }
            }
        }
    }
}
