//! One SMTP session as Postfix tells a milter about it: what needs no answer is written with what does, and all at the end
//! of the connection in one piece.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use milter_protocol::client::{Client, Expect};
use milter_protocol::command::{CStrings, ClientAddress, Command, Connect, Header, Mail, Rcpt};
use milter_protocol::macros::Stage;
use milter_protocol::negotiation::CURRENT_OFFER;
use milter_protocol::reply::Reply;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::answers::Answers;
use super::mix::{Recipient, Visit};
use super::stream::Stream;
use super::told::Told;
use crate::{Endpoint, Error};

/// A connection to a milter, with one SMTP session on it.
pub(super) struct Session {
    stream: Stream,
    client: Client,
    told: Told,
    output: BytesMut,
    input: BytesMut,
}

/// What a milter said to a command.
enum Said {
    Continue,
    Refused,
    Deferred,
    /// Nothing more is asked in this session.
    Over,
}

impl Session {
    /// Connects and negotiates.
    pub(super) async fn open(endpoint: &Endpoint) -> Result<Self, Error> {
        let stream = Stream::connect(endpoint).await.map_err(Error::io(format!("connect to {endpoint}")))?;
        let (output, input) = (BytesMut::with_capacity(1024), BytesMut::with_capacity(1024));
        let mut session =
            Self { stream, client: Client::new(CURRENT_OFFER), told: Told::default(), output, input };
        session.client.negotiate(&mut session.output);
        session.flush().await?;
        session.negotiated().await?;
        Ok(session)
    }

    /// The client has connected; for a connection that then idles, or as the first part of a visit.
    pub(super) async fn connect(&mut self, visit: &Visit) -> Result<bool, Error> {
        let name = if visit.host.starts_with('[') { "unknown" } else { &visit.host };
        let origin = format!("{name} [{}]", visit.client);
        let values = [
            ("j", MTA),
            ("{daemon_name}", MTA),
            ("{daemon_addr}", "127.0.0.1"),
            ("v", "Postfix 3.7.11"),
            ("_", origin.as_str()),
        ];
        let address = ClientAddress::Inet(visit.client, visit.port);
        let connect = Command::Connect(Connect { host: visit.host.as_bytes(), address });
        Ok(matches!(self.ask(Stage::Connect, &values, &connect).await?, Said::Continue))
    }

    /// Writes what is left over, so that an idle milter has seen it.
    pub(super) async fn flush(&mut self) -> Result<(), Error> {
        if !self.output.is_empty() {
            self.stream.write_all(&self.output).await.map_err(Error::io("write to the milter"))?;
            self.output.clear();
        }
        Ok(())
    }

    /// A whole session, to its end; `deliver`: if somebody was accepted, a short message follows.
    pub(super) async fn visit(
        mut self,
        visit: &Visit,
        deliver: bool,
        answers: &mut Answers,
    ) -> Result<(), Error> {
        let open = self.connect(visit).await? && self.greet(visit).await? && self.mail(visit).await?;
        let mut accepted = 0;
        if open {
            for recipient in &visit.recipients {
                let begun = Instant::now();
                let said = self.rcpt(recipient).await?;
                answers.latencies.add(begun.elapsed());
                match said {
                    Said::Continue => {
                        accepted += 1;
                        answers.accepted += 1;
                        answers.wrong += u64::from(!recipient.is_known);
                    }
                    Said::Refused => {
                        answers.refused += 1;
                        answers.wrong += u64::from(recipient.is_known);
                    }
                    Said::Deferred => answers.deferred += 1,
                    Said::Over => {
                        answers.over += 1;
                        break;
                    }
                }
            }
        } else {
            answers.over += 1;
        }
        if deliver && accepted > 0 {
            let begun = Instant::now();
            self.message().await?;
            answers.messages.add(begun.elapsed());
        }
        answers.sessions += 1;
        // Postfix 3.7 aborts twice.
        for command in [Command::Abort, Command::Abort, Command::Quit] {
            self.client.send(&command, None, &mut self.output);
        }
        self.flush().await
    }

    async fn greet(&mut self, visit: &Visit) -> Result<bool, Error> {
        let helo = Command::Helo(visit.helo.as_bytes());
        Ok(matches!(self.ask(Stage::Helo, &[], &helo).await?, Said::Continue))
    }

    async fn mail(&mut self, visit: &Visit) -> Result<bool, Error> {
        let host = visit.sender.split_once('@').map_or(MTA, |(_, host)| host);
        let values =
            [("{mail_addr}", visit.sender.as_str()), ("{mail_host}", host), ("{mail_mailer}", "smtp")];
        let address = format!("<{}>", visit.sender);
        let mail = Mail { address: address.as_bytes(), parameters: CStrings::default() };
        Ok(matches!(self.ask(Stage::Mail, &values, &Command::Mail(mail)).await?, Said::Continue))
    }

    async fn rcpt(&mut self, recipient: &Recipient) -> Result<Said, Error> {
        let host = recipient.address.split_once('@').map_or(MTA, |(_, host)| host);
        let values =
            [("{rcpt_addr}", recipient.address.as_str()), ("{rcpt_host}", host), ("{rcpt_mailer}", "relay")];
        let address = format!("<{}>", recipient.address);
        let rcpt = Rcpt { address: address.as_bytes(), parameters: CStrings::default() };
        self.ask(Stage::Rcpt, &values, &Command::Rcpt(rcpt)).await
    }

    async fn message(&mut self) -> Result<(), Error> {
        let values = [("i", "5A25E9B2102")];
        let header = |name: &'static str, value: &'static str| {
            Command::Header(Header { name: name.as_bytes(), value: value.as_bytes() })
        };
        let commands = [
            (Stage::Data, Command::Data),
            (Stage::EndOfHeaders, header("Subject", "hello")),
            (Stage::EndOfHeaders, header("From", "somebody@example.net")),
            (Stage::EndOfHeaders, header("Date", "Sat, 21 Nov 2026 20:38:34 +0000")),
            (Stage::EndOfHeaders, Command::EndOfHeaders),
            (Stage::EndOfMessage, Command::Body(b"Is anybody there?\r\n")),
            (Stage::EndOfMessage, Command::EndOfMessage(b"")),
        ];
        for (stage, command) in commands {
            self.ask(stage, &values, &command).await?;
        }
        Ok(())
    }

    /// Tells a command. Whatever needs no answer waits for one that does.
    async fn ask(
        &mut self,
        stage: Stage,
        values: &[(&'static str, &str)],
        command: &Command<'_>,
    ) -> Result<Said, Error> {
        let macros = self.told.at(stage, values);
        match self.client.send(command, Some(&macros), &mut self.output) {
            Expect::Suppressed | Expect::Nothing => return Ok(Said::Continue),
            Expect::Reply => {}
        }
        self.flush().await?;
        timeout(PATIENCE, self.said()).await.map_err(|_| Error::Late(PATIENCE))?
    }

    async fn said(&mut self) -> Result<Said, Error> {
        loop {
            let mut input = &self.input[..];
            while let Some(reply) = self.client.receive(&mut input)? {
                let said = match reply {
                    Reply::Progress | Reply::Modify(_) => continue,
                    Reply::Continue => Said::Continue,
                    Reply::ReplyCode(text) if text.starts_with(b"421") => Said::Over,
                    Reply::ReplyCode(text) if text.starts_with(b"5") => Said::Refused,
                    Reply::ReplyCode(_) | Reply::Tempfail => Said::Deferred,
                    Reply::Reject => Said::Refused,
                    _ => Said::Over,
                };
                let left = input.len();
                let taken = self.input.len() - left;
                bytes::Buf::advance(&mut self.input, taken);
                return Ok(said);
            }
            let taken = self.input.len() - input.len();
            bytes::Buf::advance(&mut self.input, taken);
            self.read().await?;
        }
    }

    async fn negotiated(&mut self) -> Result<(), Error> {
        let answered = async {
            loop {
                let mut input = &self.input[..];
                if let Some(reply) = self.client.receive(&mut input)? {
                    if let Reply::Negotiate(answer) = reply {
                        self.told = Told::by(&answer);
                    }
                    self.input.clear();
                    return Ok(());
                }
                self.read().await?;
            }
        };
        timeout(PATIENCE, answered).await.map_err(|_| Error::Late(PATIENCE))?
    }

    async fn read(&mut self) -> Result<(), Error> {
        match self.stream.read_buf(&mut self.input).await.map_err(Error::io("read from the milter"))? {
            0 => Err(Error::Closed),
            _ => Ok(()),
        }
    }
}

/// What the MTA calls itself.
const MTA: &str = "mx.example.com";

/// Postfix waits as long for the answer to a command.
const PATIENCE: Duration = Duration::from_secs(30);
