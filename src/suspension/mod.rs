//! Which recipients are suspended, from files: the account exists, mail to it is refused for now.
//!
//! A suspension is always somebody's word. A file that can't be read suspends nobody anew; what was read from it
//! before stays (see [`files`](crate::files)). One that is shorter, or empty, is believed: those who are gone from it
//! were let in again, and to refuse them would be wrong.

mod file;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{
    address::{Address, AddressSet, Listed},
    files::{Keeper, OpenError, Spec, Watched},
};

/// `[suspensions]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// One a line: `user@example.com`, `user`, `@example.com` or `example.com`.
    pub files: Vec<PathBuf>,
}

/// All suspensions.
#[derive(Debug)]
pub struct Suspensions {
    files: Option<Watched<AddressSet>>,
}

/// A suspension that applies to a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspension {
    /// Of the address itself, or of its form without tag or sub-address.
    Address,
    /// Of that local part, wherever.
    Local,
    /// Of the whole domain.
    Domain,
}

impl std::fmt::Display for Suspension {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Address => "the address is in suspensions.files",
            Self::Local => "the local part is in suspensions.files",
            Self::Domain => "the domain is in suspensions.files",
        })
    }
}

impl Suspensions {
    /// Opens the files. Blocks while they are read.
    ///
    /// # Errors
    /// When a file is missing, unreadable, or makes no sense.
    pub fn build(config: &Config, keeper: &Keeper) -> Result<Self, OpenError> {
        if config.files.is_empty() {
            return Ok(Self { files: None });
        }
        let spec = Spec {
            name: "suspensions".to_owned(),
            kind: "suspensions",
            paths: config.files.clone(),
            report: Box::new(|_| {}),
        };
        Ok(Self { files: Some(keeper.open(spec, file::load)?) })
    }

    /// Whether this address, exactly as it is, or its domain is suspended. Costs no lock.
    pub fn check(&self, address: &Address) -> Option<Suspension> {
        Some(match self.files.as_ref()?.current().as_ref()?.find(address)? {
            Listed::Address => Suspension::Address,
            Listed::Local => Suspension::Local,
            Listed::Domain => Suspension::Domain,
        })
    }

    /// Files whose present content is not in use, or has lines that were skipped.
    pub fn notices(&self) -> Vec<String> {
        self.files.iter().filter_map(|files| files.status().notice()).collect()
    }

    /// How many entries are in force.
    pub fn len(&self) -> usize {
        self.files.as_ref().and_then(|files| files.current().as_ref().map(|files| files.len())).unwrap_or(0)
    }

    /// Nobody is suspended.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests;
