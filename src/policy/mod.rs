//! The decision: which question to ask next, or the verdict.
//!
//! Pure: no clock, no I/O, no log. Given the [`Rules`] and the [`Facts`] known so far, [`next`] either
//! asks for the one fact that can still change the outcome, cheapest first, or decides. Whoever calls it
//! finds the answer, writes it into the facts and calls again; the server and `backstop check` do so alike.
//!
//! Failure: a question that can't be answered has an answer of its own (`Unknown`), and none of those
//! leads to a permanent refusal.

mod fact;
mod facts;
mod next;
mod reason;
mod reply;
mod rules;
#[cfg(test)]
mod tests;
mod trace;

pub use fact::{
    Attributes, ClientClass, Counts, DomainFact, Lately, RecipientFact, SuspensionFact, Unavailable,
};
pub use facts::{Facts, Level, Question, Recipient, Stage};
pub use next::{Decision, Step, Verdict, next};
pub use reason::{Reason, UnknownReason};
pub use reply::{Code, Replies, Reply, ReplyConfig, ReplyError, is_reply_text};
pub use rules::{Defences, Locals, Rules};
pub use trace::{Trace, TraceStep};
