//! Recipients that the next hop knows: call-ahead, over SMTP or LMTP.
//!
//! The server that mail is relayed to is asked as if mail were to come, MAIL FROM:<> and RCPT TO, but no message follows:
//! never DATA. A no is only what says clearly "no such mailbox", from a server that takes a control recipient right after
//! it; a yes counts only where it refuses a random one. Everything else is a [`Failure`]: it could not be found out.

mod config;
mod conversation;
mod destination;
mod host;
mod judge;
mod routes;
mod servers;
mod settings;
mod transport;
mod trouble;
mod vouch;
mod wire;

use std::{sync::Arc, time::Duration};

use moka::sync::Cache;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

pub(super) use config::Config;
use config::TlsPolicy;
use host::Host;
use routes::Route;
use settings::Settings;
use trouble::Trouble;
use vouch::Vouch;

use super::{BuildError, remote::Failure};
use crate::{
    address::{Address, Domain},
    net::Resolver,
    policy::Attributes,
};

/// Asks the servers that mail is relayed to.
#[derive(Debug)]
pub(super) struct Client {
    shared: Arc<Shared>,
    hosts: Cache<Route, Arc<Host>>,
    /// Domains that no server is named for.
    unnamed: Cache<Domain, Arc<str>>,
}

/// What every host needs.
#[derive(Debug)]
struct Shared {
    settings: Settings,
    dns: Resolver,
    vouch: Vouch,
    tasks: TaskTracker,
}

impl Client {
    /// Connects nowhere yet. `key` is `directory.NAME`.
    ///
    /// # Errors
    /// What can't be used, with its place in the configuration.
    pub(super) fn build(key: &str, config: &Config) -> Result<Self, BuildError> {
        let mut wrong = None;
        let settings = Settings::build(config, &mut |at, error| {
            let place = if at.is_empty() { format!("{key}.smtp") } else { format!("{key}.smtp.{at}") };
            wrong.get_or_insert(BuildError::Setting { key: place, error: error.into() });
        });
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        let name = key.strip_prefix("directory.").unwrap_or(key);
        Ok(Self {
            shared: Arc::new(Shared {
                settings,
                dns: Resolver::default(),
                vouch: Vouch::new(name),
                tasks: TaskTracker::new(),
            }),
            hosts: Cache::builder().max_capacity(HOSTS).time_to_idle(FORGOTTEN).build(),
            unnamed: Cache::builder().max_capacity(UNNAMED).time_to_live(FORGOTTEN).build(),
        })
    }

    /// Whether the next hop takes mail for the address; `None`: it does not know it. Takes no longer than the deadline.
    pub(super) async fn look_up(&self, address: &Address) -> Result<Option<Attributes>, Failure> {
        let deadline = Instant::now() + self.shared.settings.deadline;
        let route = timeout_at(deadline, self.shared.settings.routes.find(address)).await;
        let route = match route {
            Ok(Ok(route)) => route,
            Err(_) => return Err(Trouble::TimedOut("reading the transport map".to_owned()).into()),
            Ok(Err(trouble)) => {
                self.unnamed.insert(address.domain().clone(), trouble.to_string().into());
                return Err(trouble.into());
            }
        };
        let connections = self.shared.settings.connections;
        let host =
            self.hosts.get_with_by_ref(&route, || Arc::new(Host::new(Arc::clone(&route), connections)));
        let known = host.ask(&self.shared, address, deadline).await?;
        Ok(known.then(Attributes::default))
    }

    /// Whether every server that was asked lately answers.
    pub(super) fn is_well(&self) -> bool {
        self.shared.vouch.is_well() && self.hosts.iter().all(|(_, host)| host.is_well())
    }

    /// What an admin should know.
    pub(super) fn notices(&self) -> Vec<String> {
        let mut notices = self.shared.vouch.notices();
        notices.extend(self.shared.settings.routes.notice());
        notices.extend(self.unnamed.iter().map(|(_, text)| text.to_string()));
        notices
    }
}

/// Hosts that are remembered, at most, and for how long after their last question.
const HOSTS: u64 = 1000;
const FORGOTTEN: Duration = Duration::from_secs(60 * 60);
const UNNAMED: u64 = 20;

#[cfg(test)]
mod tests;
