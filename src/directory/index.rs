//! The compact, exact, immutable index of known recipients: from key to attributes.
//!
//! A look-up walks down a tree of keys; it never locks, fails, or (for a key of ordinary length) allocates.

use smallvec::SmallVec;

use super::{
    block::Cursor,
    part::{Part, PartBuilder},
};
use crate::{
    address::{Address, Domain},
    policy::Attributes,
};

/// Recipients by key: `local@domain`, `local@` (in any domain), `@domain` (catch-all).
///
/// Within, the domain comes first (`domain@local`): the keys of a domain then share all of it with the key before them.
#[derive(Default)]
pub struct Index {
    /// Ranges of the keys, in order. None is empty.
    parts: Vec<Part>,
    /// There are local parts in any domain.
    has_anywhere: bool,
    /// There may be domains of which everything is taken.
    may_catch_all: bool,
}

/// What no index is made of.
#[derive(Debug, thiserror::Error)]
pub(super) enum PartsError {
    #[error("a part is none of this version")]
    Garbled,
    /// A look-up would not find what is there.
    #[error("a part is not behind the one before")]
    Order,
}

/// A key as it stands in an index: the domain, `@`, the local part. (A domain has no `@`, so that there is one way to read it.)
pub(super) type Stored = SmallVec<[u8; 128]>;

impl Index {
    fn new(parts: Vec<Part>) -> Self {
        let mut index = Self { parts, has_anywhere: false, may_catch_all: false };
        let mut walk = index.walk(ANYWHERE);
        index.has_anywhere = walk.next().is_some_and(|(key, _)| key.starts_with(ANYWHERE));
        index.may_catch_all = index.may_catch_all();
        index
    }

    /// Looks at the first key of each domain, unless there are many.
    fn may_catch_all(&self) -> bool {
        let mut walk = self.walk(b"");
        for _ in 0..MOST_DOMAINS {
            let Some((key, _)) = walk.next() else { return false };
            match key.iter().position(|&byte| byte == b'@') {
                Some(at) if at + 1 < key.len() => walk.pass(at + 1),
                _ => return true,
            }
        }
        true
    }

    /// What is known of the address itself, or of its local part in any domain. The catch-all doesn't count.
    pub fn find(&self, address: &Address) -> Option<Attributes> {
        let domain = address.domain().as_str().as_bytes();
        let key = join(domain, address.local().as_bytes());
        let exact = self.get_stored(&key);
        let anywhere = if self.has_anywhere { self.get_stored(&key[domain.len()..]) } else { None };
        match (exact, anywhere) {
            (None, None) => None,
            (exact, anywhere) => Some(attributes(exact.unwrap_or(0) | anywhere.unwrap_or(0))),
        }
    }

    /// Whether the list takes everything that is sent to the domain.
    pub fn catches_all(&self, domain: &Domain) -> bool {
        self.may_catch_all && self.get_stored(&join(domain.as_str().as_bytes(), b"")).is_some()
    }

    /// The bits of exactly this key.
    pub(super) fn get(&self, key: &[u8]) -> Option<u8> {
        self.get_stored(&stored(key))
    }

    /// The keys from this one on with their bits, as they are stored and in that order.
    pub(super) fn walk(&self, from: &[u8]) -> Walk<'_> {
        let part = self.part_of(from).unwrap_or_default();
        let place = self.parts.get(part).map_or(Cursor::new(0, Vec::new()), |part| part.seek(from));
        Walk { index: self, part, place }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.parts.iter().map(Part::len).sum()
    }

    /// No entries.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Bytes of memory.
    pub fn size(&self) -> usize {
        self.as_bytes().map(<[u8]>::len).sum()
    }

    /// What [`Index::from_bytes`] makes it of.
    pub(super) fn as_bytes(&self) -> impl Iterator<Item = &[u8]> {
        self.parts.iter().map(Part::as_bytes)
    }

    /// The index that these were of. They have to be what they were: whoever keeps them sees to that.
    ///
    /// # Errors
    /// If another version made them, or they are not in their order.
    pub(super) fn from_bytes(parts: impl IntoIterator<Item = Vec<u8>>) -> Result<Self, PartsError> {
        let parts = parts.into_iter().map(|bytes| Part::new(bytes).ok_or(PartsError::Garbled));
        let parts: Vec<Part> = parts.collect::<Result<_, PartsError>>()?;
        let is_sorted = parts.is_sorted_by(|before, part| before.first() < part.first());
        if is_sorted { Ok(Self::new(parts)) } else { Err(PartsError::Order) }
    }

    fn get_stored(&self, key: &[u8]) -> Option<u8> {
        self.parts[self.part_of(key)?].get(key)
    }

    /// The part that has the key, if there is one that may have it.
    fn part_of(&self, key: &[u8]) -> Option<usize> {
        self.parts.partition_point(|part| part.first() <= key).checked_sub(1)
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Index({} entries, {} bytes)", self.len(), self.size())
    }
}

/// Keys one after the other.
pub(super) struct Walk<'a> {
    index: &'a Index,
    part: usize,
    place: Cursor<1>,
}

impl Walk<'_> {
    /// The next key and its bits.
    pub(super) fn next(&mut self) -> Option<(&[u8], u8)> {
        while !self.place.advance(self.index.parts.get(self.part)?.lowest()) {
            self.part += 1;
            self.place = Cursor::new(0, Vec::new());
        }
        Some((&self.place.key, self.place.value[0]))
    }

    /// Passes all keys that begin with so many bytes of the last one.
    pub(super) fn pass(&mut self, length: usize) {
        let Some(part) = self.index.parts.get(self.part) else { return };
        if self.place.pass(part.lowest(), length, NEAR) {
            return;
        }
        // Then it is shorter to look for the next one.
        let mut next = Stored::from_slice(&self.place.key[..length]);
        while let Some(last) = next.pop() {
            if last < u8::MAX {
                next.push(last + 1);
                *self = self.index.walk(&next);
                return;
            }
        }
        self.part = self.index.parts.len();
    }
}

/// Builds an index of stored keys that come in order.
#[derive(Default)]
pub(super) struct Sorted {
    part: PartBuilder,
    parts: Vec<Part>,
}

impl Sorted {
    /// Adds a key with its bits.
    ///
    /// # Panics
    /// If it is not behind the one before.
    pub(super) fn add(&mut self, key: &[u8], bits: u8) {
        if self.part.is_full(PART) {
            self.parts.extend(std::mem::take(&mut self.part).finish());
        }
        self.part.add(key, bits);
    }

    /// The index of what was added.
    pub(super) fn finish(mut self) -> Index {
        self.parts.extend(self.part.finish());
        Index::new(self.parts)
    }
}

impl FromIterator<Index> for Index {
    /// Of indexes each of which has keys behind all those of the one before.
    fn from_iter<I: IntoIterator<Item = Index>>(indexes: I) -> Self {
        Self::new(indexes.into_iter().flat_map(|index| index.parts).collect())
    }
}

/// A key as it is stored: what follows the last `@` comes first.
pub(super) fn stored(key: &[u8]) -> Stored {
    let at = key.iter().rposition(|&byte| byte == b'@').unwrap_or(key.len());
    join(key.get(at + 1..).unwrap_or_default(), &key[..at])
}

/// A stored key as everybody else has it, put into `plain`.
pub(super) fn as_told<'a>(stored: &[u8], plain: &'a mut Vec<u8>) -> &'a [u8] {
    let at = stored.iter().position(|&byte| byte == b'@').unwrap_or(stored.len());
    plain.clear();
    plain.extend_from_slice(stored.get(at + 1..).unwrap_or_default());
    plain.push(b'@');
    plain.extend_from_slice(&stored[..at]);
    plain
}

fn join(domain: &[u8], local: &[u8]) -> Stored {
    let mut key = Stored::from_slice(domain);
    key.push(b'@');
    key.extend_from_slice(local);
    key
}

/// The attributes as they stand in an index.
pub(super) fn bits(attributes: Attributes) -> u8 {
    (u8::from(attributes.suspended) * SUSPENDED) | (u8::from(attributes.restricted) * RESTRICTED)
}

/// The attributes that these bits say.
pub(super) fn attributes(bits: u8) -> Attributes {
    Attributes {
        suspended: bits & SUSPENDED != 0,
        restricted: bits & RESTRICTED != 0,
        ..Attributes::default()
    }
}

pub(super) const SUSPENDED: u8 = 1;
const RESTRICTED: u8 = 2;
/// What keys begin with that are in any domain.
const ANYWHERE: &[u8] = b"@";
/// Keys of one part. Parts are built side by side.
pub(super) const PART: usize = if cfg!(test) { 10_000 } else { 1 << 20 };
/// Of so many domains the first key is looked at.
const MOST_DOMAINS: usize = if cfg!(test) { 20 } else { 1000 };
/// So many keys are read, to pass them, before others are looked for.
const NEAR: usize = if cfg!(test) { 2 } else { 100 };

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::directory::{Builder, Entry};

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

    /// Of few domains, and of more than are looked at; each has keys enough to be passed.
    #[test]
    fn the_one_domain_that_takes_everything_is_found_wherever_it_is() {
        for count in [1, 2, MOST_DOMAINS - 1, MOST_DOMAINS, MOST_DOMAINS + 1, 3 * MOST_DOMAINS] {
            let people = || {
                (0..count).flat_map(|domain| (0..5).map(move |name| format!("{name}@{domain}.example.com")))
            };
            for caught in (0..count).map(Some).chain([None]) {
                let catch_all = caught.map(|domain| format!("@{domain}.example.com"));
                let entries: Vec<String> = people().chain(["anna".to_owned()]).chain(catch_all).collect();
                let index = index(&entries.iter().map(String::as_str).collect::<Vec<_>>());
                for domain in 0..count {
                    let name = Domain::parse(format!("{domain}.example.com")).unwrap();
                    assert_eq!(index.catches_all(&name), caught == Some(domain), "{domain} of {count}");
                }
                // The domain of those who are in any, and the end, are looked at as well.
                let asks = caught.is_some() || count + 2 > MOST_DOMAINS;
                assert_eq!(index.may_catch_all, asks, "{caught:?} of {count}");
            }
        }
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
        let both = Attributes { suspended: true, restricted: true, ..Attributes::default() };
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
    fn many_addresses_are_found_and_no_others() {
        const COUNT: u64 = 200_000;
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

    #[test]
    fn parts_in_another_order_are_no_index() {
        let parts = |texts: &[&str]| -> Vec<Vec<u8>> {
            texts
                .iter()
                .flat_map(|text| index(&[text]).as_bytes().map(<[u8]>::to_vec).collect::<Vec<_>>())
                .collect()
        };
        let whole = Index::from_bytes(parts(&["joe@a", "joe@b"])).unwrap();
        assert!(whole.find(&address("joe@a")).is_some() && whole.find(&address("joe@b")).is_some());
        for other in [parts(&["joe@b", "joe@a"]), parts(&["joe@a", "joe@a"])] {
            assert!(matches!(Index::from_bytes(other), Err(PartsError::Order)));
        }
        assert!(matches!(Index::from_bytes([b"none".to_vec()]), Err(PartsError::Garbled)));
        assert!(Index::from_bytes([]).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn keys_that_begin_alike_are_passed(
            keys in proptest::collection::btree_set("[a\u{7f}]{1,6}", 1..60),
            steps in proptest::collection::vec((0_usize..3, 0_usize..4), 0..9),
        ) {
            let mut sorted = Sorted::default();
            keys.iter().for_each(|key| sorted.add(key.as_bytes(), 0));
            let index = sorted.finish();
            let (mut walk, mut left) = (index.walk(b""), keys.iter().collect::<Vec<_>>());
            for (next, length) in steps {
                for _ in 0..=next {
                    let expected = (!left.is_empty()).then(|| left.remove(0));
                    let found = walk.next().map(|(key, _)| key.to_vec());
                    prop_assert_eq!(found.as_deref(), expected.map(String::as_bytes));
                    if let Some(last) = expected && length <= last.len() {
                        walk.pass(length);
                        left.retain(|key| !key.starts_with(&last[..length]));
                    }
                }
            }
        }

        /// A local part may have any byte, a domain no `@`.
        #[test]
        fn a_key_is_told_as_it_was_stored(local in "[a@\"]{0,4}", domain in "[a.]{0,4}") {
            let key = format!("{local}@{domain}").into_bytes();
            let mut plain = Vec::new();
            prop_assert_eq!(as_told(&stored(&key), &mut plain), &key[..]);
        }

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
