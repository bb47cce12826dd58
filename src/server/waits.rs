//! What wakes a session besides its MTA: the end of all sessions, and its own time-out.
//!
//! A wait is registered once, and all of them are looked at once in a second. So sessions set no timers: a thread that has
//! one asks the system for it at each wait. Failure: none.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Waker},
    time::{Duration, Instant},
};

use slab::Slab;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::clock;

/// Everybody who waits.
#[derive(Debug, Default)]
pub(super) struct Waits {
    /// The end has begun: to look at it takes no lock.
    is_ending: AtomicBool,
    end: CancellationToken,
    places: Mutex<Slab<Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    waker: Waker,
    until: Instant,
}

impl Waits {
    /// From now on no connections are taken, and a session ends when no message is under way.
    pub(super) fn begin_end(&self) {
        self.is_ending.store(true, Ordering::Release);
        self.end.cancel();
        self.lock().iter().for_each(|(_, waiting)| waiting.waker.wake_by_ref());
    }

    pub(super) fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Acquire)
    }

    /// Until that has begun.
    pub(super) async fn ending(&self) {
        self.end.cancelled().await;
    }

    /// Wakes those whose time is over, until `stop`.
    pub(super) async fn run(&self, stop: CancellationToken) {
        let mut ticks = interval(TICK);
        // After a stop of the process one look tells all.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.tick(clock::now());
        }
    }

    fn tick(&self, now: Instant) {
        for (_, waiting) in &mut *self.lock() {
            if waiting.until <= now {
                waiting.waker.wake_by_ref();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slab<Waiting>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One who waits, for as long as he does not get what he waits for. Of one task.
pub(super) struct Place<'w> {
    waits: &'w Waits,
    key: Option<usize>,
    until: Instant,
}

impl<'w> Place<'w> {
    /// `until`: then he is woken, about a second late at most, and again until that is [set](Self::set) to later.
    pub(super) fn new(waits: &'w Waits, until: Instant) -> Self {
        Self { waits, key: None, until }
    }

    /// Has the task woken from now on. Whether the end has begun: then it may have been told before.
    pub(super) fn wait(&mut self, context: &Context<'_>) -> bool {
        if self.key.is_none() {
            let waiting = Waiting { waker: context.waker().clone(), until: self.until };
            self.key = Some(self.waits.lock().insert(waiting));
        }
        self.waits.is_ending()
    }

    /// When he is woken.
    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// From now on he is woken then.
    pub(super) fn set(&mut self, until: Instant) {
        self.until = until;
        if let Some(key) = self.key
            && let Some(waiting) = self.waits.lock().get_mut(key)
        {
            waiting.until = until;
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            // What is taken out is dropped when nobody is kept waiting for it.
            let _waiting = self.waits.lock().try_remove(key);
        }
    }
}

const TICK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, atomic::AtomicUsize},
        task::Wake,
    };

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn times(woken: &Woken) -> usize {
        woken.0.swap(0, Ordering::Relaxed)
    }

    #[test]
    fn who_waits_is_woken_when_his_time_is_over() {
        let (waits, begun) = (Waits::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        let woken = [(); 2].map(|()| Arc::new(Woken::default()));
        let wakers = woken.clone().map(Waker::from);
        let [mut soon, mut late] = [30, 7210].map(|seconds| Place::new(&waits, at(seconds)));
        waits.tick(at(9000));
        for (place, waker) in [(&mut soon, &wakers[0]), (&mut late, &wakers[1])] {
            assert!(!place.wait(&Context::from_waker(waker)));
            assert!(!place.wait(&Context::from_waker(waker)), "he is there once");
        }
        for (now, expected) in [(29, [0, 0]), (30, [1, 0]), (31, [1, 0])] {
            waits.tick(at(now));
            assert_eq!([&woken[0], &woken[1]].map(|woken| times(woken)), expected, "{now}");
        }
        soon.set(at(60));
        assert_eq!(soon.until(), at(60));
        late.set(at(20));
        for (now, expected) in [(32, [0, 1]), (60, [1, 1])] {
            waits.tick(at(now));
            assert_eq!([&woken[0], &woken[1]].map(|woken| times(woken)), expected, "{now}");
        }
        drop(late);
        waits.tick(at(9000));
        assert_eq!([&woken[0], &woken[1]].map(|woken| times(woken)), [1, 0]);
        drop(soon);
        assert!(waits.lock().is_empty());
        assert_eq!(woken.map(|woken| Arc::strong_count(&woken)), [2, 2], "no waker is left but those here");
    }

    #[test]
    fn the_end_wakes_everybody() {
        let waits = Waits::default();
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut early = Place::new(&waits, Instant::now());
        assert!(!early.wait(&Context::from_waker(&waker)) && !waits.is_ending());
        waits.begin_end();
        assert_eq!((times(&woken), waits.is_ending()), (1, true));
        let mut late = Place::new(&waits, Instant::now());
        assert!(late.wait(&Context::from_waker(&waker)), "who comes later is told at once");
    }

    /// Whose time is over, and how often he was woken.
    fn overdue(waits: &Waits) -> (Place<'_>, Arc<Woken>) {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut place = Place::new(waits, clock::now());
        place.wait(&Context::from_waker(&waker));
        (place, woken)
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_looked_at_each_second() {
        let (waits, stop) = (Waits::default(), CancellationToken::new());
        let (_place, woken) = overdue(&waits);
        let looked = async {
            tokio::time::sleep(Duration::from_millis(2500)).await;
            stop.cancel();
        };
        tokio::join!(waits.run(stop.clone()), looked);
        assert_eq!(times(&woken), 3, "at 0, 1 and 2 seconds");
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_stood_still_looks_once() {
        let (waits, stop) = (Waits::default(), CancellationToken::new());
        let (_place, woken) = overdue(&waits);
        let stood_still = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert_eq!(times(&woken), 1);
            tokio::time::advance(Duration::from_secs(7200)).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
            stop.cancel();
        };
        tokio::join!(waits.run(stop.clone()), stood_still);
        assert_eq!(times(&woken), 1);
    }
}
