//! The greylist: who comes for the first time has to come again.
//!
//! Servers that queue their mail do; senders of spam often don't. Failure: everybody passes.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Shared;
use crate::{address::Address, policy::ClientClass};

/// `[defence.greylist]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Who is greylisted.
    pub mode: Mode,
}

/// `mode`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Nobody.
    #[default]
    Off,
    /// Clients of class `generic`, `dynamic` or `unnamed`.
    Suspicious,
    /// All that are neither insiders nor on a list of good clients.
    All,
}

/// The greylist.
#[derive(Debug)]
pub struct Greylist {
    config: Config,
    shared: Shared,
}

/// Who comes, from where, to whom.
#[derive(Debug, Clone, Copy)]
pub struct Triplet<'a> {
    /// The client's address.
    pub client: IpAddr,
    /// Its name, where the DNS confirms it both ways.
    pub name: Option<&'a str>,
    /// As written behind MAIL FROM.
    pub sender: &'a [u8],
    /// Somebody who exists.
    pub recipient: &'a Address,
}

/// Whether to come again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// It has to.
    pub is_due: bool,
    /// Why, or why not: for `backstop check`.
    pub why: String,
}

impl Wait {
    /// It need not.
    #[must_use]
    pub fn passes(why: &str) -> Self {
        Self { is_due: false, why: why.to_owned() }
    }
}

impl Config {
    /// Tells `say` which key can't be used, and why.
    pub fn check(&self, _say: &mut dyn FnMut(&'static str, String)) {}
}

impl Greylist {
    pub(super) fn new(config: &Config, shared: &Shared) -> Self {
        Self { config: config.clone(), shared: shared.clone() }
    }

    /// Whether anybody is greylisted.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.config.mode != Mode::Off
    }

    /// Whether the class has to be known to tell whether a client is greylisted.
    #[must_use]
    pub fn judges(&self, class: ClientClass) -> bool {
        match self.config.mode {
            Mode::Off => false,
            Mode::Suspicious => {
                matches!(class, ClientClass::Generic | ClientClass::Dynamic | ClientClass::Unnamed)
            }
            Mode::All => class != ClientClass::Trusted,
        }
    }

    /// Whether this one has to come again. `is_rehearsal`: nothing is remembered of it.
    #[expect(clippy::unused_async, reason = "the store waits")]
    pub async fn check(&self, _triplet: Triplet<'_>, _is_rehearsal: bool) -> Wait {
        let _ = &self.shared;
        Wait { is_due: false, why: String::new() }
    }
}
