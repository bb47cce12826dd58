//! The MTA's side of the milter protocol over a real socket, for what real MTAs can't be brought to do.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use bytes::BytesMut;
use milter_protocol::client::{Client, Expect};
use milter_protocol::command::{CStrings, ClientAddress, Command, Connect, Mail, Rcpt};
use milter_protocol::negotiation::{CURRENT_OFFER, Offer};
use milter_protocol::reply::Reply;

/// One connection to the milter. What breaks the protocol panics.
pub(crate) struct Mta<S> {
    pub(crate) stream: S,
    pub(crate) client: Client,
    input: Vec<u8>,
}

/// What came back to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The milter did not want to see the command, or sends no reply to it.
    None,
    Continue,
    /// The SMTP reply.
    Refused(String),
}

impl Mta<TcpStream> {
    /// Connects and negotiates as today's MTAs do.
    pub(crate) fn connect(port: u16) -> Self {
        Self::connect_to((Ipv4Addr::LOCALHOST, port).into(), CURRENT_OFFER)
    }

    pub(crate) fn connect_to(address: SocketAddr, offer: Offer<'static>) -> Self {
        let mut mta = Self::silent(address, offer);
        mta.negotiate();
        mta
    }

    /// Connects and says nothing.
    pub(crate) fn silent(address: SocketAddr, offer: Offer<'static>) -> Self {
        let stream = TcpStream::connect(address).expect("the milter listens");
        stream.set_nodelay(true).expect("the socket is open");
        stream.set_read_timeout(Some(PATIENCE)).expect("the socket is open");
        Self { stream, client: Client::new(offer), input: Vec::new() }
    }
}

impl Mta<UnixStream> {
    pub(crate) fn connect_unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).expect("the milter listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("the socket is open");
        let mut mta = Self { stream, client: Client::new(CURRENT_OFFER), input: Vec::new() };
        mta.negotiate();
        mta
    }
}

impl<S: Read + Write> Mta<S> {
    pub(crate) fn negotiate(&mut self) {
        let mut output = BytesMut::new();
        self.client.negotiate(&mut output);
        self.write(&output);
        self.receive(|reply| assert!(matches!(reply, Reply::Negotiate(_)), "{reply:?}"));
    }

    /// Sends a command as the agreed steps say, and waits for its answer.
    #[track_caller]
    pub(crate) fn send(&mut self, command: &Command<'_>) -> Answer {
        self.send_with(command, &[])
    }

    /// The same, behind macros.
    #[track_caller]
    pub(crate) fn send_with(&mut self, command: &Command<'_>, macros: &[(&str, &str)]) -> Answer {
        let mut output = BytesMut::new();
        let expect = self.client.send(command, Some(macros), &mut output);
        self.write(&output);
        if expect == Expect::Reply { self.answer() } else { Answer::None }
    }

    /// The answer to a command that was sent.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Answer {
        self.receive(|reply| match reply {
            Reply::Continue => Answer::Continue,
            Reply::ReplyCode(text) => Answer::Refused(String::from_utf8_lossy(text).into_owned()),
            other => panic!("{other:?}"),
        })
    }

    pub(crate) fn greet(&mut self) {
        let address = ClientAddress::Inet(Ipv4Addr::new(203, 0, 113, 7), 4711);
        let _ = self.send(&Command::Connect(Connect { host: b"mail.elsewhere.test", address }));
        let _ = self.send(&Command::Helo(b"mail.elsewhere.test"));
    }

    pub(crate) fn mail(&mut self) {
        let none = CStrings::default();
        let _ = self.send(&Command::Mail(Mail { address: b"<sender@elsewhere.test>", parameters: none }));
    }

    #[track_caller]
    pub(crate) fn rcpt(&mut self, address: &str) -> Answer {
        self.send(&Command::Rcpt(Rcpt { address: address.as_bytes(), parameters: CStrings::default() }))
    }

    /// The milter decides: one recipient passes, another is refused.
    #[track_caller]
    pub(crate) fn decides(&mut self) {
        self.mail();
        assert_eq!(self.rcpt("<anna@example.test>"), Answer::Continue);
        assert!(is_unknown(&self.rcpt("<nobody@example.test>")));
        let _ = self.send(&Command::Abort);
    }

    #[track_caller]
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the milter reads");
    }

    /// Waits until the milter closes the connection.
    #[track_caller]
    pub(crate) fn is_closed(&mut self) {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => assert!(rest.is_empty(), "more bytes: {rest:?}"),
            // with bytes that nobody has read, the kernel says so at once
            Err(error) => assert!(is_reset(&error), "{error}"),
        }
    }

    #[track_caller]
    fn receive<T>(&mut self, each: impl FnOnce(Reply<'_>) -> T) -> T {
        loop {
            let mut rest = &self.input[..];
            if let Some(reply) = self.client.receive(&mut rest).expect("the milter keeps to the protocol") {
                let result = each(reply);
                let taken = self.input.len() - rest.len();
                self.input.drain(..taken);
                return result;
            }
            let mut some = [0; 4096];
            let length = self.stream.read(&mut some).expect("the milter answers");
            assert!(length > 0, "the milter closed the connection");
            self.input.extend_from_slice(&some[..length]);
        }
    }
}

pub(crate) fn is_unknown(answer: &Answer) -> bool {
    matches!(answer, Answer::Refused(text) if text.starts_with("550 5.1.1 ") && text.ends_with("[unknown-recipient]"))
}

fn is_reset(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

const PATIENCE: Duration = Duration::from_secs(40);
