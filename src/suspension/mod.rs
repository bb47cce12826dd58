//! Which recipients are suspended, from files and by command: the account exists, mail to it is refused for now.
//!
//! A suspension is always somebody's word. A file or a store that can't be read suspends nobody anew; what was read from it
//! before stays (see [`files`](crate::files)), but for good only while it can be confirmed. One that is shorter, or empty, is believed: those who are gone from it
//! were let in again, and to refuse them would be wrong.

mod commanded;
mod file;
mod list;
mod record;

use std::{path::PathBuf, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

pub use commanded::{Commanded, Refused};
pub use record::{Record, Subject};

use crate::{
    address::{Address, AddressSet, Listed},
    clock,
    files::{Keeper, OpenError, Spec, Watched, read},
};

/// `[suspensions]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// [Files of suspensions](#suspension-files); their content is [followed](#files-that-change).
    pub files: Vec<PathBuf>,
}

/// All suspensions.
#[derive(Debug)]
pub struct Suspensions {
    files: Option<Watched<AddressSet>>,
    commanded: Arc<Commanded>,
}

/// A suspension that applies to a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Suspension {
    /// Of the address itself, or of its form without tag or sub-address.
    Address,
    /// Of that local part, wherever.
    Local,
    /// Of the whole domain.
    Domain,
    /// By command.
    Commanded(Arc<Record>),
    /// By command, when that could last be found out; too long ago to refuse anybody for good.
    Doubtful(Arc<Record>),
}

impl Suspension {
    /// What the sender is told in place of the usual text.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Commanded(record) | Self::Doubtful(record) => record.text.as_deref(),
            Self::Address | Self::Local | Self::Domain => None,
        }
    }

    /// Whether it may be over by now.
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        matches!(self, Self::Doubtful(_))
    }
}

impl std::fmt::Display for Suspension {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Address => "the address is in suspensions.files",
            Self::Local => "the local part is in suspensions.files",
            Self::Domain => "the domain is in suspensions.files",
            Self::Commanded(record) => return record.fmt(f),
            Self::Doubtful(record) => {
                return write!(f, "{record} (that may be over: the store does not answer)");
            }
        })
    }
}

impl Suspensions {
    /// Opens the files. Blocks while they are read. Those by command live on when the configuration changes.
    ///
    /// # Errors
    /// When a file is missing, unreadable, or makes no sense.
    pub fn build(config: &Config, keeper: &Keeper, commanded: Arc<Commanded>) -> Result<Self, OpenError> {
        if config.files.is_empty() {
            return Ok(Self { files: None, commanded });
        }
        let spec = Spec {
            name: "suspensions".to_owned(),
            kind: "suspensions",
            paths: config.files.clone(),
            report: Box::new(|_| {}),
        };
        Ok(Self { files: Some(keeper.open(spec, file::load)?), commanded })
    }

    /// Whether this address, exactly as it is, or its domain is suspended. Costs no lock and no wait.
    pub fn check(&self, address: &Address) -> Option<Suspension> {
        self.check_at(address, now())
    }

    fn check_at(&self, address: &Address, now: Duration) -> Option<Suspension> {
        // Before the list is looked at: it may become current meanwhile.
        let is_behind = self.commanded.is_behind(now);
        match self.commanded.find(address, now) {
            None => self.in_files(address),
            // The one that may say more.
            Some(record) if !is_behind => Some(Suspension::Commanded(record)),
            Some(record) => self.in_files(address).or(Some(Suspension::Doubtful(record))),
        }
    }

    /// What was found, or where was looked, with where that is from and how old it is; for `backstop check`.
    #[must_use]
    pub fn explain(&self, found: Option<&Suspension>) -> Vec<String> {
        let in_files =
            || self.files.as_ref().map(|files| format!("suspensions.files: {}", read(files.origin())));
        let by_command = || Some(self.commanded.origin());
        match found {
            None => {
                [in_files(), by_command()].into_iter().flatten().map(|origin| format!("[{origin}]")).collect()
            }
            Some(found) => {
                let is_commanded = matches!(found, Suspension::Commanded(_) | Suspension::Doubtful(_));
                let origin = if is_commanded { by_command() } else { in_files() };
                vec![format!("{found} [{}]", origin.unwrap_or_default())]
            }
        }
    }

    /// Those by command.
    #[must_use]
    pub fn commanded(&self) -> &Arc<Commanded> {
        &self.commanded
    }

    fn in_files(&self, address: &Address) -> Option<Suspension> {
        Some(match self.files.as_ref()?.current().as_ref()?.find(address)? {
            Listed::Address => Suspension::Address,
            Listed::Local => Suspension::Local,
            Listed::Domain => Suspension::Domain,
        })
    }

    /// Files whose present content is not in use, or has lines that were skipped; and a list by command that is too old.
    pub fn notices(&self) -> Vec<String> {
        let of_files = self.files.iter().filter_map(|files| files.status().notice());
        of_files.chain(self.commanded.notice()).collect()
    }

    /// How many entries are in force.
    pub fn len(&self) -> usize {
        let in_files =
            self.files.as_ref().and_then(|files| files.current().as_ref().map(|found| found.len()));
        in_files.unwrap_or(0) + self.commanded.len()
    }

    /// Nobody is suspended.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Seconds since 1970 UTC.
fn now() -> Duration {
    clock::since_1970()
}

#[cfg(test)]
mod tests;
