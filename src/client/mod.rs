//! What is known of the connecting client: whether its address is trusted or denied, and what it looks like.
//!
//! Failure: an address that the MTA does not tell is neither trusted nor denied, and of class `unknown`; so is one whose
//! name could not be found out. Nobody is refused for what could not be found out.

mod classify;
mod dynamic;
mod name;
mod networks;

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use classify::{Classified, Classifier, Hint};
pub use dynamic::{Dynamic, Enforce};
pub use name::{Judged, Names, Pattern, PatternError, Rule};
pub use networks::{Network, Networks};

/// `[client]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Networks of insiders; the MTA's own networks come in where `domains.detect` is on.
    pub trusted: Vec<Network>,
    /// Networks that may not send mail here at all.
    pub denied: Vec<Network>,
    /// `[client.dynamic]`
    pub dynamic: Dynamic,
}

impl Default for Config {
    fn default() -> Self {
        let loopback = ["127.0.0.0/8", "::1"].map(|text| text.parse().expect("a valid network"));
        Self { trusted: loopback.into(), denied: Vec::new(), dynamic: Dynamic::default() }
    }
}

/// The networks of the configuration and of the MTA, ready for look-up.
#[derive(Debug, Clone)]
pub struct Clients {
    trusted: Networks,
    denied: Networks,
    classifier: Arc<Classifier>,
}

impl Clients {
    /// The configured networks, and those that the MTA trusts.
    #[must_use]
    pub fn build(
        config: &Config,
        of_the_mta: impl IntoIterator<Item = IpNet>,
        classifier: Arc<Classifier>,
    ) -> Self {
        let nets = |networks: &[Network]| networks.iter().map(|network| network.0).collect::<Vec<_>>();
        Self {
            trusted: nets(&config.trusted).into_iter().chain(of_the_mta).collect(),
            denied: nets(&config.denied).into_iter().collect(),
            classifier,
        }
    }

    /// Whether mail from this address is the site's own.
    #[must_use]
    pub fn is_trusted(&self, address: Option<IpAddr>) -> bool {
        address.is_some_and(|address| self.trusted.contains(address))
    }

    /// Whether this address is on the deny list.
    #[must_use]
    pub fn is_denied(&self, address: Option<IpAddr>) -> bool {
        address.is_some_and(|address| self.denied.contains(address))
    }

    /// What clients look like.
    #[must_use]
    pub fn classifier(&self) -> &Arc<Classifier> {
        &self.classifier
    }

    /// Whether there is a deny list at all.
    #[must_use]
    pub fn denies(&self) -> bool {
        !self.denied.is_empty()
    }
}
