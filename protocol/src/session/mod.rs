//! The filter's side of one connection: bytes in, typed events out, typed verdicts in, bytes out.
//!
//! No I/O, no clock, no buffers: the caller reads into a buffer of its own, takes events off it, and writes what is in
//! `output`. Events borrow from the input; nothing but the macros is copied, and no callback allocates.
//! Every way in which an MTA can break the rules is a [`ProtocolError`]; after one the connection must be closed, which both
//! MTAs take for a failed filter (their `milter_default_action`, `F=`). Nothing is ever skipped silently.

mod error;
mod event;

use bytes::BytesMut;

use crate::command::Command;
use crate::flags::Steps;
use crate::frame::{COMMAND_LIMIT, next_frame};
use crate::macros::{Macros, Stage};
use crate::negotiation::{Agreed, Wanted};
use crate::reply::{Modification, Reply};
use crate::verdict::sealed::Outcome;
use crate::verdict::{EndOfMessageVerdict, Verdict};

pub use self::error::{NotAgreed, ProtocolError};
pub use self::event::{Ask, Event};

/// One connection from an MTA.
#[derive(Debug)]
pub struct Session {
    wanted: Wanted,
    agreed: Option<Agreed>,
    phase: Phase,
    /// The command that waits for its answer.
    asked: Option<u8>,
    failed: Option<ProtocolError>,
    macros: Macros,
}

/// Where in an SMTP session the MTA is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Nothing has been agreed.
    Start,
    /// Waiting for the connection event.
    Negotiated,
    /// Connected, outside of a message.
    Connected,
    /// After MAIL.
    Mail,
    /// After RCPT.
    Rcpt,
    /// After DATA.
    Data,
    /// Within the header.
    Headers,
    /// After the header.
    EndOfHeaders,
    /// Within the body.
    Body,
    /// After the MTA's farewell.
    Closed,
}

impl Session {
    /// A connection on which nothing has been said.
    #[must_use]
    pub fn new(wanted: Wanted) -> Session {
        Session {
            wanted,
            agreed: None,
            phase: Phase::Start,
            asked: None,
            failed: None,
            macros: Macros::default(),
        }
    }

    /// Takes the next event off `input`, which is advanced behind it; what is to be sent is appended to `output`.
    ///
    /// `None`: more bytes are needed; those left in `input` must be there again, in front of the new ones. Macros, the
    /// negotiation and what the filter did not want to see are dealt with on the way.
    ///
    /// # Errors
    /// For whatever breaks the protocol. The connection must be closed; every further call fails in the same way.
    pub fn next<'i>(
        &mut self,
        input: &mut &'i [u8],
        output: &mut BytesMut,
    ) -> Result<Option<Event<'i>>, ProtocolError> {
        let result = match (self.failed, self.asked) {
            (Some(error), _) => Err(error),
            (None, Some(command)) => Err(ProtocolError::Unanswered(command)),
            (None, None) => self.next_event(input, output),
        };
        self.failed = result.as_ref().err().copied();
        result
    }

    /// Answers an event: appends the reply to `output`.
    pub fn answer<V: Verdict>(&mut self, ask: Ask<V>, verdict: V, output: &mut BytesMut) {
        drop(ask);
        let (true, Some(agreed)) = (self.asked == Some(V::COMMAND), &self.agreed) else {
            // An Ask of another session. Nothing is sent, and the next call of next() fails.
            self.failed = Some(ProtocolError::NotAsked);
            return;
        };
        self.asked = None;
        let ends_message = match verdict.outcome() {
            Outcome::Continue => {
                Reply::Continue.encode(output);
                false
            }
            Outcome::Refuse(reply) => {
                reply.encode(output);
                true
            }
            Outcome::Accept => {
                Reply::Accept.encode(output);
                true
            }
            Outcome::Discard => {
                Reply::Discard.encode(output);
                true
            }
            Outcome::Skip => {
                let skip = agreed.steps.contains(Steps::SKIP);
                if skip { Reply::Skip } else { Reply::Continue }.encode(output);
                false
            }
        };
        match V::COMMAND {
            b'E' => self.end_message(),
            b'M' | b'T' | b'L' | b'N' | b'B' if ends_message => self.end_message(),
            _ => {}
        }
    }

    /// Changes the message, at its end and before the answer: appends the modification to `output`.
    ///
    /// # Errors
    /// When the action was not agreed; nothing is appended.
    pub fn modify(
        &self,
        _at: &Ask<EndOfMessageVerdict>,
        modification: &Modification<'_>,
        output: &mut BytesMut,
    ) -> Result<(), NotAgreed> {
        let action = modification.action();
        if !self.agreed.is_some_and(|agreed| agreed.actions.contains(action)) {
            return Err(NotAgreed(action));
        }
        Reply::Modify(*modification).encode(output);
        Ok(())
    }

    /// Tells the MTA that the end of the message still needs time: its time-out starts again.
    /// Only here: at RCPT, Sendmail takes it for an error and lets the recipient pass.
    pub fn progress(&self, _at: &Ask<EndOfMessageVerdict>, output: &mut BytesMut) {
        Reply::Progress.encode(output);
    }

    /// The macros that hold now.
    #[must_use]
    pub fn macros(&self) -> &Macros {
        &self.macros
    }

    /// What both sides have agreed on; `None` before [`Event::Negotiated`].
    #[must_use]
    pub fn agreed(&self) -> Option<&Agreed> {
        self.agreed.as_ref()
    }

    /// Where in an SMTP session the MTA is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    fn next_event<'i>(
        &mut self,
        input: &mut &'i [u8],
        output: &mut BytesMut,
    ) -> Result<Option<Event<'i>>, ProtocolError> {
        while let Some(frame) = next_frame(input, COMMAND_LIMIT)? {
            if let Some(event) = self.take(Command::parse(frame)?, output)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// Deals with one command. `None`: there is nothing in it for the caller.
    fn take<'i>(
        &mut self,
        command: Command<'i>,
        output: &mut BytesMut,
    ) -> Result<Option<Event<'i>>, ProtocolError> {
        let code = command.code();
        if let Command::Other(_) = command {
            return Err(ProtocolError::UnknownCommand(code));
        }
        if self.phase == Phase::Closed {
            return Err(ProtocolError::OutOfOrder { command: code, phase: Phase::Closed });
        }
        match command {
            Command::Quit => {
                self.phase = Phase::Closed;
                return Ok(Some(Event::Quit));
            }
            Command::Abort => {
                self.end_message();
                return Ok(Some(Event::Abort));
            }
            _ => {}
        }
        let Some(agreed) = self.agreed else {
            return match command {
                Command::Negotiate(offer) => {
                    let agreed = self.wanted.agree(&offer)?;
                    Reply::Negotiate(self.wanted.answer(&agreed)).encode(output);
                    self.agreed = Some(agreed);
                    self.phase = first_phase(&agreed);
                    Ok(Some(Event::Negotiated))
                }
                // libmilter forgets them when the offer comes.
                Command::Macros(_) => Ok(None),
                _ => Err(ProtocolError::NotNegotiated(code)),
            };
        };
        if let Command::Macros(macros) = command {
            if let Some(stage) = macros.stage() {
                self.macros.set(stage, macros.list)?;
            }
            return Ok(None);
        }
        if let Command::QuitNewConnection = command {
            self.macros.end_connection();
            self.phase = first_phase(&agreed);
            return Ok(Some(Event::NewConnection));
        }

        self.move_on(&command, &agreed)?;
        Ok(match command {
            Command::Connect(connect) => self
                .ask(&agreed, Steps::NO_CONNECT, Steps::NR_CONNECT, output)
                .map(|ask| Event::Connect(connect, ask)),
            Command::Helo(name) => {
                self.ask(&agreed, Steps::NO_HELO, Steps::NR_HELO, output).map(|ask| Event::Helo(name, ask))
            }
            Command::Mail(mail) => {
                self.ask(&agreed, Steps::NO_MAIL, Steps::NR_MAIL, output).map(|ask| Event::Mail(mail, ask))
            }
            Command::Rcpt(rcpt) => Some(Event::Rcpt(rcpt, self.must_ask())),
            Command::Data => self.ask(&agreed, Steps::NO_DATA, Steps::NR_DATA, output).map(Event::Data),
            Command::Header(header) => self
                .ask(&agreed, Steps::NO_HEADERS, Steps::NR_HEADER, output)
                .map(|ask| Event::Header(header, ask)),
            Command::EndOfHeaders => {
                self.ask(&agreed, Steps::NO_EOH, Steps::NR_EOH, output).map(Event::EndOfHeaders)
            }
            Command::Body(chunk) => {
                self.ask(&agreed, Steps::NO_BODY, Steps::NR_BODY, output).map(|ask| Event::Body(chunk, ask))
            }
            Command::EndOfMessage(chunk) => Some(Event::EndOfMessage(chunk, self.must_ask())),
            Command::Unknown(line) => self
                .ask(&agreed, Steps::NO_UNKNOWN, Steps::NR_UNKNOWN, output)
                .map(|ask| Event::Unknown(line, ask)),
            Command::Negotiate(_)
            | Command::Macros(_)
            | Command::Abort
            | Command::Quit
            | Command::QuitNewConnection
            | Command::Other(_) => unreachable!("dealt with above"),
        })
    }

    /// Checks that the command may come now, and goes to the phase that it brings.
    ///
    /// As with libmilter, MAIL and HELO may come whenever a client is connected: they begin anew. The content may follow a recipient
    /// without DATA (version 3 has none) and without a header. Whatever libmilter would leave without an answer is out of order.
    fn move_on(&mut self, command: &Command<'_>, agreed: &Agreed) -> Result<(), ProtocolError> {
        let no_mail = agreed.steps.contains(Steps::NO_MAIL);
        let phase = self.phase;
        let after_header = match phase {
            Phase::Data | Phase::Headers => agreed.steps.contains(Steps::NO_EOH),
            _ => (Phase::Rcpt..=Phase::Body).contains(&phase),
        };
        let (step, stage, next, in_order) = match command {
            Command::Connect(_) => {
                (Steps::NO_CONNECT, Some(Stage::Connect), Phase::Connected, phase == Phase::Negotiated)
            }
            Command::Helo(_) => {
                (Steps::NO_HELO, Some(Stage::Helo), Phase::Connected, phase >= Phase::Connected)
            }
            Command::Mail(_) => (Steps::NO_MAIL, Some(Stage::Mail), Phase::Mail, phase >= Phase::Connected),
            Command::Rcpt(_) => {
                let after =
                    matches!(phase, Phase::Mail | Phase::Rcpt) || phase == Phase::Connected && no_mail;
                (Steps::NO_RCPT, Some(Stage::Rcpt), Phase::Rcpt, after)
            }
            Command::Data => (Steps::NO_DATA, Some(Stage::Data), Phase::Data, phase == Phase::Rcpt),
            Command::Header(_) => {
                (Steps::NO_HEADERS, None, Phase::Headers, (Phase::Rcpt..=Phase::Headers).contains(&phase))
            }
            Command::EndOfHeaders => {
                let after = (Phase::Rcpt..=Phase::Headers).contains(&phase);
                (Steps::NO_EOH, Some(Stage::EndOfHeaders), Phase::EndOfHeaders, after)
            }
            Command::Body(_) => (Steps::NO_BODY, None, Phase::Body, after_header),
            Command::EndOfMessage(_) => (Steps::NONE, Some(Stage::EndOfMessage), Phase::Body, after_header),
            Command::Unknown(_) => (Steps::NO_UNKNOWN, None, phase, true),
            _ => (Steps::NONE, None, phase, false),
        };
        let code = command.code();
        if !step.is_empty() && agreed.steps.contains(step) {
            return Err(ProtocolError::Suppressed(code));
        }
        if !in_order {
            return Err(ProtocolError::OutOfOrder { command: code, phase });
        }
        if next == Phase::Connected && phase > Phase::Connected {
            self.end_message();
        }
        if let Some(stage) = stage {
            self.macros.reached(stage);
        }
        self.phase = next;
        Ok(())
    }

    /// How to answer an event: not at all (the caller does not want to see it: `None`), without the caller (`Some(None)`), or
    /// by the caller.
    fn ask<V: Verdict>(
        &mut self,
        agreed: &Agreed,
        no: Steps,
        no_reply: Steps,
        output: &mut BytesMut,
    ) -> Option<Option<Ask<V>>> {
        let unseen = agreed.handled_here.contains(no);
        if !unseen && !agreed.wanted(no_reply) {
            return Some(Some(self.must_ask()));
        }
        if !agreed.steps.contains(no_reply) {
            Reply::Continue.encode(output);
        }
        if unseen { None } else { Some(None) }
    }

    fn must_ask<V: Verdict>(&mut self) -> Ask<V> {
        self.asked = Some(V::COMMAND);
        Ask::new()
    }

    fn end_message(&mut self) {
        self.macros.end_message();
        if self.phase > Phase::Connected && self.phase != Phase::Closed {
            self.phase = Phase::Connected;
        }
    }
}

fn first_phase(agreed: &Agreed) -> Phase {
    if agreed.steps.contains(Steps::NO_CONNECT) { Phase::Connected } else { Phase::Negotiated }
}
