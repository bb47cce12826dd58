//! Whether the database shows recipients at all. A table that is being written anew, rows that are hidden from this user and a
//! file that is half copied look like a database without anybody.
//!
//! It remembers a few addresses that were found, and when. It asks nothing itself: see `Pool`.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::address::Address;

/// Who was seen, and when.
#[derive(Debug, Default)]
pub(super) struct Sight {
    seen: Mutex<Seen>,
    /// When the last look around that saw nobody began. Whoever looks holds it, and others wait for what comes of that.
    pub(super) looking: tokio::sync::Mutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct Seen {
    /// The last one first.
    known: Vec<Address>,
    /// When the question that showed somebody last began.
    last: Option<Instant>,
}

impl Sight {
    /// Whether somebody was seen a moment ago.
    pub(super) fn is_fresh(&self) -> bool {
        self.seen().last.is_some_and(|last| last.elapsed() < FRESH)
    }

    /// Those who were seen last.
    pub(super) fn known(&self) -> Vec<Address> {
        self.seen().known.clone()
    }

    /// A question that began then showed a recipient, and perhaps which one.
    pub(super) fn saw(&self, address: Option<&Address>, began: Instant) {
        let mut seen = self.seen();
        seen.last = seen.last.max(Some(began));
        let Some(address) = address else { return };
        if seen.known.first() != Some(address) {
            seen.known.retain(|known| known != address);
            seen.known.insert(0, address.clone());
            seen.known.truncate(MOST);
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of them may have been deleted, and rightly so.
const MOST: usize = 4;
/// For so long nobody looks again.
const FRESH: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_few_are_known_and_only_a_moment_is_fresh() {
        let sight = Sight::default();
        assert!(!sight.is_fresh());
        let now = Instant::now();
        let address = |number: usize| Address::parse(format!("u{number}@x")).unwrap();
        for number in [1, 2, 3, 1, 4, 5, 5] {
            sight.saw(Some(&address(number)), now);
        }
        assert_eq!(sight.known(), [5, 4, 1, 3].map(address));
        assert!(sight.is_fresh());

        let sight = Sight::default();
        sight.saw(None, now - FRESH);
        assert!(!sight.is_fresh() && sight.known().is_empty());
    }
}
