//! `[client.dynamic]`, as written.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::name::Pattern;

/// `[client.dynamic]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dynamic {
    /// Whether clients on dynamic addresses are refused, and when.
    pub enforce: Enforce,
    /// Files of networks whose addresses are dynamic.
    pub networks: Vec<PathBuf>,
    /// `ZONE=ANSWER,…`: lists in the DNS whose answers say that an address is dynamic.
    pub dnsbl: Vec<String>,
    /// Judge by the name of the address.
    pub reverse_dns: bool,
    /// Names that are dynamic, besides those that the built-in rules know.
    pub patterns: Vec<Pattern>,
    /// Names and networks that are not dynamic whatever else says so; names count only when the DNS confirms them.
    pub except: Vec<String>,
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

impl Default for Dynamic {
    fn default() -> Self {
        Self {
            enforce: Enforce::Off,
            networks: Vec::new(),
            dnsbl: Vec::new(),
            reverse_dns: true,
            patterns: Vec::new(),
            except: Vec::new(),
        }
    }
}
