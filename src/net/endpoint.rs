//! Where to listen, as the configuration writes it.

use std::{fmt, path::PathBuf, str::FromStr};

/// `inet:HOST:PORT`, `inet6:[HOST]:PORT`, `unix:/PATH` or `fd:NAME` (a socket that systemd opened).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// IPv4. Port 0 is any free port.
    Inet {
        /// A name or an address.
        host: String,
        /// 0 to 65535.
        port: u16,
    },
    /// IPv6.
    Inet6 {
        /// A name or an address, without brackets.
        host: String,
        /// 0 to 65535.
        port: u16,
    },
    /// A unix socket at an absolute path.
    Unix(PathBuf),
    /// `FileDescriptorName=` of a systemd socket unit (sd_listen_fds(3)).
    Fd(String),
}

/// Not an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a place to listen on: {why}; write inet:HOST:PORT, inet6:[HOST]:PORT, unix:/PATH or fd:NAME"
)]
pub struct EndpointError {
    text: String,
    why: &'static str,
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |why| EndpointError { text: text.to_owned(), why };
        let (kind, rest) = text.split_once(':').ok_or_else(|| error("no kind before a colon"))?;
        let host_port = || {
            let (host, port) = rest.rsplit_once(':').ok_or_else(|| error("no port"))?;
            let port = port.parse().map_err(|_| error("the port is not a number from 0 to 65535"))?;
            if host.is_empty() || host.contains('@') { Err(error("no host")) } else { Ok((host, port)) }
        };
        match kind {
            "inet" => {
                let (host, port) = host_port()?;
                if host.starts_with('[') {
                    return Err(error("an IPv6 address needs inet6:"));
                }
                Ok(Self::Inet { host: host.to_owned(), port })
            }
            "inet6" => {
                let (host, port) = host_port()?;
                let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
                match bare {
                    Some(bare) if !bare.is_empty() => Ok(Self::Inet6 { host: bare.to_owned(), port }),
                    None if !host.contains([':', '[', ']']) => {
                        Ok(Self::Inet6 { host: host.to_owned(), port })
                    }
                    _ => Err(error("an IPv6 address needs brackets")),
                }
            }
            "unix" | "local" if rest.starts_with('/') => Ok(Self::Unix(rest.into())),
            "unix" | "local" => Err(error("the path of a unix socket is absolute")),
            "fd" if rest.is_empty() => Err(error("no name")),
            "fd" => Ok(Self::Fd(rest.to_owned())),
            _ => Err(error("unknown kind")),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet { host, port } => write!(f, "inet:{host}:{port}"),
            Self::Inet6 { host, port } => write!(f, "inet6:[{host}]:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Fd(name) => write!(f, "fd:{name}"),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Endpoint {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl serde::Serialize for Endpoint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_read_back() {
        for text in [
            "inet:127.0.0.1:8890",
            "inet:localhost:0",
            "inet6:[::1]:8890",
            "inet6:[localhost]:8890",
            "unix:/run/backstop/milter.sock",
            "fd:milter",
        ] {
            assert_eq!(text.parse::<Endpoint>().map(|e| e.to_string()).as_deref(), Ok(text));
        }
        // Sendmail's and libmilter's word for a unix socket.
        assert_eq!("local:/x".parse(), Ok(Endpoint::Unix("/x".into())));
        assert_eq!("inet6:localhost:1".parse(), Ok(Endpoint::Inet6 { host: "localhost".into(), port: 1 }));
    }

    #[test]
    fn what_is_no_endpoint_says_why() {
        for (text, why) in [
            ("8890", "no kind"),
            ("inet:8890@localhost", "no port"),
            ("inet:localhost:70000", "not a number"),
            ("inet::8890", "no host"),
            ("inet:[::1]:8890", "needs inet6"),
            ("inet6:::1:8890", "needs brackets"),
            ("unix:run/x", "absolute"),
            ("fd:", "no name"),
            ("tcp:localhost:1", "unknown kind"),
        ] {
            let error = text.parse::<Endpoint>().expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
