//! The time-out of a session. One that runs wakes its task by itself: to look at it then takes no lock.
//!
//! Failure: none.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use tokio::{task::coop::has_budget_remaining, time::Sleep};

/// Rings at its time. Of one task.
pub(super) struct Alarm<'s> {
    sleep: Pin<&'s mut Sleep>,
    is_running: bool,
}

impl<'s> Alarm<'s> {
    pub(super) fn new(sleep: Pin<&'s mut Sleep>) -> Self {
        Self { sleep, is_running: false }
    }

    /// Ready when it is time; if it is not, the task is woken then.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.is_running {
            return if self.sleep.is_elapsed() { Poll::Ready(()) } else { Poll::Pending };
        }
        // A task that has had its share is not listened to: it is asked again soon, and nothing was set.
        self.is_running = has_budget_remaining();
        self.sleep.as_mut().poll(context)
    }

    /// From now on it rings then.
    pub(super) fn set(&mut self, at: Instant) {
        self.sleep.as_mut().reset(at.into());
        self.is_running = false;
    }

    /// The same, if it would ring later.
    pub(super) fn bring_forward(&mut self, at: Instant) {
        if self.sleep.deadline() > at.into() {
            self.set(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::pin, time::Duration};

    use tokio::{
        task::{coop::consume_budget, yield_now},
        time::{self, sleep, timeout},
    };

    use super::*;

    /// tokio, `task::coop`: without budget a resource is pending, whatever its state, and does not keep the waker.
    #[tokio::test(start_paused = true)]
    async fn it_rings_though_its_task_had_no_budget_left_when_it_was_set() {
        let sleep = pin!(sleep(SECOND));
        let mut alarm = Alarm::new(sleep);
        let spent = poll_fn(|context| {
            while has_budget_remaining() {
                let _ = pin!(consume_budget()).poll(context);
            }
            Poll::Ready(alarm.poll(context))
        });
        assert!(spent.await.is_pending());
        yield_now().await;
        let rings = timeout(2 * SECOND, poll_fn(|context| alarm.poll(context)));
        rings.await.expect("it rings after a second");
    }

    #[tokio::test(start_paused = true)]
    async fn it_rings_at_the_time_that_was_set_last() {
        let begun = time::Instant::now();
        let sleep = pin!(sleep(9 * SECOND));
        let mut alarm = Alarm::new(sleep);
        let is_ready = poll_fn(|context| Poll::Ready(alarm.poll(context).is_ready()));
        assert!(!is_ready.await);
        alarm.bring_forward((begun + 20 * SECOND).into());
        alarm.bring_forward((begun + 3 * SECOND).into());
        poll_fn(|context| alarm.poll(context)).await;
        assert_eq!(begun.elapsed().as_secs(), 3);
        alarm.set((begun + 5 * SECOND).into());
        poll_fn(|context| alarm.poll(context)).await;
        assert_eq!(begun.elapsed().as_secs(), 5);
    }

    const SECOND: Duration = Duration::from_secs(1);
}
