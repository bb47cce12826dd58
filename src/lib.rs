//! Backstop: a milter that refuses mail for unknown and suspended recipients while the client still waits.

pub mod address;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod control;
pub mod daemon;
pub mod defence;
pub mod detect;
pub mod directory;
pub mod files;
pub mod history;
pub mod http;
pub mod net;
pub mod policy;
pub mod probe;
pub mod readable;
pub mod replay;
pub mod server;
pub mod store;
pub mod suspension;
pub mod telemetry;

#[cfg(test)]
mod tests;
