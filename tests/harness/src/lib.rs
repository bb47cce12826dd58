//! Starts the real servers that the tests talk to, each with its own directory, ports and log.
//!
//! Everything here is synchronous and made for tests: what does not work panics, with the reason and the end of the
//! logs. Servers are waited for by a condition (a log line, a listening port), never by a sleep. They stop when their
//! value is dropped, or when the test process dies; nothing is ever killed that was not started here.
//!
//! The mail servers need root, and the packages that `tests/install` installs.

mod authority;
mod backstop;
mod chromium;
mod clock;
mod descriptors;
mod dir;
mod dns;
mod dovecot;
mod ldif;
mod mariadb;
mod netns;
mod ports;
mod postfix;
mod postgres;
mod process;
mod prometheus;
mod proxy;
mod random;
mod rbldnsd;
mod redis;
mod samba;
mod sendmail;
mod sink;
mod slapd;
mod smtp;
mod snippet;
mod terminal;
mod unbound;
mod wait;

pub use authority::{Authority, Certificate};
pub use backstop::{Backstop, BackstopBuilder, CommandOutput};
pub use chromium::{Chromium, Tab};
pub use clock::Clock;
pub use descriptors::{allow_open_files, let_children_have};
pub use dir::TempDir;
pub use dns::{Dns, Fault};
pub use dovecot::Dovecot;
pub use mariadb::MariaDb;
pub use netns::Netns;
pub use ports::{free_port, is_listening};
pub use postfix::{Postfix, PostfixBuilder, Queued};
pub use postgres::Postgres;
pub use process::{Process, Signal};
pub use prometheus::{Alert, Alertmanager, Prometheus, Series};
pub use proxy::{Proxy, Way};
pub use random::Random;
pub use rbldnsd::Rbldnsd;
pub use redis::Redis;
pub use samba::{SambaAd, SambaAdBuilder};
pub use sendmail::{Sendmail, SendmailBuilder};
pub use sink::{Envelope, Sink};
pub use slapd::{Slapd, SlapdBuilder};
pub use smtp::{Reply, Smtp};
pub use terminal::Terminal;
pub use unbound::Unbound;
pub use wait::{tail, wait_for, wait_until};

/// The name of the user who may authenticate to every mail server of the harness.
pub const SASL_USER: &str = "alice";
/// The password of [`SASL_USER`].
pub const SASL_PASSWORD: &str = "secret";
