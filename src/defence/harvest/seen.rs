//! Which client asked for which recipient lately, in bounded memory: who repeats one counts once.
//!
//! A script that writes to one dead address every minute is no harvest, and one friend who is asked for again and again
//! makes no good name. But friends count in every window anew: else those whom a client writes to all the time would be
//! forgotten with the first window, and its few dead addresses were all that is left. Two Bloom filters of half a megabyte; the
//! older one is forgotten with the window, or when the newer one is full. Failure: about one pair in a hundred that is new is taken for seen, and is not counted.

/// The pairs.
#[derive(Debug)]
pub(super) struct Seen {
    bucket: u64,
    current: Vec<u64>,
    before: Vec<u64>,
    pairs: usize,
}

impl Seen {
    /// As [`Seen::is_new`], but what was seen in another bucket is new in this one.
    pub(super) fn is_new_in(&mut self, bucket: u64, hash: u64) -> bool {
        if bucket != self.bucket {
            self.roll(bucket);
            self.before.fill(0);
        }
        self.is_new(hash, bucket)
    }

    /// Remembers the pair with this (keyed) hash in this bucket of time; whether it is new.
    pub(super) fn is_new(&mut self, hash: u64, bucket: u64) -> bool {
        if bucket != self.bucket || self.pairs >= CAPACITY {
            self.roll(bucket);
        }
        let places = places(hash);
        let holds = |filter: &[u64]| places.iter().all(|place| filter[place / 64] & (1 << (place % 64)) != 0);
        let (current, before) = (holds(&self.current), holds(&self.before));
        if !current {
            for place in places {
                self.current[place / 64] |= 1 << (place % 64);
            }
            self.pairs += 1;
        }
        !current && !before
    }

    fn roll(&mut self, bucket: u64) {
        std::mem::swap(&mut self.current, &mut self.before);
        self.current.fill(0);
        if bucket.abs_diff(self.bucket) > 1 {
            self.before.fill(0);
        }
        self.bucket = bucket;
        self.pairs = 0;
    }
}

impl Default for Seen {
    fn default() -> Self {
        let empty = || vec![0; BITS / 64];
        Self { bucket: 0, current: empty(), before: empty(), pairs: 0 }
    }
}

/// Four bits for each pair, all from one hash (Kirsch and Mitzenmacher, "Less hashing, same performance").
fn places(hash: u64) -> [usize; 4] {
    let (first, step) = (hash as usize, (hash >> 32) as usize | 1);
    [0, 1, 2, 3].map(|number| first.wrapping_add(step.wrapping_mul(number)) % BITS)
}

const BITS: usize = 1 << 22;

/// Ten bits a pair: about 1 % are taken for others.
const CAPACITY: usize = BITS / 10;

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    #[test]
    fn each_is_new_once() {
        let (mut seen, keys) = (Seen::default(), RandomState::new());
        let hash = |number: usize| keys.hash_one(number);
        let new = (0..100_000).filter(|&number| seen.is_new(hash(number), 7)).count();
        assert!(new > 99_900, "{new} of 100000");
        let again = (0..100_000).filter(|&number| seen.is_new(hash(number), 8)).count();
        assert_eq!(again, 0, "the bucket before is remembered");
        assert!(!seen.is_new(hash(5), 9), "it came again in bucket 8");
        assert!(seen.is_new(hash(5), 11), "two buckets later it is forgotten");
    }

    #[test]
    fn each_is_new_once_in_every_bucket() {
        let (mut seen, keys) = (Seen::default(), RandomState::new());
        for bucket in 7..12 {
            let again = |number: usize| keys.hash_one(number);
            let new = (0..2000).filter(|&number| seen.is_new_in(bucket, again(number % 1000))).count();
            assert!((990..=1000).contains(&new), "{new} in bucket {bucket}");
        }
    }

    #[test]
    fn a_flood_makes_it_forget_and_not_deaf() {
        let (mut seen, keys) = (Seen::default(), RandomState::new());
        let flood = 4 * CAPACITY;
        let new = (0..flood).filter(|number| seen.is_new(keys.hash_one(number), 7)).count();
        assert!(new > flood / 100 * 97, "{new} of {flood}");
    }
}
