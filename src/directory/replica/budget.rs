//! How many questions the directory is asked on behalf of its replica.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// A bucket that fills with [`PER_SECOND`] tokens a second and holds that many.
#[derive(Debug)]
pub(super) struct Budget(Mutex<(f64, Instant)>);

impl Budget {
    /// A full one.
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new((PER_SECOND, now)))
    }

    /// Takes a token for each of `questions`, or none.
    pub(super) fn take(&self, questions: usize, now: Instant) -> bool {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, at) = *bucket;
        let left = (left + now.saturating_duration_since(at).as_secs_f64() * PER_SECOND).min(PER_SECOND);
        let questions = f64::from(u32::try_from(questions).unwrap_or(u32::MAX));
        let enough = left >= questions;
        *bucket = (if enough { left - questions } else { left }, now.max(at));
        enough
    }
}

/// An attack with invented addresses must not become one on the directory.
const PER_SECOND: f64 = 50.0;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn fifty_questions_a_second_and_no_more() {
        let start = Instant::now();
        let budget = Budget::new(start);
        let taken =
            |at: Instant| std::iter::repeat_with(|| budget.take(1, at)).take_while(|taken| *taken).count();
        assert_eq!(taken(start), 50);
        assert_eq!(taken(start + Duration::from_millis(100)), 5);
        assert_eq!(taken(start), 0, "a clock that goes back fills nothing");
        assert_eq!(taken(start + Duration::from_secs(60)), 50);
        let later = start + Duration::from_secs(120);
        assert!(budget.take(48, later));
        assert!(!budget.take(3, later), "all forms of an address, or none");
        assert!(budget.take(2, later));
    }
}
