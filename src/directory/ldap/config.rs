//! `[directory.NAME.ldap]`, as written.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

/// `[directory.NAME.ldap]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The servers, in the order of preference: `ldap://HOST[:PORT]`, `ldaps://HOST[:PORT]`,
    /// `ldapi://%2Frun%2Fslapd%2Fldapi`. One that fails is left alone for a moment, up to 5 s, and the next is asked.
    pub urls: Vec<String>,
    /// A distinguished name: where recipients are; everything below counts. `""` is for a global catalogue (port
    /// 3268, or 3269 with TLS).
    pub base: String,
    /// [What entries look like](#what-ldap-entries-mean).
    #[serde(default)]
    pub schema: Schema,
    /// The attributes that hold addresses, instead of those of the schema. They have to compare without case. A value
    /// without `@` is that local part in every domain that the directory is in charge of. Values of `proxyAddresses`
    /// count with the prefix `smtp:` or without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Vec<String>>,
    /// Only entries that match this filter (RFC 4515) are recipients; the server judges it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Entries that match this filter are suspended; [judged here](#own-filters).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended_filter: Option<String>,
    /// Entries that match this filter take mail from authenticated senders only; [judged here](#own-filters).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restricted_filter: Option<String>,
    /// Active Directory: disabled accounts, or those whose `accountExpires` is over, are suspended. Neither keeps
    /// Exchange from delivering to the mailbox, so both are off.
    #[serde(default)]
    pub suspended_when: Vec<SuspendedWhen>,
    /// Who asks: a distinguished name; Active Directory also takes `user@domain`. Without one, nobody in particular
    /// (anonymous).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind_dn: Option<String>,
    /// A file (its absolute path) with the password and nothing else. Read for each new connection: a changed password needs no reload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Instead of a password: `external` is the user of this process (`ldapi://`), or the certificate in `cert_file`;
    /// `gssapi` is Kerberos, with the ticket cache or keytab of the process (`KRB5CCNAME`, `KRB5_CLIENT_KTNAME`), in
    /// programs built with the feature `gssapi`. It wants `ldap://` with the server's full name, and seals the
    /// connection itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sasl: Option<Mechanism>,
    /// Let the password go over `ldap://` without TLS, where others can read it.
    #[serde(default)]
    pub allow_plain: bool,
    /// Secure `ldap://` connections (RFC 4511 §4.14).
    #[serde(default)]
    pub start_tls: bool,
    /// The authorities to trust, PEM; default: the system's. A reload reads it again, as it does `cert_file` and
    /// `key_file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Our own certificate, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// Its key, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// `false` takes any certificate: who is on the way can then read and change everything.
    #[serde(default = "yes")]
    pub verify_certificate: bool,
    /// For one question, all servers together; at most 8 s. A server that is silent for its share (with two servers:
    /// half) is not waited for alone any more.
    #[serde(default = "deadline", with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub deadline: Duration,
    /// Keep the whole list ([a replica](#replicas)), or ask for each recipient.
    #[serde(default)]
    pub source: Mode,
    /// [How a replica learns of changes](directories.md#how-an-ldap-replica-learns-of-changes).
    #[serde(default)]
    pub feed: Feed,
    /// Connections to one server for questions, at most; up to 32 questions share one.
    #[serde(default = "connections")]
    pub connections: usize,
    /// Entries a page when everything is listed (RFC 2696).
    #[serde(default = "page_size")]
    pub page_size: u32,
    /// Where an answer names other servers, ask them as well: at most 8, three deep, with the same bind and the same
    /// TLS. The password then goes to whichever server yours name.
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
