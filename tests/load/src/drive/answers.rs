//! What a milter answered.

use std::time::Duration;

use super::latencies::Latencies;

/// What a milter answered to all that was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers {
    /// Sessions, to their end.
    pub sessions: u64,
    /// Recipients refused for good, with 5xx.
    pub refused: u64,
    /// Recipients refused for now, with 4xx.
    pub deferred: u64,
    /// Recipients accepted.
    pub accepted: u64,
    /// Sessions that the milter ended, with 421 or before there was a recipient.
    pub over: u64,
    /// Known recipients that were refused for good, and unknown ones that were accepted.
    pub wrong: u64,
    /// From a recipient's command to its answer.
    pub latencies: Latencies,
    /// From DATA to the last answer, where a message was delivered.
    pub messages: Latencies,
    /// From the first session to the end of the last one.
    pub time: Duration,
}

impl Answers {
    /// Whether each known recipient was accepted and each unknown one refused for good.
    #[must_use]
    pub fn are_right(&self) -> bool {
        self.wrong == 0 && self.deferred == 0 && self.over == 0
    }

    /// Sessions in a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.sessions as f64 / self.time.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Adds those of another part of the same run.
    pub(super) fn take(&mut self, other: Answers) {
        self.sessions += other.sessions;
        self.refused += other.refused;
        self.deferred += other.deferred;
        self.accepted += other.accepted;
        self.over += other.over;
        self.wrong += other.wrong;
        self.latencies.take(other.latencies);
        self.messages.take(other.messages);
    }
}
