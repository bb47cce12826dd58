//! What the filter sends: one value per reply, with its parser (for the MTA's side) and its encoder.
//!
//! This is the wire's whole vocabulary, also what is wrong at most stages. A filter does not use it directly but
//! answers with the types of [`verdict`](crate::verdict), which hold what is right at their stage.

use bytes::{BufMut, BytesMut};
use nom::number::complete::be_u32;
use nom::sequence::pair;
use nom::{IResult, Parser};

use crate::command::{Malformed, OptNeg, opt_neg};
use crate::frame::{Frame, write_frame};
use crate::wire::{CStrings, all, c_string, c_strings, put_c_string};

/// A frame from the filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<'i> {
    /// `O`: the answer to the MTA's offer.
    Negotiate(OptNeg<'i>),
    /// `c`
    Continue,
    /// `a`: accept the whole message (or connection), show no more of it.
    Accept,
    /// `r`: refuse with the MTA's own text, 5xx.
    Reject,
    /// `t`: refuse with the MTA's own text, 4xx.
    Tempfail,
    /// `d`: accept the message and throw it away.
    Discard,
    /// `s`: no more of this kind of event for this message.
    Skip,
    /// `p`: still at work; the MTA's time-out starts again. Not final.
    Progress,
    /// `4`: 421, and the SMTP session ends.
    Shutdown,
    /// `f`: the connection to the filter has failed.
    ConnectionFailed,
    /// `y`: a reply to the SMTP client, as it is on the wire but without the NUL at the end. Any text: see
    /// [`SmtpReply::from_wire`](crate::smtp_reply::SmtpReply::from_wire) for the safe form.
    ReplyCode(&'i [u8]),
    /// A change of the message, at its end. Not final.
    Modify(Modification<'i>),
    /// A byte that no version of the protocol knows.
    Other(Frame<'i>),
}

/// A change of the message. Only at its end, before the final verdict, and only if its action was agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Modification<'i> {
    /// `h`: append a header field.
    AddHeader {
        /// The name, without the colon.
        name: &'i [u8],
        /// The value; folded lines are separated by a bare `\n`.
        value: &'i [u8],
    },
    /// `i`: insert a header field.
    InsertHeader {
        /// Before which field, from 0.
        index: u32,
        /// The name, without the colon.
        name: &'i [u8],
        /// The value.
        value: &'i [u8],
    },
    /// `m`: change a header field, or delete it.
    ChangeHeader {
        /// Which of the fields of this name, from 1.
        index: u32,
        /// The name, without the colon.
        name: &'i [u8],
        /// The value; empty to delete the field.
        value: &'i [u8],
    },
    /// `+`: add a recipient.
    AddRcpt(&'i [u8]),
    /// `2`: add a recipient with ESMTP parameters.
    AddRcptPar {
        /// The recipient.
        address: &'i [u8],
        /// One string with all parameters, or none.
        parameters: CStrings<'i>,
    },
    /// `-`: delete a recipient.
    DeleteRcpt(&'i [u8]),
    /// `e`: replace the sender.
    ChangeFrom {
        /// The sender.
        address: &'i [u8],
        /// One string with all parameters, or none.
        parameters: CStrings<'i>,
    },
    /// `b`: replace the body; each such frame is appended to the one before.
    ReplaceBody(&'i [u8]),
    /// `q`: hold the message, with the reason.
    Quarantine(&'i [u8]),
}

impl<'i> Reply<'i> {
    /// Reads a frame from the filter.
    ///
    /// # Errors
    /// When the payload does not have the shape of its reply.
    pub fn parse(frame: Frame<'i>) -> Result<Reply<'i>, Malformed> {
        let payload = frame.payload;
        let reply = match frame.code {
            b'O' => all(opt_neg, payload).map(Reply::Negotiate),
            b'c' => empty(payload, Reply::Continue),
            b'a' => empty(payload, Reply::Accept),
            b'r' => empty(payload, Reply::Reject),
            b't' => empty(payload, Reply::Tempfail),
            b'd' => empty(payload, Reply::Discard),
            b's' => empty(payload, Reply::Skip),
            b'p' => empty(payload, Reply::Progress),
            b'4' => empty(payload, Reply::Shutdown),
            b'f' => empty(payload, Reply::ConnectionFailed),
            b'y' => all(c_string, payload).map(Reply::ReplyCode),
            b'h' => all(add_header, payload).map(Reply::Modify),
            b'i' => all(insert_header, payload).map(Reply::Modify),
            b'm' => all(change_header, payload).map(Reply::Modify),
            b'+' => all(c_string, payload).map(Modification::AddRcpt).map(Reply::Modify),
            b'2' => all(add_rcpt_par, payload).map(Reply::Modify),
            b'-' => all(c_string, payload).map(Modification::DeleteRcpt).map(Reply::Modify),
            b'e' => all(change_from, payload).map(Reply::Modify),
            b'b' => Some(Reply::Modify(Modification::ReplaceBody(payload))),
            b'q' => all(c_string, payload).map(Modification::Quarantine).map(Reply::Modify),
            _ => Some(Reply::Other(frame)),
        };
        reply.ok_or(Malformed(frame.code))
    }

    /// The byte on the wire.
    #[must_use]
    pub const fn code(&self) -> u8 {
        match self {
            Reply::Negotiate(_) => b'O',
            Reply::Continue => b'c',
            Reply::Accept => b'a',
            Reply::Reject => b'r',
            Reply::Tempfail => b't',
            Reply::Discard => b'd',
            Reply::Skip => b's',
            Reply::Progress => b'p',
            Reply::Shutdown => b'4',
            Reply::ConnectionFailed => b'f',
            Reply::ReplyCode(_) => b'y',
            Reply::Modify(modification) => modification.code(),
            Reply::Other(frame) => frame.code,
        }
    }

    /// Whether the MTA goes on after it; otherwise more frames belong to the same answer.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        !matches!(self, Reply::Progress | Reply::Modify(_))
    }

    /// Appends the reply as a frame. A NUL within a string ends that string.
    pub fn encode(&self, output: &mut BytesMut) {
        write_frame(output, self.code(), |output| match self {
            Reply::Negotiate(negotiate) => negotiate.put(output),
            Reply::ReplyCode(text) => put_c_string(output, text),
            Reply::Modify(modification) => modification.put(output),
            Reply::Other(frame) => output.put_slice(frame.payload),
            _ => {}
        });
    }
}

impl Modification<'_> {
    const fn code(&self) -> u8 {
        match self {
            Modification::AddHeader { .. } => b'h',
            Modification::InsertHeader { .. } => b'i',
            Modification::ChangeHeader { .. } => b'm',
            Modification::AddRcpt(_) => b'+',
            Modification::AddRcptPar { .. } => b'2',
            Modification::DeleteRcpt(_) => b'-',
            Modification::ChangeFrom { .. } => b'e',
            Modification::ReplaceBody(_) => b'b',
            Modification::Quarantine(_) => b'q',
        }
    }

    /// The action that must have been agreed for it.
    #[must_use]
    pub const fn action(&self) -> crate::flags::Actions {
        use crate::flags::Actions;
        match self {
            Modification::AddHeader { .. } | Modification::InsertHeader { .. } => Actions::ADD_HEADERS,
            Modification::ChangeHeader { .. } => Actions::CHANGE_HEADERS,
            Modification::AddRcpt(_) => Actions::ADD_RCPT,
            Modification::AddRcptPar { .. } => Actions::ADD_RCPT_PAR,
            Modification::DeleteRcpt(_) => Actions::DELETE_RCPT,
            Modification::ChangeFrom { .. } => Actions::CHANGE_FROM,
            Modification::ReplaceBody(_) => Actions::CHANGE_BODY,
            Modification::Quarantine(_) => Actions::QUARANTINE,
        }
    }

    fn put(&self, output: &mut BytesMut) {
        match self {
            Modification::AddHeader { name, value } => {
                put_c_string(output, name);
                put_c_string(output, value);
            }
            Modification::InsertHeader { index, name, value }
            | Modification::ChangeHeader { index, name, value } => {
                output.put_u32(*index);
                put_c_string(output, name);
                put_c_string(output, value);
            }
            Modification::AddRcpt(text) | Modification::DeleteRcpt(text) | Modification::Quarantine(text) => {
                put_c_string(output, text);
            }
            Modification::AddRcptPar { address, parameters }
            | Modification::ChangeFrom { address, parameters } => {
                put_c_string(output, address);
                output.put_slice(parameters.as_wire());
            }
            Modification::ReplaceBody(chunk) => output.put_slice(chunk),
        }
    }
}

/// `c` `a` `r` `t` `d` `s` `p` `4` `f`: nothing.
fn empty<'i>(payload: &[u8], reply: Reply<'i>) -> Option<Reply<'i>> {
    payload.is_empty().then_some(reply)
}

/// `h`: `name NUL | value NUL`
fn add_header(input: &[u8]) -> IResult<&[u8], Modification<'_>> {
    pair(c_string, c_string).map(|(name, value)| Modification::AddHeader { name, value }).parse(input)
}

/// `i`: `u32be index | name NUL | value NUL`
fn insert_header(input: &[u8]) -> IResult<&[u8], Modification<'_>> {
    (be_u32, c_string, c_string)
        .map(|(index, name, value)| Modification::InsertHeader { index, name, value })
        .parse(input)
}

/// `m`: `u32be index | name NUL | value NUL`
fn change_header(input: &[u8]) -> IResult<&[u8], Modification<'_>> {
    (be_u32, c_string, c_string)
        .map(|(index, name, value)| Modification::ChangeHeader { index, name, value })
        .parse(input)
}

/// `2`: `address NUL | (parameters NUL)?`
fn add_rcpt_par(input: &[u8]) -> IResult<&[u8], Modification<'_>> {
    pair(c_string, c_strings)
        .map(|(address, parameters)| Modification::AddRcptPar { address, parameters })
        .parse(input)
}

/// `e`: `address NUL | (parameters NUL)?`
fn change_from(input: &[u8]) -> IResult<&[u8], Modification<'_>> {
    pair(c_string, c_strings)
        .map(|(address, parameters)| Modification::ChangeFrom { address, parameters })
        .parse(input)
}
