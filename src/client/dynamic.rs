//! `[client.dynamic]`, as written.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{DnsList, Network, NetworkError, Pattern, name::is_end_of_names};
use crate::address::DomainPattern;

/// `[client.dynamic]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dynamic {
    /// `rcpt`: clients of class `dynamic` are refused, unless they are trusted or authenticated; `connect`: when they
    /// connect, for a port where nobody authenticates. `off`: classes are only counted.
    pub enforce: Enforce,
    /// [Files of networks](#files-of-networks) whose addresses are dynamic; their content is
    /// [followed](#files-that-change).
    pub networks: Vec<PathBuf>,
    /// Clients on these are dynamic.
    pub dnsbl: Vec<DnsList>,
    /// Judge by the name of the address.
    pub reverse_dns: bool,
    /// Names that are dynamic, besides those that the built-in rules know: `"pool.example.net"` (and all below it),
    /// `"/^dyn[0-9]+\\./"`, or a Postfix table, `"pcre:/path"` or `"regexp:/path"`; a table's content is
    /// [followed](#files-that-change).
    pub patterns: Vec<Pattern>,
    /// Networks and names that are not dynamic, whatever else says so. A name stands for itself and all below it (no
    /// wildcards), and counts only where it leads back to the client's address.
    pub except: Vec<String>,
    /// Judge loopback, private, link-local and shared addresses (RFC 1918, 3927, 4193, 6598) as well; behind a proxy
    /// or a translator every client has one.
    pub private: bool,
    /// The longest that all questions about one client may take, those to lists three quarters of it; more than 0, at
    /// most 5 s, and with `limits.lookup` at most 8 s ([time-outs](mta-behaviour.md#time-outs)). It begins when the
    /// client connects.
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
