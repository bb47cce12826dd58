//! `[directory.NAME.ldap]`, as written.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

/// `[directory.NAME.ldap]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `ldap://`, `ldaps://` or `ldapi://` (the socket's path percent-encoded), in the order of preference.
    pub urls: Vec<String>,
    /// Where recipients are.
    pub base: String,
    /// What their entries look like.
    #[serde(default)]
    pub schema: Schema,
    /// Only entries that match this (RFC 4515) are recipients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// The attributes that hold addresses, instead of the schema's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Vec<String>>,
    /// Entries that match this (RFC 4515) are suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended_filter: Option<String>,
    /// Entries that match this (RFC 4515) are for authenticated senders only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restricted_filter: Option<String>,
    /// What makes an account of Active Directory count as suspended.
    #[serde(default)]
    pub suspended_when: Vec<SuspendedWhen>,
    /// Who asks; none: nobody in particular (an anonymous bind).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind_dn: Option<String>,
    /// Its password, in a file of one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Bind by what the connection or the host proves, instead of a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sasl: Option<Mechanism>,
    /// A password may go over a connection that others can read.
    #[serde(default)]
    pub allow_plain: bool,
    /// Secure `ldap://` connections (RFC 4511 §4.14).
    #[serde(default)]
    pub start_tls: bool,
    /// The authorities to trust, PEM; default: the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Our certificate, PEM, for `sasl = "external"` over TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// Its key, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Check the server's certificate.
    #[serde(default = "yes")]
    pub verify_certificate: bool,
    /// For one question, all servers together.
    #[serde(default = "deadline", with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub deadline: Duration,
    /// Keep the whole list, or ask for each recipient.
    #[serde(default)]
    pub source: Mode,
    /// How a replica learns of changes.
    #[serde(default)]
    pub feed: Feed,
    /// Connections for questions, at most.
    #[serde(default = "connections")]
    pub connections: usize,
    /// Entries a page when everything is listed (RFC 2696).
    #[serde(default = "page_size")]
    pub page_size: u32,
    /// Ask the servers that a referral names, with the same bind.
    #[serde(default)]
    pub follow_referrals: bool,
}

impl Config {
    /// Keys that say something, but only a replica would heed.
    pub(in crate::directory) fn ignored(&self) -> Vec<&'static str> {
        let is_live = self.source == Mode::Live;
        let keys = [("feed", self.feed != Feed::default()), ("page_size", self.page_size != page_size())];
        keys.into_iter().filter(|(_, given)| is_live && *given).map(|(key, _)| key).collect()
    }
}

/// What entries look like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schema {
    /// Active Directory, with or without Exchange.
    ActiveDirectory,
    /// RFC 2798 and what mail servers add to it.
    #[default]
    InetOrgPerson,
}

/// What makes an account of Active Directory count as suspended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SuspendedWhen {
    /// It is disabled, and no mailbox that is always disabled (shared, room, equipment, linked).
    Disabled,
    /// Its end date is over.
    Expired,
}

/// A SASL mechanism (RFC 4422).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mechanism {
    /// The user of an `ldapi://` socket, or the certificate of a TLS connection.
    External,
    /// Kerberos, from the process's credential cache or keytab.
    Gssapi,
}

/// `source`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The whole list in memory and on disk, kept current.
    #[default]
    Replica,
    /// A question for each recipient, remembered for a while.
    Live,
}

/// How a replica learns of changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Feed {
    /// The best that the server offers.
    #[default]
    Auto,
    /// RFC 4533.
    Syncrepl,
    /// The DirSync control of Active Directory.
    Dirsync,
    /// `uSNChanged` of Active Directory.
    Usn,
    /// The whole list again at an interval.
    Paged,
}

fn yes() -> bool {
    true
}

fn deadline() -> Duration {
    Duration::from_secs(2)
}

fn connections() -> usize {
    4
}

fn page_size() -> u32 {
    500
}
