//! The control socket: how the commands talk to the running server.
//!
//! Only the server's own user and root may connect. Failure: a bad request gets an error that says what is wrong,
//! a slow or broken client is cut; the mail path does not notice.

mod client;
mod config;
mod execute;
pub mod message;
mod socket;

pub use client::{Error, ask};
pub use config::Config;
pub use execute::check;
pub use socket::{Control, Handler};
