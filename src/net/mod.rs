//! Sockets: where to listen, the connections that come in, and what every connection that we open needs: names, TLS,
//! passwords, which server to try.
//!
//! Never speaks a protocol; it reads the replies of SMTP servers for those who do. Failure: an address that can't be bound is an error that names it.

mod connection;
mod dns;
mod endpoint;
pub mod event_loop;
mod failover;
mod listener;
mod password;
pub mod smtp_reply;
mod tls;
mod unix_file;

pub use connection::{Connection, Got};
pub use dns::{DnsError, NameServer, NameServerError, Resolver};
pub use endpoint::{Endpoint, EndpointError};
pub use failover::Failover;
pub use listener::{Accepting, BindError, Inherited, Listener};
pub use password::{Password, PasswordError};
pub use tls::{TlsError, TlsOptions, client_config};
pub use unix_file::UnixFile;
