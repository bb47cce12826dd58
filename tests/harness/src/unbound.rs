//! unbound, a resolver as sites run it.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use crate::dir::{TempDir, chmod};
use crate::ports::free_port;
use crate::process::{Process, Signal};
use crate::wait::wait_for_answer;

/// A running unbound. It stops when dropped.
#[derive(Debug)]
pub struct Unbound {
    address: SocketAddr,
    process: Option<Process>,
    dir: TempDir,
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
        dir.write("unbound.conf", config);
        let mut unbound = Self { address, process: None, dir };
        unbound.restart();
        unbound
    }

    /// Kills it.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("unbound runs");
        process.signal(Signal::KILL);
        process.wait_exit(Duration::from_secs(10));
    }

    /// Starts it at the same address, after its end if it still runs; it remembers nothing.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        self.process = None;
        let mut command = Command::new("/usr/sbin/unbound");
        command.args(["-d", "-p", "-c"]).arg(self.dir.join("unbound.conf"));
        let mut process = Process::spawn("unbound", &mut command, &self.dir.join("log"), Signal::TERM);
        wait_for_answer(&mut process, self.address, QUESTION);
        self.process = Some(process);
    }

    /// Lets it hang, or go on.
    ///
    /// # Panics
    /// When it does not run.
    pub fn pause(&mut self, is_paused: bool) {
        let signal = if is_paused { Signal::STOP } else { Signal::CONT };
        self.process.as_mut().expect("unbound runs").signal(signal);
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
  outgoing-port-avoid: 0-32767
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
