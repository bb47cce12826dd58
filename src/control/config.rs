//! `[control]`.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::socket::group_id;

/// `[control]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// A unix socket for the commands of the same name.
    pub socket: PathBuf,
    /// A unix socket that takes `trust` and nothing else; empty: none.
    pub trust_socket: PathBuf,
    /// Who else may use that one: a group, by name or number; empty: nobody.
    pub trust_group: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { socket: SOCKET.into(), trust_socket: TRUST_SOCKET.into(), trust_group: String::new() }
    }
}

impl Config {
    /// Where the socket is when it can't be made at the default place: in the user's runtime directory. `None` where the
    /// admin chose the place, or there is no such directory.
    #[must_use]
    pub fn fallback(&self) -> Option<PathBuf> {
        in_runtime_directory(&self.socket, SOCKET)
    }

    /// The same for the socket that takes `trust`.
    #[must_use]
    pub fn trust_fallback(&self) -> Option<PathBuf> {
        in_runtime_directory(&self.trust_socket, TRUST_SOCKET)
    }

    /// Tells `say` which key can't be used, and why.
    pub fn check(&self, say: &mut dyn FnMut(&'static str, String)) {
        let absolute = "must be an absolute path: commands run elsewhere than the server";
        if !self.socket.is_absolute() {
            say("socket", absolute.to_owned());
        }
        let trusts = !self.trust_socket.as_os_str().is_empty();
        if trusts && !self.trust_socket.is_absolute() {
            say("trust_socket", format!("{absolute}; \"\" for none"));
        }
        if self.trust_socket == self.socket {
            say("trust_socket", "is control.socket, which takes every command".to_owned());
        }
        if !trusts && !self.trust_group.is_empty() {
            say("trust_group", "there is no control.trust_socket for it".to_owned());
        }
        // Whether there is one may also be impossible to find out; the start tells that.
        if trusts
            && !self.trust_group.is_empty()
            && let Err(error) = group_id(&self.trust_group)
            && error.kind() == io::ErrorKind::NotFound
        {
            say("trust_group", format!("there is no group `{}`", self.trust_group.escape_debug()));
        }
    }
}

fn in_runtime_directory(path: &Path, default: &str) -> Option<PathBuf> {
    let default = Path::new(default);
    if path != default {
        return None;
    }
    let directory = std::env::var_os("XDG_RUNTIME_DIR").filter(|directory| !directory.is_empty())?;
    Some(PathBuf::from(directory).join("backstop").join(default.file_name()?))
}

const SOCKET: &str = "/run/backstop/control.sock";
const TRUST_SOCKET: &str = "/run/backstop/trust.sock";
