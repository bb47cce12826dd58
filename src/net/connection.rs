//! One connection, TCP or unix, without a buffer of its own: bytes are read when they are there, into a
//! buffer that the caller has for that moment, so an idle connection holds no memory for bytes.
//!
//! The event loop is asked for what can be read, and no more: who asks for what can be written is woken each time that the
//! peer at a unix socket has read something (Linux, `unix_write_space`).

use std::{
    io::{self, Read},
    mem::take,
    os::unix::net::UnixStream,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use rustix::net::SendFlags;
use socket2::Socket;
use tokio::io::{Interest, unix::AsyncFd};

use super::events::follow;

/// A connection that was accepted, and that no event loop knows.
#[derive(Debug)]
pub struct Accepted {
    pub(super) socket: Socket,
    pub(super) is_tcp: bool,
}

/// One that this thread's event loop knows.
#[derive(Debug)]
pub struct Connection {
    socket: AsyncFd<Socket>,
    is_tcp: bool,
    /// Over TCP: something was read, and nothing written since that acknowledges it.
    is_unacknowledged: bool,
    /// The next read tries, whatever the event loop has told.
    is_tried: bool,
}

/// What one read gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Got {
    /// So many bytes; 0 is the end of the stream.
    pub count: usize,
    /// There was room for more.
    pub is_all: bool,
}

impl Accepted {
    /// Gives it to this thread's event loop.
    ///
    /// # Errors
    /// When the system's event queue fails.
    pub fn attach(self) -> io::Result<Connection> {
        let Self { socket, is_tcp } = self;
        let socket = follow(socket, Interest::READABLE)?;
        Ok(Connection { socket, is_tcp, is_unacknowledged: false, is_tried: true })
    }

    /// One end of a pair.
    #[cfg(test)]
    pub(crate) fn of_pair() -> (Self, UnixStream) {
        let (socket, peer) = UnixStream::pair().expect("a pair of sockets");
        socket.set_nonblocking(true).expect("it does not block");
        (Self { socket: socket.into(), is_tcp: false }, peer)
    }

    /// The stream, if it is a unix socket.
    #[must_use]
    pub fn into_unix(self) -> Option<UnixStream> {
        (!self.is_tcp).then(|| self.socket.into())
    }
}

impl Connection {
    /// Has the next read try what there is: the event loop of a process that stood still tells late.
    pub fn look(&mut self) {
        self.is_tried = true;
    }

    /// Has `read` read what is there, once; the count is 0 at the end of the stream.
    ///
    /// A read that leaves room over is known to have taken everything, so that the next one waits for the
    /// operating system's word instead of trying in vain.
    ///
    /// # Errors
    /// As the socket reports.
    pub fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        mut read: impl FnMut(&mut dyn Read) -> io::Result<Got>,
    ) -> Poll<io::Result<usize>> {
        let Self { socket, is_tcp, is_unacknowledged, is_tried } = self;
        loop {
            // Whoever connects has written by now, as a rule.
            let ready = if take(is_tried) {
                None
            } else if let Poll::Ready(ready) = socket.poll_read_ready(context) {
                Some(ready?)
            } else {
                // Sendmail writes the macros and the command in two writes, and Postfix the macros of a
                // suppressed stage in one of its own: Nagle's algorithm then waits for our delayed ACK,
                // 40 ms each time, unless the system is told not to delay it before we wait for more. What
                // was answered needs none: the answer brings it along.
                if take(is_unacknowledged) {
                    let _ = socket.get_ref().set_tcp_quickack(true);
                }
                return Poll::Pending;
            };
            match read(&mut socket.get_ref()) {
                Ok(Got { count, is_all }) => {
                    *is_unacknowledged = *is_tcp;
                    if let Some(mut ready) = ready.filter(|_| is_all && count > 0) {
                        ready.clear_ready();
                    }
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if let Some(mut ready) = ready {
                        ready.clear_ready();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Writes what can be written of `bytes` at once, and takes it off them. What is wrong with the socket the next write
    /// tells.
    pub fn write_now(&mut self, bytes: &mut BytesMut) {
        match self.write(bytes) {
            Ok(written) if written == bytes.len() => bytes.clear(),
            Ok(written) => bytes.advance(written),
            Err(_) => {}
        }
    }

    /// Writes all of `bytes`, as a rule in one write.
    ///
    /// # Errors
    /// `TimedOut` when the peer does not take them within `limit`; else as the socket reports.
    pub async fn write_all(&mut self, bytes: &[u8], limit: Duration) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.write(rest) {
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

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = rustix::net::send(self.socket.get_ref(), bytes, SendFlags::NOSIGNAL)?;
        self.is_unacknowledged = false;
        Ok(written)
    }

    /// Until the peer has made room. The event loop takes a socket once: it gets another descriptor of the same.
    async fn writable(&self) -> io::Result<()> {
        let socket = follow(self.socket.get_ref().try_clone()?, Interest::WRITABLE)?;
        let _ready = socket.writable().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        io::{Read, Write},
        time::Instant,
    };

    use futures_util::FutureExt;

    use super::*;

    /// Two writes before each answer, as Sendmail has them for its macros and its command: Nagle's algorithm holds back the
    /// second until the first is acknowledged.
    #[tokio::test]
    async fn who_writes_twice_does_not_wait_for_a_delayed_acknowledgement() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut connection = Accepted { socket: stream.into(), is_tcp: true }.attach().unwrap();
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
        let mut received = 0;
        for round in 1..=ROUNDS {
            while received < round * b"macroscommand".len() {
                let read = poll_fn(|context| connection.poll_read(context, read)).await.unwrap();
                assert_ne!(read, 0);
                received += read;
            }
            connection.write_all(b"ok", Duration::from_secs(10)).await.unwrap();
        }
        let fastest = peer.join().unwrap();
        assert!(fastest < Duration::from_millis(30), "{fastest:?}: Linux delays an acknowledgement by 40 ms");
    }

    /// With less room than there may be bytes, and with more.
    #[tokio::test]
    async fn all_that_was_written_is_read_whatever_room_there_is() {
        let (accepted, mut peer) = Accepted::of_pair();
        let mut connection = accepted.attach().unwrap();
        let writer = std::thread::spawn(move || {
            for length in [1, 256, 257, 512, 100_000] {
                peer.write_all(&vec![b'x'; length]).unwrap();
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let mut received = 0;
        loop {
            match poll_fn(|context| connection.poll_read(context, read)).await.unwrap() {
                0 => break,
                read => received += read,
            }
        }
        writer.join().unwrap();
        assert_eq!(received, 101_026);
    }

    #[tokio::test]
    async fn what_no_event_told_of_yet_is_seen_by_who_looks() {
        let (accepted, mut peer) = Accepted::of_pair();
        let mut connection = accepted.attach().unwrap();
        // Without a turn of the event loop in between.
        let now = |connection: &mut Connection| {
            poll_fn(|context| connection.poll_read(context, read)).now_or_never().map(Result::unwrap)
        };
        assert_eq!(now(&mut connection), None);
        peer.write_all(b"late").unwrap();
        assert_eq!(now(&mut connection), None);
        connection.look();
        assert_eq!(now(&mut connection), Some(4));
        connection.look();
        assert_eq!(now(&mut connection), None);
        drop(peer);
        connection.look();
        assert_eq!(now(&mut connection), Some(0));
    }

    /// The peer's room is less than what is written, and it takes its time.
    #[tokio::test]
    async fn who_reads_slowly_is_waited_for_until_the_time_is_over() {
        let bytes = vec![b'x'; 4 << 20];
        let (accepted, mut peer) = Accepted::of_pair();
        let mut connection = accepted.attach().unwrap();
        let reader = std::thread::spawn(move || {
            let mut received = Vec::new();
            std::thread::sleep(Duration::from_millis(50));
            peer.read_to_end(&mut received).unwrap();
            received.len()
        });
        connection.write_all(&bytes, Duration::from_secs(20)).await.unwrap();
        drop(connection);
        assert_eq!(reader.join().unwrap(), bytes.len());

        let (accepted, _peer) = Accepted::of_pair();
        let mut connection = accepted.attach().unwrap();
        let error = connection.write_all(&bytes, Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    fn read(socket: &mut dyn Read) -> io::Result<Got> {
        let mut buffer = [0; 256];
        let count = socket.read(&mut buffer)?;
        Ok(Got { count, is_all: count < buffer.len() })
    }

    const ROUNDS: usize = 10;
}
