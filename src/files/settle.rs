//! When a file that changed may be read: a state machine over what stat(2) says. Pure; time is an argument.

use std::time::{Duration, Instant};

use super::stamp::Stamp;

/// A changed file is read after it lay still this long.
pub const QUIET: Duration = Duration::from_secs(1);

/// What was seen of a set of files.
#[derive(Debug, Default)]
pub(super) struct Settle {
    /// The state that was read and judged last, whatever the judgement was.
    judged: Option<Vec<Stamp>>,
    /// Another state than that, and since when it has been the same.
    pending: Option<(Vec<Stamp>, Instant)>,
}

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing changed.
    Idle,
    /// Look again after this time.
    Wait(Duration),
    /// The files lie still: read them.
    Read,
}

impl Settle {
    /// What to do when the files look like `stamps` at `now`.
    pub(super) fn observe(&mut self, stamps: &[Stamp], now: Instant) -> Next {
        if self.judged.as_deref() == Some(stamps) {
            self.pending = None;
            return Next::Idle;
        }
        match &self.pending {
            Some((pending, since)) if pending == stamps => {
                let still = now.saturating_duration_since(*since);
                if still >= QUIET { Next::Read } else { Next::Wait(QUIET - still) }
            }
            _ => {
                self.pending = Some((stamps.to_vec(), now));
                Next::Wait(QUIET)
            }
        }
    }

    /// Notes that the files were read while they looked like `before`, and looked like `after` when that
    /// was done. Whether the result may be judged; if not, the files changed meanwhile.
    pub(super) fn read(&mut self, before: &[Stamp], after: &[Stamp], now: Instant) -> bool {
        if before == after {
            self.judged = Some(after.to_vec());
            self.pending = None;
            true
        } else {
            self.pending = Some((after.to_vec(), now));
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(250);

    #[test]
    fn a_file_is_read_after_a_second_of_quiet() {
        let (mut settle, start) = (Settle::default(), Instant::now());
        assert_eq!(settle.observe(&[Stamp::sample(1)], start), Next::Wait(QUIET));
        assert_eq!(settle.observe(&[Stamp::sample(1)], start + TICK), Next::Wait(QUIET - TICK));
        assert_eq!(settle.observe(&[Stamp::sample(1)], start + QUIET), Next::Read);
        assert!(settle.read(&[Stamp::sample(1)], &[Stamp::sample(1)], start + QUIET));
        assert_eq!(settle.observe(&[Stamp::sample(1)], start + QUIET * 2), Next::Idle);
    }

    #[test]
    fn a_file_that_keeps_growing_is_not_read() {
        let (mut settle, start) = (Settle::default(), Instant::now());
        for step in 0..100 {
            assert_eq!(
                settle.observe(&[Stamp::sample(u64::from(step))], start + TICK * step),
                Next::Wait(QUIET)
            );
        }
        assert_eq!(settle.observe(&[Stamp::sample(99)], start + TICK * 99 + QUIET), Next::Read);
    }

    #[test]
    fn a_change_while_it_was_read_starts_over() {
        let (mut settle, start) = (Settle::default(), Instant::now());
        let _ = settle.observe(&[Stamp::sample(1)], start);
        assert!(!settle.read(&[Stamp::sample(1)], &[Stamp::sample(2)], start + QUIET));
        assert_eq!(settle.observe(&[Stamp::sample(2)], start + QUIET + TICK), Next::Wait(QUIET - TICK));
        assert_eq!(settle.observe(&[Stamp::sample(2)], start + QUIET * 2), Next::Read);
    }

    #[test]
    fn one_of_several_files_is_enough_and_a_vanished_one_is_a_change() {
        let (mut settle, start) = (Settle::default(), Instant::now());
        let both = [Stamp::sample(1), Stamp::sample(2)];
        assert!(settle.read(&both, &both, start));
        assert_eq!(settle.observe(&both, start), Next::Idle);
        let gone = [Stamp::sample(1), Stamp::Missing];
        assert_eq!(settle.observe(&gone, start), Next::Wait(QUIET));
        assert_eq!(settle.observe(&both, start + TICK), Next::Idle, "it came back as it was");
        assert_eq!(settle.observe(&gone, start + QUIET), Next::Wait(QUIET), "the wait starts over");
    }

    #[test]
    fn a_clock_that_stands_still_never_reads() {
        let (mut settle, start) = (Settle::default(), Instant::now());
        for _ in 0..10 {
            assert_eq!(settle.observe(&[Stamp::sample(1)], start), Next::Wait(QUIET));
        }
    }
}
