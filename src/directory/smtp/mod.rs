//! Recipients that the next hop knows: call-ahead, over SMTP or LMTP.

mod config;

pub use config::{Config, TlsPolicy};

use super::{BuildError, remote::Failure};
use crate::{address::Address, policy::Attributes};

/// Asks the servers that mail is relayed to.
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

    /// Whether the next hop takes mail for the address; `None`: it does not know it. Takes no longer than the deadline.
    pub(super) async fn look_up(&self, _address: &Address) -> Result<Option<Attributes>, Failure> {
        Err(Failure::new(super::Why::Down, std::io::Error::from(std::io::ErrorKind::Unsupported)))
    }
}
