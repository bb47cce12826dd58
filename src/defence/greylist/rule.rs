//! The rule of the greylist: what was found, and the time, make who waits. Pure.

use std::time::Duration;

use super::{Config, Why};

/// When something was seen, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attempt(pub(super) u64);

/// A client that came back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Client {
    /// So many messages.
    pub(super) passes: u32,
    /// When that was written down.
    pub(super) at: u64,
}

/// What the store knows under one name of the client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) client: Option<Client>,
    /// It came back with this sender and recipient.
    pub(super) known: Option<Attempt>,
    /// Its first attempt.
    pub(super) first: Option<Attempt>,
}

impl Attempt {
    pub(super) fn encode(self) -> Vec<u8> {
        self.0.to_be_bytes().to_vec()
    }

    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        value.try_into().ok().map(u64::from_be_bytes).map(Self)
    }
}

impl Client {
    pub(super) fn encode(self) -> Vec<u8> {
        [&self.passes.to_be_bytes()[..], &self.at.to_be_bytes()].concat()
    }

    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let (passes, at) = value.split_at_checked(4)?;
        Some(Self {
            passes: u32::from_be_bytes(passes.try_into().ok()?),
            at: u64::from_be_bytes(at.try_into().ok()?),
        })
    }
}

/// One name that came back is enough, and the earliest attempt under any name counts: whose address changes within a
/// network or a domain waits once.
pub(super) fn judge(config: &Config, found: &[Found], now: u64) -> Why {
    let clients = found.iter().filter_map(|found| found.client);
    if config.passes > 0 && clients.map(|client| client.passes).max() >= Some(config.passes) {
        return Why::Client;
    }
    if found.iter().any(|found| found.known.is_some()) {
        return Why::Known;
    }
    let Some(first) = found.iter().filter_map(|found| found.first).map(|first| first.0).min() else {
        return Why::First(config.delay);
    };
    let delay = config.delay.as_secs();
    if first > now.saturating_add(delay) {
        // The clock was set back: it would have to wait for longer than it was told.
        return Why::Returned;
    }
    match delay.saturating_sub(now.saturating_sub(first)) {
        0 => Why::Returned,
        left => Why::Early(Duration::from_secs(left)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_800_000_000;
    const MINUTE: u64 = 60;

    fn config(delay: u64, passes: u32) -> Config {
        Config { delay: Duration::from_secs(delay), passes, ..Config::default() }
    }

    fn first(ago: u64) -> Found {
        Found { first: Some(Attempt(NOW - ago)), ..Found::default() }
    }

    fn client(passes: u32) -> Found {
        Found { client: Some(Client { passes, at: NOW - 7 }), ..Found::default() }
    }

    #[test]
    fn known_answers() {
        let minutes = |n| Duration::from_secs(n * MINUTE);
        let known = Found { known: Some(Attempt(NOW - 9)), ..Found::default() };
        let future = |ahead| Found { first: Some(Attempt(NOW + ahead)), ..Found::default() };
        for (found, why) in [
            (vec![Found::default()], Why::First(minutes(5))),
            (vec![Found::default(); 2], Why::First(minutes(5))),
            (vec![first(0)], Why::Early(minutes(5))),
            (vec![first(4 * MINUTE)], Why::Early(minutes(1))),
            (vec![first(5 * MINUTE - 1)], Why::Early(Duration::from_secs(1))),
            (vec![first(5 * MINUTE)], Why::Returned),
            (vec![first(2 * 24 * 60 * MINUTE)], Why::Returned),
            // Another address of the domain, in another network; and the other way round.
            (vec![first(5 * MINUTE), Found::default()], Why::Returned),
            (vec![Found::default(), first(5 * MINUTE)], Why::Returned),
            (vec![first(MINUTE), first(5 * MINUTE)], Why::Returned),
            (vec![known], Why::Known),
            (vec![Found::default(), known], Why::Known),
            (vec![client(4)], Why::First(minutes(5))),
            (vec![client(5)], Why::Client),
            (vec![first(0), client(6)], Why::Client),
            // Clocks of several hosts differ by seconds, and a clock may have been set back by hours.
            (vec![future(2)], Why::Early(minutes(5))),
            (vec![future(60 * MINUTE)], Why::Returned),
        ] {
            assert_eq!(judge(&config(5 * MINUTE, 5), &found, NOW), why, "{found:?}");
        }
        assert_eq!(
            judge(&config(5 * MINUTE, 0), &[client(1000)], NOW),
            Why::First(minutes(5)),
            "switched off"
        );
    }

    #[test]
    fn values_read_back_as_written_and_others_are_nothing() {
        assert_eq!(Attempt::decode(&Attempt(NOW).encode()), Some(Attempt(NOW)));
        let client = Client { passes: 7, at: NOW };
        assert_eq!(Client::decode(&client.encode()), Some(client));
        for bad in [&b""[..], b"1234567", b"123456789", b"1234567890123"] {
            assert_eq!((Attempt::decode(bad), Client::decode(bad)), (None, None), "{bad:?}");
        }
    }

    proptest! {
        /// Nobody waits for longer than the delay, and who comes again after what he was told passes.
        #[test]
        fn whoever_waits_as_long_as_told_passes(
            delay in 1..86_400_u64, ago in proptest::option::of(0..200_000_u64), other in proptest::option::of(0..200_000_u64),
        ) {
            let config = config(delay, 5);
            let found = [ago, other].map(|ago| ago.map_or(Found::default(), first));
            let left = judge(&config, &found, NOW).left();
            prop_assert!(left <= config.delay);
            if ago.is_some() || other.is_some() {
                let later = NOW + left.as_secs();
                prop_assert_eq!(judge(&config, &found, later), Why::Returned);
                if !left.is_zero() {
                    prop_assert!(!judge(&config, &found, later - 1).left().is_zero());
                }
            }
        }
    }
}
