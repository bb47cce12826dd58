//! `[client.dynamic]`, as written.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{DnsList, Network, NetworkError, Pattern, name::is_end_of_names};
use crate::address::DomainPattern;

/// `[client.dynamic]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dynamic {
    /// Whether clients on dynamic addresses are refused, and when.
    pub enforce: Enforce,
    /// Files of networks whose addresses are dynamic.
    pub networks: Vec<PathBuf>,
    /// `ZONE=ANSWER,…`: lists in the DNS whose answers say that an address is dynamic.
    pub dnsbl: Vec<DnsList>,
    /// Judge by the name of the address.
    pub reverse_dns: bool,
    /// Names that are dynamic, besides those that the built-in rules know.
    pub patterns: Vec<Pattern>,
    /// Names and networks that are not dynamic whatever else says so; names count only when the DNS confirms them.
    pub except: Vec<String>,
    /// Judge private and loopback addresses, too.
    pub private: bool,
    /// The longest that all questions about one client may take together.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub deadline: Duration,
}

/// `enforce`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Enforce {
    /// Nobody is refused; classes are still counted.
    #[default]
    Off,
    /// At `RCPT TO`, unless the client has authenticated.
    Rcpt,
    /// When it connects: for a port where nobody authenticates.
    Connect,
}

impl Dynamic {
    /// Tells `say` what can't be used: where, below `client.dynamic`, and why.
    pub fn check(&self, say: &mut dyn FnMut(&[&str], String)) {
        for (index, entry) in self.except.iter().enumerate() {
            let message = match (entry.parse::<Network>(), DomainPattern::parse(entry)) {
                (Ok(_), _) => continue,
                (Err(error @ NetworkError::HostBits(..)), _) => error.to_string(),
                (Err(_), Ok(name)) if is_end_of_names(&name) => continue,
                // Nobody has such a name, and whom it was meant for would be refused.
                (Err(_), Ok(_)) => format!(
                    "{entry:?} is no name of a host; write what the names end with, such as \"example.net\" (expressions and \
                     tables belong into `patterns`)"
                ),
                (Err(_), Err(error)) => format!("{entry:?} is neither a network nor a name: {error}"),
            };
            say(&["except", &index.to_string()], message);
        }
        if self.deadline.is_zero() || self.deadline > LONGEST_DEADLINE {
            let message = format!(
                "must be more than 0 and at most {LONGEST_DEADLINE:?}: Sendmail gives up waiting for an answer after 10 s"
            );
            say(&["deadline"], message);
        }
    }

    /// The networks in `except`.
    pub(super) fn excepted_networks(&self) -> impl Iterator<Item = Network> {
        self.except.iter().filter_map(|entry| entry.parse().ok())
    }

    /// Whether there are names in `except`, so that the name of a client has to be known.
    pub(super) fn excepts_names(&self) -> bool {
        self.excepted_networks().count() < self.except.len()
    }
}

impl Default for Dynamic {
    fn default() -> Self {
        Self {
            enforce: Enforce::Off,
            networks: Vec::new(),
            dnsbl: Vec::new(),
            reverse_dns: true,
            patterns: Vec::new(),
            except: Vec::new(),
            private: false,
            deadline: Duration::from_secs(2),
        }
    }
}

/// With the directories' share it has to stay below Sendmail's 10 s.
const LONGEST_DEADLINE: Duration = Duration::from_secs(5);
