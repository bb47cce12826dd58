//! What a store gave up before its time, because there was no room for all of it.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How much was given up so far. Only comparing it with an earlier one tells anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evictions {
    /// What the count is of: it begins anew when Redis does.
    pub(super) run: String,
    pub(super) count: u64,
    /// Whether it may give anything up, as it is set.
    pub(super) may_evict: bool,
}

/// When something was given up lately, and how young it was.
#[derive(Debug, Default)]
pub(super) struct Lately(Mutex<Option<(Instant, Duration)>>);

impl Evictions {
    /// To be kept, for [`Evictions::is_none_since`].
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let may_evict = if self.may_evict { "evicts" } else { "keeps" };
        format!("{} {may_evict} {}", self.count, self.run).into_bytes()
    }

    /// Whether nothing was given up since it was as these bytes say. Of a Redis that was started in between only one that
    /// keeps everything can tell.
    #[must_use]
    pub fn is_none_since(&self, before: &[u8]) -> bool {
        let before = std::str::from_utf8(before).unwrap_or_default();
        let mut words = before.splitn(3, ' ');
        let (Some(count), Some(may_evict), Some(run)) = (words.next(), words.next(), words.next()) else {
            return false;
        };
        match run == self.run {
            true => count == self.count.to_string(),
            false => self.count == 0 && !self.may_evict && may_evict == "keeps",
        }
    }
}

impl Lately {
    /// Something of this age was given up now.
    pub(super) fn tell(&self, age: Duration, now: Instant) {
        let mut youngest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !youngest
            .is_some_and(|(at, youngest)| now.saturating_duration_since(at) < LATELY && youngest < age)
        {
            *youngest = Some((now, age));
        }
    }

    /// Whether something younger than this was given up lately.
    pub(super) fn is_any_below(&self, age: Duration, now: Instant) -> bool {
        let youngest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        youngest.is_some_and(|(at, youngest)| now.saturating_duration_since(at) < LATELY && youngest < age)
    }
}

/// Somebody who has to come again does so within this time, hardly ever later.
const LATELY: Duration = Duration::from_secs(60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_up_since() {
        let of = |run: &str, count, may_evict| Evictions { run: run.to_owned(), count, may_evict };
        for (before, now, is_none) in [
            (of("a", 0, true), of("a", 0, true), true),
            (of("a", 7, true), of("a", 7, true), true),
            (of("a", 7, true), of("a", 8, true), false),
            // Somebody has set the count back (CONFIG RESETSTAT).
            (of("a", 7, true), of("a", 0, true), false),
            // It was started anew, and may have given something up before it ended.
            (of("a", 0, true), of("b", 0, true), false),
            (of("a", 0, false), of("b", 0, false), true),
            (of("a", 0, false), of("b", 1, false), false),
            (of("a", 0, true), of("b", 0, false), false),
            (of("a", 7, false), of("b", 0, false), true),
        ] {
            assert_eq!(now.is_none_since(&before.to_bytes()), is_none, "{before:?} {now:?}");
        }
        for junk in [&b""[..], b"0", b"\xff 0", b"0a "] {
            assert!(!of("", 0, false).is_none_since(junk), "{junk:?}");
        }
    }

    #[test]
    fn lately_is_an_hour_and_the_youngest_counts() {
        let (lately, start) = (Lately::default(), Instant::now());
        let minutes = |n: u64| Duration::from_secs(n * 60);
        assert!(!lately.is_any_below(Duration::MAX, start));
        lately.tell(minutes(5), start);
        lately.tell(minutes(500), start + minutes(30));
        for (age, after, expected) in
            [(6, 0, true), (5, 0, false), (6, 59, true), (6, 60, false), (1000, 60, false)]
        {
            assert_eq!(lately.is_any_below(minutes(age), start + minutes(after)), expected, "{age} {after}");
        }
        lately.tell(minutes(500), start + minutes(60));
        assert!(lately.is_any_below(minutes(501), start + minutes(61)));
        assert!(!lately.is_any_below(minutes(500), start + minutes(61)));
    }
}
