//! A number for a whole list, in whatever order it is told: of two lists that differ it is another one.

use std::hash::{BuildHasher, RandomState};

/// How many addresses there are, and the sum of their hashes. The hashes have a key of their own, so that nobody can choose
/// lists that seem the same; by chance two do once in 2^64.
#[derive(Debug, Clone)]
pub(super) struct Sum {
    hasher: RandomState,
    addresses: u64,
    hashes: u64,
}

impl Sum {
    /// Of nothing.
    pub(super) fn new() -> Self {
        Self { hasher: RandomState::new(), addresses: 0, hashes: 0 }
    }

    /// Of nothing, to be compared with this one.
    pub(super) fn other(&self) -> Self {
        Self { hasher: self.hasher.clone(), addresses: 0, hashes: 0 }
    }

    /// Adds an address that was not added yet.
    pub(super) fn add(&mut self, key: &[u8], bits: u8) {
        self.addresses += 1;
        self.hashes = self.hashes.wrapping_add(self.hasher.hash_one((key, bits)));
    }

    /// Whether both are of the same list. They have to be made of each other.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (self.addresses, self.hashes) == (other.addresses, other.hashes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_list_has_the_same_sum() {
        let list: [(&[u8], u8); 3] = [(b"a@x", 0), (b"b@x", 1), (b"@y", 0)];
        let first = Sum::new();
        let sum = |list: &[(&[u8], u8)]| {
            let mut sum = first.other();
            list.iter().for_each(|(key, bits)| sum.add(key, *bits));
            sum
        };
        let whole = sum(&list);
        assert!(whole.is_same(&sum(&[list[2], list[0], list[1]])), "in any order");
        for other in [
            &list[..2],
            &[list[0], list[1], list[2], (b"c@x", 0)],
            &[list[0], list[0], list[2]],
            &[list[0], (b"b@x", 0), list[2]],
            &[list[0], (b"c@x", 1), list[2]],
            // As long, and the same bytes.
            &[(b"a@", 0), (b"xb@x", 1), list[2]],
        ] {
            assert!(!whole.is_same(&sum(other)), "{other:?}");
        }
    }
}
