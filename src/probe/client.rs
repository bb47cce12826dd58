//! One conversation with the server that is tested: every reply is bounded and has a deadline.
//!
//! Says exactly what it is told to, wrong or not. Failure answer: [`Trouble`], after which the connection is of no use.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::{
    address::Domain,
    net::smtp_reply::{Reader, Reply, ReplyError},
};

/// A connection on which the server has greeted us.
pub(super) struct Client {
    stream: Box<dyn Stream>,
    reader: Reader,
    /// The server's name, as it says.
    pub(super) name: Option<Domain>,
    /// It offers STARTTLS.
    pub(super) offers_tls: bool,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// How to connect.
#[derive(Clone)]
pub(super) struct Way {
    pub(super) address: SocketAddr,
    /// Our own address; `None`: any.
    pub(super) source: Option<IpAddr>,
    /// Who we say we are; `None`: our address.
    pub(super) helo: Option<Domain>,
    /// For the certificate, which is not looked at.
    pub(super) server: ServerName<'static>,
    /// STARTTLS, where it is offered.
    pub(super) tls: Option<Arc<ClientConfig>>,
}

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("it can't be reached: {0}")]
    Connect(io::Error),
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    #[error("no answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    #[error("it closed the connection")]
    Closed,
    #[error("it wants no more: {0}")]
    Closing(Reply),
    #[error("it refuses our greeting: {0}")]
    Greeting(Reply),
    #[error("it refuses every sender: {0}")]
    Senders(Reply),
    #[error("TLS can't be begun: {0}")]
    Tls(io::Error),
    #[error("what it says makes no sense: {0}")]
    Reply(#[from] ReplyError),
    #[error("it says more than it was asked for")]
    Unasked,
}

impl Client {
    /// Connects, greets, and begins TLS where wanted and offered.
    pub(super) async fn open(way: &Way) -> Result<Self, Trouble> {
        let connected = timeout(CONNECT, connect(way)).await;
        let stream = connected.map_err(|_| Trouble::TimedOut(CONNECT))?.map_err(Trouble::Connect)?;
        stream.set_nodelay(true).map_err(Trouble::Connect)?;
        let own = stream.local_addr().map_err(Trouble::Connect)?.ip();
        let helo = way.helo.clone().unwrap_or_else(|| Domain::from(own));
        let mut client =
            Self { stream: Box::new(stream), reader: Reader::default(), name: None, offers_tls: false };
        let banner = client.reply(REPLY).await?;
        if banner.code != 220 {
            return Err(Trouble::Greeting(banner));
        }
        client.hello(&helo).await?;
        let Some(config) = way.tls.as_ref().filter(|_| client.offers_tls) else { return Ok(client) };
        let reply = client.say("STARTTLS").await?;
        if reply.code != 220 {
            return Err(Trouble::Tls(io::Error::other(reply.to_string())));
        }
        let mut client = client.secure(config, &way.server).await?;
        client.hello(&helo).await?;
        Ok(client)
    }

    /// Sends a line, and waits for the reply. 421 is [`Trouble::Closing`].
    pub(super) async fn say(&mut self, line: &str) -> Result<Reply, Trouble> {
        self.send(format!("{line}\r\n").as_bytes()).await?;
        self.reply(REPLY).await
    }

    /// Sends a message (lines that end in a line feed) after the server wanted it.
    pub(super) async fn message(&mut self, text: &str) -> Result<Reply, Trouble> {
        let mut wire = String::new();
        for line in text.lines() {
            if line.starts_with('.') {
                wire.push('.');
            }
            wire.push_str(line);
            wire.push_str("\r\n");
        }
        wire.push_str(".\r\n");
        self.send(wire.as_bytes()).await?;
        self.reply(MESSAGE).await
    }

    /// STARTTLS with another command right behind it. `Ok`: the reply to that, if it is not 220.
    pub(super) async fn begin_tls_hastily(&mut self) -> Result<Option<Reply>, Trouble> {
        self.send(b"STARTTLS\r\nNOOP\r\n").await?;
        let reply = self.reply(REPLY).await?;
        Ok((reply.code != 220).then_some(reply))
    }

    /// Begins TLS; nothing that was said before counts (RFC 3207 §4.2).
    pub(super) async fn secure(
        self,
        config: &Arc<ClientConfig>,
        server: &ServerName<'static>,
    ) -> Result<Self, Trouble> {
        if !self.reader.is_empty() {
            return Err(Trouble::Unasked);
        }
        let handshake = TlsConnector::from(Arc::clone(config)).connect(server.clone(), self.stream);
        let secured = timeout(REPLY, handshake).await.map_err(|_| Trouble::TimedOut(REPLY))?;
        let stream = Box::new(secured.map_err(Trouble::Tls)?);
        Ok(Self { stream, reader: Reader::default(), name: self.name, offers_tls: self.offers_tls })
    }

    /// Takes leave, politely but not for long.
    pub(super) async fn quit(mut self) {
        let _ = timeout(LEAVE, self.say("QUIT")).await;
    }

    async fn hello(&mut self, helo: &Domain) -> Result<(), Trouble> {
        let mut reply = self.say(&format!("EHLO {helo}")).await?;
        if reply.code >= 500 {
            reply = self.say(&format!("HELO {helo}")).await?;
        }
        if reply.code != 250 {
            return Err(Trouble::Greeting(reply));
        }
        // RFC 5321 §4.1.1.1: the first line begins with the server's name, each of the others with a keyword.
        let word = |line: &String| line.split_whitespace().next().unwrap_or_default().to_owned();
        let name = reply.lines.first().map(word);
        self.name = name.and_then(|name| Domain::parse(name).ok()).or(self.name.take());
        self.offers_tls = reply.lines.iter().skip(1).any(|line| word(line).eq_ignore_ascii_case("STARTTLS"));
        Ok(())
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        let sent = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        timeout(REPLY, sent).await.map_err(|_| Trouble::TimedOut(REPLY))?.map_err(Trouble::Broken)
    }

    /// One reply, whole, within `limit`.
    async fn reply(&mut self, limit: Duration) -> Result<Reply, Trouble> {
        let reply = timeout(limit, self.read()).await.map_err(|_| Trouble::TimedOut(limit))??;
        if reply.code == 421 { Err(Trouble::Closing(reply)) } else { Ok(reply) }
    }

    async fn read(&mut self) -> Result<Reply, Trouble> {
        loop {
            if let Some(reply) = self.reader.take()? {
                return Ok(reply);
            }
            let mut buffer = [0; BUFFER];
            match self.stream.read(&mut buffer).await {
                Ok(0) => return Err(Trouble::Closed),
                Ok(length) => self.reader.push(buffer.get(..length).unwrap_or_default()),
                Err(error) => return Err(Trouble::Broken(error)),
            }
        }
    }
}

async fn connect(way: &Way) -> io::Result<TcpStream> {
    let Some(source) = way.source else { return TcpStream::connect(way.address).await };
    let socket = if way.address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(SocketAddr::new(source, 0))?;
    socket.connect(way.address).await
}

/// Bytes that are read at a time.
const BUFFER: usize = 4096;
const CONNECT: Duration = Duration::from_secs(20);
/// Tarpits are patient; RFC 5321 §4.5.3.2 would have five minutes.
const REPLY: Duration = Duration::from_secs(90);
/// For the reply to a message, which is where filters work.
const MESSAGE: Duration = Duration::from_secs(300);
const LEAVE: Duration = Duration::from_secs(3);
