//! What was answered, for a while.
//!
//! Who exists is believed again without asking for the positive time, and for longer while nobody can be asked. Who does
//! not is asked for again after the much shorter negative time: a new account must work soon. The two are kept apart, so
//! that an attack with invented addresses drives nobody out who exists.

use std::time::{Duration, Instant};

use moka::sync;
use serde::{Deserialize, Serialize};

use crate::{address::Address, clock, directory::Answer, policy::Attributes};

/// `[directory.NAME.cache]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Times {
    /// Who exists is asked for again after this time.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub positive: Duration,
    /// Who does not exist is asked for again after this time.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub negative: Duration,
    /// While the directory can't be asked, who existed this long ago still does, unless he was suspended or restricted: that may
    /// be over.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub stale: Duration,
    /// Addresses of its recipients that are remembered, at most.
    pub entries: u64,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            positive: Duration::from_secs(5 * 60),
            negative: Duration::from_secs(10),
            stale: Duration::from_secs(24 * 60 * 60),
            entries: 100_000,
        }
    }
}

/// Answers by address.
#[derive(Debug)]
pub(super) struct Cache {
    positive: Duration,
    negative: Duration,
    /// Who exists is forgotten after this time.
    longest: Duration,
    known: sync::Cache<Address, Known>,
    /// Since when.
    absent: sync::Cache<Address, Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    attributes: Attributes,
    at: Instant,
}

/// What is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recalled {
    /// Not older than its time.
    Fresh(Answer),
    /// It existed; whether it still does has to be asked.
    Stale(Attributes),
    /// Nothing.
    Nothing,
}

impl Cache {
    pub(super) fn new(times: &Times) -> Self {
        let longest = times.positive.max(times.stale);
        Self {
            positive: times.positive,
            negative: times.negative,
            longest,
            known: sync::Cache::builder().max_capacity(times.entries).time_to_live(longest).build(),
            absent: sync::Cache::builder().max_capacity(ABSENT).time_to_live(times.negative).build(),
        }
    }

    pub(super) fn recall(&self, address: &Address) -> Recalled {
        // The times are kept here: those of the caches only make room.
        if let Some(known) = self.known.get(address) {
            return match clock::since(known.at) {
                age if age < self.positive => Recalled::Fresh(Answer::Exists(known.attributes)),
                age if age < self.longest => Recalled::Stale(known.attributes),
                _ => Recalled::Nothing,
            };
        }
        match self.absent.get(address) {
            Some(at) if clock::since(at) < self.negative => Recalled::Fresh(Answer::Absent),
            _ => Recalled::Nothing,
        }
    }

    /// How long ago what is remembered of the address was answered.
    pub(super) fn age(&self, address: &Address) -> Option<Duration> {
        let known = self.known.get(address).map(|known| known.at);
        known.or_else(|| self.absent.get(address)).map(clock::since)
    }

    /// Nothing is remembered of a question without an answer.
    pub(super) fn remember(&self, address: &Address, answer: Answer) {
        match answer {
            Answer::Exists(attributes) => {
                self.absent.invalidate(address);
                self.known.insert(address.clone(), Known { attributes, at: clock::now() });
            }
            Answer::Absent => {
                self.known.invalidate(address);
                self.absent.insert(address.clone(), clock::now());
            }
            Answer::Unknown(_) => {}
        }
    }
}

/// Addresses that are remembered to be absent, at most.
const ABSENT: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::Why;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn what_is_remembered_of_each_answer() {
        let exists = Answer::Exists(Attributes::default());
        let zero = Duration::ZERO;
        let hour = Duration::from_secs(3600);
        let times = |positive, negative, stale| Times { positive, negative, stale, entries: 10 };
        for (times, answer, recalled) in [
            (times(hour, hour, hour), exists, Recalled::Fresh(exists)),
            (times(hour, hour, hour), Answer::Absent, Recalled::Fresh(Answer::Absent)),
            (times(hour, hour, hour), Answer::Unknown(Why::Down), Recalled::Nothing),
            (times(zero, hour, hour), exists, Recalled::Stale(Attributes::default())),
            (times(hour, zero, hour), Answer::Absent, Recalled::Nothing),
            (times(zero, zero, zero), exists, Recalled::Nothing),
        ] {
            let cache = Cache::new(&times);
            cache.remember(&address("joe@x"), answer);
            assert_eq!(cache.recall(&address("joe@x")), recalled, "{times:?} {answer:?}");
            assert_eq!(cache.recall(&address("ann@x")), Recalled::Nothing);
        }
    }

    #[test]
    fn the_last_answer_counts_and_silence_is_none() {
        let cache = Cache::new(&Times::default());
        let joe = address("joe@x");
        let exists = Answer::Exists(Attributes { suspended: true, ..Attributes::default() });
        for answer in [exists, Answer::Absent, exists] {
            cache.remember(&joe, answer);
            cache.remember(&joe, Answer::Unknown(Why::TimedOut));
            assert_eq!(cache.recall(&joe), Recalled::Fresh(answer));
        }
    }

    #[test]
    fn invented_addresses_drive_nobody_out() {
        let cache = Cache::new(&Times { entries: 10, ..Times::default() });
        cache.remember(&address("joe@x"), Answer::Exists(Attributes::default()));
        for n in 0..ABSENT * 2 {
            cache.remember(&address(&format!("u{n}@x")), Answer::Absent);
        }
        cache.absent.run_pending_tasks();
        assert!(cache.absent.entry_count() <= ABSENT);
        assert_eq!(cache.recall(&address("joe@x")), Recalled::Fresh(Answer::Exists(Attributes::default())));
    }
}
