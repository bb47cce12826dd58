//! The site as a whole: one harvest that comes from many clients, each of which stays below its limit.
//!
//! Counts the different addresses that were asked for, unknown and known ones, and the clients that guessed, in bitmaps
//! of fixed size (Whang and others, "A linear-time probabilistic counting algorithm"). The hashes are keyed: nobody can
//! choose addresses that fall together. Failure: estimates are off by one in a hundred.

use std::time::Duration;

use super::{rule::is_share, window::Window};

/// What one process sees of it.
#[derive(Debug, Default)]
pub(super) struct Watch {
    limits: Option<Limits>,
    bucket: u64,
    current: Sketches,
    before: Sketches,
    is_on: bool,
}

/// When it is one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Limits {
    /// So many different unknown addresses within the window …
    pub(super) unknown: u64,
    /// … and at least this share of all addresses.
    pub(super) ratio: f64,
    pub(super) window: Window,
}

/// What was asked for, as keyed hashes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) client: u64,
    pub(super) address: u64,
    pub(super) is_known: bool,
}

/// How it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sight {
    /// Different unknown addresses within the window.
    pub(super) unknown: u64,
    /// Clients that asked for one.
    pub(super) clients: u64,
    /// It is a distributed harvest.
    pub(super) is_on: bool,
    /// It was not before this look, or the other way round.
    pub(super) has_changed: bool,
}

impl Watch {
    /// Counts, and judges.
    pub(super) fn note(&mut self, limits: Limits, asked: Asked, now: Duration) -> Sight {
        self.limits = Some(limits);
        self.roll(limits.window.bucket(now));
        if asked.is_known {
            self.current.known.add(asked.address);
        } else {
            self.current.unknown.add(asked.address);
            self.current.clients.add(asked.client);
        }
        self.look(now)
    }

    /// Judges by what was counted. It begins at the limits and ends at half of them, so that it does not flicker; what a large
    /// site is asked day in, day out, is a small share there, and does not keep it on.
    pub(super) fn look(&mut self, now: Duration) -> Sight {
        let Some(limits) = self.limits else {
            return Sight { unknown: 0, clients: 0, is_on: false, has_changed: false };
        };
        self.roll(limits.window.bucket(now));
        let weigh = |of: fn(&Sketches) -> &Sketch| {
            limits.window.weigh(now, of(&self.current).estimate, of(&self.before).estimate)
        };
        let unknown = weigh(|sketches| &sketches.unknown);
        let clients = weigh(|sketches| &sketches.clients);
        let known = weigh(|sketches| &sketches.known);
        let is_on = if limits.unknown == 0 {
            false
        } else if self.is_on {
            unknown >= limits.unknown.div_ceil(2)
                && clients >= CLIENTS / 2
                && is_share(unknown, known, limits.ratio / 2.0)
        } else {
            unknown >= limits.unknown && clients >= CLIENTS && is_share(unknown, known, limits.ratio)
        };
        let has_changed = is_on != self.is_on;
        self.is_on = is_on;
        Sight { unknown, clients, is_on, has_changed }
    }

    fn roll(&mut self, bucket: u64) {
        if bucket == self.bucket {
            return;
        }
        std::mem::swap(&mut self.current, &mut self.before);
        self.current = Sketches::default();
        if bucket.abs_diff(self.bucket) > 1 {
            self.before = Sketches::default();
        }
        self.bucket = bucket;
    }
}

#[derive(Debug, Default)]
struct Sketches {
    unknown: Sketch,
    known: Sketch,
    clients: Sketch,
}

/// Counts how many different hashes it was given, up to about half a million.
#[derive(Debug)]
struct Sketch {
    bits: Box<[u64]>,
    ones: u32,
    /// How many they were.
    estimate: u64,
}

impl Sketch {
    fn add(&mut self, hash: u64) {
        let place = (hash % u64::from(BITS)) as usize;
        let (word, bit) = (&mut self.bits[place / 64], 1 << (place % 64));
        if *word & bit == 0 {
            *word |= bit;
            self.ones += 1;
            let zeros = f64::from((BITS - self.ones).max(1));
            self.estimate = (f64::from(BITS) * (f64::from(BITS) / zeros).ln()).round() as u64;
        }
    }
}

impl Default for Sketch {
    fn default() -> Self {
        Self { bits: vec![0; BITS as usize / 64].into(), ones: 0, estimate: 0 }
    }
}

/// Bits of a sketch: 8 KiB.
const BITS: u32 = 1 << 16;

/// From fewer clients it is not distributed: the limit of each is enough.
const CLIENTS: u64 = 50;

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    struct Scene {
        watch: Watch,
        keys: RandomState,
        now: Duration,
    }

    impl Scene {
        fn new() -> Self {
            Self { watch: Watch::default(), keys: RandomState::new(), now: HOUR * 1000 }
        }

        fn asks(&mut self, client: u32, address: u32, is_known: bool) -> Sight {
            let asked = Asked {
                client: self.keys.hash_one(("client", client)),
                address: self.keys.hash_one(("address", address)),
                is_known,
            };
            let limits = Limits { unknown: 500, ratio: 0.5, window: Window::new(HOUR) };
            self.watch.note(limits, asked, self.now)
        }

        fn look(&mut self) -> Sight {
            self.watch.look(self.now)
        }
    }

    #[test]
    fn it_begins_once_and_ends_once() {
        let mut scene = Scene::new();
        let mut began = Vec::new();
        for number in 0..1000 {
            let sight = scene.asks(number % 500, number, false);
            if sight.has_changed {
                began.push((number, sight.is_on));
            }
        }
        assert!(matches!(began[..], [(480..520, true)]), "{began:?}");
        scene.now += HOUR;
        assert!(scene.look().is_on, "the window slides, it does not jump");
        scene.now += HOUR * 9 / 10;
        let sight = scene.look();
        assert!(sight.has_changed && !sight.is_on, "{sight:?}");
        assert!(!scene.look().has_changed);
    }

    #[test]
    fn what_is_no_distributed_harvest() {
        let mut scene = Scene::new();
        for number in 0..5000 {
            assert!(!scene.asks(number, number % 10, false).is_on, "bounces to ten invented addresses");
        }
        let mut scene = Scene::new();
        for number in 0..2000 {
            let sight = scene.asks(number % 40, number, false);
            assert!(!sight.is_on, "forty clients, each of which has a limit of its own: {sight:?}");
        }
        let mut scene = Scene::new();
        for number in 0..20_000 {
            assert!(!scene.asks(number, number, number % 4 != 0).is_on, "three of four addresses are known");
        }
    }

    #[test]
    fn estimates_are_close() {
        let keys = RandomState::new();
        for number in [0_u64, 1, 100, 5000, 100_000] {
            let mut sketch = Sketch::default();
            for item in 0..number {
                sketch.add(keys.hash_one(item));
                sketch.add(keys.hash_one(item));
            }
            let most = number / 20 + 2;
            assert!(sketch.estimate.abs_diff(number) <= most, "{} for {number}", sketch.estimate);
        }
        let mut full = Sketch::default();
        (0..u64::from(BITS)).for_each(|item| full.add(item));
        assert!(full.estimate > 500_000, "a full one still gives a number");
    }
}
