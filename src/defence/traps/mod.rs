//! Spam traps: addresses that never existed. Whoever writes to one has guessed it, or bought it.
//!
//! Failure: what can't be read is no trap.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{
    address::Address,
    files::{Keeper, OpenError},
};

/// `[defence.traps]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Each an address.
    pub addresses: Vec<String>,
    /// One a line.
    pub files: Vec<PathBuf>,
}

/// All traps.
#[derive(Debug)]
pub struct Traps {}

impl Config {
    /// Tells `say` which key can't be used, and why.
    pub fn check(&self, _say: &mut dyn FnMut(&'static str, String)) {}
}

impl Traps {
    /// Opens the files. Blocks while they are read.
    ///
    /// # Errors
    /// When one is missing, unreadable, or makes no sense.
    pub(super) fn build(_config: &Config, _keeper: &Keeper) -> Result<Self, OpenError> {
        Ok(Self {})
    }

    /// Whether this is one.
    #[must_use]
    pub fn is_trap(&self, _address: &Address) -> bool {
        false
    }

    /// There are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        true
    }
}
