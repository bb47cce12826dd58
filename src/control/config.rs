//! `[control]`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `[control]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// A unix socket for the commands of the same name.
    pub socket: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self { socket: "/run/backstop/control.sock".into() }
    }
}
