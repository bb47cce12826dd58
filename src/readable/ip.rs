//! The text of an IP address without the heap, for what is told of each session.

use std::{
    io::Write,
    net::{IpAddr, Ipv4Addr},
};

/// As it is displayed.
#[derive(Debug, Clone, Copy)]
pub struct Ip {
    text: [u8; LONGEST],
    length: usize,
}

impl Ip {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.text.get(..self.length).and_then(|text| str::from_utf8(text).ok()).unwrap_or_default()
    }

    /// By the digit: that is a tenth of what the way for all numbers costs.
    fn octets(&mut self, address: Ipv4Addr) {
        for (at, octet) in address.octets().into_iter().enumerate() {
            if at > 0 {
                self.push(b'.');
            }
            if octet >= 100 {
                self.push(b'0' + octet / 100);
            }
            if octet >= 10 {
                self.push(b'0' + octet / 10 % 10);
            }
            self.push(b'0' + octet % 10);
        }
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.text.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
    }
}

impl From<IpAddr> for Ip {
    fn from(address: IpAddr) -> Self {
        let mut ip = Self { text: [0; LONGEST], length: 0 };
        match address {
            IpAddr::V4(address) => ip.octets(address),
            IpAddr::V6(address) => {
                let mut rest = &mut ip.text[..];
                // There is room for all of them.
                let _ = write!(rest, "{address}");
                ip.length = LONGEST - rest.len();
            }
        }
        ip
    }
}

/// `ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff`
const LONGEST: usize = 39;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_same_as_displayed(v4: Ipv4Addr, address: IpAddr) {
            let mapped = IpAddr::V6(v4.to_ipv6_mapped());
            for address in [IpAddr::V4(v4), address, mapped] {
                let ip = Ip::from(address);
                prop_assert_eq!(ip.as_str(), address.to_string());
            }
        }
    }

    #[test]
    fn the_longest_and_the_shortest() {
        for text in
            ["0.0.0.0", "255.255.255.255", "10.100.9.99", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]
        {
            assert_eq!(Ip::from(text.parse::<IpAddr>().unwrap()).as_str(), text);
        }
    }
}
