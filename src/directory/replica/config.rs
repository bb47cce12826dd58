//! `[directory.NAME.replica]`, as written.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[directory.NAME.replica]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Everything is listed again after this time where the directory does not tell of [every
    /// change](directories.md#how-an-ldap-replica-learns-of-changes), and after 96 times that where it does. At least
    /// 1 s.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub refresh: Duration,
    /// A share, 0 to 1: a listing that would take away more of the addresses is [held back](#replicas). Losing one is
    /// always fine.
    pub max_shrink: f64,
}

impl Config {
    /// Tells `say` which key can't be used, and why.
    pub(in crate::directory) fn check(&self, say: &mut dyn FnMut(&str, String)) {
        if self.refresh < SHORTEST_REFRESH {
            say("refresh", format!("everything is listed again at most every {SHORTEST_REFRESH:?}"));
        }
        if !(0.0..=1.0).contains(&self.max_shrink) {
            say("max_shrink", "a share is between 0 (none) and 1 (all)".to_owned());
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self { refresh: Duration::from_secs(15 * 60), max_shrink: 0.1 }
    }
}

// Checked: neither of them is NaN.
impl Eq for Config {}

/// A listing costs the directory more than all questions in that time.
const SHORTEST_REFRESH: Duration = Duration::from_secs(1);
