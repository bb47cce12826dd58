//! Which of several servers to ask: remembers those that failed, and spares them for a while.
//!
//! Pure but for a lock held for an instant: the caller tells the time and what happened. A server that fails is left
//! alone, twice as long each time; when its pause is over, one question tries it, and the others still go elsewhere.
//! When all are paused nobody is worth trying: that is the circuit breaker, and the answer is known without waiting.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use smallvec::SmallVec;

/// The health of a fixed list of servers.
#[derive(Debug)]
pub struct Failover {
    servers: Mutex<Box<[Server]>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Server {
    /// Failures since it worked last.
    failures: u32,
    /// Left alone until then.
    paused: Option<Instant>,
    /// Somebody tries it.
    tried: bool,
}

impl Failover {
    /// `count` servers, none of which has failed yet.
    pub fn new(count: usize) -> Self {
        Self { servers: Mutex::new(vec![Server::default(); count].into()) }
    }

    /// The servers worth trying now, in order: those that work, as listed, then one whose pause is over. That one is
    /// the caller's to try; others are told of it again only after [`TRIAL`]. Empty: all are known to be down.
    pub fn candidates(&self, now: Instant) -> SmallVec<[usize; 4]> {
        let mut servers = self.servers();
        let mut found: SmallVec<_> =
            servers.iter().enumerate().filter(|(_, server)| server.failures == 0).map(|(at, _)| at).collect();
        let due = |server: &Server| server.failures > 0 && server.paused.is_none_or(|until| until <= now);
        let back = servers.iter().position(due);
        if let Some(server) = back.and_then(|at| servers.get_mut(at)) {
            server.paused = Some(now + TRIAL);
            server.tried = true;
        }
        found.extend(back);
        found
    }

    /// The server answered, whatever it said.
    pub fn worked(&self, server: usize) {
        if let Some(server) = self.servers().get_mut(server) {
            *server = Server::default();
        }
    }

    /// The server could not be reached, or did not answer. Of the questions that one outage meets, only the first counts,
    /// and then each trial.
    pub fn failed(&self, server: usize, now: Instant) {
        if let Some(server) = self.servers().get_mut(server) {
            if server.failures > 0 && !server.tried && server.paused.is_some_and(|until| now < until) {
                return;
            }
            server.tried = false;
            server.failures = server.failures.saturating_add(1);
            let pause = FIRST_PAUSE * 2_u32.saturating_pow((server.failures - 1).min(16));
            server.paused = Some(now + pause.min(LONGEST_PAUSE));
        }
    }

    /// All servers are known to be down.
    pub fn is_open(&self) -> bool {
        self.servers().iter().all(|server| server.failures > 0)
    }

    fn servers(&self) -> MutexGuard<'_, Box<[Server]>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// After the first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// A server that is back is noticed this soon.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// While one question tries a server, for this long at most, the others don't.
const TRIAL: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(failover: &Failover, now: Instant) -> Vec<usize> {
        failover.candidates(now).to_vec()
    }

    #[test]
    fn a_dead_server_is_spared_and_tried_by_one_question_at_a_time() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let failover = Failover::new(3);
        assert_eq!(ask(&failover, at(0)), [0, 1, 2]);
        // Two more were under way when it died.
        for _ in 0..3 {
            failover.failed(0, at(0));
        }
        assert_eq!(ask(&failover, at(249)), [1, 2]);
        assert_eq!(ask(&failover, at(250)), [1, 2, 0], "its pause is over, and it comes last");
        assert_eq!(ask(&failover, at(251)), [1, 2], "somebody is trying it");
        failover.failed(0, at(300));
        assert_eq!(ask(&failover, at(799)), [1, 2], "the second pause is twice as long");
        assert_eq!(ask(&failover, at(800)), [1, 2, 0]);
        failover.worked(0);
        assert_eq!(ask(&failover, at(801)), [0, 1, 2]);
    }

    #[test]
    fn when_all_are_down_nobody_waits_and_the_first_to_return_is_found() {
        let start = Instant::now();
        let failover = Failover::new(2);
        for server in [0, 1] {
            for n in 0..40 {
                failover.failed(server, start - LONGEST_PAUSE * (39 - n));
            }
        }
        assert!(failover.is_open());
        assert!(ask(&failover, start + LONGEST_PAUSE - Duration::from_millis(1)).is_empty());
        assert_eq!(ask(&failover, start + LONGEST_PAUSE), [0]);
        assert_eq!(ask(&failover, start + LONGEST_PAUSE), [1]);
        assert!(ask(&failover, start + LONGEST_PAUSE).is_empty());
        assert_eq!(
            ask(&failover, start + LONGEST_PAUSE + TRIAL),
            [0],
            "the trial was never told of: it is due again"
        );
        failover.worked(1);
        assert!(!failover.is_open());
        assert_eq!(ask(&failover, start), [1]);
    }

    #[test]
    fn a_server_that_does_not_exist_is_ignored() {
        let failover = Failover::new(1);
        failover.failed(7, Instant::now());
        failover.worked(7);
        assert_eq!(ask(&failover, Instant::now()), [0]);
    }
}
