//! The tarpit: a refusal that takes its time, longer with each one for the same client.
//!
//! Each delay is capped, and so is how many wait at once: a delay holds a process of the MTA. Failure: no delay.

use std::{net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};

use super::Shared;

/// `[defence.tarpit]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether there are delays.
    pub enabled: bool,
    /// No delay is longer.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub max: Duration,
    /// No more wait at once.
    pub sleepers: usize,
}

/// Who waits now.
#[derive(Debug, Default)]
pub struct Sleepers {}

/// The delays.
#[derive(Debug)]
pub struct Tarpit {
    config: Config,
    shared: Shared,
}

/// A delay that was granted; while it is there it counts.
#[derive(Debug)]
pub struct Held {
    /// How long.
    pub delay: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { enabled: false, max: Duration::from_secs(4), sleepers: 50 }
    }
}

impl Config {
    /// Tells `say` which key can't be used, and why.
    pub fn check(&self, _say: &mut dyn FnMut(&'static str, String)) {}
}

impl Tarpit {
    pub(super) fn new(config: &Config, shared: &Shared) -> Self {
        Self { config: config.clone(), shared: shared.clone() }
    }

    /// The delay before the next refusal of this client; `None`: none. `is_stressed`: nobody should wait now.
    pub fn hold(&self, _client: IpAddr, _is_stressed: bool) -> Option<Held> {
        let _ = (&self.config, &self.shared);
        None
    }
}
