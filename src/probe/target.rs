//! The server that is tested, as the command line names it. Pure.

use std::{fmt, net::IpAddr, str::FromStr};

use crate::address::Domain;

/// `HOST`, `HOST:PORT`, `[IPv6]`, `[IPv6]:PORT`: always the host itself, never the mail exchangers of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub(super) host: Host,
    pub(super) port: u16,
}

/// A name or an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    Name(Domain),
    Address(IpAddr),
}

/// Not a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}; write HOST, HOST:PORT or [IPv6]:PORT")]
pub struct TargetError(&'static str);

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse() {
            return Ok(Self { host: Host::Address(address), port: SMTP });
        }
        let (host, port) = match text.strip_prefix('[').map(|rest| rest.split_once(']')) {
            Some(None) => return Err(TargetError("a bracket without its partner")),
            Some(Some((host, ""))) => (host, None),
            Some(Some((host, rest))) => (
                host,
                Some(rest.strip_prefix(':').ok_or(TargetError("something other than :PORT behind ]"))?),
            ),
            None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        let port = match port {
            None => SMTP,
            Some(port) => {
                let port = port.parse().ok().filter(|&port| port > 0);
                port.ok_or(TargetError("the port is no number from 1 to 65535"))?
            }
        };
        let host = match host.parse() {
            Ok(address) => Host::Address(address),
            Err(_) => {
                let name = Domain::parse(host).ok().filter(|name| !name.as_str().contains(['/', '[']));
                let name = name.ok_or(TargetError("neither the name of a host nor an address"))?;
                // `192.0.2.1.`
                name.as_str().parse().map_or(Host::Name(name), Host::Address)
            }
        };
        Ok(Self { host, port })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Name(name) => write!(f, "{name}:{}", self.port),
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            Host::Address(address) => write!(f, "{address}:{}", self.port),
        }
    }
}

const SMTP: u16 = 25;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_as_they_are_written() {
        for (text, shown) in [
            ("mx.example.com", "mx.example.com:25"),
            ("MX.Example.com.:2525", "mx.example.com:2525"),
            ("localhost:26", "localhost:26"),
            ("192.0.2.1", "192.0.2.1:25"),
            ("192.0.2.1:26", "192.0.2.1:26"),
            ("[192.0.2.1]:26", "192.0.2.1:26"),
            ("2001:db8::1", "[2001:db8::1]:25"),
            ("[2001:db8::1]", "[2001:db8::1]:25"),
            ("[2001:db8::1]:26", "[2001:db8::1]:26"),
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), shown, "{text}");
        }
        for text in [
            "",
            ":25",
            "a b",
            "mx:0",
            "mx:65536",
            "mx:smtp",
            "[mx",
            "[::1]25",
            "http://mx",
            "a@b",
            "mx\r\n",
            "<mx>",
        ] {
            assert!(text.parse::<Target>().is_err(), "{text:?}");
        }
    }
}
