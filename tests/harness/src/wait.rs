//! Waiting on conditions.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::process::Process;

/// Waits until `condition` holds.
///
/// # Panics
/// After `timeout`, with `what` in the message. The servers of the test print the end of their logs as they are dropped.
#[track_caller]
pub fn wait_until(timeout: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(timeout, what, || condition().then_some(()));
}

/// Waits until `probe` has a value, and returns it.
///
/// # Panics
/// After `timeout`, with `what` in the message.
#[track_caller]
pub fn wait_for<T>(timeout: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(start.elapsed() < timeout, "waited {timeout:?} in vain for {what}");
        sleep(POLL);
    }
}

/// Waits until a server answers a question over UDP, whatever it says.
///
/// # Panics
/// When it ends, with what it has printed, or after ten seconds.
#[track_caller]
pub(crate) fn wait_for_answer(server: &mut Process, address: SocketAddr, question: &[u8]) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a socket has a timeout");
    wait_until(Duration::from_secs(10), "the server to answer", || {
        assert!(server.exited().is_none(), "the server ended: {}", server.log());
        let mut answer = [0; 512];
        socket.send_to(question, address).is_ok() && socket.recv(&mut answer).is_ok()
    });
}

/// The last 40 lines of a log file; a note instead of them when it cannot be read.
#[must_use]
pub fn tail(path: &Path) -> String {
    match std::fs::read(path) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(40)..].join("\n")
        }
        Err(error) => format!("(no {}: {error})", path.display()),
    }
}

const POLL: Duration = Duration::from_millis(5);
