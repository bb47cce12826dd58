//! The event loop's view of a socket.

use std::io;

use socket2::Socket;
use tokio::io::{Interest, unix::AsyncFd};

/// Has this thread's event loop tell what happens to a socket that does not block.
///
/// # Errors
/// When the system's event queue fails.
#[expect(
    deprecated,
    reason = "tokio wants a promise, as `unsafe`, that the descriptor stays the same: that of a `Socket` does"
)]
pub(super) fn follow(socket: Socket, interest: Interest) -> io::Result<AsyncFd<Socket>> {
    AsyncFd::with_interest(socket, interest)
}
