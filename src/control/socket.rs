//! The server's side of the control socket.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use nix::unistd::Group;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::net::{BindError, Connection, Endpoint, Listener};

use super::{
    audit::{Order, Pending},
    message::{Greeting, LONGEST_LINE, PROTOCOL, Request, Response},
    peer::Peer,
};

/// Who carries requests out.
pub trait Handler: Send + Sync + 'static {
    /// The answer to one request of `peer`; his name is known where the request changes something.
    fn handle(&self, request: Request, peer: &Peer) -> impl Future<Output = Response> + Send;
}

impl<H: Handler> Handler for Arc<H> {
    fn handle(&self, request: Request, peer: &Peer) -> impl Future<Output = Response> + Send {
        (**self).handle(request, peer)
    }
}

/// A bound control socket.
#[derive(Debug)]
pub struct Control {
    listener: Listener,
    path: PathBuf,
    scope: Scope,
}

/// Which requests are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    All,
    Trust,
}

impl Control {
    /// Binds the socket for all commands, with this mode, for members of `group` (a name or a number; empty: the process'
    /// own). Its directory is made if it is missing.
    ///
    /// # Errors
    /// When it can't be bound, when there is no such group, or when the process may not give it the socket.
    pub async fn bind(path: &Path, mode: u32, group: &str) -> Result<Self, BindError> {
        make_parent(path)?;
        let listener = Listener::unix(path, mode, id_of(path, group)?).await?;
        Ok(Self { listener, path: path.to_owned(), scope: Scope::All })
    }

    /// Binds the socket that takes `trust` alone, also from members of `group` (a name or a number; empty: nobody).
    ///
    /// # Errors
    /// When it can't be bound, when there is no such group, or when the process may not give it the socket.
    pub async fn bind_trust(path: &Path, group: &str) -> Result<Self, BindError> {
        make_parent(path)?;
        let mode = if group.is_empty() { 0o600 } else { 0o660 };
        let listener = Listener::unix(path, mode, id_of(path, group)?).await?;
        Ok(Self { listener, path: path.to_owned(), scope: Scope::Trust })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Serves until `stop`.
    ///
    /// # Errors
    /// When the listener is broken.
    pub async fn serve(self, handler: impl Handler, stop: CancellationToken) -> io::Result<()> {
        let handler = Arc::new(handler);
        let permits = Arc::new(Semaphore::new(AT_ONCE));
        let tasks = TaskTracker::new();
        let scope = self.scope;
        loop {
            let (permit, accepted) = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                next = self.next(&permits) => next,
            };
            let stream = match accepted {
                Ok(Connection::Unix(stream)) => stream,
                Ok(Connection::Tcp(_)) => continue,
                Err(error) => {
                    warn!(%error, "can't accept a control connection");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
            };
            let Some(permit) = permit else {
                warn!("too many control connections, one was closed");
                continue;
            };
            let handler = Arc::clone(&handler);
            tasks.spawn(async move {
                let _permit = permit;
                let talked = match scope {
                    Scope::All => talk(stream, scope, &*handler).await,
                    Scope::Trust => tokio::time::timeout(PATIENCE, talk(stream, scope, &*handler))
                        .await
                        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
                };
                if let Err(error) = talked {
                    info!(%error, "control connection ended");
                }
            });
        }
    }

    /// The next connection, with its place. Who logs in comes in bursts, and waits in the kernel's queue until there is one;
    /// for a person at a terminal there is one at once, or none.
    async fn next(&self, permits: &Arc<Semaphore>) -> (Option<OwnedSemaphorePermit>, io::Result<Connection>) {
        match self.scope {
            Scope::All => {
                let accepted = self.listener.accept().await;
                (Arc::clone(permits).try_acquire_owned().ok(), accepted)
            }
            Scope::Trust => {
                let permit = Arc::clone(permits).acquire_owned().await.ok();
                (permit, self.listener.accept().await)
            }
        }
    }
}

impl Scope {
    fn takes(self, request: &Request) -> bool {
        self == Self::All || matches!(request, Request::Trust { .. })
    }

    const fn longest_line(self) -> usize {
        match self {
            Self::All => LONGEST_LINE,
            Self::Trust => LONGEST_TRUST,
        }
    }
}

async fn talk(stream: UnixStream, scope: Scope, handler: &impl Handler) -> io::Result<()> {
    let mut peer = Peer::of(&stream);
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let greeting = Greeting { backstop: env!("CARGO_PKG_VERSION").to_owned(), protocol: PROTOCOL };
    send(&mut writer, &greeting).await?;
    loop {
        let mut line = Vec::new();
        let most = u64::try_from(scope.longest_line()).unwrap_or(u64::MAX);
        let mut bounded = (&mut reader).take(most);
        let read = tokio::time::timeout(PATIENCE, bounded.read_until(b'\n', &mut line));
        if read.await.map_err(|_| io::ErrorKind::TimedOut)?? == 0 {
            return Ok(());
        }
        let response = match serde_json::from_slice::<Request>(&line) {
            Ok(request) => carry_out(request, &mut peer, scope, handler).await,
            Err(error) => Response::Error { message: format!("not a request: {error}") },
        };
        send(&mut writer, &response).await?;
        if line.last() != Some(&b'\n') {
            return Ok(());
        }
    }
}

/// Has it done, if it may be, and writes down who ordered it.
async fn carry_out(request: Request, peer: &mut Peer, scope: Scope, handler: &impl Handler) -> Response {
    let order = Order::of(&request);
    if order.is_some() {
        peer.look_up().await;
    }
    let peer = &*peer;
    let pending = Pending { order, peer };
    let response = if scope.takes(&request) {
        handler.handle(request, peer).await
    } else {
        if pending.order.is_none() {
            info!(
                uid = peer.uid,
                "more than to trust a client was asked for where only that may be asked for"
            );
        }
        Response::Refused { message: "nothing but `trust` is taken at this socket".to_owned() }
    };
    pending.answered(&response);
    response
}

fn make_parent(path: &Path) -> Result<(), BindError> {
    match path.parent() {
        Some(parent) if !parent.exists() => {
            let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(parent);
            made.map_err(|error| failed(path, error))
        }
        _ => Ok(()),
    }
}

fn failed(path: &Path, error: io::Error) -> BindError {
    BindError::Io { endpoint: Endpoint::Unix(path.to_owned()), error }
}

/// The id of the group that is to have the socket, if one is named.
fn id_of(path: &Path, group: &str) -> Result<Option<u32>, BindError> {
    let id = (!group.is_empty()).then(|| group_id(group)).transpose();
    id.map_err(|error| failed(path, error))
}

/// The id of a group: its number, or what the system knows by its name.
pub(super) fn group_id(group: &str) -> io::Result<u32> {
    if let Ok(id) = group.parse() {
        return Ok(id);
    }
    let missing = || io::Error::new(io::ErrorKind::NotFound, format!("there is no group `{group}`"));
    Ok(Group::from_name(group)?.ok_or_else(missing)?.gid.as_raw())
}

async fn send(writer: &mut (impl AsyncWriteExt + Unpin), message: &impl serde::Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    tokio::time::timeout(PATIENCE, writer.write_all(&line)).await.map_err(|_| io::ErrorKind::TimedOut)?
}

const AT_ONCE: usize = 16;
/// What a log-in hook has to say is short.
const LONGEST_TRUST: usize = 1024;
const PATIENCE: Duration = Duration::from_secs(10);
