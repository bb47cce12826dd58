//! Whether the database shows recipients at all. A table that is being written anew, rows that are hidden from this user and a
//! file that is half copied look like a database without anybody.
//!
//! It remembers a few addresses that were found, and since when none of them is there. It asks nothing itself: see `Pool`.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::address::Address;

/// Who was seen.
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
    /// None of them was there then, and nobody was seen since.
    gone: Option<Instant>,
}

impl Sight {
    /// Whether a question that began then, or later, showed somebody.
    pub(super) fn has_seen_since(&self, then: Instant) -> bool {
        self.seen().last.is_some_and(|last| last >= then)
    }

    /// Those who were seen last.
    pub(super) fn known(&self) -> Vec<Address> {
        self.seen().known.clone()
    }

    /// A question that began then showed a recipient, and perhaps which one.
    pub(super) fn saw(&self, address: Option<&Address>, began: Instant) {
        let mut seen = self.seen();
        seen.last = seen.last.max(Some(began));
        seen.gone = None;
        let Some(address) = address else { return };
        if seen.known.first() != Some(address) {
            seen.known.retain(|known| known != address);
            seen.known.insert(0, address.clone());
            seen.known.truncate(MOST);
        }
    }

    /// None of those who are known was there then. Whether that has been so for long enough to believe that they were
    /// deleted, if there is somebody else.
    pub(super) fn are_gone_for_good(&self, then: Instant) -> bool {
        let since = *self.seen().gone.get_or_insert(then);
        then.saturating_duration_since(since) >= FOR_GOOD
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of them may have been deleted, and rightly so.
const MOST: usize = 4;
/// A table that is written anew shows somebody soon, and those who are known a while later.
const FOR_GOOD: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: usize) -> Address {
        Address::parse(format!("u{number}@x")).unwrap()
    }

    #[test]
    fn the_last_few_are_known() {
        let sight = Sight::default();
        let now = Instant::now();
        for number in [1, 2, 3, 1, 4, 5, 5] {
            sight.saw(Some(&address(number)), now);
        }
        assert_eq!(sight.known(), [5, 4, 1, 3].map(address));
    }

    #[test]
    fn what_was_seen_before_says_nothing_of_now() {
        let sight = Sight::default();
        let (now, moment) = (Instant::now(), Duration::from_millis(1));
        assert!(!sight.has_seen_since(now));
        sight.saw(None, now);
        assert!(sight.has_seen_since(now) && sight.has_seen_since(now - moment));
        assert!(!sight.has_seen_since(now + moment));
        sight.saw(None, now - moment);
        assert!(sight.has_seen_since(now), "an older question that took longer");
    }

    #[test]
    fn who_is_gone_for_a_while_is_gone_for_good() {
        let sight = Sight::default();
        let now = Instant::now();
        let moment = Duration::from_millis(1);
        assert!(!sight.are_gone_for_good(now));
        assert!(!sight.are_gone_for_good(now + FOR_GOOD - moment));
        assert!(sight.are_gone_for_good(now + FOR_GOOD));
        sight.saw(None, now);
        assert!(!sight.are_gone_for_good(now + FOR_GOOD), "somebody was seen meanwhile");
    }
}
