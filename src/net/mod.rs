//! Sockets: where to listen, and the connections that come in.
//!
//! Never speaks a protocol. Failure: an address that can't be bound is an error that names it.

mod connection;
mod endpoint;
mod listener;

pub use connection::Connection;
pub use endpoint::{Endpoint, EndpointError};
pub use listener::{BindError, Inherited, Listener};
