//! Free ports, for servers that cannot be told "any port".

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::sync::Mutex;

use rustix::fs::{FlockOperation, flock};

/// A port that is free on 127.0.0.1 and ::1, and that no other caller of this function gets while this process lives.
///
/// The ports lie below the kernel's ephemeral range, so that no outgoing connection takes one in the meantime; a lock
/// file per port keeps test processes that run at the same time apart. It is free for UDP too, but resolvers choose any
/// port to ask from: who binds a UDP port has to be ready for one that is taken.
///
/// # Panics
/// When all ports are taken.
#[must_use]
pub fn free_port() -> u16 {
    let first = std::process::id() as usize * 7;
    for port in (0..COUNT).map(|offset| FIRST + ((first + offset) % COUNT) as u16) {
        let Some(lock) = lock(&port.to_string()) else { continue };
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
            && TcpListener::bind((Ipv6Addr::LOCALHOST, port)).is_ok()
            && UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
        {
            LOCKS.lock().expect("no thread panics while it holds the lock").push(lock);
            return port;
        }
    }
    panic!("no free port from {FIRST} on");
}

/// An address of 127.0.0.0/8 on which these TCP ports are free, for a server whose ports are fixed; no other caller gets it
/// while this process lives.
///
/// # Panics
/// When all addresses are taken.
pub(crate) fn free_address(ports: &[u16]) -> Ipv4Addr {
    let first = std::process::id();
    for index in (0..ADDRESSES).map(|offset| (first + offset) % ADDRESSES) {
        let [.., high, low] = index.to_be_bytes();
        let address = Ipv4Addr::new(127, 77, high, low.max(1));
        let Some(lock) = lock(&address.to_string()) else { continue };
        if ports.iter().all(|port| TcpListener::bind((address, *port)).is_ok()) {
            LOCKS.lock().expect("no thread panics while it holds the lock").push(lock);
            return address;
        }
    }
    panic!("no free address in 127.77.0.0/16");
}

/// Whether a process on this machine listens on the TCP port. Asks the kernel: connecting would make the server begin a
/// session, and a milter session with it.
#[must_use]
pub fn is_listening(port: u16) -> bool {
    let wanted = format!(":{port:04X}");
    // of this thread: it may be in a network of its own
    ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"].iter().any(|table| {
        std::fs::read_to_string(table).unwrap_or_default().lines().any(|line| {
            // "  sl  local_address rem_address   st …"; state 0A is TCP_LISTEN (proc(5))
            let mut fields = line.split_whitespace().skip(1);
            let local = fields.next().unwrap_or_default();
            local.ends_with(&wanted) && fields.nth(1) == Some("0A")
        })
    })
}

/// Takes the lock of this name, if nobody has it.
fn lock(name: &str) -> Option<File> {
    let dir = std::env::temp_dir().join("backstop-harness-ports");
    std::fs::create_dir_all(&dir).expect("create the directory of port locks");
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(dir.join(name));
    let lock = lock.expect("open a port's lock file");
    flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok().then_some(lock)
}

static LOCKS: Mutex<Vec<File>> = Mutex::new(Vec::new());
const FIRST: u16 = 20_000;
const COUNT: usize = 12_000;
const ADDRESSES: u32 = 65_280;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_and_different() {
        let (a, b) = (free_port(), free_port());
        assert_ne!(a, b);
        assert!(!is_listening(a));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, a)).expect("the port is free");
        assert!(is_listening(a));
        drop(listener);
        assert!(!is_listening(a));
    }
}
