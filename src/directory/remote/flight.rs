//! One question per address at a time, however many ask.
//!
//! A question runs in a task of its own: it goes on when whoever asked first is gone, and when it panics (a library that
//! chokes on what a server sends) those who wait are told that nothing could be found out.

use std::sync::Arc;
use std::{
    collections::HashMap,
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use tokio_util::task::TaskTracker;

use crate::{
    address::Address,
    directory::{Answer, Why},
};

/// The questions under way.
#[derive(Debug, Default)]
pub(super) struct Flights {
    tasks: TaskTracker,
    under_way: Arc<Mutex<HashMap<Address, Shared<BoxFuture<'static, Answer>>>>>,
}

impl Flights {
    /// The answer of the question for this address that is under way, or of `question`, which then is. With too many
    /// under way it is Unknown at once.
    pub(super) async fn board(
        &self,
        address: &Address,
        question: impl Future<Output = Answer> + Send + 'static,
    ) -> Answer {
        let flight = {
            let mut under_way = lock(&self.under_way);
            if let Some(flight) = under_way.get(address) {
                flight.clone()
            } else if under_way.len() >= MOST {
                return Answer::Unknown(Why::Busy);
            } else {
                let task = self.tasks.spawn(question);
                let landing = Landing { under_way: Arc::clone(&self.under_way), address: address.clone() };
                let flight = async move {
                    let answer = task.await.unwrap_or(Answer::Unknown(Why::Failed));
                    drop(landing);
                    answer
                };
                let flight = flight.boxed().shared();
                under_way.insert(address.clone(), flight.clone());
                // Somebody has to see to the landing when all who asked are gone.
                self.tasks.spawn(flight.clone());
                flight
            }
        };
        flight.await
    }
}

/// Takes the flight off the list when it is over.
struct Landing {
    under_way: Arc<Mutex<HashMap<Address, Shared<BoxFuture<'static, Answer>>>>>,
    address: Address,
}

impl Drop for Landing {
    fn drop(&mut self) {
        // Kept alive until the lock is given back: dropping it may drop the last handle.
        let flight = lock(&self.under_way).remove(&self.address);
        drop(flight);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Questions under way, at most; each holds one address and one place in a queue for a connection.
const MOST: usize = 4096;

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use super::*;
    use crate::policy::Attributes;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn many_ask_and_one_question_flies() {
        let flights = Flights::default();
        let asked = Arc::new(AtomicUsize::new(0));
        let question = || {
            let asked = Arc::clone(&asked);
            async move {
                asked.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_secs(1)).await;
                Answer::Exists(Attributes::default())
            }
        };
        let joe = address("joe@x");
        let all = futures_util::future::join_all((0..100).map(|_| flights.board(&joe, question()))).await;
        assert!(all.iter().all(|answer| *answer == Answer::Exists(Attributes::default())));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        flights.board(&joe, question()).await;
        assert_eq!(asked.load(Ordering::Relaxed), 2, "an answer is shared by those who asked before it came");
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_outlives_who_asked() {
        let flights = Flights::default();
        let (done, answered) = tokio::sync::oneshot::channel();
        let question = async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let _ = done.send(());
            Answer::Absent
        };
        let joe = address("joe@x");
        let asked = tokio::time::timeout(Duration::from_millis(10), flights.board(&joe, question)).await;
        assert!(asked.is_err());
        answered.await.unwrap();
        flights.tasks.close();
        flights.tasks.wait().await;
        assert!(lock(&flights.under_way).is_empty());
    }

    #[tokio::test]
    async fn a_panic_is_unknown() {
        let flights = Flights::default();
        let answer = flights.board(&address("joe@x"), async { panic!("as a parser does") }).await;
        assert_eq!(answer, Answer::Unknown(Why::Failed));
        assert_eq!(flights.board(&address("joe@x"), async { Answer::Absent }).await, Answer::Absent);
    }
}
