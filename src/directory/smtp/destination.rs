//! Whom to ask, as the configuration and transport maps write it. Pure.

use std::{
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

use super::conversation::Protocol;
use crate::address::Domain;

/// A server, or the servers that are in the DNS for a domain.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Destination {
    pub(super) protocol: Protocol,
    pub(super) place: Place,
}

/// Where it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Place {
    /// A host's own addresses.
    Host(Host, u16),
    /// The mail exchangers of a domain.
    Exchangers(Domain, u16),
    /// A unix socket.
    Unix(PathBuf),
}

/// A name or an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Host {
    Name(Domain),
    Address(IpAddr),
}

/// Not a destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no server: {why}; write HOST, HOST:PORT, [IPv6]:PORT, lmtp:HOST:PORT or lmtp:unix:/SOCKET"
)]
pub(super) struct DestinationError {
    text: String,
    why: &'static str,
}

impl Destination {
    /// The nexthop of a transport map (smtp(8), SMTP and LMTP DESTINATION SYNTAX): without brackets it is a domain whose
    /// mail exchangers are meant. `None`: not understood.
    pub(super) fn nexthop(protocol: Protocol, text: &str) -> Option<Self> {
        let (text, exchangers) = match protocol {
            Protocol::Smtp => (text, !text.starts_with('[')),
            Protocol::Lmtp => {
                if let Some(path) = text.strip_prefix("unix:") {
                    // smtp(8) works in the queue directory.
                    let place = Place::Unix(Path::new(QUEUE_DIRECTORY).join(path));
                    return (!path.is_empty()).then_some(Self { protocol, place });
                }
                (text.strip_prefix("inet:").unwrap_or(text), false)
            }
        };
        let (host, port) = host_and_port(protocol, text).ok()?;
        let place = match host {
            Host::Name(domain) if exchangers => Place::Exchangers(domain, port),
            host => Place::Host(host, port),
        };
        Some(Self { protocol, place })
    }

    /// The nexthop that is the recipient's own domain.
    pub(super) fn of_domain(protocol: Protocol, domain: &Domain) -> Self {
        let place = match (protocol, domain.literal()) {
            (_, Some(address)) => Place::Host(Host::Address(address), protocol.port()),
            (Protocol::Smtp, None) => Place::Exchangers(domain.clone(), protocol.port()),
            (Protocol::Lmtp, None) => Place::Host(Host::Name(domain.clone()), protocol.port()),
        };
        Self { protocol, place }
    }
}

/// `HOST`, `HOST:PORT`, `[IPv6]:PORT`, `lmtp:HOST:PORT`, `lmtp:unix:/SOCKET`: always the host itself.
impl FromStr for Destination {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |why| DestinationError { text: text.to_owned(), why };
        let (protocol, rest) = match text.split_once(':') {
            Some(("lmtp", rest)) => (Protocol::Lmtp, rest),
            Some(("smtp", rest)) => (Protocol::Smtp, rest),
            _ => (Protocol::Smtp, text),
        };
        if rest.starts_with("//") {
            return Err(wrong("it is no URL"));
        }
        if let Some(path) = rest.strip_prefix("unix:") {
            if protocol == Protocol::Smtp {
                return Err(wrong("a unix socket speaks LMTP"));
            }
            let path = PathBuf::from(path);
            return if path.is_absolute() {
                Ok(Self { protocol, place: Place::Unix(path) })
            } else {
                Err(wrong("the socket's path is not absolute"))
            };
        }
        let (host, port) = host_and_port(protocol, rest).map_err(wrong)?;
        Ok(Self { protocol, place: Place::Host(host, port) })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.protocol == Protocol::Lmtp {
            f.write_str("lmtp:")?;
        }
        match &self.place {
            Place::Host(host, port) => write!(f, "{host}:{port}"),
            Place::Exchangers(domain, port) => write!(f, "the mail exchangers of {domain}:{port}"),
            Place::Unix(path) => write!(f, "unix:{}", path.display().to_string().escape_debug()),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl Protocol {
    /// RFC 5321 §4.5.4.2; for LMTP Postfix' `lmtp_tcp_port`.
    fn port(self) -> u16 {
        match self {
            Self::Smtp => 25,
            Self::Lmtp => 24,
        }
    }
}

/// `HOST`, `HOST:PORT`, and either with brackets around the host.
fn host_and_port(protocol: Protocol, text: &str) -> Result<(Host, u16), &'static str> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or("a bracket without its partner")?;
        match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.is_empty() => (host, None),
            None => return Err("something other than :PORT after the bracket"),
        }
    } else if text.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6()) {
        return Err("an IPv6 address needs brackets");
    } else {
        text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)))
    };
    let port = match port {
        None => protocol.port(),
        Some("smtp") => 25,
        Some("submission") => 587,
        Some("lmtp") => 24,
        Some(port) => {
            port.parse().ok().filter(|&port| port > 0).ok_or("the port is no number from 1 to 65535")?
        }
    };
    if host.contains('/') {
        return Err("a path has to follow lmtp:unix:");
    }
    let (tag, tagged) = host.split_at_checked(5).unwrap_or_default();
    let address = if tag.eq_ignore_ascii_case("ipv6:") { tagged } else { host };
    if let Ok(address) = address.parse() {
        return Ok((Host::Address(address), port));
    }
    match Domain::parse(host) {
        Ok(name) if name.as_str().is_ascii() && !name.as_str().starts_with('[') => {
            Ok((Host::Name(name), port))
        }
        _ => Err("it has no name of a host"),
    }
}

/// Postfix' default, against which relative paths of sockets are read.
const QUEUE_DIRECTORY: &str = "/var/spool/postfix";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_the_configuration() {
        for (text, shown) in [
            ("exchange.example.com", "exchange.example.com:25"),
            ("Exchange.Example.com:2525", "exchange.example.com:2525"),
            ("smtp:exchange.example.com:2525", "exchange.example.com:2525"),
            ("localhost", "localhost:25"),
            ("mail_1", "mail_1:25"),
            ("192.0.2.1", "192.0.2.1:25"),
            ("192.0.2.1:26", "192.0.2.1:26"),
            ("[192.0.2.1]:26", "192.0.2.1:26"),
            ("[2001:db8::1]", "[2001:db8::1]:25"),
            ("[2001:db8::1]:26", "[2001:db8::1]:26"),
            ("[IPv6:2001:db8::1]:26", "[2001:db8::1]:26"),
            ("[mail.example.com]:26", "mail.example.com:26"),
            ("bücher.example", "xn--bcher-kva.example:25"),
            ("lmtp:mail.example.com", "lmtp:mail.example.com:24"),
            ("lmtp:mail.example.com:2003", "lmtp:mail.example.com:2003"),
            ("lmtp:[::1]:2003", "lmtp:[::1]:2003"),
            ("lmtp:unix:/run/dovecot/lmtp", "lmtp:unix:/run/dovecot/lmtp"),
        ] {
            let destination: Destination = text.parse().unwrap();
            assert_eq!(destination.to_string(), shown);
            assert_eq!(shown.parse(), Ok(destination));
        }
    }

    #[test]
    fn what_is_no_destination() {
        for text in [
            "",
            ":",
            ":25",
            "a b",
            "a:0",
            "a:65536",
            "a:x",
            "a:25:25",
            "2001:db8::1",
            "[2001:db8::1",
            "[::1]25",
            "[]",
            "unix:/run/x",
            "smtp:unix:/run/x",
            "lmtp:unix:run/x",
            "lmtp:unix:",
            "lmtp:",
            "lmtp:/run/x",
            "lmtp:run/x:24",
            "/run/x",
            "[/run/x]",
            "a@b",
            "a,b",
            "a/b\n",
            "smtp://a",
            "lmtp://a:24",
        ] {
            let error = text.parse::<Destination>();
            assert!(error.is_err(), "{text:?}: {error:?}");
        }
        let error = "smtp://mail.example.com:25".parse::<Destination>().unwrap_err();
        assert!(error.to_string().contains("is no URL; write HOST"), "{error}");
    }

    /// smtp(8), SMTP DESTINATION SYNTAX and LMTP DESTINATION SYNTAX.
    #[test]
    fn nexthops() {
        use Protocol::{Lmtp, Smtp};
        for (protocol, text, shown) in [
            (Smtp, "example.com", Some("the mail exchangers of example.com:25")),
            (Smtp, "example.com:2025", Some("the mail exchangers of example.com:2025")),
            (Smtp, "[gateway.example.com]", Some("gateway.example.com:25")),
            (Smtp, "[gateway.example.com]:submission", Some("gateway.example.com:587")),
            (Smtp, "[192.0.2.1]:2025", Some("192.0.2.1:2025")),
            (Smtp, "[ipv6:2001:db8::1]:2025", Some("[2001:db8::1]:2025")),
            (Smtp, "[gateway.example.com]:other", None),
            (Smtp, "192.0.2.1", Some("192.0.2.1:25")),
            (Lmtp, "unix:/run/dovecot/lmtp", Some("lmtp:unix:/run/dovecot/lmtp")),
            (Lmtp, "unix:private/dovecot-lmtp", Some("lmtp:unix:/var/spool/postfix/private/dovecot-lmtp")),
            (Lmtp, "unix:", None),
            (Lmtp, "/run/dovecot/lmtp", None),
            (Lmtp, "inet:mail.example.com", Some("lmtp:mail.example.com:24")),
            (Lmtp, "inet:mail.example.com:2003", Some("lmtp:mail.example.com:2003")),
            (Lmtp, "inet:[127.0.0.1]:2003", Some("lmtp:127.0.0.1:2003")),
            (Lmtp, "mail.example.com", Some("lmtp:mail.example.com:24")),
        ] {
            let found = Destination::nexthop(protocol, text).map(|destination| destination.to_string());
            assert_eq!(found.as_deref(), shown, "{text}");
        }
    }
}
