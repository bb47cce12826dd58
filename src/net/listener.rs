//! Listeners: bound from an [`Endpoint`], or inherited from systemd.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::{fs::FileTypeExt, net::UnixListener},
    path::Path,
    sync::Arc,
    task::Poll,
};

use rustix::{
    io::Errno,
    net::{SocketFlags, accept_with},
};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixStream, lookup_host};

use super::{
    Connection, Endpoint, UnixFile,
    event_loop::{Watch, Watched, watch},
};

/// One listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    is_tcp: bool,
    /// The bound address in the form of an [`Endpoint`], with the real port.
    address: String,
    /// A unix socket of ours, removed in the end.
    owned: Option<Arc<UnixFile>>,
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
                Socket::from(listener)
            } else if let Some(listener) = passed.take_unix_listener(index)? {
                Socket::from(listener)
            } else {
                continue;
            };
            socket.set_nonblocking(true)?;
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
                    let bind = || {
                        let socket = Socket::new(Domain::for_address(address), stream(), None)?;
                        if v6 {
                            // It does not take IPv4 connections: `inet:` says that separately.
                            socket.set_only_v6(true)?;
                        }
                        socket.set_reuse_address(true)?;
                        socket.bind(&address.into())?;
                        socket.listen(BACKLOG)?;
                        Self::of(socket)
                    };
                    listeners.push(bind().map_err(io_error)?);
                }
                if listeners.is_empty() { Err(BindError::NoAddress(endpoint.clone())) } else { Ok(listeners) }
            }
            // Postfix' smtpd and Sendmail run as users of their own; the directory says who may come in.
            Endpoint::Unix(path) => Ok(vec![Self::unix(path, 0o666, None).await?]),
            Endpoint::Fd(name) => {
                let sockets =
                    inherited.0.remove(name).ok_or_else(|| BindError::NotInherited(endpoint.clone()))?;
                sockets.into_iter().map(|socket| Self::of(socket).map_err(io_error)).collect()
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
            let socket = Socket::new(Domain::UNIX, stream(), None)?;
            socket.bind(&SockAddr::unix(path)?)?;
            let file = UnixFile::of(path)?;
            // Before it listens: nobody can connect until then.
            file.permit(mode, group).inspect_err(|_| file.remove())?;
            let file = Arc::new(file);
            socket.listen(BACKLOG)?;
            let mut listener = Self::of(socket)?;
            listener.owned = Some(file);
            Ok(listener)
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

    /// The same socket, if it is a unix socket, for another event loop.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn as_unix(&self) -> io::Result<Option<UnixListener>> {
        (!self.is_tcp).then(|| Ok(self.socket.try_clone()?.into())).transpose()
    }

    /// Takes its connections within a task of an [event loop](super::event_loop). Others may do so in other loops.
    #[must_use]
    pub fn accepting(&self) -> Accepting<'_> {
        Accepting { listener: self, watched: None }
    }

    /// A socket that listens and does not block, its own or systemd's.
    fn of(socket: Socket) -> io::Result<Self> {
        let bound = socket.local_addr()?;
        let (is_tcp, address) = match bound.as_socket() {
            Some(address) if address.is_ipv6() => (true, format!("inet6:{address}")),
            Some(address) => (true, format!("inet:{address}")),
            None => {
                let path = bound.as_pathname().map(|path| path.display().to_string());
                (false, format!("unix:{}", path.unwrap_or_default()))
            }
        };
        if is_tcp {
            // One write per reply: nothing is gained by waiting for more. Its connections inherit that.
            let _ = socket.set_tcp_nodelay(true);
        }
        Ok(Self { socket, is_tcp, address, owned: None })
    }
}

/// A listener whose connections a task takes.
#[derive(Debug)]
pub struct Accepting<'l> {
    listener: &'l Listener,
    watched: Option<Watched>,
}

impl Accepting<'_> {
    /// The next connection. Who asks is polled again when there is one, and takes turns with the other tasks for more.
    ///
    /// # Errors
    /// As accept(2); all but a broken listener pass by themselves.
    pub fn poll_accept(&mut self) -> Poll<io::Result<Connection>> {
        let Listener { socket, is_tcp, .. } = self.listener;
        match &self.watched {
            // It is told of each time, as long as somebody waits.
            None => self.watched = Some(watch(socket, Watch::Listener)?),
            Some(watched) if watched.look() => match accept_with(socket, NEW) {
                Ok(accepted) => return Poll::Ready(Ok(Connection::new(accepted.into(), *is_tcp))),
                // Somebody else was faster.
                Err(Errno::WOULDBLOCK) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            },
            Some(_) => {}
        }
        Poll::Pending
    }

    /// Is not told of any until it asks for the next one.
    pub fn pause(&mut self) {
        if let Some(watched) = self.watched.take() {
            watched.end(&self.listener.socket);
        }
    }
}

impl Drop for Accepting<'_> {
    fn drop(&mut self) {
        self.pause();
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(file) = &self.owned {
            file.remove();
        }
    }
}

fn stream() -> Type {
    Type::STREAM.nonblocking().cloexec()
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

/// Of a connection.
const NEW: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);
/// Connections that wait for accept: an attack opens many at once.
const BACKLOG: i32 = 4096;
