//! A sliding window over counts that can only be added to: two fixed buckets, the older one counted in part.
//!
//! Buckets are numbered by the clock on the wall, so that several processes with one store mean the same ones. The
//! estimate takes it that what came in the older bucket came evenly; it is never more than both buckets hold.

use std::{net::IpAddr, time::Duration};

use ipnet::IpNet;

use crate::store::{Key, Table};

/// How far back counts go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    length: Duration,
}

impl Window {
    /// One of at least a millisecond.
    pub(super) fn new(length: Duration) -> Self {
        Self { length: length.max(Duration::from_millis(1)) }
    }

    pub(super) fn length(self) -> Duration {
        self.length
    }

    /// The number of the bucket that `now`, a time since 1970, is in.
    pub(super) fn bucket(self, now: Duration) -> u64 {
        millis(now) / millis(self.length)
    }

    /// Where in [`Table::Harvest`] the counts of a client, or of a larger network, are: of this bucket, and of the one before.
    pub(super) fn ids(self, kind: Kind, client: IpNet, now: Duration) -> [Id; 2] {
        let address = match client.addr() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let mut id: Id = [0; 26];
        id[0] = kind as u8;
        id[1] = client.prefix_len();
        id[2..18].copy_from_slice(&address.octets());
        let bucket = self.bucket(now);
        [bucket, bucket.wrapping_sub(1)].map(|bucket| {
            let mut id = id;
            id[18..].copy_from_slice(&bucket.to_be_bytes());
            id
        })
    }

    /// The same as keys.
    pub(super) fn keys(self, kind: Kind, client: IpNet, now: Duration) -> [Key; 2] {
        self.ids(kind, client, now).map(key)
    }

    /// The first of these: where is counted now.
    pub(super) fn key(self, kind: Kind, client: IpNet, now: Duration) -> Key {
        let [id, _] = self.ids(kind, client, now);
        key(id)
    }

    /// How many there were within the window that ends `now`, by the counts of this bucket and the one before.
    pub(super) fn weigh(self, now: Duration, current: u64, before: u64) -> u64 {
        if before == 0 {
            return current;
        }
        let length = millis(self.length);
        let left = length - millis(now) % length;
        let part = u128::from(before) * u128::from(left) / u128::from(length);
        current.saturating_add(u64::try_from(part).unwrap_or(u64::MAX))
    }

    /// How long a bucket's count is needed: as long as it is the present one or the one before.
    pub(super) fn ttl(self) -> Duration {
        self.length * 2
    }
}

/// What is counted under a key, as a [`Tally`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Recipients, known and unknown.
    Asked = b'a' as isize,
    /// Known recipients, over a long time.
    History = b'h' as isize,
}

/// Three counts in one value of the store, so that one addition and one look are enough. Each of the lower two has room
/// for 32 767 unknown recipients in one bucket; more of them carry over, and begin anew: few blocks are missed for that,
/// and nobody is blocked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) known: u64,
    /// By mail.
    pub(super) unknown: u64,
    /// By reports.
    pub(super) reports: u64,
}

impl Tally {
    /// Added for an unknown recipient of mail.
    pub(super) const UNKNOWN: u32 = 1;
    /// Added for one of a report.
    pub(super) const REPORT: u32 = 1 << SHIFT;
    /// Added for a known recipient.
    pub(super) const KNOWN: u32 = 1 << (2 * SHIFT);

    pub(super) fn of(count: u64) -> Self {
        let part = |number: u32| (count >> (number * SHIFT)) & u64::from(Self::REPORT - 1);
        Self { known: count >> (2 * SHIFT), unknown: part(0), reports: part(1) }
    }
}

/// Kind, length of the prefix, address, bucket.
pub(super) type Id = [u8; 26];

fn key(id: Id) -> Key {
    Key::new(Table::Harvest, id)
}

/// Without the arithmetic of 128 bits, which `Duration::as_millis` has.
fn millis(time: Duration) -> u64 {
    time.as_secs().saturating_mul(1000).saturating_add(time.subsec_millis().into())
}

const SHIFT: u32 = 15;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Window = Window { length: Duration::from_secs(3600) };

    #[test]
    fn the_older_bucket_counts_in_part() {
        for (second, current, before, expected) in [
            (3600, 0, 100, 100),
            (3600 + 900, 0, 100, 75),
            (3600 + 1800, 7, 100, 57),
            (3600 + 3599, 7, 100, 7),
            (3600 + 1800, 7, 1, 7),
            (3600, u64::MAX, u64::MAX, u64::MAX),
        ] {
            assert_eq!(HOUR.weigh(Duration::from_secs(second), current, before), expected, "at {second}");
        }
    }

    #[test]
    fn keys_differ_by_kind_client_and_bucket() {
        let network = |text: &str| text.parse::<IpNet>().unwrap();
        let (v4, v6) = (network("192.0.2.1/32"), network("2001:db8::/64"));
        let at = |kind, client, second| HOUR.keys(kind, client, Duration::from_secs(second));
        let [now, before] = at(Kind::Asked, v4, 7200);
        assert_eq!(at(Kind::Asked, v4, 10_799), [now.clone(), before.clone()]);
        assert_eq!(at(Kind::Asked, v4, 10_800)[1], now, "the present bucket becomes the one before");
        for other in [&before, &at(Kind::History, v4, 7200)[0], &at(Kind::Asked, v6, 7200)[0]] {
            assert_ne!(*other, now);
        }
        assert_ne!(at(Kind::Asked, network("2001:db8::/48"), 7200), at(Kind::Asked, v6, 7200));
        assert!(!now.id.spilled(), "it is on the hot path");
    }

    #[test]
    fn three_counts_fit_in_one() {
        let count = 300_000 * u64::from(Tally::KNOWN) + 70 * u64::from(Tally::REPORT) + 21;
        assert_eq!(Tally::of(count), Tally { known: 300_000, unknown: 21, reports: 70 });
        assert_eq!(Tally::of(0), Tally::default());
    }

    proptest! {
        /// Against the events themselves: nothing of the present bucket is lost, nothing older than two is counted,
        /// and where they come evenly the estimate is right to within one.
        #[test]
        fn the_estimate_keeps_its_bounds(
            events in prop::collection::vec(0_u64..4 * 3600, 0..200),
            now in 2 * 3600_u64..4 * 3600,
        ) {
            let bucket = |second: u64| HOUR.bucket(Duration::from_secs(second));
            let in_bucket = |number| events.iter().filter(|&&event| bucket(event) == number).count() as u64;
            let (current, before) = (in_bucket(bucket(now)), in_bucket(bucket(now) - 1));
            let estimate = HOUR.weigh(Duration::from_secs(now), current, before);
            prop_assert!(estimate >= current && estimate <= current + before);
            let later = HOUR.weigh(Duration::from_secs(now + 1), current, before);
            prop_assert!(bucket(now + 1) != bucket(now) || later <= estimate, "it only fades");
        }

        #[test]
        fn what_comes_evenly_is_counted_rightly(every in 1_u64..600, now in 7200_u64..10_800) {
            let in_bucket = |from: u64| (from..from + 3600).filter(|s| s % every == 0 && *s <= now).count() as u64;
            let estimate = HOUR.weigh(Duration::from_secs(now), in_bucket(7200), in_bucket(3600));
            let really = (now - 3599..=now).filter(|second| second % every == 0).count() as u64;
            prop_assert!(estimate.abs_diff(really) <= 2, "{estimate} for {really}");
        }
    }
}
