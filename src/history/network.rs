//! A client or a network, as lists are of them: small to copy and cheap to compare; in the file it is text.

use std::{
    fmt,
    hash::{Hash, Hasher},
    net::IpAddr,
};

use ipnet::{AddrParseError, IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// `203.0.113.9`, `203.0.113.0/24`, `2001:db8:1:2::/64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Network(IpNet);

impl Network {
    /// The client: of IPv6 its /64, in which it has any address it likes.
    pub(super) fn of(client: IpAddr) -> Self {
        Self::within(client, 32, 64)
    }

    /// The /24 or /48 in which it is.
    pub(super) fn around(client: IpAddr) -> Self {
        Self::within(client, 24, 48)
    }

    fn within(client: IpAddr, of_four: u8, of_six: u8) -> Self {
        Self(match client {
            IpAddr::V4(client) => Ipv4Net::new_assert(client, of_four).trunc().into(),
            IpAddr::V6(client) => Ipv6Net::new_assert(client, of_six).trunc().into(),
        })
    }
}

/// All of a list are of the same length, and none is longer than 64 bits.
impl Hash for Network {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(match self.0 {
            IpNet::V4(network) => network.addr().to_bits().into(),
            IpNet::V6(network) => (network.addr().to_bits() >> 64) as u64,
        });
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpNet::V4(network) if network.prefix_len() == 32 => network.addr().fmt(f),
            network => network.fmt(f),
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
        text.parse().map(|address: IpAddr| Self(address.into())).or_else(|_| text.parse().map(Self))
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
