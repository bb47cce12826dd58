//! Connections in bounded number and time: a scraper that hangs, or whoever opens thousands, must not use up the file
//! descriptors that mail needs.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::serve::Listener;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};
use tracing::debug;

/// A listener whose connections live [`LIFE`] at most, [`AT_ONCE`] at the same time. One more takes the place of the oldest:
/// an answer takes milliseconds, and who does nothing but hold connections must not keep `/live` from whoever ends a process
/// that does not answer there.
#[derive(Debug)]
pub(super) struct Bounded {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    /// What cuts each of them, the oldest first; cancelled where it has ended.
    open: VecDeque<CancellationToken>,
}

/// One of its connections.
#[derive(Debug)]
pub(super) struct Timed {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    _ended: DropGuard,
    _permit: OwnedSemaphorePermit,
}

impl Bounded {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self { listener, permits: Arc::new(Semaphore::new(AT_ONCE)), open: VecDeque::new() }
    }

    /// `None`: there is no place for it.
    async fn admit(&mut self, stream: TcpStream) -> Option<Timed> {
        self.open.retain(|cut| !cut.is_cancelled());
        let permit = match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                self.open.pop_front()?.cancel();
                timeout(LEAVE, Arc::clone(&self.permits).acquire_owned()).await.ok()?.ok()?
            }
        };
        let cut = CancellationToken::new();
        self.open.push_back(cut.clone());
        Some(Timed {
            stream,
            end: Box::pin(sleep(LIFE)),
            cut: Box::pin(cut.clone().cancelled_owned()),
            _ended: cut.drop_guard(),
            _permit: permit,
        })
    }
}

impl Listener for Bounded {
    type Io = Timed;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Timed, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    if let Some(admitted) = self.admit(stream).await {
                        return (admitted, address);
                    }
                }
                Err(error) => {
                    debug!(%error, "can't accept a connection for the pages");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Timed {
    /// The stream, while it may be used.
    fn alive(&mut self, cx: &mut Context<'_>) -> io::Result<Pin<&mut TcpStream>> {
        if self.end.as_mut().poll(cx).is_ready() || self.cut.as_mut().poll(cx).is_ready() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(Pin::new(&mut self.stream))
    }
}

impl AsyncRead for Timed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.alive(cx)?.poll_read(cx, buffer)
    }
}

impl AsyncWrite for Timed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.alive(cx)?.poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.alive(cx)?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.alive(cx)?.poll_shutdown(cx)
    }
}

/// More than any number of scrapers and probes.
const AT_ONCE: usize = 128;

/// A page takes milliseconds; a scraper whose kept connection is gone opens another.
const LIFE: Duration = Duration::from_secs(20);

/// For the oldest to go. One that makes its answer just now may not see that it should.
const LEAVE: Duration = Duration::from_millis(100);

const PAUSE: Duration = Duration::from_secs(1);
