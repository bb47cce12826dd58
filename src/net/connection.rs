//! One connection, TCP or unix, without a buffer of its own: bytes are read when they are there, into a
//! buffer that the caller has for that moment, so an idle connection holds no memory for bytes.
//!
//! The event loop is asked for what can be read, and no more: who asks for what can be written is woken each time that the
//! peer at a unix socket has read something (Linux, `unix_write_space`).

use std::{
    io::{self, Read},
    mem::take,
    task::Poll,
    time::Duration,
};

use bytes::{Buf, BytesMut};
use rustix::net::SendFlags;
use socket2::Socket;
use tokio::io::{Interest, unix::AsyncFd};

use super::event_loop::{Watch, Watched, watch};

/// A connection that was accepted. It stays with the task that reads it first.
#[derive(Debug)]
pub struct Connection {
    socket: Socket,
    is_tcp: bool,
    /// Over TCP: something was read, and nothing written since that acknowledges it.
    is_unacknowledged: bool,
    /// The next read tries, whatever the event loop has told.
    is_tried: bool,
    /// From the first wait on.
    watched: Option<Watched>,
}

/// What one read gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Got {
    /// So many bytes; 0 is the end of the stream.
    pub count: usize,
    /// There was room for more.
    pub is_all: bool,
}

impl Connection {
    /// One that does not block.
    pub(super) fn new(socket: Socket, is_tcp: bool) -> Self {
        // Whoever connects has written by now, as a rule.
        Self { socket, is_tcp, is_unacknowledged: false, is_tried: true, watched: None }
    }

    /// One end of a pair.
    #[cfg(test)]
    pub(crate) fn of_pair() -> (Self, std::os::unix::net::UnixStream) {
        let (socket, peer) = std::os::unix::net::UnixStream::pair().expect("a pair of sockets");
        socket.set_nonblocking(true).expect("it does not block");
        (Self::new(socket.into(), false), peer)
    }

    /// Has the next read try what there is: the event loop of a process that stood still tells late.
    pub fn look(&mut self) {
        self.is_tried = true;
    }

    /// Has `read` read what is there, once; the count is 0 at the end of the stream. Within a task of an
    /// [event loop](super::event_loop), which is polled when there is more.
    ///
    /// A read that leaves room over is known to have taken everything, so that the next one waits for the
    /// operating system's word instead of trying in vain.
    ///
    /// # Errors
    /// As the socket reports.
    pub fn poll_read(
        &mut self,
        mut read: impl FnMut(&mut dyn Read) -> io::Result<Got>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let is_told = self.watched.as_ref().is_some_and(Watched::look);
            if take(&mut self.is_tried) || is_told {
                match read(&mut &self.socket) {
                    Ok(Got { count, is_all }) => {
                        self.is_unacknowledged = self.is_tcp;
                        self.is_tried = !is_all || count == 0;
                        return Poll::Ready(Ok(count));
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                        self.is_tried = true;
                        continue;
                    }
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
            if self.watched.is_none() {
                // What came in the meantime is told as well.
                self.watched = Some(watch(&self.socket, Watch::Connection)?);
            }
            return self.pend();
        }
    }

    fn pend<T>(&mut self) -> Poll<T> {
        // Sendmail writes the macros and the command in two writes, and Postfix the macros of a
        // suppressed stage in one of its own: Nagle's algorithm then waits for our delayed ACK,
        // 40 ms each time, unless the system is told not to delay it before we wait for more. What
        // was answered needs none: the answer brings it along.
        if take(&mut self.is_unacknowledged) {
            let _ = self.socket.set_tcp_quickack(true);
        }
        Poll::Pending
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
        let written = rustix::net::send(&self.socket, bytes, SendFlags::NOSIGNAL)?;
        self.is_unacknowledged = false;
        Ok(written)
    }

    /// Until the peer has made room: told by the runtime, with another descriptor of the same socket.
    #[expect(
        deprecated,
        reason = "tokio wants a promise, as `unsafe`, that the descriptor stays the same: that of a `Socket` does"
    )]
    async fn writable(&self) -> io::Result<()> {
        let socket = AsyncFd::with_interest(self.socket.try_clone()?, Interest::WRITABLE)?;
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

    use super::*;
    use crate::net::event_loop::served;

    /// Two writes before each answer, as Sendmail has them for its macros and its command: Nagle's algorithm holds back the
    /// second until the first is acknowledged.
    #[test]
    fn who_writes_twice_does_not_wait_for_a_delayed_acknowledgement() {
        served(async {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let mut peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (stream, _) = listener.accept().unwrap();
            stream.set_nonblocking(true).unwrap();
            let mut connection = Connection::new(stream.into(), true);
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
                    let read = poll_fn(|_| connection.poll_read(read)).await.unwrap();
                    assert_ne!(read, 0);
                    received += read;
                }
                connection.write_all(b"ok", Duration::from_secs(10)).await.unwrap();
            }
            let fastest = peer.join().unwrap();
            assert!(
                fastest < Duration::from_millis(30),
                "{fastest:?}: Linux delays an acknowledgement by 40 ms"
            );
        });
    }

    /// With less room than there may be bytes, and with more.
    #[test]
    fn all_that_was_written_is_read_whatever_room_there_is() {
        served(async {
            let (mut connection, mut peer) = Connection::of_pair();
            let writer = std::thread::spawn(move || {
                for length in [1, 256, 257, 512, 100_000] {
                    peer.write_all(&vec![b'x'; length]).unwrap();
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
            let mut received = 0;
            loop {
                match poll_fn(|_| connection.poll_read(read)).await.unwrap() {
                    0 => break,
                    read => received += read,
                }
            }
            writer.join().unwrap();
            assert_eq!(received, 101_026);
        });
    }

    #[test]
    fn what_no_event_told_of_yet_is_seen_by_who_looks() {
        served(async {
            let (mut connection, mut peer) = Connection::of_pair();
            // Without a turn of the event loop in between.
            let now = |connection: &mut Connection| match connection.poll_read(read) {
                Poll::Ready(read) => Some(read.unwrap()),
                Poll::Pending => None,
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
        });
    }

    /// One event tells of both, and a read that leaves room over gives the bytes alone.
    #[test]
    fn an_end_right_behind_the_last_bytes_is_seen() {
        served(async {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let tcp = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (stream, _) = listener.accept().unwrap();
            stream.set_nonblocking(true).unwrap();
            let (unix, peer) = Connection::of_pair();
            let of_tcp = (Connection::new(stream.into(), true), Box::new(tcp) as Box<dyn Write>);
            for (mut connection, mut peer) in [of_tcp, (unix, Box::new(peer))] {
                assert!(connection.poll_read(read).is_pending());
                peer.write_all(b"last").unwrap();
                drop(peer);
                assert_eq!(poll_fn(|_| connection.poll_read(read)).await.unwrap(), 4);
                assert_eq!(poll_fn(|_| connection.poll_read(read)).await.unwrap(), 0);
            }
        });
    }

    /// The peer's room is less than what is written, and it takes its time.
    #[test]
    fn who_reads_slowly_is_waited_for_until_the_time_is_over() {
        served(async {
            let bytes = vec![b'x'; 4 << 20];
            let (mut connection, mut peer) = Connection::of_pair();
            let reader = std::thread::spawn(move || {
                let mut received = Vec::new();
                std::thread::sleep(Duration::from_millis(50));
                peer.read_to_end(&mut received).unwrap();
                received.len()
            });
            connection.write_all(&bytes, Duration::from_secs(20)).await.unwrap();
            drop(connection);
            assert_eq!(reader.join().unwrap(), bytes.len());

            let (mut connection, _peer) = Connection::of_pair();
            let error = connection.write_all(&bytes, Duration::from_millis(50)).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        });
    }

    #[test]
    fn what_finds_no_room_now_is_left_to_be_written() {
        served(async {
            let (mut connection, mut peer) = Connection::of_pair();
            let all = 4 << 20;
            let mut bytes = BytesMut::from(&*vec![b'x'; all]);
            connection.write_now(&mut bytes);
            assert!(!bytes.is_empty() && bytes.len() < all, "{}", bytes.len());
            let left = bytes.len();
            connection.write_now(&mut bytes);
            assert_eq!(bytes.len(), left, "there is no room");
            let reader = std::thread::spawn(move || {
                let mut received = Vec::new();
                peer.read_to_end(&mut received).unwrap();
                received.len()
            });
            connection.write_all(&bytes, Duration::from_secs(20)).await.unwrap();
            drop(connection);
            assert_eq!(reader.join().unwrap(), all);
        });
    }

    fn read(socket: &mut dyn Read) -> io::Result<Got> {
        let mut buffer = [0; 256];
        let count = socket.read(&mut buffer)?;
        Ok(Got { count, is_all: count < buffer.len() })
    }

    const ROUNDS: usize = 10;
}
