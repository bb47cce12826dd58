//! The control socket: how the commands talk to the running server.
//!
//! Only the server's own user, root and the group that the configuration names may connect; who orders something is logged, with
//! what became of it. A second socket takes `trust` and nothing else: a log-in hook that was
//! taken over can neither switch Backstop off nor block anybody. Failure: a bad request gets an error that says what is wrong,
//! a slow or broken client is cut; the mail path does not notice.

mod audit;
mod client;
mod config;
mod door;
mod execute;
pub mod message;
mod peer;
pub mod report;
mod socket;

pub use client::{Error, ask, ask_to_trust};
pub use config::Config;
pub use door::{Door, Permit};
pub use execute::check;
pub use peer::Peer;
pub use report::{report, watched};
pub use socket::{Control, Handler};
