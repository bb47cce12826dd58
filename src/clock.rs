//! The two clocks of this host, read in one place: tests stop both, and have days pass in no time.
//!
//! Whatever has to happen, or to end, after a while goes by [`now`]; what several hosts share, or what outlives the process,
//! by the time of day. Failure: a host whose time of day is before 1970 has 1970.

use std::time::{Duration, Instant, SystemTime};

/// The time that never goes back; it stands still while the host is suspended.
#[must_use]
#[inline]
pub fn now() -> Instant {
    #[cfg(test)]
    let now = stopped::now();
    #[cfg(not(test))]
    let now = Instant::now();
    now
}

/// How long ago that was.
#[must_use]
#[inline]
pub fn since(at: Instant) -> Duration {
    now().saturating_duration_since(at)
}

/// The time of day; somebody may set it, back as well.
#[must_use]
#[inline]
pub fn wall() -> SystemTime {
    #[cfg(test)]
    let wall = stopped::wall();
    #[cfg(not(test))]
    let wall = SystemTime::now();
    wall
}

/// The time of day since 1970.
#[must_use]
#[inline]
pub fn since_1970() -> Duration {
    wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// The clocks of a test: tokio's, and a time of day that goes with it.
#[cfg(test)]
pub(crate) mod stopped {
    use std::{
        cell::Cell,
        time::{Instant, SystemTime},
    };

    pub(super) fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    pub(super) fn wall() -> SystemTime {
        SET.get().map_or_else(SystemTime::now, |(at, wall)| wall + now().saturating_duration_since(at))
    }

    /// Sets this thread's time of day.
    pub(crate) fn set(wall: SystemTime) {
        SET.set(Some((now(), wall)));
    }

    thread_local! {
        static SET: Cell<Option<(Instant, SystemTime)>> = const { Cell::new(None) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn both_clocks_stand_still_until_time_passes() {
        let day = Duration::from_secs(86_400);
        stopped::set(SystemTime::UNIX_EPOCH + day);
        let began = now();
        assert_eq!((since(began), since_1970()), (Duration::ZERO, day));
        tokio::time::sleep(day).await;
        assert_eq!((since(began), since_1970()), (day, day * 2));
        stopped::set(SystemTime::UNIX_EPOCH);
        assert_eq!((since(began), since_1970()), (day, Duration::ZERO));
    }
}
