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
        let outcome = verdict.outcome();
        match &outcome {
            Outcome::Refuse(reply) => reply.encode(output),
            Outcome::Accept => Reply::Accept.encode(output),
            Outcome::Discard => Reply::Discard.encode(output),
            Outcome::Skip if agreed.steps.contains(Steps::SKIP) => Reply::Skip.encode(output),
            Outcome::Skip | Outcome::Continue => Reply::Continue.encode(output),
        }
        match (V::COMMAND, outcome) {
            // The recipients are still there: on Postfix, the client may name more and try DATA again.
            (b'T', Outcome::Refuse(_)) => self.phase = Phase::Rcpt,
            (b'E', _) => self.end_message(),
            (b'M' | b'T' | b'L' | b'N' | b'B', Outcome::Refuse(_) | Outcome::Accept | Outcome::Discard) => {
                self.end_message();
            }
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
        let steps = command.steps();
        Ok(match command {
            Command::Connect(connect) => {
                self.ask(&agreed, steps, output).map(|ask| Event::Connect(connect, ask))
            }
            Command::Helo(name) => self.ask(&agreed, steps, output).map(|ask| Event::Helo(name, ask)),
            Command::Mail(mail) => self.ask(&agreed, steps, output).map(|ask| Event::Mail(mail, ask)),
            Command::Rcpt(rcpt) => Some(Event::Rcpt(rcpt, self.must_ask())),
            Command::Data => self.ask(&agreed, steps, output).map(Event::Data),
            Command::Header(header) => self.ask(&agreed, steps, output).map(|ask| Event::Header(header, ask)),
            Command::EndOfHeaders => self.ask(&agreed, steps, output).map(Event::EndOfHeaders),
            Command::Body(chunk) => self.ask(&agreed, steps, output).map(|ask| Event::Body(chunk, ask)),
            Command::EndOfMessage(chunk) => Some(Event::EndOfMessage(chunk, self.must_ask())),
            Command::Unknown(line) => self.ask(&agreed, steps, output).map(|ask| Event::Unknown(line, ask)),
            // The others are dealt with above, or are not in order.
            _ => return Err(ProtocolError::OutOfOrder { command: code, phase: self.phase }),
        })
    }

    /// Checks that the command may come now, and goes to the phase that it brings.
    ///
    /// As with libmilter, MAIL and HELO may come whenever a client is connected: they begin anew. The content may follow a recipient
    /// without DATA (version 3 has none) and without a header. Whatever libmilter would leave without an answer is out of order.
    fn move_on(&mut self, command: &Command<'_>, agreed: &Agreed) -> Result<(), ProtocolError> {
        let (phase, steps) = (self.phase, agreed.steps);
        let in_message = (Phase::Rcpt..=Phase::Body).contains(&phase);
        let before_body = matches!(phase, Phase::Rcpt | Phase::Data | Phase::Headers);
        let after_header =
            in_message && (steps.contains(Steps::NO_EOH) || !matches!(phase, Phase::Data | Phase::Headers));
        let (in_order, next, stage) = match command {
            Command::Connect(_) => (phase == Phase::Negotiated, Phase::Connected, Some(Stage::Connect)),
            Command::Helo(_) => (phase >= Phase::Connected, Phase::Connected, Some(Stage::Helo)),
            Command::Mail(_) => (phase >= Phase::Connected, Phase::Mail, Some(Stage::Mail)),
            Command::Rcpt(_) => {
                let first = phase == Phase::Connected && steps.contains(Steps::NO_MAIL);
                (first || matches!(phase, Phase::Mail | Phase::Rcpt), Phase::Rcpt, Some(Stage::Rcpt))
            }
            Command::Data => (phase == Phase::Rcpt, Phase::Data, Some(Stage::Data)),
            Command::Header(_) => (before_body, Phase::Headers, None),
            Command::EndOfHeaders => (before_body, Phase::EndOfHeaders, Some(Stage::EndOfHeaders)),
            Command::Body(_) => (after_header, Phase::Body, None),
            Command::EndOfMessage(_) => (after_header, Phase::Body, Some(Stage::EndOfMessage)),
            Command::Unknown(_) => (true, phase, None),
            _ => (false, phase, None),
        };
        if steps.intersects(command.steps().0) {
            return Err(ProtocolError::Suppressed(command.code()));
        }
        if !in_order {
            return Err(ProtocolError::OutOfOrder { command: command.code(), phase });
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
        (no, no_reply): (Steps, Steps),
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
