//! `[directory.NAME.smtp]`, as written.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::settings::Settings;

/// `[directory.NAME.smtp]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `HOST`, `HOST:PORT`, `[IPv6]:PORT`, `lmtp:HOST:PORT` or `lmtp:unix:/SOCKET`: asked about domains that neither
    /// of the next two has. The port is 25, for LMTP 24.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// A host for each domain, or for those below it: `{ "example.com" = "a.example.com", ".example.org" =
    /// "b.example.com:2525" }`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hosts: BTreeMap<String, String>,
    /// A transport map of Postfix, [as text](next-hop.md#which-server-is-asked), that names the hosts of other
    /// domains; its content is [followed](#files-that-change).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport_map: Option<PathBuf>,
    /// The name in EHLO and LHLO; default: this host's, or its address where that is no full name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helo: Option<String>,
    /// [A recipient](next-hop.md#what-counts-as-an-answer), a local part or an address, that the server takes, in the
    /// domain asked about. A refusal counts only if it does so right after.
    #[serde(default = "control")]
    pub control: String,
    /// Enhanced status codes of refusals that mean "unknown" besides 5.1.1, 5.1.6, 5.1.10, such as `"5.4.1"`.
    #[serde(default)]
    pub absent_codes: Vec<String>,
    /// [STARTTLS](next-hop.md#tls).
    #[serde(default)]
    pub tls: TlsPolicy,
    /// Authorities for `tls = "verify"`, PEM; default: the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// For one question, all servers together; more than 0, at most 8 s. Has to be longer than the server [delays its
    /// refusals](next-hop.md#servers).
    #[serde(default = "deadline", with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub deadline: Duration,
    /// To one host at the same time, 1 to 100. A question waits for one for half the deadline at most.
    #[serde(default = "connections")]
    pub connections: usize,
}

impl Config {
    /// Tells `say` which key can't be used, and why.
    pub(in crate::directory) fn check(&self, say: &mut dyn FnMut(&str, String)) {
        Settings::build(self, &mut |key, error| say(key, error.to_string()));
    }
}

/// Whether STARTTLS is used (RFC 3207).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsPolicy {
    /// Never.
    Off,
    /// Where it is offered, with any certificate.
    #[default]
    May,
    /// Always, with a certificate for the host that a trusted authority signed.
    Verify,
}

fn control() -> String {
    "postmaster".to_owned()
}

fn deadline() -> Duration {
    Duration::from_secs(2)
}

fn connections() -> usize {
    4
}
