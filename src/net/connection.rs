//! One connection, TCP or unix, without a buffer of its own: bytes are read when they are there, into a
//! buffer that the caller lends for that moment, so an idle connection holds no memory for bytes.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::BytesMut;
use tokio::net::{TcpStream, UnixStream};
use tokio_util::io::poll_read_buf;

/// An accepted connection.
#[derive(Debug)]
pub enum Connection {
    /// TCP, over IPv4 or IPv6.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
}

/// One that no event loop knows.
#[derive(Debug)]
pub enum Detached {
    /// TCP.
    Tcp(std::net::TcpStream),
    /// A unix socket.
    Unix(std::os::unix::net::UnixStream),
}

impl Detached {
    /// Gives it to this thread's event loop.
    ///
    /// # Errors
    /// When the system's event queue fails.
    pub fn attach(self) -> io::Result<Connection> {
        Ok(match self {
            Self::Tcp(stream) => Connection::Tcp(TcpStream::from_std(stream)?),
            Self::Unix(stream) => Connection::Unix(UnixStream::from_std(stream)?),
        })
    }
}

impl Connection {
    /// Reads what is there into the spare capacity of `buffer`; 0 is the end of the stream.
    ///
    /// A read that leaves capacity over is known to have taken everything, so that the next one waits for the
    /// operating system's word instead of trying in vain.
    ///
    /// # Errors
    /// As the socket reports.
    pub fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => {
                let read = ready!(poll_read_buf(Pin::new(stream), context, buffer));
                // Sendmail writes the macros and the command in two writes, and Postfix the macros of a
                // suppressed stage in one of its own: Nagle's algorithm then waits for our delayed ACK,
                // 40 ms each time, unless it is told after each read that it must not be delayed.
                let _ = socket2::SockRef::from(&*stream).set_tcp_quickack(true);
                Poll::Ready(read)
            }
            Self::Unix(stream) => poll_read_buf(Pin::new(stream), context, buffer),
        }
    }

    /// Writes all of `bytes`, as a rule in one write.
    ///
    /// # Errors
    /// `TimedOut` when the peer does not take them within `limit`; else as the socket reports.
    pub async fn write_all(&self, bytes: &[u8], limit: Duration) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.try_write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // Boxed: it is rare, and every connection would keep room for it.
                    Box::pin(tokio::time::timeout(limit, self.writable()))
                        .await
                        .map_err(|_| io::ErrorKind::TimedOut)??;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes it from this thread's event loop.
    ///
    /// # Errors
    /// When the system's event queue fails.
    pub fn detach(self) -> io::Result<Detached> {
        Ok(match self {
            Self::Tcp(stream) => Detached::Tcp(stream.into_std()?),
            Self::Unix(stream) => Detached::Unix(stream.into_std()?),
        })
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write(bytes),
            Self::Unix(stream) => stream.try_write(bytes),
        }
    }

    async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.writable().await,
            Self::Unix(stream) => stream.writable().await,
        }
    }
}
