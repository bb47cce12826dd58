//! A limit on how often something happens, for what many threads do at the same time: no lock, and no write once it is
//! reached. (The generic cell rate algorithm: what is kept is when all that was allowed so far would have been due.)

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// So many a second, and more at once after a pause.
#[derive(Debug, Default)]
pub struct Rate {
    /// In nanoseconds, by the clock of who asks.
    due: AtomicU64,
}

/// How much a [`Rate`] allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// From one to the next, in nanoseconds.
    every: u64,
    /// So far ahead it may be.
    ahead: u64,
}

impl Pace {
    /// One in such a time, and `burst` of them at once after a pause.
    #[must_use]
    pub const fn new(every: Duration, burst: u32) -> Self {
        let every = every.as_secs().saturating_mul(1_000_000_000).saturating_add(every.subsec_nanos() as u64);
        let burst = if burst == 0 { 1 } else { burst };
        Self { every, ahead: every.saturating_mul(burst as u64) }
    }
}

impl Rate {
    /// Whether it may happen now. `now`: since any fixed time, which is always the same.
    pub fn allows(&self, pace: Pace, now: Duration) -> bool {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let most = now.saturating_add(pace.ahead);
        let mut due = self.due.load(Ordering::Relaxed);
        loop {
            let next = due.max(now).saturating_add(pace.every);
            if next > most {
                return false;
            }
            match self.due.compare_exchange_weak(due, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(other) => due = other,
            }
        }
    }
}

/// Lines that others can cause as often as they like: few are written, the rest is counted.
#[derive(Debug)]
pub struct Few {
    began: Instant,
    lines: Rate,
    left_out: AtomicU64,
}

/// How many were left out before a line; `None`: none.
type LeftOut = Option<u64>;

impl Few {
    /// None yet, at this time.
    #[must_use]
    pub fn new(began: Instant) -> Self {
        Self { began, lines: Rate::default(), left_out: AtomicU64::new(0) }
    }

    /// Has the line written, if there may be one at this time.
    pub fn tell(&self, now: Instant, write: impl FnOnce(LeftOut)) {
        if !self.lines.allows(LINES, now.saturating_duration_since(self.began)) {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let left_out = self.left_out.swap(0, Ordering::Relaxed);
        write((left_out > 0).then_some(left_out));
    }
}

/// One in a second, and so many at once after a pause.
const LINES: Pace = Pace::new(Duration::from_secs(1), 20);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let (rate, pace) = (Rate::default(), Pace::new(at(100), 5));
        let allowed = |now, times: usize| (0..times).filter(|_| rate.allows(pace, at(now))).count();
        assert_eq!(allowed(0, 100), 5);
        assert_eq!(allowed(99, 100), 0);
        assert_eq!(allowed(100, 100), 1);
        assert_eq!(allowed(1100, 100), 5, "what was not used is kept up to the burst");
        assert_eq!((1101..11_101).map(|now| allowed(now, 3)).sum::<usize>(), 100);
    }

    #[test]
    fn a_slower_pace_counts_at_once() {
        let rate = Rate::default();
        assert!((0..1000).all(|_| rate.allows(Pace::new(Duration::from_nanos(1), u32::MAX), at(0))));
        assert!(rate.allows(Pace::new(at(1000), 1), at(5000)));
        assert!(!rate.allows(Pace::new(at(1000), 1), at(5999)));
        assert!(rate.allows(Pace::new(at(1000), 0), at(10_000)), "nothing is forbidden for ever");
    }

    proptest! {
        /// Never more than the burst and what the time allows.
        #[test]
        fn no_more_than_allowed(pauses in prop::collection::vec(0_u64..300, 1..200), burst in 1_u32..20) {
            let (rate, pace) = (Rate::default(), Pace::new(at(50), burst));
            let (mut now, mut allowed) = (0, 0);
            for pause in pauses {
                now += pause;
                allowed += u64::from(rate.allows(pace, at(now)));
            }
            prop_assert!(allowed <= u64::from(burst) + now / 50);
        }
    }
}
