//! How often an address is explained: each time, directories are asked.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// [`AT_ONCE`] at the same time; [`IN_A_ROW`], then one every [`EVERY`].
#[derive(Debug)]
pub(super) struct Limit {
    permits: Arc<Semaphore>,
    /// When there will have been nobody for so long that [`IN_A_ROW`] may come.
    rested: Mutex<Option<Instant>>,
}

impl Limit {
    pub(super) fn new() -> Self {
        Self { permits: Arc::new(Semaphore::new(AT_ONCE)), rested: Mutex::new(None) }
    }

    /// Leave to ask, for as long as it is held.
    ///
    /// # Errors
    /// After how long to come again.
    pub(super) fn begin(&self, now: Instant) -> Result<OwnedSemaphorePermit, Duration> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().map_err(|_| EVERY)?;
        let mut rested = self.rested.lock().unwrap_or_else(PoisonError::into_inner);
        let next = rested.map_or(now, |rested| rested.max(now)) + EVERY;
        match (next - now).checked_sub(EVERY * IN_A_ROW) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => {
                *rested = Some(next);
                Ok(permit)
            }
        }
    }
}

const AT_ONCE: usize = 2;
const IN_A_ROW: u32 = 10;
/// A person reads for longer.
const EVERY: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_in_a_row_and_then_slowly() {
        let (limit, begin) = (Limit::new(), Instant::now());
        for _ in 0..IN_A_ROW {
            assert!(limit.begin(begin).is_ok());
        }
        assert_eq!(limit.begin(begin).unwrap_err(), EVERY);
        assert_eq!(limit.begin(begin + EVERY / 2).unwrap_err(), EVERY / 2);
        assert!(limit.begin(begin + EVERY).is_ok());
        assert!(limit.begin(begin + EVERY).is_err());
        let later = begin + EVERY * IN_A_ROW * 3;
        let taken: Vec<_> = (0..AT_ONCE).map(|_| limit.begin(later).unwrap()).collect();
        assert_eq!(limit.begin(later).unwrap_err(), EVERY, "two are under way");
        drop(taken);
        assert!(limit.begin(later).is_ok());
    }
}
