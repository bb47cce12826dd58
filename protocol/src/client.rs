//! The MTA's side of one connection: what Postfix and Sendmail send, what they expect, and what they take for a mistake.
//!
//! Sans-IO, as the session: commands are appended to an output buffer, replies are taken off an input. For tests, load
//! generators and probes; it does not decide what a mail server does with a reply. A filter that breaks the rules is a
//! [`ClientError`]; both MTAs give it up for the rest of the SMTP session then.

use bytes::{BufMut, BytesMut};

use crate::command::{Command, Malformed, OptNeg};
use crate::flags::{Actions, Steps, Version};
use crate::frame::{FrameError, next_frame, write_frame};
use crate::macros::Stage;
use crate::negotiation::{Agreed, Offer, meant};
use crate::reply::Reply;

/// One connection to a filter.
///
/// ```text
/// negotiate() -> bytes; receive() -> Reply::Negotiate
/// send(command, macros) -> bytes, Expect::Reply; receive() -> replies, the last one is_final()
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    offer: Offer<'static>,
    agreed: Option<Agreed>,
    waits: Waits,
    limit: usize,
}

/// What comes back after [`Client::send`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The filter did not want this command: only its macros were written.
    Suppressed,
    /// The command was written, and there is no reply to it.
    Nothing,
    /// The command was written; take replies with [`Client::receive`] until one is final.
    Reply,
}

/// What a filter did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The bytes are no frames.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A frame does not have the shape of its reply.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The answer to the offer is another reply, or an `O` at another time.
    #[error("reply {:?} is out of place", char::from(*.0))]
    OutOfPlace(u8),
    /// A frame while no reply was awaited.
    #[error("reply {:?} to nothing", char::from(*.0))]
    NotAwaited(u8),
    /// Higher than offered, or lower than 2.
    #[error("the filter answers with version {0}")]
    Version(Version),
    /// Actions that were not offered. Postfix and Sendmail fail.
    #[error("the filter wants {0}, which were not offered")]
    Actions(Actions),
    /// Steps that were not offered. Sendmail fails with 451, Postfix takes no notice; we do as Sendmail does.
    #[error("the filter wants {0}, which were not offered")]
    Steps(Steps),
    /// The macro requests are cut short, or name a stage that does not exist, or were not permitted.
    #[error("malformed macro requests")]
    MacroRequests,
    /// A change of the message whose action was not agreed, or not at the end of the message.
    #[error("reply {:?} is not permitted here", char::from(*.0))]
    NotPermitted(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    No,
    ForNegotiation,
    ForReply { to: u8 },
}

impl Client {
    /// The most that a reply may hold, unless [`Client::with_reply_limit`] says otherwise: 1 MiB.
    pub const REPLY_LIMIT: usize = 1 << 20;

    /// A connection on which nothing has been said. [`CURRENT_OFFER`](crate::negotiation::CURRENT_OFFER) is what
    /// today's MTAs offer.
    #[must_use]
    pub fn new(offer: Offer<'static>) -> Client {
        Client { offer, agreed: None, waits: Waits::No, limit: Client::REPLY_LIMIT }
    }

    /// Takes replies of up to `limit` bytes of payload.
    #[must_use]
    pub fn with_reply_limit(mut self, limit: usize) -> Client {
        self.limit = limit;
        self
    }

    /// Appends the offer. The reply is [`Reply::Negotiate`].
    pub fn negotiate(&mut self, output: &mut BytesMut) {
        Command::Negotiate(self.offer).encode(output);
        self.waits = Waits::ForNegotiation;
    }

    /// Appends the macros (name with its braces, value) and the command, as far as the filter wants them.
    ///
    /// Both MTAs send the macros of commands that they leave out. `macros` may be `None` (no frame, as Sendmail without
    /// macros for DATA) or empty (an empty frame, as Postfix for HELO).
    pub fn send(
        &mut self,
        command: &Command<'_>,
        macros: Option<&[(&str, &str)]>,
        output: &mut BytesMut,
    ) -> Expect {
        let code = command.code();
        if let Some(macros) = macros {
            put_macros(code, macros, output);
        }
        let steps = self.agreed.map_or(Steps::NONE, |agreed| agreed.steps);
        let (no, no_reply) = command.steps();
        if steps.intersects(no) {
            return Expect::Suppressed;
        }
        command.encode(output);
        let silent = matches!(
            command,
            Command::Macros(_) | Command::Abort | Command::Quit | Command::QuitNewConnection
        );
        if silent || steps.intersects(no_reply) {
            return Expect::Nothing;
        }
        self.waits = Waits::ForReply { to: code };
        Expect::Reply
    }

    /// Takes the next reply off `input`, which is advanced behind it. `None`: more bytes are needed.
    ///
    /// # Errors
    /// For what the MTAs take for a mistake of the filter. The connection must be closed.
    pub fn receive<'i>(&mut self, input: &mut &'i [u8]) -> Result<Option<Reply<'i>>, ClientError> {
        let Some(frame) = next_frame(input, self.limit)? else { return Ok(None) };
        let reply = Reply::parse(frame)?;
        match (self.waits, &reply) {
            (Waits::No, _) => return Err(ClientError::NotAwaited(frame.code)),
            (Waits::ForNegotiation, Reply::Negotiate(answer)) => self.agreed = Some(self.check(answer)?),
            (Waits::ForNegotiation, _) | (_, Reply::Negotiate(_) | Reply::Other(_)) => {
                return Err(ClientError::OutOfPlace(frame.code));
            }
            (Waits::ForReply { to }, Reply::Modify(modification)) => {
                let agreed = self.agreed.map_or(Actions::NONE, |agreed| agreed.actions);
                if to != b'E' || !agreed.contains(modification.action()) {
                    return Err(ClientError::NotPermitted(frame.code));
                }
            }
            (Waits::ForReply { .. }, _) => {}
        }
        if reply.is_final() {
            self.waits = Waits::No;
        }
        Ok(Some(reply))
    }

    /// What the filter has agreed to; `None` before its answer.
    #[must_use]
    pub fn agreed(&self) -> Option<&Agreed> {
        self.agreed.as_ref()
    }

    /// Whether a reply is awaited.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.waits != Waits::No
    }

    fn check(&self, answer: &OptNeg<'_>) -> Result<Agreed, ClientError> {
        if answer.version > self.offer.version || answer.version < Version::MIN {
            return Err(ClientError::Version(answer.version));
        }
        let (permitted, can) = meant(&self.offer);
        let actions = answer.actions - permitted;
        if !actions.is_empty() {
            return Err(ClientError::Actions(actions));
        }
        // Sendmail answers 451 to an echo of its data size bits.
        let steps = answer.steps - (can - Steps::MDS);
        if !steps.is_empty() {
            return Err(ClientError::Steps(steps));
        }
        let mut length = 0;
        for (stage, names) in answer.macro_requests() {
            if Stage::from_id(stage).is_none() {
                return Err(ClientError::MacroRequests);
            }
            length += 4 + names.len() + 1;
        }
        let permitted = length == 0 || answer.actions.contains(Actions::SET_SYMLIST);
        if length != answer.macros.len() || !permitted {
            return Err(ClientError::MacroRequests);
        }
        let (version, actions, steps) = (answer.version, answer.actions, answer.steps);
        Ok(Agreed { version, actions, steps, handled_here: Steps::NONE })
    }
}

/// Appends a `D` frame. A NUL within a name or a value ends it.
fn put_macros(code: u8, macros: &[(&str, &str)], output: &mut BytesMut) {
    write_frame(output, b'D', |output| {
        output.put_u8(code);
        for (name, value) in macros {
            crate::wire::put_c_string(output, name.as_bytes());
            crate::wire::put_c_string(output, value.as_bytes());
        }
    });
}
