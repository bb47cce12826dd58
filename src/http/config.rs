//! `[http]`.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// `[http]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `ADDRESS:PORT` where `/metrics`, `/live` and `/ready` are; port 0 is any free port; `""` for nowhere. No
    /// password: keep it off the network.
    #[serde(with = "optional_address")]
    pub listen: Option<SocketAddr>,
}

impl Default for Config {
    fn default() -> Self {
        Self { listen: Some(SocketAddr::from(([127, 0, 0, 1], 9890))) }
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
