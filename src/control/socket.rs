//! The server's side of the control socket.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::net::{BindError, Connection, Endpoint, Listener};

use super::message::{Greeting, LONGEST_LINE, PROTOCOL, Request, Response};

/// Who carries requests out.
pub trait Handler: Send + Sync + 'static {
    /// The answer to one request.
    fn handle(&self, request: Request) -> impl Future<Output = Response> + Send;
}

/// A bound control socket.
#[derive(Debug)]
pub struct Control {
    listener: Listener,
    path: PathBuf,
}

impl Control {
    /// Binds the socket; only the same user and root may connect. Its directory is made if it is missing.
    ///
    /// # Errors
    /// When it can't be bound.
    pub async fn bind(path: &Path) -> Result<Self, BindError> {
        let failed = |error| BindError::Io { endpoint: Endpoint::Unix(path.to_owned()), error };
        if let Some(parent) = path.parent()
            && !parent.exists()
        {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(parent).map_err(failed)?;
        }
        let listener = Listener::unix(path, 0o600).await?;
        Ok(Self { listener, path: path.to_owned() })
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
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                accepted = self.listener.accept() => accepted,
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
            let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
                warn!("too many control connections, one was closed");
                continue;
            };
            let handler = Arc::clone(&handler);
            tasks.spawn(async move {
                let _permit = permit;
                if let Err(error) = talk(stream, &*handler).await {
                    info!(%error, "control connection ended");
                }
            });
        }
    }
}

async fn talk(stream: UnixStream, handler: &impl Handler) -> io::Result<()> {
    let peer = stream.peer_cred().ok().map(|peer| peer.uid());
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let greeting = Greeting { backstop: env!("CARGO_PKG_VERSION").to_owned(), protocol: PROTOCOL };
    send(&mut writer, &greeting).await?;
    loop {
        let mut line = Vec::new();
        let most = u64::try_from(LONGEST_LINE).unwrap_or(u64::MAX);
        let mut bounded = (&mut reader).take(most);
        let read = tokio::time::timeout(PATIENCE, bounded.read_until(b'\n', &mut line));
        if read.await.map_err(|_| io::ErrorKind::TimedOut)?? == 0 {
            return Ok(());
        }
        let response = match serde_json::from_slice::<Request>(&line) {
            Ok(request) => {
                if let Request::Reload { .. } = request {
                    info!(uid = peer, "reload asked for");
                }
                handler.handle(request).await
            }
            Err(error) => Response::Error { message: format!("not a request: {error}") },
        };
        send(&mut writer, &response).await?;
        if line.last() != Some(&b'\n') {
            return Ok(());
        }
    }
}

async fn send(writer: &mut (impl AsyncWriteExt + Unpin), message: &impl serde::Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    tokio::time::timeout(PATIENCE, writer.write_all(&line)).await.map_err(|_| io::ErrorKind::TimedOut)?
}

const AT_ONCE: usize = 16;
const PATIENCE: Duration = Duration::from_secs(10);
