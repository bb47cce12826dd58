//! Lists in the DNS (RFC 5782): the address of a client is asked for as a name below the list's zone, and what the
//! answers mean is configured.
//!
//! Failure: no answer, SERVFAIL, REFUSED, and the answers by which lists say that they refuse to serve (127.255.255.0/24)
//! all mean "could not find out": they are told once, counted, and never speak for or against anybody. So does whatever
//! is said by a list that has everybody, as those do that were given up (see `probe`).

mod asked;
mod probe;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use ipnet::Ipv4Net;

pub(super) use asked::{Asked, Listing};

use crate::{address::Domain, net::DnsError};

/// A list as configured: `ZONE`, or `ZONE=ANSWER,…`, each answer an address or a network within 127.0.0.0/8.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DnsList {
    zone: Box<str>,
    /// None: whatever is no error.
    answers: Box<[Ipv4Net]>,
}

/// Not a list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DnsListError {
    /// The zone is no domain, or leaves no room for an address.
    #[error("`{0}` is not the zone of a list; write it like pbl.example.net=127.0.0.10,127.0.0.11")]
    Zone(String),
    /// Not an answer that lists give.
    #[error("`{0}` is not an answer of a list: an address or a network within 127.0.0.0/8")]
    Answer(String),
    /// What lists answer when they refuse to serve.
    #[error("`{0}` is what lists answer when they refuse to serve, and never a listing")]
    Refusal(String),
}

impl FromStr for DnsList {
    type Err = DnsListError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (zone, answers) = match text.split_once('=') {
            Some((zone, answers)) => (zone, answers.split(',').map(answer).collect::<Result<_, _>>()?),
            None => (text, Box::default()),
        };
        let is_name = |domain: &Domain| domain.literal().is_none() && domain.as_str().len() <= LONGEST_ZONE;
        match Domain::parse(zone.trim()).ok().filter(is_name) {
            Some(zone) => Ok(Self { zone: zone.as_str().into(), answers }),
            None => Err(DnsListError::Zone(zone.to_owned())),
        }
    }
}

fn answer(text: &str) -> Result<Ipv4Net, DnsListError> {
    let text = text.trim();
    let net = text.parse::<Ipv4Addr>().map(Ipv4Net::from).or_else(|_| text.parse());
    let net = net.ok().filter(|net: &Ipv4Net| net.trunc() == *net && LISTINGS.contains(net));
    match net {
        None => Err(DnsListError::Answer(text.to_owned())),
        Some(net) if REFUSALS.iter().any(|refusal| refusal.contains(&net)) => {
            Err(DnsListError::Refusal(text.to_owned()))
        }
        Some(net) => Ok(net),
    }
}

impl fmt::Display for DnsList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.zone)?;
        for (index, net) in self.answers.iter().enumerate() {
            f.write_str(if index == 0 { "=" } else { "," })?;
            if net.prefix_len() == 32 { net.addr().fmt(f) } else { net.fmt(f) }?;
        }
        Ok(())
    }
}

impl<'de> serde::Deserialize<'de> for DnsList {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl serde::Serialize for DnsList {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl DnsList {
    /// The zone below which addresses are asked for.
    #[must_use]
    pub fn zone(&self) -> &str {
        &self.zone
    }
}

impl DnsList {
    /// What the DNS says of a name below the zone.
    fn meaning(&self, found: &Result<Vec<Ipv4Addr>, DnsError>) -> Listing {
        match found {
            Ok(answers) => self.judge(answers),
            Err(DnsError::None(_)) => Listing::Clear,
            Err(DnsError::Busy(_)) => Listing::Busy,
            Err(_) => Listing::Failed,
        }
    }

    /// What these answers mean together.
    fn judge(&self, answers: &[Ipv4Addr]) -> Listing {
        let is_refusal = |answer: &Ipv4Addr| {
            // A zone that is gone, and now answers everything with the address of a page.
            !LISTINGS.contains(answer) || REFUSALS.iter().any(|refusal| refusal.contains(answer))
        };
        let counts = |answer: &Ipv4Addr| {
            self.answers.is_empty() || self.answers.iter().any(|net| net.contains(answer))
        };
        let mut sorted = answers.to_vec();
        sorted.sort_unstable();
        if let Some(refusal) = sorted.iter().copied().find(is_refusal) {
            return Listing::Refused(refusal);
        }
        sorted.into_iter().find(counts).map_or(Listing::Clear, Listing::Listed)
    }
}

/// `4.3.2.1.zone.`, or the 32 nibbles of an IPv6 address (RFC 5782 §2.1, §2.4); with a dot at its end, so that no search
/// list is tried.
fn query_name(client: IpAddr, zone: &str) -> String {
    match client.to_canonical() {
        IpAddr::V4(client) => query_name_v4(client, zone),
        IpAddr::V6(client) => query_name_v6(client, zone),
    }
}

fn query_name_v4(client: Ipv4Addr, zone: &str) -> String {
    let [a, b, c, d] = client.octets();
    format!("{d}.{c}.{b}.{a}.{zone}.")
}

fn query_name_v6(client: Ipv6Addr, zone: &str) -> String {
    let nibbles = client.octets().into_iter().rev().flat_map(|octet| [octet & 0xf, octet >> 4]);
    let name: String = nibbles.map(|nibble| format!("{nibble:x}.")).collect();
    format!("{name}{zone}.")
}

/// Listings are in here.
const LISTINGS: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
/// By convention "you may not ask": 127.255.255.0/24 (Spamhaus and others), 127.0.0.1 (URIBL; RFC 5782 §5 lists it
/// never), 127.0.0.255 (DNSWL).
const REFUSALS: [Ipv4Net; 3] = [
    Ipv4Net::new_assert(Ipv4Addr::new(127, 255, 255, 0), 24),
    Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 1), 32),
    Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 255), 32),
];
/// The 64 characters of an IPv6 address come before it, and a name has 253 at most.
const LONGEST_ZONE: usize = 188;
#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> DnsList {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn lists_are_read_and_written_back() {
        for (text, written) in [
            ("pbl.example.net", "pbl.example.net"),
            ("PBL.Example.NET.", "pbl.example.net"),
            ("pbl.example.net=127.0.0.10,127.0.0.11", "pbl.example.net=127.0.0.10,127.0.0.11"),
            ("a.example = 127.0.0.10, 127.0.4.0/24", "a.example=127.0.0.10,127.0.4.0/24"),
            ("list.example=127.0.0.0/16", "list.example=127.0.0.0/16"),
        ] {
            assert_eq!(list(text).to_string(), written);
        }
        for (text, message) in [
            ("", "is not the zone"),
            ("=127.0.0.2", "is not the zone"),
            ("a b=127.0.0.2", "is not the zone"),
            ("[192.0.2.1]=127.0.0.2", "is not the zone"),
            ("a.example=", "is not an answer"),
            ("a.example=127.0.0.2,", "is not an answer"),
            ("a.example=2", "is not an answer"),
            ("a.example=10.0.0.1", "is not an answer"),
            ("a.example=126.0.0.0/7", "is not an answer"),
            ("a.example=127.0.0.1/8", "is not an answer"),
            ("a.example=::1", "is not an answer"),
            ("a.example=127.255.255.254", "refuse to serve"),
            ("a.example=127.255.255.0/25", "refuse to serve"),
            ("a.example=127.0.0.1", "refuse to serve"),
        ] {
            let error = text.parse::<DnsList>().expect_err(text).to_string();
            assert!(error.contains(message), "{text}: {error}");
        }
        assert!(format!("{}.example", "a.".repeat(120)).parse::<DnsList>().is_err(), "too long");
    }

    /// RFC 5782 §2.1 and §2.4.
    #[test]
    fn names_of_addresses() {
        for (client, name) in [
            ("192.0.2.99", "99.2.0.192.bl.example."),
            ("::ffff:192.0.2.99", "99.2.0.192.bl.example."),
            (
                "2001:db8:1:2:3:4:567:89ab",
                "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.bl.example.",
            ),
        ] {
            assert_eq!(query_name(client.parse().expect("valid"), "bl.example"), name);
        }
    }

    #[test]
    fn what_answers_mean() {
        let answers = |texts: &[&str]| -> Vec<Ipv4Addr> {
            texts.iter().map(|text| text.parse().expect("valid")).collect()
        };
        let address = |text: &str| text.parse().expect("valid");
        for (text, given, expected) in [
            ("a=127.0.0.10,127.0.0.11", &["127.0.0.11"][..], Listing::Listed(address("127.0.0.11"))),
            ("a=127.0.0.10,127.0.0.11", &["127.0.0.4"], Listing::Clear),
            ("a=127.0.0.10", &["127.0.0.4", "127.0.0.10"], Listing::Listed(address("127.0.0.10"))),
            ("a=127.0.4.0/24", &["127.0.4.77"], Listing::Listed(address("127.0.4.77"))),
            ("a=127.0.0.0/8", &["127.255.255.254"], Listing::Refused(address("127.255.255.254"))),
            (
                "a=127.0.0.0/8",
                &["127.0.0.2", "127.255.255.252"],
                Listing::Refused(address("127.255.255.252")),
            ),
            ("a=127.0.0.0/8", &["127.0.0.255"], Listing::Refused(address("127.0.0.255"))),
            ("a", &["127.0.0.2"], Listing::Listed(address("127.0.0.2"))),
            ("a", &["127.0.0.1"], Listing::Refused(address("127.0.0.1"))),
            ("a", &["203.0.113.80"], Listing::Refused(address("203.0.113.80"))),
            ("a=127.0.0.2", &["203.0.113.80", "127.0.0.2"], Listing::Refused(address("203.0.113.80"))),
            ("a", &[], Listing::Clear),
        ] {
            assert_eq!(list(text).judge(&answers(given)), expected, "{text} {given:?}");
        }
    }
}
