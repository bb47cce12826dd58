//! Directory harvests: clients that guess recipients.
//!
//! Counts, per client and over a sliding window, the recipients that existed and those that did not; blocks for a time on
//! number and share. Watches the whole site for guesses that come from many clients. Failure: nobody is counted.

use std::{net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};

use super::Shared;
use crate::address::Address;

/// `[defence.harvest]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Count and block.
    pub enabled: bool,
    /// So many unknown recipients within the window …
    pub unknown: u32,
    /// … and at least this share of all.
    pub ratio: f64,
    /// How far back counts go.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub window: Duration,
    /// How long a client is blocked.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub block: Duration,
}

/// What a client asked for.
#[derive(Debug, Clone, Copy)]
pub enum Guess<'a> {
    /// Somebody who exists.
    Known,
    /// Nobody. `None`: the MTA refused it, and does not say whom it understood.
    Unknown(Option<&'a Address>),
    /// An address that never existed: only who guesses, or copies lists, knows it.
    Trap,
}

/// The site as a whole: which local parts were guessed lately, in bounded memory.
#[derive(Debug, Default)]
pub struct Site {}

/// The counts.
#[derive(Debug)]
pub struct Harvest {
    config: Config,
    shared: Shared,
}

impl Default for Config {
    fn default() -> Self {
        let hour = Duration::from_secs(60 * 60);
        Self { enabled: true, unknown: 20, ratio: 0.5, window: hour, block: hour }
    }
}

impl Config {
    /// Tells `say` which key can't be used, and why.
    pub fn check(&self, _say: &mut dyn FnMut(&'static str, String)) {}
}

impl Harvest {
    pub(super) fn new(config: &Config, shared: &Shared) -> Self {
        Self { config: config.clone(), shared: shared.clone() }
    }

    /// Counts one recipient of a client that is no insider, and blocks the client when it is due. Does not wait for the store.
    pub fn note(&self, _client: IpAddr, _guess: Guess<'_>) {
        let _ = (&self.config, &self.shared);
    }
}
