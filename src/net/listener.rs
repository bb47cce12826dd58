//! Listeners: bound from an [`Endpoint`], or inherited from systemd.

use std::{
    collections::HashMap,
    fs,
    future::poll_fn,
    io,
    os::unix::fs::FileTypeExt,
    path::Path,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::net::{TcpListener, UnixListener, UnixSocket, UnixStream, lookup_host};

use super::{Connection, Endpoint, UnixFile};

/// One listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    /// The bound address in the form of an [`Endpoint`], with the real port.
    address: String,
    /// A unix socket of ours, removed in the end.
    owned: Option<Arc<UnixFile>>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Could not listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The operating system refused.
    #[error("can't listen on {endpoint}: {error}")]
    Io {
        /// As configured.
        endpoint: Endpoint,
        /// As reported.
        error: io::Error,
    },
    /// The host name has no address of the family.
    #[error("can't listen on {0}: the host has no address of this family")]
    NoAddress(Endpoint),
    /// Another process answers at the path.
    #[error("can't listen on {0}: another program listens there")]
    InUse(Endpoint),
    /// Something else is at the path.
    #[error("can't listen on {0}: there is something that is not a socket")]
    NotASocket(Endpoint),
    /// systemd passed no socket of that name.
    #[error(
        "can't listen on {0}: no socket of that name was passed (FileDescriptorName= in the socket unit)"
    )]
    NotInherited(Endpoint),
}

/// The sockets that systemd passed to this process, by name.
#[derive(Debug, Default)]
pub struct Inherited(HashMap<String, Vec<Socket>>);

impl Inherited {
    /// Takes them over; once per process. The names come from `LISTEN_FDNAMES`.
    ///
    /// # Errors
    /// When a passed descriptor is no listening stream socket.
    pub fn take() -> io::Result<Self> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut passed = listenfd::ListenFd::from_env();
        let mut sockets: HashMap<String, Vec<Socket>> = HashMap::new();
        for index in 0..passed.len() {
            let name = names.next().filter(|name| !name.is_empty()).unwrap_or("unknown").to_owned();
            let socket = if let Ok(Some(listener)) = passed.take_tcp_listener(index) {
                listener.set_nonblocking(true)?;
                Socket::Tcp(TcpListener::from_std(listener)?)
            } else if let Some(listener) = passed.take_unix_listener(index)? {
                listener.set_nonblocking(true)?;
                Socket::Unix(UnixListener::from_std(listener)?)
            } else {
                continue;
            };
            sockets.entry(name).or_default().push(socket);
        }
        Ok(Self(sockets))
    }

    /// The names of those that nobody took. They have to be closed: whoever connects to one would wait for ever.
    #[must_use]
    pub fn left(self) -> Vec<String> {
        self.0.into_keys().collect()
    }
}

impl Listener {
    /// Listens on everything that `endpoint` names: a host name may have several addresses, and a
    /// descriptor name several sockets.
    ///
    /// # Errors
    /// See [`BindError`].
    pub async fn bind(endpoint: &Endpoint, inherited: &mut Inherited) -> Result<Vec<Self>, BindError> {
        let io_error = |error| BindError::Io { endpoint: endpoint.clone(), error };
        match endpoint {
            Endpoint::Inet { host, port } | Endpoint::Inet6 { host, port } => {
                let v6 = matches!(endpoint, Endpoint::Inet6 { .. });
                let found = lookup_host((host.as_str(), *port)).await.map_err(io_error)?;
                let mut listeners = Vec::new();
                for address in found.filter(|address| address.is_ipv6() == v6) {
                    let socket = if v6 { socket_v6_only() } else { tokio::net::TcpSocket::new_v4() };
                    let bind = |socket: tokio::net::TcpSocket| {
                        socket.set_reuseaddr(true)?;
                        socket.bind(address)?;
                        socket.listen(BACKLOG)
                    };
                    let listener = socket.and_then(bind).map_err(io_error)?;
                    listeners.push(Self::tcp(listener).map_err(io_error)?);
                }
                if listeners.is_empty() { Err(BindError::NoAddress(endpoint.clone())) } else { Ok(listeners) }
            }
            // Postfix' smtpd and Sendmail run as users of their own; the directory says who may come in.
            Endpoint::Unix(path) => Ok(vec![Self::unix(path, 0o666, None).await?]),
            Endpoint::Fd(name) => {
                let sockets =
                    inherited.0.remove(name).ok_or_else(|| BindError::NotInherited(endpoint.clone()))?;
                sockets.into_iter().map(|socket| Self::inherited(socket).map_err(io_error)).collect()
            }
        }
    }

    /// Listens on a unix socket that those may connect to whom `mode` permits to write, from its first moment on. `group`
    /// is the id of the group that owns it; `None`: the process' own.
    ///
    /// # Errors
    /// See [`BindError`]. A group that the process is not in needs root.
    pub async fn unix(path: &Path, mode: u32, group: Option<u32>) -> Result<Self, BindError> {
        let endpoint = Endpoint::Unix(path.to_owned());
        reclaim(&endpoint, path).await?;
        let bind = || {
            let socket = UnixSocket::new_stream()?;
            socket.bind(path)?;
            let file = UnixFile::of(path)?;
            // Before it listens: nobody can connect until then.
            file.permit(mode, group).inspect_err(|_| file.remove())?;
            let owned = Some(Arc::new(file));
            let listener = socket.listen(BACKLOG)?;
            Ok(Self { socket: Socket::Unix(listener), address: endpoint.to_string(), owned })
        };
        bind().map_err(|error| BindError::Io { endpoint: endpoint.clone(), error })
    }

    /// The file of a unix socket that we made.
    #[must_use]
    pub fn file(&self) -> Option<&Arc<UnixFile>> {
        self.owned.as_ref()
    }

    /// The bound address, e.g. `inet:127.0.0.1:41234`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The next connection.
    ///
    /// # Errors
    /// As accept(2); all but a broken listener pass by themselves.
    pub fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<Connection>> {
        match &self.socket {
            Socket::Tcp(listener) => listener
                .poll_accept(context)
                .map_ok(|(stream, _)| Connection::Tcp { stream, is_unacknowledged: false }),
            Socket::Unix(listener) => {
                listener.poll_accept(context).map_ok(|(stream, _)| Connection::Unix(stream))
            }
        }
    }

    /// The same, waited for.
    ///
    /// # Errors
    /// As accept(2).
    pub async fn accept(&self) -> io::Result<Connection> {
        poll_fn(|context| self.poll_accept(context)).await
    }

    fn tcp(listener: TcpListener) -> io::Result<Self> {
        // One write per reply: nothing is gained by waiting for more. Its connections inherit that.
        let _ = socket2::SockRef::from(&listener).set_tcp_nodelay(true);
        let address = listener.local_addr()?;
        let family = if address.is_ipv6() { "inet6" } else { "inet" };
        Ok(Self { socket: Socket::Tcp(listener), address: format!("{family}:{address}"), owned: None })
    }

    fn inherited(socket: Socket) -> io::Result<Self> {
        match socket {
            Socket::Tcp(listener) => Self::tcp(listener),
            Socket::Unix(listener) => {
                let path = listener.local_addr()?.as_pathname().map(|path| path.display().to_string());
                let address = format!("unix:{}", path.unwrap_or_default());
                Ok(Self { socket: Socket::Unix(listener), address, owned: None })
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(file) = &self.owned {
            file.remove();
        }
    }
}

/// An IPv6 listener does not take IPv4 connections: `inet:` says that separately.
fn socket_v6_only() -> io::Result<tokio::net::TcpSocket> {
    let socket = tokio::net::TcpSocket::new_v6()?;
    socket2::SockRef::from(&socket).set_only_v6(true)?;
    Ok(socket)
}

/// Removes a socket that a killed process left; never one that is answered, never a file.
async fn reclaim(endpoint: &Endpoint, path: &Path) -> Result<(), BindError> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(BindError::NotASocket(endpoint.clone()));
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| BindError::Io { endpoint: endpoint.clone(), error })
        }
        Err(error) => Err(BindError::Io { endpoint: endpoint.clone(), error }),
        Ok(_) => Err(BindError::InUse(endpoint.clone())),
    }
}

/// Connections that wait for accept: an attack opens many at once.
const BACKLOG: u32 = 4096;
