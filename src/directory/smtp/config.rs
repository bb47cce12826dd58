//! `[directory.NAME.smtp]`, as written.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::settings::Settings;

/// `[directory.NAME.smtp]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `HOST`, `HOST:PORT`, `lmtp:HOST:PORT` or `lmtp:unix:/SOCKET`: asked about every domain that neither of the next two
    /// has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// A host for each domain, or for those below it (`.example.com`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hosts: BTreeMap<String, String>,
    /// A transport map of Postfix (transport(5), as text) that names the hosts of other domains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport_map: Option<PathBuf>,
    /// The name we give; default: the host's, or our address where that is no full name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helo: Option<String>,
    /// A recipient that must be taken for a refusal of another one to count; without a domain: in the domain asked about.
    #[serde(default = "control")]
    pub control: String,
    /// Enhanced status codes (RFC 3463) of a refusal that mean "unknown" besides 5.1.1, 5.1.6 and 5.1.10.
    #[serde(default)]
    pub absent_codes: Vec<String>,
    /// STARTTLS.
    #[serde(default)]
    pub tls: TlsPolicy,
    /// The authorities to trust with `tls = "verify"`, PEM; default: the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// For one question, whatever it takes.
    #[serde(default = "deadline", with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub deadline: Duration,
    /// Connections to each host, at most.
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
