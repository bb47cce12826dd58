//! `[directory.NAME.sql]`, as written.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

/// `[directory.NAME.sql]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `postgres://USER@HOST/DATABASE`, `mysql://USER@HOST/DATABASE` or `sqlite:/FILE`.
    pub url: String,
    /// The password, in a file of one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Gives a row if the recipient exists. Its parameters are, in order: the address, its local part, its domain.
    /// Columns named `suspended` and `restricted` count; others don't.
    pub query: String,
    /// Gives the column `address`, and may give `suspended` and `restricted`, of every recipient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listing: Option<String>,
    /// Keep the whole list, or ask for each recipient.
    #[serde(default)]
    pub source: Mode,
    /// For one question.
    #[serde(default = "deadline", with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub deadline: Duration,
    /// Connections, at most.
    #[serde(default = "connections")]
    pub connections: u32,
}

impl Config {
    /// Tells `say` which key can't be used, and why.
    pub(in crate::directory) fn check(&self, _say: &mut dyn FnMut(&str, String)) {}
}

/// `source`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// A question for each recipient, remembered for a while.
    #[default]
    Live,
    /// The whole list in memory and on disk, refreshed at an interval.
    Replica,
}

fn deadline() -> Duration {
    Duration::from_secs(2)
}

fn connections() -> u32 {
    4
}
