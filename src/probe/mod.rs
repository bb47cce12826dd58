//! Takes the test of an SMTP server, from outside: does it accept recipients who do not exist, and so bounce to forged
//! senders? Does it relay for strangers? Does it tell those who guess who exists? Does STARTTLS begin cleanly?
//!
//! Tells first what it will send ([`Plan`]), sends that slowly, says who it is, and stops when the server wants no more. Never
//! sends a message unless a sink waits for what becomes of it. Failure answer: a check that "could not find out", with the
//! reply or the error; [`Error`] where nothing was tested at all.

mod client;
mod examine;
mod forms;
mod judge;
mod plan;
mod prober;
mod report;
mod sink;
mod target;

use std::{io, net::SocketAddr};

pub use examine::run;
pub use plan::{Options, Plan};
pub use prober::Step;
pub use report::{Check, Fate, Finding, Report, Test, TestError, Verdict};
pub use target::{Target, TargetError};

use crate::net::{DnsError, TlsError};

/// Nothing was tested.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server's name says nothing.
    #[error(transparent)]
    Resolve(#[from] DnsError),
    /// The server's name has no address.
    #[error("the server has no address")]
    NoAddress,
    /// The server does not answer.
    #[error("{server} ({address}): {why}")]
    Reach {
        /// As it was named.
        server: String,
        /// Its address.
        address: SocketAddr,
        /// What happened.
        why: String,
    },
    /// The sink can't listen.
    #[error("can't listen at {address} for what comes back (--sink): {error}")]
    Sink {
        /// Where.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// Mail does not find the sink.
    #[error(
        "mail can't be sent to the sink by its address: name a domain whose mail comes there (--foreign DOMAIN), or let \
         it listen at an address of this host and port 25"
    )]
    Foreign,
    /// Mail for it is not relayed.
    #[error("the foreign domain is the tested one: name another one (--foreign)")]
    SameDomain,
    /// Somebody elsewhere.
    #[error("the known recipient has to be in the tested domain")]
    Known,
    /// TLS can't be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

impl Error {
    /// The options are wrong, not the world.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        matches!(self, Self::Foreign | Self::SameDomain | Self::Known)
    }
}
