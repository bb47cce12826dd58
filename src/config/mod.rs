//! The configuration: composed of the parts' own sections, read from one file and the environment, checked as a whole.
//!
//! Decides nothing. Failure: every error names the place: file, line and column, or the environment variable.

mod error;
mod load;
mod locate;
mod restart;
mod show;
mod veil;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    address::DomainPattern,
    client, control, defence, directory, http,
    net::Endpoint,
    policy::{Reason, ReplyConfig},
    server, store, suspension, telemetry,
};

pub use error::{Diagnostic, Error};
pub use load::{DEFAULT_PATH, Loaded, load, load_control, load_trust};
pub use restart::{Reloadable, needs_restart};
pub use show::{Origin, Shown, show};

/// Everything that an admin can choose.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `monitor` decides, counts and logs as always, but lets everything pass.
    pub mode: Mode,
    /// Where MTAs connect: `inet:HOST:PORT`, `inet6:[HOST]:PORT`, `unix:/PATH` or `fd:NAME`.
    pub listen: Vec<Endpoint>,
    /// What this site answers for.
    pub domains: directory::Domains,
    /// How recipients are looked up.
    pub recipients: directory::Recipients,
    /// Who exists, by the admin's names.
    pub directory: BTreeMap<String, directory::Config>,
    /// Who is suspended.
    pub suspensions: suspension::Config,
    /// Who is trusted and who is not.
    pub client: client::Config,
    /// What is held against clients.
    pub defence: defence::Config,
    /// Bounds.
    pub limits: server::Limits,
    /// Monitor mode for a part of the site.
    pub monitor: Monitor,
    /// Changed replies.
    pub replies: BTreeMap<Reason, ReplyConfig>,
    /// Where state is kept.
    pub store: store::Config,
    /// Metrics and health.
    pub http: http::Config,
    /// Commands.
    pub control: control::Config,
    /// Log lines.
    pub log: telemetry::log::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::Enforce,
            listen: vec![Endpoint::Inet { host: "127.0.0.1".to_owned(), port: 8890 }],
            domains: Default::default(),
            recipients: Default::default(),
            directory: BTreeMap::new(),
            suspensions: Default::default(),
            client: Default::default(),
            defence: Default::default(),
            limits: Default::default(),
            monitor: Default::default(),
            replies: BTreeMap::new(),
            store: Default::default(),
            http: Default::default(),
            control: Default::default(),
            log: Default::default(),
        }
    }
}

/// `mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Refuse.
    Enforce,
    /// Decide, count and log as always, but let everything pass.
    Monitor,
}

impl Mode {
    /// Both, for the metric.
    pub const ALL: [Self; 2] = [Self::Enforce, Self::Monitor];

    /// The name in configuration and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Monitor => "monitor",
        }
    }
}

/// `[monitor]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Monitor {
    /// Recipients in these are only watched; a leading dot means subdomains.
    pub domains: Vec<DomainPattern>,
    /// Refusals for these reasons are only watched. What is held against the *client* (`harvest`, `dynamic-client`,
    /// `bounce-many`) and only watched hides no later row: an unknown recipient stays refused.
    pub reasons: Vec<Reason>,
}
