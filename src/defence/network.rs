//! What counts as one client. Pure.

use std::{fmt::Write, net::IpAddr};

use compact_str::CompactString;
use ipnet::{IpNet, Ipv6Net};

use crate::readable::Ip;

/// An IPv4 address, or the /64 of an IPv6 address, which one host has to itself (RFC 4291 §2.5.1).
pub(super) fn of(client: IpAddr) -> IpNet {
    match client.to_canonical() {
        IpAddr::V6(v6) => IpNet::V6(Ipv6Net::new_assert(v6, 64).trunc()),
        v4 @ IpAddr::V4(_) => v4.into(),
    }
}

/// The /48 of an IPv6 address, which one customer may have to himself (RFC 6177), with 65 536 of the others in it.
pub(super) fn wider(client: IpAddr) -> Option<IpNet> {
    match client.to_canonical() {
        IpAddr::V6(v6) => Some(IpNet::V6(Ipv6Net::new_assert(v6, 48).trunc())),
        IpAddr::V4(_) => None,
    }
}

/// As it is shown: `192.0.2.1`, `2001:db8:1:2::/64`.
pub(super) fn name(network: IpNet) -> String {
    text(network).to_string()
}

/// The same, for keys: an IPv4 address takes no memory and no formatter.
pub(super) fn text(network: IpNet) -> CompactString {
    let mut text = CompactString::default();
    match network {
        IpNet::V4(v4) => text.push_str(Ip::from(IpAddr::V4(v4.addr())).as_str()),
        IpNet::V6(v6) => write!(text, "{v6}").expect("writing to memory cannot fail"),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_have_names() {
        for (client, expected, wide) in [
            ("192.0.2.1", "192.0.2.1", None),
            ("::ffff:192.0.2.1", "192.0.2.1", None),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", Some("2001:db8:1::/48")),
            ("2001:db8:1::1", "2001:db8:1::/64", Some("2001:db8:1::/48")),
        ] {
            let client = client.parse().unwrap();
            assert_eq!(name(of(client)), expected);
            assert_eq!(wider(client).map(name).as_deref(), wide);
        }
    }
}
