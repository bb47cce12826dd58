//! `[limits]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections of MTAs at the same time; one more is accepted and closed at once.
    pub sessions: usize,
    /// The longest that all directories together may take for one recipient.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub lookup: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { sessions: 10_000, lookup: Duration::from_secs(3) }
    }
}
