//! Sets of networks.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;

/// One network as configured: CIDR, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(pub IpNet);

/// Not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Neither `ADDRESS` nor `ADDRESS/LENGTH`.
    #[error("`{0}` is not a network; write it like 192.0.2.0/24, 2001:db8::/32 or 192.0.2.1")]
    Form(String),
    /// Bits beyond the prefix: a slip of the pen more often than a wish.
    #[error("`{0}` has bits set beyond its prefix length; did you mean {1}?")]
    HostBits(String, IpNet),
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(address.into()));
        }
        let net: IpNet = text.parse().map_err(|_| NetworkError::Form(text.to_owned()))?;
        if net.trunc() == net {
            Ok(Self(net))
        } else {
            Err(NetworkError::HostBits(text.to_owned(), net.trunc()))
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() { self.0.addr().fmt(f) } else { self.0.fmt(f) }
    }
}

impl<'de> serde::Deserialize<'de> for Network {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl serde::Serialize for Network {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Any number of networks in a prefix tree.
#[derive(Debug, Clone, Default)]
pub struct Networks {
    v4: PrefixMap<Ipv4Net, ()>,
    v6: PrefixMap<Ipv6Net, ()>,
}

impl Networks {
    /// Whether every IPv4 address, or every IPv6 address, is in one of them.
    #[must_use]
    pub fn has_everybody(&self) -> bool {
        self.v4.get(&Ipv4Net::default()).is_some() || self.v6.get(&Ipv6Net::default()).is_some()
    }

    /// Whether one of the networks contains the address. An IPv4-mapped IPv6 address is its IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => self.v4.get_lpm(&address.into()).is_some(),
            IpAddr::V6(address) => self.v6.get_lpm(&address.into()).is_some(),
        }
    }

    /// The smallest of the networks that contain the address.
    pub(super) fn find(&self, address: IpAddr) -> Option<Network> {
        let net = match address.to_canonical() {
            IpAddr::V4(address) => self.v4.get_lpm(&address.into()).map(|(net, ())| IpNet::V4(net)),
            IpAddr::V6(address) => self.v6.get_lpm(&address.into()).map(|(net, ())| IpNet::V6(net)),
        };
        net.map(Network)
    }

    /// Whether there is no network.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

impl FromIterator<IpNet> for Networks {
    fn from_iter<I: IntoIterator<Item = IpNet>>(nets: I) -> Self {
        let mut networks = Self::default();
        for net in nets {
            match net.trunc() {
                IpNet::V4(net) => drop(networks.v4.insert(net, ())),
                IpNet::V6(net) => drop(networks.v6.insert(net, ())),
            }
        }
        networks
    }
}

/// Whether an address means nothing outside of the network it is used in: loopback, private, link-local, shared (RFC
/// 1918, 3927, 4193, 4291, 6598). Behind a translator or a proxy, every client seems to have one.
pub(super) fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || a == 0
                || (a, b & 0xc0) == (100, 64)
        }
        IpAddr::V6(address) => {
            address.is_loopback()
                || address.is_unspecified()
                || address.is_unique_local()
                || address.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses() {
        for (address, expected) in [
            ("10.0.0.1", true),
            ("172.16.0.1", true),
            ("172.32.0.1", false),
            ("192.168.1.1", true),
            ("127.0.0.1", true),
            ("169.254.1.1", true),
            ("100.63.255.255", false),
            ("100.64.0.1", true),
            ("100.127.255.255", true),
            ("100.128.0.0", false),
            ("0.0.0.0", true),
            ("::", true),
            ("::1", true),
            ("fe80::1", true),
            ("fd00::1", true),
            ("::ffff:10.0.0.1", true),
            ("::ffff:198.51.100.1", false),
            ("198.51.100.1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_private(address.parse().expect("valid")), expected, "{address}");
        }
    }

    #[test]
    fn a_network_contains_its_addresses_and_no_others() {
        let nets = ["127.0.0.0/8", "::1", "198.51.100.7", "2001:db8::/32"];
        let networks: Networks = nets.iter().map(|net| net.parse::<Network>().expect("valid").0).collect();
        for (address, contained) in [
            ("127.0.0.1", true),
            ("127.255.255.255", true),
            ("128.0.0.0", false),
            ("::1", true),
            ("::2", false),
            ("::ffff:127.0.0.1", true),
            ("198.51.100.7", true),
            ("198.51.100.6", false),
            ("2001:db8:ffff::1", true),
            ("2001:db9::", false),
        ] {
            assert_eq!(networks.contains(address.parse().expect("valid")), contained, "{address}");
        }
        assert!(!Networks::default().contains("127.0.0.1".parse().expect("valid")));
    }

    #[test]
    fn everybody_is_noticed() {
        for (net, expected) in
            [("0.0.0.0/0", true), ("::/0", true), ("0.0.0.0/1", false), ("0.0.0.0", false), ("::", false)]
        {
            let networks: Networks = [net.parse::<Network>().expect("valid").0].into_iter().collect();
            assert_eq!(networks.has_everybody(), expected, "{net}");
        }
        assert!(!Networks::default().has_everybody());
    }

    #[test]
    fn slips_are_told() {
        for text in ["", "localhost", "127.0.0.0/33", "127.0.0", "10.0.0.0-10.0.0.9"] {
            assert!(matches!(text.parse::<Network>(), Err(NetworkError::Form(_))), "{text}");
        }
        let slip = "192.0.2.1/24".parse::<Network>().expect_err("host bits").to_string();
        assert!(slip.contains("did you mean 192.0.2.0/24?"), "{slip}");
    }
}
