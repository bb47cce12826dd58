//! How often something was seen lately, roughly: a count-min sketch with conservative update (Cormode and Muthukrishnan
//! 2005; Estan and Varghese 2002). Never too few, as long as few others are seen: all counts are halved each time that so many
//! have come for the first time that more and more of them would be taken for others (as TinyLFU does: Einziger, Friedman and
//! Manes 2017). Thus in a flood of those that come once, whoever came twice is still told apart.

/// 64 KiB.
#[derive(Debug, Clone)]
pub(super) struct Sketch {
    cells: Box<[u16]>,
    /// Those that were seen for the first time since all counts were halved.
    new: usize,
}

impl Sketch {
    /// Counts it; how often it was seen. The hash is keyed: nobody can choose what falls together.
    pub(super) fn add(&mut self, hash: u64) -> u64 {
        let (first, step) = (hash as usize, (hash >> 32) as usize | 1);
        let place = |row: usize| row * WIDTH + first.wrapping_add(step.wrapping_mul(row)) % WIDTH;
        let least = (0..ROWS).map(|row| self.cells[place(row)]).min().unwrap_or(0).saturating_add(1);
        for row in 0..ROWS {
            let cell = &mut self.cells[place(row)];
            *cell = (*cell).max(least);
        }
        self.new += usize::from(least == 1);
        if self.new == MANY {
            self.new = 0;
            self.cells.iter_mut().for_each(|cell| *cell /= 2);
        }
        u64::from(least)
    }
}

impl Default for Sketch {
    fn default() -> Self {
        Self { cells: vec![0; WIDTH * ROWS].into(), new: 0 }
    }
}

const WIDTH: usize = 8192;
const ROWS: usize = 4;
/// With that many, one in forty that are new is taken for one of them.
const MANY: usize = WIDTH / 2;

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    #[test]
    fn it_never_says_too_few_and_seldom_too_many() {
        let (mut sketch, keys) = (Sketch::default(), RandomState::new());
        let mut wrong = 0;
        for number in 0..2000_u32 {
            wrong += u32::from(sketch.add(keys.hash_one(number)) != 1);
        }
        assert!(wrong < 20, "{wrong} of 2000 are taken for others");
        for time in 2..=70_000_u64 {
            let seen = sketch.add(keys.hash_one(7_u32));
            assert!(seen >= time.min(u64::from(u16::MAX)), "{seen} at {time}");
        }
    }

    /// A day of a thousand a second would fill any sketch.
    #[test]
    fn a_flood_does_not_fill_it() {
        let (mut sketch, keys) = (Sketch::default(), RandomState::new());
        let (mut often, mut wrong) = (0, 0);
        for number in 0..1_000_000_u32 {
            let seen = sketch.add(keys.hash_one(number));
            (often, wrong) = (often.max(seen), wrong + u32::from(seen > 1));
            if number % 1000 == 0 {
                assert!(
                    sketch.add(keys.hash_one(u32::MAX)) >= u64::from(number / 1000).min(3),
                    "at {number}"
                );
            }
        }
        assert!(often <= 4 && wrong < 20_000, "up to {often} times, {wrong} wrong ones");
    }
}
