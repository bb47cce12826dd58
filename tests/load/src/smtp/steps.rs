//! How long each step of a dialogue took.

use std::fmt;
use std::time::Duration;

use crate::drive::Latencies;

/// A step of an SMTP dialogue that the client waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// From connect(2) to the banner.
    Connect,
    /// `EHLO`.
    Ehlo,
    /// `MAIL FROM`.
    Mail,
    /// `RCPT TO`.
    Rcpt,
    /// `DATA`, to the 354.
    Data,
    /// The message, to the reply to its final dot.
    Message,
    /// `QUIT`.
    Quit,
}

/// The times of all steps.
#[derive(Debug, Clone, Default)]
pub struct Steps([Latencies; Step::ALL.len()]);

impl Step {
    /// All of them, in the order of a dialogue.
    pub const ALL: [Self; 7] =
        [Self::Connect, Self::Ehlo, Self::Mail, Self::Rcpt, Self::Data, Self::Message, Self::Quit];
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Connect => "connect",
            Self::Ehlo => "EHLO",
            Self::Mail => "MAIL",
            Self::Rcpt => "RCPT",
            Self::Data => "DATA",
            Self::Message => "message",
            Self::Quit => "QUIT",
        })
    }
}

impl Steps {
    /// Notes that `step` took so long.
    pub fn add(&mut self, step: Step, took: Duration) {
        self.0[step as usize].add(took);
    }

    /// All of another one.
    pub fn take(&mut self, other: Self) {
        for (own, other) in self.0.iter_mut().zip(other.0) {
            own.take(other);
        }
    }

    /// The steps that were taken, with their times.
    pub fn taken(&self) -> impl Iterator<Item = (Step, &Latencies)> {
        Step::ALL.into_iter().zip(&self.0).filter(|(_, times)| times.count() > 0)
    }
}
