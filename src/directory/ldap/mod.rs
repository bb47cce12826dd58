//! Recipients in an LDAP directory: Active Directory, OpenLDAP, and whatever else speaks RFC 4511.

mod ber;
mod config;
mod connection;
mod fault;
mod filter;
mod object;
mod settings;
mod transport;

pub use config::{Config, Feed, Mechanism, Mode, Schema, SuspendedWhen};

use super::{BuildError, remote::Failure};
use crate::{address::Address, policy::Attributes};
use connection::Servers;
use settings::Access;

/// Asks the servers of one directory.
#[derive(Debug)]
pub(super) struct Client {
    servers: Servers,
}

impl Client {
    /// Connects nowhere yet. `key` is `directory.NAME`.
    ///
    /// # Errors
    /// What can't be used, with its place in the configuration.
    pub(super) fn build(key: &str, config: &Config) -> Result<Self, BuildError> {
        let mut wrong = None;
        let access = Access::read(config, &mut |at, error| {
            wrong.get_or_insert(BuildError::Setting { key: format!("{key}.ldap.{at}"), error: error.into() });
        });
        match (access, wrong) {
            (Some(access), None) => Ok(Self { servers: Servers::new(access) }),
            (_, wrong) => Err(wrong.expect("a reason was given")),
        }
    }

    /// What the directory knows of the address; `None`: nothing. Takes no longer than the deadline.
    pub(super) async fn look_up(&self, _address: &Address) -> Result<Option<Attributes>, Failure> {
        Err(Failure::new(super::Why::Down, std::io::Error::from(std::io::ErrorKind::Unsupported)))
    }
}
