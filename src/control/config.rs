//! `[control]`.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{
    door::Permit,
    socket::{group_id, id_of},
};

/// `[control]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// A unix socket for all commands, with an absolute path: root, the server's own user and `group` may use it. A
    /// missing directory is made.
    pub socket: PathBuf,
    /// Who else may use `socket`, and so do everything: a group, by name or number. Without root, the server's user
    /// has to be a member. A group that does not exist stops the start. A reload changes `group` and `mode` in place;
    /// connections that are open order nothing more.
    pub group: String,
    /// The mode of `socket` in octal digits, such as `"0660"`; with `""` 0600, or 0660 where there is a `group`. The
    /// owner must be able to read and write, a `group` to write; all others never get in.
    pub mode: String,
    /// A unix socket, with an absolute path, that takes [`backstop trust`](operations.md#trusted-for-a-time) and
    /// nothing else; `""` for none.
    pub trust_socket: PathBuf,
    /// Who else may use `trust_socket`: a group, by name or number. With `""` it has mode 0600, with a group 0660.
    /// Without root, the server's user has to be a member. A group that does not exist stops the start.
    pub trust_group: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            socket: SOCKET.into(),
            mode: String::new(),
            group: String::new(),
            trust_socket: TRUST_SOCKET.into(),
            trust_group: String::new(),
        }
    }
}

impl Config {
    /// The mode of the socket for all commands. What [`Config::check`] refuses counts as nothing.
    #[must_use]
    pub fn socket_mode(&self) -> u32 {
        match parse_mode(&self.mode) {
            Some(mode) => mode,
            None if self.group.is_empty() => OWNER,
            None => OWNER | GROUP,
        }
    }

    /// The mode of the socket that takes `trust`, for this group.
    #[must_use]
    pub fn trust_mode(group: &str) -> u32 {
        if group.is_empty() { OWNER } else { OWNER | GROUP }
    }

    /// For whom the socket for all commands is. Blocks: the system may ask another server for the group.
    ///
    /// # Errors
    /// There is no such group, or that can't be found out.
    pub fn permit(&self) -> io::Result<Permit> {
        Ok(Permit { mode: self.socket_mode(), group: id_of(&self.group)? })
    }

    /// The same for the socket that takes `trust`.
    ///
    /// # Errors
    /// There is no such group, or that can't be found out.
    pub fn trust_permit(&self) -> io::Result<Permit> {
        Ok(Permit { mode: Self::trust_mode(&self.trust_group), group: id_of(&self.trust_group)? })
    }

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
        self.check_mode(say);
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
        check_group("group", &self.group, say);
        if trusts {
            check_group("trust_group", &self.trust_group, say);
        }
    }

    fn check_mode(&self, say: &mut dyn FnMut(&'static str, String)) {
        if self.mode.is_empty() {
            return;
        }
        let wrong = match parse_mode(&self.mode) {
            None => "is written in octal digits, such as \"0600\" or \"0660\"",
            Some(mode) if mode & OWNER != OWNER || mode & !0o777 != 0 => {
                "must let the owner read and write, and has no more than nine bits, such as \"0660\""
            }
            Some(mode) if mode & 0o007 != 0 => {
                "would let every user of this host switch Backstop off: name a control.group instead"
            }
            Some(mode) if mode & 0o020 == 0 && !self.group.is_empty() => {
                "does not let control.group in: who may not write can't connect"
            }
            Some(_) => return,
        };
        say("mode", wrong.to_owned());
    }
}

fn parse_mode(text: &str) -> Option<u32> {
    // Else a sign would be taken, too.
    let is_octal = !text.is_empty() && text.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
    if is_octal { u32::from_str_radix(text, 8).ok() } else { None }
}

/// Whether there is one may also be impossible to find out; the start tells that.
fn check_group(key: &'static str, group: &str, say: &mut dyn FnMut(&'static str, String)) {
    if !group.is_empty()
        && let Err(error) = group_id(group)
        && error.kind() == io::ErrorKind::NotFound
    {
        say(key, format!("there is no group `{}`", group.escape_debug()));
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
const OWNER: u32 = 0o600;
const GROUP: u32 = 0o060;

#[cfg(test)]
mod tests {
    use super::*;

    /// unix(7): connecting needs permission to write.
    #[test]
    fn who_may_connect() {
        for (mode, group, expected) in [
            ("", "", Ok(0o600)),
            ("", "0", Ok(0o660)),
            ("0600", "", Ok(0o600)),
            ("660", "", Ok(0o660)),
            ("0660", "0", Ok(0o660)),
            ("0620", "0", Ok(0o620)),
            ("0600", "0", Err("does not let control.group in")),
            ("0640", "0", Err("does not let control.group in")),
            ("0666", "", Err("every user")),
            ("0661", "", Err("every user")),
            ("0060", "0", Err("the owner")),
            ("4660", "", Err("nine bits")),
            ("+660", "", Err("octal digits")),
            ("0o660", "", Err("octal digits")),
            ("0680", "", Err("octal digits")),
            ("rw-rw----", "", Err("octal digits")),
            ("77777777777777777777", "", Err("octal digits")),
        ] {
            let config = Config { mode: mode.to_owned(), group: group.to_owned(), ..Config::default() };
            let mut said = Vec::new();
            config.check(&mut |key, why| said.push((key, why)));
            match (expected, said.as_slice()) {
                (Ok(bits), []) => assert_eq!(config.socket_mode(), bits, "{mode} {group}"),
                (Err(part), [("mode", why)]) => assert!(why.contains(part), "{mode} {group}: {why}"),
                (_, said) => panic!("{mode} {group}: {said:?}"),
            }
        }
    }
}
