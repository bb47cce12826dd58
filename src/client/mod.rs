//! What is known of the connecting client: whether its address is trusted or denied, and what it looks like.
//!
//! Failure: an address that the MTA does not tell is neither trusted nor denied, and of class `unknown`; so is one whose
//! name could not be found out. Nobody is refused for what could not be found out.

mod classify;
mod config;
mod dns_list;
mod dynamic;
mod listed;
mod lookups;
mod metrics;
mod name;
mod networks;

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;

pub use classify::{Classified, Classifier, Hint};
pub use config::Config;
pub use dns_list::{DnsList, DnsListError};
pub use dynamic::{Dynamic, Enforce};
pub use lookups::{DESCRIPTORS, Shared};
pub use metrics::Metrics;
pub use name::{Judged, Names, Pattern, PatternError, Rule};
pub use networks::{Network, NetworkError, Networks};

use crate::files::{Keeper, OpenError};
use listed::{For, Listed};

/// The networks of the configuration, its files and of the MTA, ready for look-up; and what clients look like.
#[derive(Debug, Clone)]
pub struct Clients {
    trusted: Networks,
    of_the_mta: Networks,
    trusted_files: Option<Listed>,
    denied: Networks,
    denied_files: Option<Listed>,
    classifier: Arc<Classifier>,
}

impl Clients {
    /// The configured networks, and those that the MTA trusts. Blocks while files are read.
    ///
    /// # Errors
    /// When a file is missing, unreadable, or makes no sense.
    pub fn build(
        config: &Config,
        of_the_mta: impl IntoIterator<Item = IpNet>,
        shared: &Shared,
        keeper: &Keeper,
    ) -> Result<Self, OpenError> {
        let nets = |networks: &[Network]| networks.iter().map(|network| network.0).collect::<Vec<_>>();
        let dynamic = &config.dynamic;
        let networks = Listed::open("client.dynamic.networks", &dynamic.networks, For::Bad, false, keeper)?;
        let names = Names::build(dynamic, keeper)?;
        let lookups = shared.lookups(config.questions());
        Ok(Self {
            trusted: nets(&config.trusted).into_iter().collect(),
            of_the_mta: of_the_mta.into_iter().collect(),
            trusted_files: Listed::open(
                "client.trusted_files",
                &config.trusted_files,
                For::Good,
                false,
                keeper,
            )?,
            denied: nets(&config.denied).into_iter().collect(),
            // To hold back what is gone would go on refusing those who were let in again.
            denied_files: Listed::open("client.denied_files", &config.denied_files, For::Bad, true, keeper)?,
            classifier: Arc::new(Classifier::new(dynamic, lookups, names, networks)),
        })
    }

    /// Whether mail from this address is the site's own.
    #[must_use]
    pub fn is_trusted(&self, address: Option<IpAddr>) -> bool {
        is_in(address, &self.trusted, self.trusted_files.as_ref())
            || address.is_some_and(|address| self.of_the_mta.contains(address))
    }

    /// Whether this address is on the deny list.
    #[must_use]
    pub fn is_denied(&self, address: Option<IpAddr>) -> bool {
        is_in(address, &self.denied, self.denied_files.as_ref())
    }

    /// What makes it trusted or denied, one line each; for `backstop check`.
    #[must_use]
    pub fn explain(&self, address: IpAddr) -> Vec<String> {
        let configured = |networks: &Networks, key| Some(format!("{} in {key}", networks.find(address)?));
        let in_files = |files: &Option<Listed>| files.as_ref()?.explain(address);
        [
            configured(&self.trusted, "client.trusted"),
            configured(&self.of_the_mta, "the MTA's own networks"),
            in_files(&self.trusted_files),
            configured(&self.denied, "client.denied"),
            in_files(&self.denied_files),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// What clients look like.
    #[must_use]
    pub fn classifier(&self) -> &Arc<Classifier> {
        &self.classifier
    }

    /// Whether there is a deny list at all.
    #[must_use]
    pub fn denies(&self) -> bool {
        !self.denied.is_empty() || self.denied_files.is_some()
    }

    /// Files whose present content is not in use, or has lines that were skipped; lists in the DNS that do not answer.
    #[must_use]
    pub fn notices(&self) -> Vec<String> {
        let lists = [self.trusted_files.as_ref(), self.denied_files.as_ref(), self.classifier.networks()];
        let files = lists.into_iter().flatten().map(Listed::status).chain(self.classifier.names().tables());
        let notices = files.filter_map(|status| status.notice());
        let has_everybody = self.trusted.has_everybody() || self.of_the_mta.has_everybody();
        let everybody = has_everybody.then(|| EVERYBODY.to_owned());
        notices.chain(self.classifier.lookups().notices()).chain(everybody).collect()
    }
}

fn is_in(address: Option<IpAddr>, networks: &Networks, files: Option<&Listed>) -> bool {
    let Some(address) = address else { return false };
    networks.contains(address) || files.is_some_and(|files| files.contains(address))
}

const EVERYBODY: &str =
    "client.trusted, or what the MTA itself trusts, has all addresses there are: no defence refuses anybody";
