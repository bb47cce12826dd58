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

impl Config {
    /// Where the socket is when it can't be made at the default place: in the user's runtime directory. `None` where the
    /// admin chose the place, or there is no such directory.
    #[must_use]
    pub fn fallback(&self) -> Option<PathBuf> {
        if *self != Self::default() {
            return None;
        }
        let directory = std::env::var_os("XDG_RUNTIME_DIR").filter(|directory| !directory.is_empty())?;
        Some(PathBuf::from(directory).join("backstop/control.sock"))
    }
}
