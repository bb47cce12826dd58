//! Recipients in an LDAP directory: Active Directory, OpenLDAP, and whatever else speaks RFC 4511.

mod config;

pub use config::{Config, Feed, Mechanism, Mode, Schema, SuspendedWhen};

use std::time::Duration;

use super::{BuildError, remote::Failure, replica::Writer};
use crate::{address::Address, policy::Attributes};

/// Asks the servers of one directory.
#[derive(Debug)]
pub(super) struct Client {}

impl Client {
    /// Connects nowhere yet. `key` is `directory.NAME`.
    ///
    /// # Errors
    /// What can't be used, with its place in the configuration.
    pub(super) fn build(_key: &str, _config: &Config) -> Result<Self, BuildError> {
        Ok(Self {})
    }

    /// What the directory knows of the address; `None`: nothing. Takes no longer than the deadline.
    pub(super) async fn look_up(&self, _address: &Address) -> Result<Option<Attributes>, Failure> {
        Err(Failure::new(super::Why::Down, std::io::Error::from(std::io::ErrorKind::Unsupported)))
    }
}

/// Keeps a replica current.
#[derive(Debug)]
pub(super) struct Follower {}

impl Follower {
    /// Connects nowhere yet. `key` is `directory.NAME`, `refresh` is for where the servers tell no changes.
    ///
    /// # Errors
    /// What can't be used, with its place in the configuration.
    pub(super) fn build(_key: &str, _config: &Config, _refresh: Duration) -> Result<Self, BuildError> {
        Ok(Self {})
    }

    /// Returns only when it fails.
    pub(super) async fn run(&mut self, _writer: &mut Writer) -> Failure {
        Failure::new(super::Why::Down, std::io::Error::from(std::io::ErrorKind::Unsupported))
    }
}
