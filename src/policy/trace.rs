//! What led to a decision, in words.

use serde::{Deserialize, Serialize};

/// What was asked, and what was answered, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Trace(pub Vec<TraceStep>);

/// One question with its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceStep {
    /// E.g. `recipient`.
    pub question: String,
    /// The address or domain that it was asked about; empty where it is about the client.
    pub about: String,
    /// In words.
    pub answer: String,
    /// Where the answer comes from, one line each.
    pub evidence: Vec<String>,
    /// How long the answer took, in microseconds.
    pub micros: u64,
}
