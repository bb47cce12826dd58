//! rbldnsd, which serves lists as the operators of lists do.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use crate::dir::{TempDir, chmod};
use crate::ports::free_port;
use crate::process::{Process, Signal};
use crate::wait::wait_for_answer;

/// A running rbldnsd. It stops when dropped.
#[derive(Debug)]
pub struct Rbldnsd {
    address: SocketAddr,
    _process: Process,
    _dir: TempDir,
}

impl Rbldnsd {
    /// Serves zones on a free port of 127.0.0.1, each from a text in one of its formats (`ip4set`, `ip6trie`, …):
    /// `("bl.test", "ip4set", ":127.0.0.2:\n203.0.113.9\n")`.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(zones: &[(&str, &str, &str)]) -> Self {
        let dir = TempDir::new("rbldnsd");
        chmod(dir.path(), 0o755);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let mut command = Command::new("rbldnsd");
        command.args(["-n", "-f", "-u", "nobody", "-c", "1", "-t", "60", "-w"]).arg(dir.path());
        command.args(["-b", &format!("{}/{}", address.ip(), address.port())]);
        for (number, (zone, format, text)) in zones.iter().enumerate() {
            dir.write_backdated(&format!("zone{number}"), text);
            command.arg(format!("{zone}:{format}:zone{number}"));
        }
        let mut process = Process::spawn("rbldnsd", &mut command, &dir.join("log"), Signal::TERM);
        wait_for_answer(&mut process, address, QUESTION);
        Self { address, _process: process, _dir: dir }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Anything that is answered: the start of authority of `test`.
const QUESTION: &[u8] = b"\0\x01\0\0\0\x01\0\0\0\0\0\0\x04test\0\0\x06\0\x01";
