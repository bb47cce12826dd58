//! Where a directory server is: `ldap://`, `ldaps://` and `ldapi://` (RFC 4516 §2, without what follows the host).
//!
//! Resolves and connects nowhere. Failure: a [`UrlError`].

use std::{fmt, path::PathBuf};

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) place: Place,
    pub(super) security: Security,
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// A name or address (IPv6 without brackets), and a port.
    Tcp { host: String, port: u16 },
    /// A socket on this host.
    Unix(PathBuf),
}

/// Who can read what passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Security {
    /// Whoever is on the way; with a unix socket, nobody.
    Plain,
    /// TLS from the first byte.
    Tls,
    /// TLS from the first request on (RFC 4511 §4.14).
    StartTls,
}

/// Not the address of an LDAP server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::directory) enum UrlError {
    #[error("it begins with ldap://, ldaps:// or ldapi://")]
    Scheme,
    #[error("a name or address has to follow")]
    Host,
    #[error("the port is a number from 1 to 65535")]
    Port,
    #[error("it ends with the host; base and filter are keys of their own")]
    More,
    #[error("the socket's path is written like ldapi://%2Frun%2Fslapd%2Fldapi")]
    Socket,
}

impl Server {
    /// Reads the URL of a server: `ldap://HOST[:PORT]`, `ldaps://HOST[:PORT]`, `ldapi://PATH`, with at most a slash
    /// behind it.
    ///
    /// # Errors
    /// [`UrlError`]
    pub(super) fn parse(url: &str, start_tls: bool) -> Result<Self, UrlError> {
        let (scheme, rest) = url.split_once("://").ok_or(UrlError::Scheme)?;
        let host = rest.strip_suffix('/').unwrap_or(rest);
        if host.contains(['/', '?', '#', '@']) {
            return Err(UrlError::More);
        }
        let (port, security) = match scheme.to_ascii_lowercase().as_str() {
            "ldap" if start_tls => (389, Security::StartTls),
            "ldap" => (389, Security::Plain),
            "ldaps" => (636, Security::Tls),
            "ldapi" => {
                let path = PathBuf::from(percent_decode(host).ok_or(UrlError::Socket)?);
                if !path.is_absolute() {
                    return Err(UrlError::Socket);
                }
                return Ok(Self { place: Place::Unix(path), security: Security::Plain });
            }
            _ => return Err(UrlError::Scheme),
        };
        let (host, port) = host_and_port(host, port)?;
        Ok(Self { place: Place::Tcp { host, port }, security })
    }

    /// Whether others can read what is sent to it.
    pub(super) fn is_readable(&self) -> bool {
        self.security == Security::Plain && matches!(self.place, Place::Tcp { .. })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Unix(path) => write!(f, "ldapi:{}", path.display()),
            Place::Tcp { host, port } => {
                let scheme = if self.security == Security::Tls { "ldaps" } else { "ldap" };
                if host.contains(':') {
                    write!(f, "{scheme}://[{host}]:{port}")
                } else {
                    write!(f, "{scheme}://{host}:{port}")
                }
            }
        }
    }
}

/// `%2F` is `/` (RFC 3986 §2.1); `None` if that makes no text.
pub(super) fn percent_decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        decoded.push(if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            u8::try_from(digit()? << 4 | digit()?).ok()?
        } else {
            byte
        });
    }
    let decoded = String::from_utf8(decoded).ok()?;
    (!decoded.contains('\0')).then_some(decoded)
}

fn host_and_port(text: &str, default: u16) -> Result<(String, u16), UrlError> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or(UrlError::Host)?;
            address.parse::<std::net::Ipv6Addr>().map_err(|_| UrlError::Host)?;
            (address, port)
        }
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':');
    if host.is_empty() || !host.bytes().all(named) {
        return Err(UrlError::Host);
    }
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => default,
        None => return Err(UrlError::Host),
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().ok().filter(|&port| port != 0).ok_or(UrlError::Port)?
        }
        Some(_) => return Err(UrlError::Port),
    };
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let tcp = |host: &str, port, security| Server {
            place: Place::Tcp { host: host.to_owned(), port },
            security,
        };
        for (url, start_tls, server) in [
            ("ldap://dc1.example.com", false, tcp("dc1.example.com", 389, Security::Plain)),
            ("LDAP://dc1/", true, tcp("dc1", 389, Security::StartTls)),
            ("ldap://192.0.2.1:3268", false, tcp("192.0.2.1", 3268, Security::Plain)),
            ("ldaps://[2001:db8::1]", false, tcp("2001:db8::1", 636, Security::Tls)),
            ("ldaps://[2001:db8::1]:3269/", false, tcp("2001:db8::1", 3269, Security::Tls)),
            (
                "ldapi://%2Frun%2Fslapd%2fldapi",
                false,
                Server { place: Place::Unix("/run/slapd/ldapi".into()), security: Security::Plain },
            ),
        ] {
            assert_eq!(Server::parse(url, start_tls), Ok(server), "{url}");
        }
        for (url, error) in [
            ("dc1.example.com", UrlError::Scheme),
            ("http://dc1", UrlError::Scheme),
            ("ldap://", UrlError::Host),
            ("ldap:///", UrlError::Host),
            ("ldap://a b", UrlError::Host),
            ("ldap://[::1", UrlError::Host),
            ("ldap://[dc1]", UrlError::Host),
            ("ldap://[::1]x", UrlError::Host),
            ("ldap://dc1:", UrlError::Port),
            ("ldap://dc1:0", UrlError::Port),
            ("ldap://dc1:65536", UrlError::Port),
            ("ldap://dc1:+1", UrlError::Port),
            ("ldap://::1", UrlError::Host),
            ("ldap://1::1", UrlError::Port),
            ("ldap://dc1/dc=x", UrlError::More),
            ("ldap://dc1??sub", UrlError::More),
            ("ldap://joe@dc1", UrlError::More),
            ("ldapi:///", UrlError::Socket),
            ("ldapi://run", UrlError::Socket),
            ("ldapi://%2", UrlError::Socket),
            ("ldapi://%2Fa%00", UrlError::Socket),
        ] {
            assert_eq!(Server::parse(url, false), Err(error), "{url}");
        }
    }

    #[test]
    fn what_is_shown_of_a_server_can_be_read_back() {
        for url in ["ldap://dc1:389", "ldaps://[2001:db8::1]:636"] {
            assert_eq!(Server::parse(url, false).unwrap().to_string(), url);
        }
    }
}
