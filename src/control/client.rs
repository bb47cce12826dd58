//! The client's side of the control socket, for the commands.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use socket2::{Domain, SockAddr, Socket, Type};

use super::{
    Config,
    message::{Greeting, LONGEST_ANSWER, PROTOCOL, Request, Response},
};

/// The server could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It listens, but not for us.
    #[error(
        "only root, the user that backstop runs as and the group of control.group may talk to it (at {path})",
        path = .path.display()
    )]
    Permission {
        /// The socket.
        path: PathBuf,
    },
    /// The same, where only `trust` is taken.
    #[error(
        "only root, the user that backstop runs as and the group of control.trust_group may trust clients (at {path})",
        path = .path.display()
    )]
    TrustPermission {
        /// The socket.
        path: PathBuf,
    },
    /// Nobody listens.
    #[error("no server answers at {path}: {error}; start it (`systemctl start backstop`, or `backstop serve`), or name the configuration that it runs with: --config FILE, where control.socket says where it is asked", path = .path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// As reported.
        error: io::Error,
    },
    /// The same, where only `trust` is taken.
    #[error("no server answers at {path}: {error}; is backstop running, and is this its control.trust_socket? --socket names another one", path = .path.display())]
    TrustConnect {
        /// The socket.
        path: PathBuf,
        /// As reported.
        error: io::Error,
    },
    /// The conversation broke off.
    #[error("the server at {path} did not answer: {error}", path = .path.display())]
    Talk {
        /// The socket.
        path: PathBuf,
        /// As reported.
        error: io::Error,
    },
    /// Something else listens there, or another version.
    #[error("what answers at {path} is not a backstop that this command can talk to ({detail})", path = .path.display())]
    Protocol {
        /// The socket.
        path: PathBuf,
        /// What is different.
        detail: String,
    },
}

/// Asks the running server one thing: at the configured socket, or where the server would have put it else.
///
/// # Errors
/// See [`Error`]; a refusal by the server is a [`Response::Error`] or [`Response::Refused`].
pub fn ask(config: &Config, request: &Request) -> Result<Response, Error> {
    ask_one_of(&config.socket, config.fallback().as_deref(), PATIENCE, request)
}

/// Asks it to trust a client: at the socket that takes nothing else, or at the other one where there is none.
///
/// # Errors
/// As [`ask`].
pub fn ask_to_trust(config: &Config, request: &Request) -> Result<Response, Error> {
    if config.trust_socket.as_os_str().is_empty() {
        return ask(config, request);
    }
    let asked =
        ask_one_of(&config.trust_socket, config.trust_fallback().as_deref(), PATIENCE_OF_LOGINS, request);
    asked.map_err(|error| match error {
        Error::Permission { path } => Error::TrustPermission { path },
        Error::Connect { path, error } => Error::TrustConnect { path, error },
        other => other,
    })
}

fn ask_one_of(
    path: &Path,
    fallback: Option<&Path>,
    patience: Duration,
    request: &Request,
) -> Result<Response, Error> {
    let until = Instant::now() + patience;
    match (connect(path, patience), fallback) {
        (Ok(stream), _) => talk(path, &Timed { stream, until }, request),
        (Err(error), None) => Err(error),
        (Err(error), Some(fallback)) => match connect(fallback, patience) {
            Ok(stream) => talk(fallback, &Timed { stream, until }, request),
            Err(_) => Err(error),
        },
    }
}

/// A process that hangs accepts nobody: unix(7) has who connects wait as long as he may wait to send.
fn connect(path: &Path, patience: Duration) -> Result<UnixStream, Error> {
    let connect = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_write_timeout(Some(patience))?;
        socket.connect(&SockAddr::unix(path)?)?;
        Ok(UnixStream::from(socket))
    };
    connect().map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::PermissionDenied => Error::Permission { path: path.to_owned() },
        _ => Error::Connect { path: path.to_owned(), error },
    })
}

fn talk(path: &Path, stream: &Timed, request: &Request) -> Result<Response, Error> {
    let talk = |error| Error::Talk { path: path.to_owned(), error };
    let protocol = |detail: String| Error::Protocol { path: path.to_owned(), detail };
    let mut reader = BufReader::new(stream);
    let greeting: Greeting = serde_json::from_str(&line(&mut reader).map_err(talk)?)
        .map_err(|error| protocol(error.to_string()))?;
    if greeting.protocol != PROTOCOL {
        let (theirs, ours) = (greeting.backstop.escape_debug(), env!("CARGO_PKG_VERSION"));
        return Err(protocol(format!(
            "it is version {theirs} and speaks protocol {}, this is version {ours} and speaks protocol {PROTOCOL}: restart \
             the server, or use the command that came with it",
            greeting.protocol
        )));
    }
    let mut request = serde_json::to_string(request).map_err(|error| protocol(error.to_string()))?;
    request.push('\n');
    let mut writer = stream;
    // Who is turned away at once may be told why, and reads nothing.
    let written = writer.write_all(request.as_bytes());
    let answer = line(&mut reader).map_err(|error| written.err().unwrap_or(error));
    serde_json::from_str(&answer.map_err(talk)?).map_err(|error| protocol(error.to_string()))
}

fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    let most = u64::try_from(LONGEST_ANSWER).unwrap_or(u64::MAX);
    reader.take(most).read_line(&mut line)?;
    if line.ends_with('\n') { Ok(line) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// A stream that may be used until then, however little comes at a time.
struct Timed {
    stream: UnixStream,
    until: Instant,
}

impl Timed {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

impl Read for &Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        (&self.stream).read(buffer).map_err(timed_out)
    }
}

impl Write for &Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        (&self.stream).write(bytes).map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// socket(7): a time that is over is told as "try again".
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}

/// A reload detects anew, which asks the MTA's own commands.
const PATIENCE: Duration = Duration::from_secs(60);
/// Somebody is logging in, and waits.
const PATIENCE_OF_LOGINS: Duration = Duration::from_secs(5);
