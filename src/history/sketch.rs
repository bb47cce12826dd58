//! How often something was seen, roughly, and never too few: a count-min sketch with conservative update (Cormode and
//! Muthukrishnan 2005; Estan and Varghese 2002). The hashes are keyed: nobody can choose what falls together.

use std::hash::{BuildHasher, Hash, RandomState};

/// 32 KiB.
#[derive(Debug, Clone)]
pub(super) struct Sketch {
    keys: RandomState,
    cells: Box<[u16]>,
}

impl Sketch {
    /// Counts it; how often it was seen, at most.
    pub(super) fn add(&mut self, key: &impl Hash) -> u64 {
        let hash = self.keys.hash_one(key);
        let (first, step) = (hash as usize, (hash >> 32) as usize | 1);
        let place = |row: usize| row * WIDTH + first.wrapping_add(step.wrapping_mul(row)) % WIDTH;
        let least = (0..ROWS).map(|row| self.cells[place(row)]).min().unwrap_or(0).saturating_add(1);
        for row in 0..ROWS {
            let cell = &mut self.cells[place(row)];
            *cell = (*cell).max(least);
        }
        u64::from(least)
    }
}

impl Default for Sketch {
    fn default() -> Self {
        Self { keys: RandomState::new(), cells: vec![0; WIDTH * ROWS].into() }
    }
}

const WIDTH: usize = 4096;
const ROWS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_says_too_few_and_seldom_too_many() {
        let mut sketch = Sketch::default();
        let mut wrong = 0;
        for number in 0..2000_u32 {
            wrong += u32::from(sketch.add(&number) != 1);
        }
        assert!(wrong < 100, "{wrong} of 2000 are taken for others");
        for time in 2..=70_000_u64 {
            let seen = sketch.add(&7_u32);
            assert!(seen >= time.min(u64::from(u16::MAX)), "{seen} at {time}");
        }
    }
}
