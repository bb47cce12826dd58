//! unbound, a resolver as sites run it.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use crate::dir::{TempDir, chmod};
use crate::ports::free_port;
use crate::process::{Process, Signal};
use crate::wait::wait_for_answer;

/// A running unbound. It stops when dropped.
#[derive(Debug)]
pub struct Unbound {
    address: SocketAddr,
    _process: Process,
    _dir: TempDir,
}

impl Unbound {
    /// Resolves on a free port of 127.0.0.1: each of `zones` from its own server, all else from `others`.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(others: SocketAddr, zones: &[(&str, SocketAddr)]) -> Self {
        let dir = TempDir::new("unbound");
        chmod(dir.path(), 0o755);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let mut config = CONFIG.replace("{port}", &address.port().to_string());
        for (zone, server) in zones {
            config +=
                &format!("stub-zone:\n  name: {zone}\n  stub-addr: {}@{}\n", server.ip(), server.port());
        }
        config += &format!("forward-zone:\n  name: .\n  forward-addr: {}@{}\n", others.ip(), others.port());
        let path = dir.write("unbound.conf", config);
        let mut command = Command::new("/usr/sbin/unbound");
        command.args(["-d", "-p", "-c"]).arg(path);
        let mut process = Process::spawn("unbound", &mut command, &dir.join("log"), Signal::TERM);
        wait_for_answer(&mut process, address, QUESTION);
        Self { address, _process: process, _dir: dir }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// The servers are on this host, nothing is signed, and addresses for documentation have names here.
const CONFIG: &str = r#"server:
  interface: 127.0.0.1
  port: {port}
  do-daemonize: no
  use-syslog: no
  logfile: ""
  chroot: ""
  directory: ""
  username: ""
  pidfile: ""
  num-threads: 1
  module-config: "iterator"
  do-not-query-localhost: no
  unblock-lan-zones: yes
  local-zone: test. nodefault
  domain-insecure: .
remote-control:
  control-enable: no
"#;

/// Anything that is answered: the address of `localhost`, which it knows by itself.
const QUESTION: &[u8] = b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\x09localhost\0\0\x01\0\x01";
