//! The I/O of one conversation: connects, begins TLS, moves bytes.
//!
//! Has no time-out of its own: whoever waits for it has one, and drops it. Then the connection is closed.

use std::{net::IpAddr, time::Instant};

use futures_util::FutureExt;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::TlsConnector;

use super::{
    conversation::{Conversation, Step, TalkError, Tls},
    destination::Host,
    servers::{Place, Server},
    settings::Settings,
    trouble::{Trouble, closed},
};
use crate::{
    address::{Address, Domain},
    net::smtp_reply::Reply,
};

/// A connection that was greeted.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    talk: Conversation,
    /// For what is told of it.
    server: String,
    /// Asked so far.
    pub(super) questions: u32,
    /// Not in use since.
    pub(super) idle: Instant,
}

trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

impl Connection {
    /// Connects and waits for the greeting. Where TLS is welcome but fails, it is done without.
    pub(super) async fn open(server: &Server, settings: &Settings) -> Result<Self, Trouble> {
        let tls = match (&server.place, settings.tls) {
            // Nobody listens in on a socket of this host.
            (Place::Unix(_), _) => Tls::Never,
            (_, Tls::WhereOffered) if !server.may_use_tls() => Tls::Never,
            (_, tls) => tls,
        };
        match Self::greet(server, settings, tls).await {
            Err(Trouble::Tls { .. }) if tls == Tls::WhereOffered => {
                server.tls_failed();
                Self::greet(server, settings, Tls::Never).await
            }
            result => result,
        }
    }

    /// Asks for a recipient.
    pub(super) async fn ask(&mut self, recipient: &Address) -> Result<Reply, Trouble> {
        self.talk.ask(recipient).map_err(|error| self.trouble(error))?;
        self.questions += 1;
        self.answer().await
    }

    /// Asks for another one in the same transaction.
    pub(super) async fn ask_also(&mut self, recipient: &Address) -> Result<Reply, Trouble> {
        self.talk.ask_also(recipient).map_err(|error| self.trouble(error))?;
        self.answer().await
    }

    /// Whether the server has neither closed the connection nor said anything since it was last used.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.stream.read(&mut [0; 1]).now_or_never().is_none()
    }

    /// Takes leave, without waiting for anything.
    pub(super) fn quit(mut self) {
        let _ = self.stream.write_all(b"QUIT\r\n").now_or_never();
        let _ = self.stream.flush().now_or_never();
    }

    async fn answer(&mut self) -> Result<Reply, Trouble> {
        loop {
            match self.step().await? {
                Step::Answer(reply) => return Ok(reply),
                // Neither comes before the answer.
                Step::StartTls | Step::Idle => return Err(self.trouble(TalkError::Unasked)),
                Step::Write(_) | Step::Read => {}
            }
        }
    }

    async fn greet(server: &Server, settings: &Settings, tls: Tls) -> Result<Self, Trouble> {
        let failed = |error| Trouble::Connect { server: server.to_string(), error };
        let (stream, name): (Box<dyn Stream>, _) = match &server.place {
            Place::Tcp(address) => {
                let stream = TcpStream::connect(address).await.map_err(failed)?;
                stream.set_nodelay(true).map_err(failed)?;
                let own = stream.local_addr().map_err(failed)?.ip();
                let name = settings.helo.clone().unwrap_or_else(|| Domain::from(own).to_string());
                (Box::new(stream), name)
            }
            Place::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(failed)?;
                (Box::new(stream), settings.helo.clone().unwrap_or_else(|| "localhost".to_owned()))
            }
        };
        let talk = Conversation::new(server.protocol, &name, tls);
        let mut connection =
            Self { stream, talk, server: server.to_string(), questions: 0, idle: Instant::now() };
        loop {
            match connection.step().await? {
                Step::Idle => return Ok(connection),
                Step::StartTls => connection = connection.secure(server, settings).await?,
                Step::Answer(_) => return Err(connection.trouble(TalkError::Unasked)),
                Step::Write(_) | Step::Read => {}
            }
        }
    }

    /// Takes one step.
    async fn step(&mut self) -> Result<Step, Trouble> {
        let step = self.talk.step().map_err(|error| self.trouble(error))?;
        match &step {
            Step::Write(bytes) => {
                let written = self.stream.write_all(bytes).await;
                let flushed = match written {
                    Ok(()) => self.stream.flush().await,
                    Err(error) => Err(error),
                };
                flushed.map_err(|error| Trouble::Connect { server: self.server.clone(), error })?;
            }
            Step::Read => {
                let mut buffer = [0; BUFFER];
                let read = self.stream.read(&mut buffer).await;
                let length = read.map_err(|error| Trouble::Connect { server: self.server.clone(), error })?;
                if length == 0 {
                    return Err(closed(&self.server, self.talk.stage()));
                }
                self.talk.receive(buffer.get(..length).unwrap_or_default());
            }
            Step::StartTls | Step::Idle | Step::Answer(_) => {}
        }
        Ok(step)
    }

    async fn secure(self, server: &Server, settings: &Settings) -> Result<Self, Trouble> {
        let Self { stream, mut talk, server: shown, questions, idle } = self;
        let failed = |error| Trouble::Tls { server: shown.clone(), error };
        let config =
            settings.tls_config.clone().ok_or_else(|| failed(std::io::ErrorKind::Unsupported.into()))?;
        let name = server_name(server).map_err(failed)?;
        let stream = TlsConnector::from(config).connect(name, stream).await.map_err(failed)?;
        talk.secured();
        Ok(Self { stream: Box::new(stream), talk, server: shown, questions, idle })
    }

    fn trouble(&self, error: TalkError) -> Trouble {
        Trouble::Talk { server: self.server.clone(), error }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("server", &self.server).finish_non_exhaustive()
    }
}

fn server_name(server: &Server) -> Result<ServerName<'static>, std::io::Error> {
    let address: Option<IpAddr> = match (&server.host, &server.place) {
        (Some(Host::Address(address)), _) => Some(*address),
        (None, Place::Tcp(address)) => Some(address.ip()),
        _ => None,
    };
    if let Some(address) = address {
        return Ok(ServerName::from(address));
    }
    let Some(Host::Name(name)) = &server.host else { return Err(std::io::ErrorKind::InvalidInput.into()) };
    ServerName::try_from(name.as_str().to_owned()).map_err(std::io::Error::other)
}

/// Bytes that are read at a time.
const BUFFER: usize = 4096;
