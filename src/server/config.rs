//! `[limits]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections of MTAs at the same time. One more is accepted and closed at once, and its MTA does what it does
    /// without a milter. The limit of open files is raised as far as the system allows; where that is not far enough,
    /// fewer are taken, with a warning. With fewer than are open, these stay.
    pub sessions: usize,
    /// The longest that all directories together may take for one recipient; more than 0, at most 8 s.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub lookup: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { sessions: 10_000, lookup: Duration::from_secs(3) }
    }
}
