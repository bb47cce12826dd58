//! A key within a table together with its hash, which is made once: it says in which part of the table the key is, and where
//! in that.

use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};

use indexmap::Equivalent;
use smallvec::SmallVec;

/// What hashes are made with, so that nobody outside can tell what falls together. In tests it is the same in each run.
#[cfg(not(test))]
pub(crate) type Keys = foldhash::quality::RandomState;
#[cfg(test)]
pub(crate) type Keys = foldhash::quality::FixedState;

/// The key within a table.
pub(super) type Id = SmallVec<[u8; 32]>;

/// A key that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hashed {
    hash: u64,
    pub(super) id: Id,
}

/// A key that is looked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'i> {
    hash: u64,
    id: &'i [u8],
}

impl<'i> Wanted<'i> {
    /// `keys`: nobody outside can tell what falls together.
    pub(super) fn new(keys: &Keys, id: &'i [u8]) -> Self {
        let mut hasher = keys.build_hasher();
        hasher.write(id);
        Self { hash: hasher.finish(), id }
    }

    /// Which of so many parts it is in. Other bits than those that say where in the part.
    pub(super) fn part(self, of: usize) -> usize {
        (self.hash >> 32) as usize % of
    }

    pub(super) fn to_owned(self) -> Hashed {
        Hashed { hash: self.hash, id: SmallVec::from_slice(self.id) }
    }
}

impl Hashed {
    pub(super) fn wanted(&self) -> Wanted<'_> {
        Wanted { hash: self.hash, id: &self.id }
    }
}

impl Hash for Hashed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Hash for Wanted<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Equivalent<Hashed> for Wanted<'_> {
    fn equivalent(&self, key: &Hashed) -> bool {
        self.hash == key.hash && self.id == key.id.as_slice()
    }
}

/// Takes the hash that is there.
pub(super) type Given = BuildHasherDefault<There>;

#[derive(Debug, Default)]
pub(super) struct There(u64);

impl Hasher for There {
    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are hashed already");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
