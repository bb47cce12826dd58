//! The servers that are measured: the floor, a filter on libmilter, and Backstop.

mod backstop;
pub mod floor;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use backstop_harness::{Process, Signal, TempDir, free_port};

use crate::{Endpoint, Error, Transport, compile};

/// Who is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// [`floor`]; run by this program, which has to be `backstop-load`.
    Floor(floor::Answer),
    /// A page of C on libmilter, with a hash table.
    Libmilter,
    /// The same where there is no compiler: this program.
    Compiled(PathBuf),
    /// `backstop serve`
    Backstop {
        /// The program.
        program: PathBuf,
        /// What its configuration has besides the directory.
        more: String,
        /// Its environment has these as well.
        env: Vec<(String, String)>,
    },
}

/// How it is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start<'a> {
    /// Where it listens.
    pub transport: Transport,
    /// A file of the addresses that it knows, one a line.
    pub addresses: &'a Path,
    /// What starts it, e.g. `taskset -c 0` or `valgrind …`: words before the program and its arguments.
    pub launcher: Vec<String>,
    /// It is ready within this time.
    pub within: Duration,
}

/// A server that runs. It ends with the value.
#[derive(Debug)]
pub struct Running {
    endpoint: Endpoint,
    pid: u32,
    /// From its start until it took a connection.
    started_in: Duration,
    server: Server,
}

#[derive(Debug)]
enum Server {
    Process(
        #[expect(dead_code, reason = "it ends with the value")] Process,
        #[expect(dead_code, reason = "it goes with the value")] TempDir,
    ),
    Backstop(Box<backstop::Server>),
}

impl Peer {
    /// What they are called on the command line and in tables.
    pub const NAMES: [&str; 3] = ["floor", "libmilter", "backstop"];

    /// Backstop as it is by default, but that each refusal has a line in the log, not 50 in a second: so each session costs the
    /// same, however many there are in a second.
    #[must_use]
    pub fn backstop(program: &Path, more: &str) -> Self {
        let env = vec![("BACKSTOP__LOG__REFUSALS_PER_SECOND".to_owned(), "0".to_owned())];
        Peer::Backstop { program: program.to_owned(), more: more.to_owned(), env }
    }

    /// Backstop as it is by default.
    #[must_use]
    pub fn installed(program: &Path) -> Self {
        Peer::Backstop { program: program.to_owned(), more: String::new(), env: Vec::new() }
    }

    /// Starts it and waits until it takes connections.
    ///
    /// # Errors
    /// When it does not, with what it printed.
    pub fn start(&self, start: &Start<'_>) -> Result<Running, Error> {
        match self {
            Peer::Floor(answer) => {
                let program = std::env::current_exe().map_err(Error::io("find this program"))?;
                simple("floor", start, |endpoint| {
                    let mut words = vec![program.display().to_string(), "floor".into(), endpoint.to_string()];
                    words.extend((*answer == floor::Answer::Accept).then(|| "--accept".to_owned()));
                    words
                })
            }
            Peer::Libmilter => {
                let directory = TempDir::new("libmilter");
                // The program runs on without its file.
                Peer::Compiled(compile::program("libmilter", directory.path())?).start(start)
            }
            Peer::Compiled(program) => simple("libmilter", start, |endpoint| {
                let addresses = start.addresses.display().to_string();
                vec![program.display().to_string(), endpoint.for_libmilter(), addresses]
            }),
            Peer::Backstop { program, more, env } => backstop::start(program, more, env, start),
        }
    }
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// From its start until it took a connection.
    #[must_use]
    pub fn started_in(&self) -> Duration {
        self.started_in
    }

    /// The running Backstop, if it is one.
    #[must_use]
    pub fn backstop(&self) -> Option<&backstop_harness::Backstop> {
        match &self.server {
            Server::Process(..) => None,
            Server::Backstop(server) => Some(&server.backstop),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Peer::Floor(_) => "floor",
            Peer::Libmilter | Peer::Compiled(_) => "libmilter",
            Peer::Backstop { .. } => "backstop",
        })
    }
}

/// Starts a server that says nothing when it is ready: it is when it takes a connection.
fn simple(
    name: &'static str,
    start: &Start<'_>,
    words: impl FnOnce(&Endpoint) -> Vec<String>,
) -> Result<Running, Error> {
    let directory = TempDir::new(name);
    let endpoint = match start.transport {
        Transport::Tcp => Endpoint::Inet(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()))),
        Transport::Unix => Endpoint::Unix(directory.join("socket")),
    };
    let words: Vec<String> = start.launcher.iter().cloned().chain(words(&endpoint)).collect();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    let begun = Instant::now();
    let mut process = Process::spawn(name, &mut command, &directory.join("log"), Signal::KILL);
    while !takes_connections(&endpoint) {
        if process.exited().is_some() || begun.elapsed() > start.within {
            return Err(Error::Tool { tool: name, said: format!("it does not start: {}", process.log()) });
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let (pid, started_in) = (process.pid(), begun.elapsed());
    Ok(Running { endpoint, pid, started_in, server: Server::Process(process, directory) })
}

fn takes_connections(endpoint: &Endpoint) -> bool {
    match endpoint {
        Endpoint::Inet(address) => TcpStream::connect(address).is_ok(),
        Endpoint::Unix(path) => UnixStream::connect(path).is_ok(),
    }
}
