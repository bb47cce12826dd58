//! The client's side of the control socket, for the commands.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

use serde::de::DeserializeOwned;

use super::{
    Config,
    message::{Greeting, LONGEST_ANSWER, LONGEST_LINE, PROTOCOL, Request, Response},
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
    #[error("what answers at {path} is not a backstop that this command can talk to ({detail}); after an update, restart the server, or use the command that came with it", path = .path.display())]
    Protocol {
        /// The socket.
        path: PathBuf,
        /// What is different.
        detail: String,
    },
    /// Nothing was asked.
    #[error("the arguments are too long: the server takes {LONGEST_LINE} bytes at most")]
    TooLong,
}

/// Asks the running server one thing: at the configured socket, or where the server would have put it else.
///
/// # Errors
/// See [`Error`]; a refusal by the server is a [`Response::Error`] or [`Response::Refused`].
pub fn ask(config: &Config, request: &Request) -> Result<Response, Error> {
    ask_one_of(&config.socket, config.fallback(), PATIENCE, request)
}

/// Asks it to trust a client: at the socket that takes nothing else, or at the other one where there is none.
///
/// # Errors
/// As [`ask`].
pub fn ask_to_trust(config: &Config, request: &Request) -> Result<Response, Error> {
    if config.trust_socket.as_os_str().is_empty() {
        return ask(config, request);
    }
    let asked = ask_one_of(&config.trust_socket, config.trust_fallback(), PATIENCE_OF_LOGINS, request);
    asked.map_err(|error| match error {
        Error::Permission { path } => Error::TrustPermission { path },
        Error::Connect { path, error } => Error::TrustConnect { path, error },
        other => other,
    })
}

fn ask_one_of(
    path: &Path,
    fallback: Option<PathBuf>,
    patience: Duration,
    request: &Request,
) -> Result<Response, Error> {
    let mut line = serde_json::to_string(request)
        .map_err(|error| Error::Protocol { path: path.to_owned(), detail: error.to_string() })?;
    line.push('\n');
    if line.len() > LONGEST_LINE {
        return Err(Error::TooLong);
    }
    let first = path.to_owned();
    let server = within(PATIENCE_TO_GREET, path, move || Server::reach(first, fallback)?.greeted())?;
    let path = server.path.clone();
    within(patience, &path, move || server.ask(&line))
}

/// A server that listens.
struct Server {
    path: PathBuf,
    stream: BufReader<UnixStream>,
}

impl Server {
    /// Connects, if need be to the fallback.
    fn reach(path: PathBuf, fallback: Option<PathBuf>) -> Result<Self, Error> {
        match (Self::connect(path), fallback) {
            (Err(error), Some(fallback)) => Self::connect(fallback).map_err(|_| error),
            (connected, _) => connected,
        }
    }

    fn connect(path: PathBuf) -> Result<Self, Error> {
        match UnixStream::connect(&path) {
            Ok(stream) => Ok(Self { path, stream: BufReader::new(stream) }),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(Error::Permission { path }),
            Err(error) => Err(Error::Connect { path, error }),
        }
    }

    /// Whether it is one that speaks as we do.
    fn greeted(mut self) -> Result<Self, Error> {
        let greeting: Greeting = self.read()?;
        if greeting.protocol == PROTOCOL {
            Ok(self)
        } else {
            let Greeting { backstop, protocol } = greeting;
            Err(self.stranger(format!(
                "it is version {backstop} and speaks protocol {protocol}, this is version {} and speaks protocol {PROTOCOL}",
                env!("CARGO_PKG_VERSION")
            )))
        }
    }

    fn ask(mut self, line: &str) -> Result<Response, Error> {
        // Who is turned away at once may be told why, and nobody takes what he asks.
        let written = self.stream.get_mut().write_all(line.as_bytes());
        self.read().map_err(|error| written.err().map_or(error, |error| silent(&self.path, error)))
    }

    /// One line.
    fn read<T: DeserializeOwned>(&mut self) -> Result<T, Error> {
        let mut line = Vec::new();
        let most = u64::try_from(LONGEST_ANSWER).unwrap_or(u64::MAX);
        let read = (&mut self.stream).take(most).read_until(b'\n', &mut line);
        read.map_err(|error| silent(&self.path, error))?;
        match line.last() {
            Some(b'\n') => serde_json::from_slice(&line).map_err(|error| self.stranger(error.to_string())),
            _ if line.len() < LONGEST_ANSWER => {
                let closed = io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection");
                Err(silent(&self.path, closed))
            }
            _ => Err(self.stranger(format!("a line of more than {LONGEST_ANSWER} bytes"))),
        }
    }

    fn stranger(&self, detail: String) -> Error {
        Error::Protocol { path: self.path.clone(), detail }
    }
}

fn silent(path: &Path, error: io::Error) -> Error {
    Error::Talk { path: path.to_owned(), error }
}

/// Does it, and waits no longer than this: a server that hangs may not even take the connection, and one that is none may
/// trickle. What is not done then ends with the process.
fn within<T: Send + 'static>(
    patience: Duration,
    path: &Path,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let (done, result) = mpsc::channel();
    let worker = thread::Builder::new().spawn(move || {
        let _ = done.send(work());
    });
    worker.map_err(|error| silent(path, error))?;
    result.recv_timeout(patience).unwrap_or_else(|_| {
        let late = format!("nothing came within {} s; its log may say why", patience.as_secs());
        Err(silent(path, io::Error::new(io::ErrorKind::TimedOut, late)))
    })
}

/// Any server that lives greets at once. Somebody who is logging in waits no longer either.
const PATIENCE_TO_GREET: Duration = Duration::from_secs(5);
/// A reload detects anew, which asks the MTA's own commands.
const PATIENCE: Duration = Duration::from_secs(60);
/// Somebody is logging in, and waits.
const PATIENCE_OF_LOGINS: Duration = Duration::from_secs(5);
