//! `[http]`.

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::net::Password;

/// `[http]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `ADDRESS:PORT` where the [status page](status-page.md) (`/`), `/metrics`, `/live` and `/ready` are; port 0 is any
    /// free port; `""` for nowhere. Beyond loopback, give it a `token_file`.
    #[serde(with = "optional_address")]
    pub listen: Option<SocketAddr>,
    /// A file (its absolute path) with a token and nothing else: everything but `/live` and `/ready` needs it, as password of any user or as
    /// bearer. Read at each request: a changed token needs no reload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// Names by which the status page is shown, besides IP addresses, `localhost` and the host's own name; others get
    /// `421`. See [By which name](status-page.md#by-which-name).
    pub names: Vec<String>,
    /// How the status page shows mail addresses: `a…@example.com`, or as they are.
    pub addresses: Shown,
}

/// How mail addresses are shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Shown {
    /// The first character and the domain.
    #[default]
    Masked,
    /// As they are.
    Plain,
}

impl Config {
    /// Tells `say` which key can't be used, and why.
    pub fn check(&self, say: &mut dyn FnMut(&[&str], String)) {
        if let Some(Err(error)) = self.token_file.as_deref().map(Password::open) {
            say(&["token_file"], error.to_string());
        }
        for (index, name) in self.names.iter().enumerate() {
            let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            if name.is_empty() || !name.chars().all(is_name) {
                let message =
                    format!("{name:?} is no name of a host, such as mx1.example.com (without a port)");
                say(&["names", &index.to_string()], message);
            }
        }
    }

    /// What is worth a look, though it can be so.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let open = self.listen.filter(|listen| !listen.ip().is_loopback() && self.token_file.is_none());
        let note = open.map(|listen| {
            format!("http.listen = \"{listen}\" is not loopback, and there is no http.token_file: whoever reaches it reads the status page")
        });
        note.into_iter().collect()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 9890))),
            token_file: None,
            names: Vec::new(),
            addresses: Shown::default(),
        }
    }
}

mod optional_address {
    use super::SocketAddr;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<SocketAddr>, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| {
            D::Error::custom(format_args!("`{text}` is not ADDRESS:PORT, such as 127.0.0.1:9890"))
        })
    }

    pub(super) fn serialize<S: Serializer>(
        listen: &Option<SocketAddr>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match listen {
            Some(address) => serializer.collect_str(address),
            None => serializer.serialize_str(""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_to_the_network_is_noted() {
        let token = Some(PathBuf::from("/t"));
        for (listen, token_file, notes) in [
            ("127.0.0.1:9890", None, 0),
            ("[::1]:9890", None, 0),
            ("192.0.2.1:9890", None, 1),
            ("0.0.0.0:9890", None, 1),
            ("[::]:9890", None, 1),
            ("[::]:9890", token, 0),
        ] {
            let config = Config { listen: listen.parse().ok(), token_file, ..Config::default() };
            assert_eq!(config.notes().len(), notes, "{listen}");
        }
        assert!(Config { listen: None, ..Config::default() }.notes().is_empty());
    }
}
