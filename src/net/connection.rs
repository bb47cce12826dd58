//! One connection, TCP or unix, without a buffer of its own: bytes are read when they are there, into a
//! buffer that the caller lends for that moment, so an idle connection holds no memory for bytes.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::BytesMut;
use tokio::net::{TcpStream, UnixStream};
use tokio_util::io::poll_read_buf;

/// An accepted connection.
#[derive(Debug)]
pub enum Connection {
    /// TCP, over IPv4 or IPv6.
    Tcp {
        /// The socket.
        stream: TcpStream,
        /// Something was read, and nothing written since that acknowledges it.
        is_unacknowledged: bool,
    },
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
            Self::Tcp(stream) => {
                Connection::Tcp { stream: TcpStream::from_std(stream)?, is_unacknowledged: false }
            }
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
            Self::Tcp { stream, is_unacknowledged } => {
                match poll_read_buf(Pin::new(&mut *stream), context, buffer) {
                    Poll::Ready(read) => {
                        *is_unacknowledged = true;
                        Poll::Ready(read)
                    }
                    // Sendmail writes the macros and the command in two writes, and Postfix the macros of a
                    // suppressed stage in one of its own: Nagle's algorithm then waits for our delayed ACK,
                    // 40 ms each time, unless the system is told not to delay it before we wait for more. What
                    // was answered needs none: the answer brings it along.
                    Poll::Pending => {
                        if std::mem::take(is_unacknowledged) {
                            let _ = socket2::SockRef::from(&*stream).set_tcp_quickack(true);
                        }
                        Poll::Pending
                    }
                }
            }
            Self::Unix(stream) => poll_read_buf(Pin::new(stream), context, buffer),
        }
    }

    /// Writes all of `bytes`, as a rule in one write.
    ///
    /// # Errors
    /// `TimedOut` when the peer does not take them within `limit`; else as the socket reports.
    pub async fn write_all(&mut self, bytes: &[u8], limit: Duration) -> io::Result<()> {
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
            Self::Tcp { stream, .. } => Detached::Tcp(stream.into_std()?),
            Self::Unix(stream) => Detached::Unix(stream.into_std()?),
        })
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp { stream, is_unacknowledged } => {
                let written = stream.try_write(bytes)?;
                *is_unacknowledged = false;
                Ok(written)
            }
            Self::Unix(stream) => stream.try_write(bytes),
        }
    }

    async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Tcp { stream, .. } => stream.writable().await,
            Self::Unix(stream) => stream.writable().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        io::{Read, Write},
        time::Instant,
    };

    use super::*;

    /// Two writes before each answer, as Sendmail has them for its macros and its command: Nagle's algorithm holds back the
    /// second until the first is acknowledged.
    #[tokio::test]
    async fn who_writes_twice_does_not_wait_for_a_delayed_acknowledgement() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let stream = TcpStream::from_std(stream).unwrap();
        let mut connection = Connection::Tcp { stream, is_unacknowledged: false };
        let peer = std::thread::spawn(move || {
            let times = [(); ROUNDS].map(|()| {
                let begun = Instant::now();
                peer.write_all(b"macros").unwrap();
                peer.write_all(b"command").unwrap();
                peer.read_exact(&mut [0; 2]).unwrap();
                begun.elapsed()
            });
            times[1..].iter().min().copied().unwrap()
        });
        let mut buffer = BytesMut::with_capacity(256);
        for round in 1..=ROUNDS {
            while buffer.len() < round * b"macroscommand".len() {
                let read = poll_fn(|context| connection.poll_read(context, &mut buffer)).await.unwrap();
                assert_ne!(read, 0);
            }
            connection.write_all(b"ok", Duration::from_secs(10)).await.unwrap();
        }
        let fastest = peer.join().unwrap();
        assert!(fastest < Duration::from_millis(30), "{fastest:?}: Linux delays an acknowledgement by 40 ms");
    }

    const ROUNDS: usize = 10;
}
