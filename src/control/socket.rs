//! The server's side of the control socket.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::DirBuilderExt,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use nix::unistd::Group;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream, unix::SocketAddr},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, info, warn};

use crate::{
    net::{BindError, Endpoint, Listener},
    telemetry::Few,
};

use super::{
    Config,
    audit::{Order, Pending},
    door::{Door, Permit, Visit},
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
    /// As long as it is there, so is its file.
    _listener: Listener,
    socket: UnixListener,
    door: Arc<Door>,
    scope: Scope,
    /// Of who does what he should not: he may do that as often as he likes.
    lines: Arc<Few>,
}

/// Places for connections. Whoever is in a group can take up those of that group, and not those of who could turn him out.
#[derive(Debug)]
struct Places {
    /// For root and the server's own user.
    own: Arc<Semaphore>,
    others: Arc<Semaphore>,
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
        Self::open(path, mode, group, Scope::All).await
    }

    /// Binds the socket that takes `trust` alone, also from members of `group` (a name or a number; empty: nobody).
    ///
    /// # Errors
    /// When it can't be bound, when there is no such group, or when the process may not give it the socket.
    pub async fn bind_trust(path: &Path, group: &str) -> Result<Self, BindError> {
        Self::open(path, Config::trust_mode(group), group, Scope::Trust).await
    }

    async fn open(path: &Path, mode: u32, group: &str, scope: Scope) -> Result<Self, BindError> {
        make_parent(path)?;
        let group = id_of(group).map_err(|error| failed(path, error))?;
        let listener = Listener::unix(path, mode, group).await?;
        let missing = || failed(path, io::ErrorKind::NotFound.into());
        let file = listener.file().map(Arc::clone).ok_or_else(missing)?;
        let socket = listener.as_unix().map_err(|error| failed(path, error))?.ok_or_else(missing)?;
        let socket = UnixListener::from_std(socket).map_err(|error| failed(path, error))?;
        Ok(Self {
            _listener: listener,
            socket,
            door: Arc::new(Door::new(file, Permit { mode, group })),
            scope,
            lines: Arc::new(Few::new(Instant::now())),
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.door.path()
    }

    /// Who may come in, to change that while it is served.
    #[must_use]
    pub fn door(&self) -> Arc<Door> {
        Arc::clone(&self.door)
    }

    /// Serves until `stop`.
    ///
    /// # Errors
    /// When the listener is broken.
    pub async fn serve(self, handler: impl Handler, stop: CancellationToken) -> io::Result<()> {
        let handler = Arc::new(handler);
        let places =
            Places { own: Arc::new(Semaphore::new(AT_ONCE)), others: Arc::new(Semaphore::new(AT_ONCE)) };
        let tasks = TaskTracker::new();
        let scope = self.scope;
        loop {
            let (permit, accepted) = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                next = self.next(&places) => next,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(%error, "can't accept a control connection");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
            };
            let peer = Peer::of(&stream);
            let visit = self.door.visit();
            let permit = match permit {
                _ if !visit.admits(&peer) => Err(TURNED_OUT),
                Some(permit) => Ok(permit),
                None => places.of(&peer).try_acquire_owned().map_err(|_| FULL),
            };
            let permit = match permit {
                Ok(permit) => permit,
                Err(why) => {
                    self.lines.tell(Instant::now(), |left_out| {
                        warn!(
                            uid = peer.uid,
                            pid = peer.pid,
                            why,
                            left_out,
                            "a control connection was closed"
                        );
                    });
                    turn_away(stream, why);
                    continue;
                }
            };
            debug!(uid = peer.uid, pid = peer.pid, "control connection");
            let (handler, lines) = (Arc::clone(&handler), Arc::clone(&self.lines));
            tasks.spawn(async move {
                let _permit = permit;
                let talk = Talk { peer, scope, visit, lines: &lines, handler: &*handler };
                let talked = match scope {
                    Scope::All => talk.run(stream).await,
                    Scope::Trust => tokio::time::timeout(PATIENCE, talk.run(stream))
                        .await
                        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
                };
                if let Err(error) = talked {
                    lines.tell(Instant::now(), |left_out| {
                        info!(%error, left_out, "control connection ended");
                    });
                }
            });
        }
    }

    /// The next connection. Who logs in comes in bursts, and waits in the kernel's queue until there is a place;
    /// for a person at a terminal there is one at once, or none.
    async fn next(
        &self,
        places: &Places,
    ) -> (Option<OwnedSemaphorePermit>, io::Result<(UnixStream, SocketAddr)>) {
        match self.scope {
            Scope::All => (None, self.socket.accept().await),
            Scope::Trust => {
                let permit = Arc::clone(&places.others).acquire_owned().await.ok();
                (permit, self.socket.accept().await)
            }
        }
    }
}

impl Places {
    fn of(&self, peer: &Peer) -> Arc<Semaphore> {
        Arc::clone(if peer.is_own() { &self.own } else { &self.others })
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

/// One connection.
struct Talk<'h, H> {
    peer: Peer,
    scope: Scope,
    visit: Visit,
    lines: &'h Few,
    handler: &'h H,
}

impl<H: Handler> Talk<'_, H> {
    async fn run(mut self, stream: UnixStream) -> io::Result<()> {
        let (reader, mut writer) = stream.into_split();
        let mut reader = BufReader::new(reader);
        send(&mut writer, &greeting()).await?;
        loop {
            let mut line = Vec::new();
            let most = u64::try_from(self.scope.longest_line()).unwrap_or(u64::MAX);
            let mut bounded = (&mut reader).take(most);
            let read = tokio::time::timeout(PATIENCE, bounded.read_until(b'\n', &mut line));
            if read.await.map_err(|_| io::ErrorKind::TimedOut)?? == 0 {
                return Ok(());
            }
            if self.visit.is_over() {
                return send(&mut writer, &Response::Refused { message: OVER.to_owned() }).await;
            }
            let response = match serde_json::from_slice::<Request>(&line) {
                Ok(request) => self.carry_out(request).await,
                Err(error) => {
                    Response::Error { message: format!("not a request: {error}; {OF_ANOTHER_VERSION}") }
                }
            };
            send(&mut writer, &response).await?;
            if line.last() != Some(&b'\n') {
                return Ok(());
            }
        }
    }

    /// Has it done, if it may be, and writes down who ordered it.
    async fn carry_out(&mut self, request: Request) -> Response {
        let order = Order::of(&request);
        if order.is_some() {
            self.peer.look_up().await;
        }
        let peer = &self.peer;
        if !self.scope.takes(&request) {
            let uid = peer.uid;
            let response =
                Response::Refused { message: "nothing but `trust` is taken at this socket".to_owned() };
            self.lines.tell(Instant::now(), |left_out| match order {
                None => info!(
                    uid,
                    left_out, "more than to trust a client was asked for where only that may be asked for"
                ),
                order => Pending { order, peer }.answered(&response, left_out),
            });
            return response;
        }
        let pending = Pending { order, peer };
        let response = self.handler.handle(request, peer).await;
        pending.answered(&response, None);
        response
    }
}

/// Says why, if that needs no waiting: a new connection has room for it.
fn turn_away(stream: UnixStream, why: &str) {
    let lines =
        [serde_json::to_vec(&greeting()), serde_json::to_vec(&Response::Error { message: why.to_owned() })];
    let mut bytes = Vec::new();
    for line in lines.into_iter().flatten() {
        bytes.extend(line);
        bytes.push(b'\n');
    }
    // The event loop has not said yet that it can be written.
    let _ = stream.into_std().and_then(|mut stream| stream.write(&bytes));
}

fn greeting() -> Greeting {
    Greeting { backstop: env!("CARGO_PKG_VERSION").to_owned(), protocol: PROTOCOL }
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
pub(super) fn id_of(group: &str) -> io::Result<Option<u32>> {
    (!group.is_empty()).then(|| group_id(group)).transpose()
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
const FULL: &str = "too many control connections at the same time, try again";
const TURNED_OUT: &str = "only root and the user that backstop runs as may talk to it";
const OVER: &str = "who may use this socket has changed meanwhile; connect again";
const OF_ANOTHER_VERSION: &str = concat!(
    "the server is backstop ",
    env!("CARGO_PKG_VERSION"),
    ": if the command is of another version, restart the server"
);
/// What a log-in hook has to say is short.
const LONGEST_TRUST: usize = 1024;
const PATIENCE: Duration = Duration::from_secs(10);
