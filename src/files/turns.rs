//! Tells who looks at a list twice whether it was replaced meanwhile. (As a seqlock does: by numbers that are written before and
//! after.)

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// How often a list began to be replaced, and how often that ended.
#[derive(Debug, Default)]
pub struct Turns {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// It is being replaced. It ends with the value.
#[derive(Debug)]
pub struct Turn<'t>(&'t Turns);

impl Turns {
    /// It is replaced from now on.
    pub fn begin(&self) -> Turn<'_> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        Turn(self)
    }

    /// The number of the present content; `None`: it is being replaced just now.
    pub fn now(&self) -> Option<u64> {
        // After what was seen of the list until now.
        fence(Ordering::Acquire);
        let ended = self.ended.load(Ordering::Acquire);
        let begun = self.begun.load(Ordering::Acquire);
        (begun == ended).then_some(begun)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicBool, thread};

    use super::*;

    #[test]
    fn a_replacement_is_seen_while_it_goes_on_and_after() {
        let turns = Turns::default();
        let before = turns.now();
        assert_eq!(before, turns.now());
        let (one, other) = (turns.begin(), turns.begin());
        assert_eq!(turns.now(), None);
        drop(one);
        assert_eq!(turns.now(), None);
        drop(other);
        assert!(turns.now().is_some_and(|now| Some(now) != before));
    }

    /// Two values that are always alike, but not while they are replaced.
    #[test]
    fn what_was_seen_between_two_equal_numbers_belongs_together() {
        let (turns, stop) = (Turns::default(), AtomicBool::new(false));
        let values = [AtomicU64::new(0), AtomicU64::new(0)];
        thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0_u64.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let _turn = turns.begin();
                    values.iter().for_each(|value| value.store(round, Ordering::Release));
                }
            });
            let mut together = 0;
            while together < 10_000 {
                let before = turns.now();
                let seen = [&values[0], &values[1]].map(|value| value.load(Ordering::Acquire));
                if before.is_some() && turns.now() == before {
                    assert_eq!(seen[0], seen[1]);
                    together += 1;
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}
