//! Where a milter listens, as Postfix writes it: `inet:127.0.0.1:8890` or `unix:/path`.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a milter listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// `inet:HOST:PORT`; the host is an IP address.
    Inet(SocketAddr),
    /// `unix:PATH`
    Unix(PathBuf),
}

/// How MTA and milter are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP, over the loopback interface.
    Tcp,
    /// A unix socket.
    Unix,
}

/// A bound socket that listens. It does not block.
#[derive(Debug)]
pub enum Listener {
    /// TCP
    Inet(TcpListener),
    /// A unix socket
    Unix(UnixListener),
}

/// What is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither inet:ADDRESS:PORT nor unix:PATH")]
pub struct NoEndpoint(String);

impl Endpoint {
    /// As libmilter writes it: `inet:PORT@ADDRESS` or `unix:PATH`.
    #[must_use]
    pub fn for_libmilter(&self) -> String {
        match self {
            Endpoint::Inet(address) => format!("inet:{}@{}", address.port(), address.ip()),
            Endpoint::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    /// Listens there; a socket file that is left over is replaced.
    ///
    /// # Errors
    /// What the system says.
    pub fn listen(&self) -> io::Result<Listener> {
        match self {
            Endpoint::Inet(address) => {
                let listener = TcpListener::bind(address)?;
                // Connections inherit it.
                rustix::net::sockopt::set_tcp_nodelay(&listener, true)?;
                listener.set_nonblocking(true)?;
                Ok(Listener::Inet(listener))
            }
            Endpoint::Unix(path) => {
                match std::fs::remove_file(path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
                let listener = UnixListener::bind(path)?;
                listener.set_nonblocking(true)?;
                Ok(Listener::Unix(listener))
            }
        }
    }
}

impl FromStr for Endpoint {
    type Err = NoEndpoint;

    fn from_str(text: &str) -> Result<Self, NoEndpoint> {
        let endpoint = match text.split_once(':') {
            Some(("inet", address)) => address.parse().ok().map(Endpoint::Inet),
            Some(("unix", path)) if !path.is_empty() => Some(Endpoint::Unix(path.into())),
            _ => None,
        };
        endpoint.ok_or_else(|| NoEndpoint(text.to_owned()))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Inet(address) => write!(f, "inet:{address}"),
            Endpoint::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Tcp => "TCP",
            Transport::Unix => "unix socket",
        })
    }
}

impl Transport {
    /// Both.
    pub const ALL: [Transport; 2] = [Transport::Tcp, Transport::Unix];
}

impl Listener {
    /// Takes a connection, which does not block.
    ///
    /// # Errors
    /// `WouldBlock`: there is none; else what the system says.
    pub fn accept(&self) -> io::Result<OwnedFd> {
        let flags = rustix::net::SocketFlags::NONBLOCK | rustix::net::SocketFlags::CLOEXEC;
        Ok(rustix::net::accept_with(self, flags)?)
    }

    /// Where it listens, with the port that it got.
    ///
    /// # Errors
    /// What the system says.
    pub fn endpoint(&self) -> io::Result<Endpoint> {
        match self {
            Listener::Inet(listener) => listener.local_addr().map(Endpoint::Inet),
            Listener::Unix(listener) => {
                let address = listener.local_addr()?;
                Ok(Endpoint::Unix(address.as_pathname().unwrap_or("".as_ref()).to_owned()))
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Inet(listener) => listener.as_fd(),
            Listener::Unix(listener) => listener.as_fd(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_written_as_postfix_writes_them() {
        for text in ["inet:127.0.0.1:8890", "inet:[::1]:8890", "unix:/run/milter"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        for text in ["", "unix:", "inet:localhost:8890", "8890", "inet:127.0.0.1"] {
            assert_eq!(text.parse::<Endpoint>(), Err(NoEndpoint(text.to_owned())));
        }
        assert_eq!("inet:127.0.0.1:1".parse::<Endpoint>().unwrap().for_libmilter(), "inet:1@127.0.0.1");
    }
}
