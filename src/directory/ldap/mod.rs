//! Recipients in an LDAP directory: Active Directory, OpenLDAP, and whatever else speaks RFC 4511.
//!
//! It asks for one address at a time, on a few connections that are kept open, and reads entries as the schema says. It
//! never writes. Failure: a [`Failure`]; that somebody does not exist is said only when a server that shows recipients at
//! all has searched everything and found nobody.

mod ber;
mod config;
mod connection;
mod fault;
mod feed;
mod filter;
mod fuzz;
mod object;
mod pool;
mod referral;
mod schema;
mod search;
mod settings;
mod transport;
mod url;
mod vocabulary;

pub(super) use config::{Config, Feed, Mechanism, Mode, Schema, SuspendedWhen};
pub(super) use feed::Follower;
#[doc(hidden)]
pub use fuzz::{fuzz_ldap_answers, fuzz_ldap_filter};

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::{BuildError, remote::Failure};
use crate::{address::Address, policy::Attributes};
use connection::Servers;
use fault::Fault;
use object::Object;
use pool::Pool;
use schema::{Judged, Shape, merge};
use search::Question;
use settings::{Access, SettingError};

/// Asks the servers of one directory.
#[derive(Debug)]
pub(super) struct Client {
    servers: Servers,
    pool: Pool,
    shape: Shape,
    base: String,
    deadline: Duration,
    follow_referrals: bool,
}

impl Client {
    /// Connects nowhere yet. `key` is `directory.NAME`.
    ///
    /// # Errors
    /// What can't be used, with its place in the configuration.
    pub(super) fn build(key: &str, config: &Config) -> Result<Self, BuildError> {
        let mut wrong = None;
        let read = read(config, &mut |at, error| {
            let key = format!("{key}.ldap.{at}");
            wrong.get_or_insert(BuildError::Setting { key, error: error.into() });
        });
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        let (access, shape) = read.expect("nothing is wrong");
        let servers = Servers::new(access);
        Ok(Self {
            pool: Pool::new(servers.clone(), config.connections),
            servers,
            shape,
            base: config.base.clone(),
            deadline: config.deadline,
            follow_referrals: config.follow_referrals,
        })
    }

    /// What keeps a replica of it current. `refresh` is for where the servers tell no changes.
    pub(super) fn follower(&self, name: &str, config: &Config, refresh: Duration) -> Follower {
        Follower::new(name, self.servers.apart(), self.shape.clone(), config, refresh)
    }

    /// What the directory knows of the address; `None`: nothing. Takes no longer than the deadline.
    pub(super) async fn look_up(&self, address: &Address) -> Result<Option<Attributes>, Failure> {
        let until = Instant::now() + self.deadline;
        let question = Question {
            base: self.base.clone(),
            filter: self.shape.one(address),
            attributes: self.shape.wanted().to_vec(),
            time: self.deadline,
        };
        let found = self.pool.ask(&question, &self.shape, until).await?;
        let now = SystemTime::now();
        let judge = |object: &Object| self.shape.judge(object, address, now);
        let mut judged: Vec<Judged> = found.objects.iter().map(judge).collect();
        let mut failure = None;
        if let Some(reference) = found.references.first() {
            // Who is found here exists, whatever is elsewhere.
            if !judged.iter().any(|judged| matches!(judged, Judged::Holds(_))) {
                if self.follow_referrals {
                    let (objects, wrong) =
                        referral::follow(&self.servers, &self.shape, &question, found.references, until)
                            .await;
                    judged.extend(objects.iter().map(judge));
                    failure = wrong;
                } else {
                    let reference = fault::printable(reference);
                    failure = Some(Fault::Elsewhere(reference).at("a server"));
                }
            }
        }
        let known = merge(judged);
        if known.is_some_and(|known| !known.catch_all) {
            return Ok(known);
        }
        if found.is_cut_short {
            failure = Some(Fault::TooMany.at("a server"));
        }
        match (failure, known) {
            (None, _) => Ok(known),
            // A whole domain that is caught is caught; but the address may be somebody's where nobody could ask.
            (Some(_), Some(caught)) => Ok(Some(Attributes { unsure: true, ..caught })),
            (Some(failure), None) => Err(failure),
        }
    }
}

impl Config {
    /// Tells `say` which key can't be used, and why. Reads the files that are named.
    pub(in crate::directory) fn check(&self, say: &mut dyn FnMut(&str, String)) {
        read(self, &mut |key, error| say(key, error.to_string()));
    }
}

/// What the configuration means; `None`, and `say` was told, if it can't be used.
fn read(config: &Config, say: &mut dyn FnMut(&'static str, SettingError)) -> Option<(Access, Shape)> {
    settings::check(config, say);
    let (access, shape) = (Access::read(config, say), Shape::read(config, say));
    Some((access?, shape?))
}

#[cfg(test)]
mod tests;
