//! A client or a network, as lists are of them: small to copy and cheap to compare; in the file it is text.

use std::{
    fmt,
    hash::{Hash, Hasher},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{AddrParseError, IpNet};
use serde::{Deserialize, Serialize};

/// `203.0.113.9`, `203.0.113.0/24`, `2001:db8:1:2::/64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Network {
    is_six: bool,
    /// Of IPv6 the first half.
    bits: u64,
    length: u8,
}

impl Network {
    /// The client: of IPv6 its /64, in which it has any address it likes.
    pub(super) fn of(client: IpAddr) -> Self {
        match client {
            IpAddr::V4(client) => Self { is_six: false, bits: client.to_bits().into(), length: 32 },
            IpAddr::V6(client) => Self { is_six: true, bits: (client.to_bits() >> 64) as u64, length: 64 },
        }
    }

    /// The /24 or /48 in which it is.
    pub(super) fn around(client: IpAddr) -> Self {
        let Self { is_six, bits, .. } = Self::of(client);
        let (length, rest) = if is_six { (48, 0xffff) } else { (24, 0xff) };
        Self { is_six, bits: bits & !rest, length }
    }
}

/// All of a list are of the same length, or of another family.
impl Hash for Network {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.bits);
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { is_six, bits, length } = *self;
        match (is_six, length) {
            (false, 32) => Ipv4Addr::from_bits(bits as u32).fmt(f),
            (false, _) => write!(f, "{}/{length}", Ipv4Addr::from_bits(bits as u32)),
            (true, _) => write!(f, "{}/{length}", Ipv6Addr::from_bits(u128::from(bits) << 64)),
        }
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl TryFrom<String> for Network {
    type Error = AddrParseError;

    fn try_from(text: String) -> Result<Self, AddrParseError> {
        if let Ok(client) = text.parse() {
            return Ok(Self::of(client));
        }
        let network: IpNet = text.parse()?;
        Ok(Self { length: network.prefix_len(), ..Self::of(network.addr()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_and_their_networks() {
        for (client, expected, around) in [
            ("203.0.113.9", "203.0.113.9", "203.0.113.0/24"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", "2001:db8:1::/48"),
        ] {
            let client: IpAddr = client.parse().unwrap();
            for (network, expected) in [(Network::of(client), expected), (Network::around(client), around)] {
                assert_eq!(network.to_string(), expected);
                let text = serde_json::to_string(&network).unwrap();
                assert_eq!(text, format!("\"{expected}\""));
                assert_eq!(serde_json::from_str::<Network>(&text).unwrap(), network);
            }
        }
        for wrong in ["\"\"", "\"203.0.113.9/33\"", "\"x\"", "7"] {
            assert!(serde_json::from_str::<Network>(wrong).is_err(), "{wrong}");
        }
    }
}
