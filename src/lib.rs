//! Backstop: a milter that refuses mail for unknown and suspended recipients while the client still waits.

pub mod address;
pub mod client;
pub mod detect;
pub mod directory;
pub mod files;
pub mod net;
pub mod policy;
pub mod suspension;
pub mod telemetry;
