//! What the MTA sends: one type per command, borrowed from the frame, with its parser and its encoder.
//!
//! Each parser takes the whole payload or none of it. A frame that does not have the shape of its command is
//! [`Malformed`]; a command byte that no version knows is [`Command::Other`], a value. Neither panics nor allocates.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use bytes::{BufMut, BytesMut};
use nom::combinator::rest;
use nom::number::complete::{be_u16, be_u32, u8};
use nom::sequence::pair;
use nom::{IResult, Parser};

use crate::flags::{Actions, Steps, Version};
use crate::frame::{Frame, write_frame};
use crate::macros::Stage;
use crate::wire::{all, c_string, c_strings, put_c_string};

pub use crate::wire::CStrings;

/// A frame from the MTA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'i> {
    /// `O`: what the MTA offers. The first frame of a connection.
    Negotiate(OptNeg<'i>),
    /// `D`: macros for the command that follows. Never answered.
    Macros(MacroList<'i>),
    /// `C`: a client has connected.
    Connect(Connect<'i>),
    /// `H`: HELO or EHLO, with its argument. May repeat.
    Helo(&'i [u8]),
    /// `M`: MAIL FROM.
    Mail(Mail<'i>),
    /// `R`: RCPT TO.
    Rcpt(Rcpt<'i>),
    /// `T`: DATA. Since version 4.
    Data,
    /// `L`: one header field.
    Header(Header<'i>),
    /// `N`: the end of the header.
    EndOfHeaders,
    /// `B`: a part of the body.
    Body(&'i [u8]),
    /// `E`: the end of the message, with the last part of the body if there is any (Sendmail and Postfix send none).
    EndOfMessage(&'i [u8]),
    /// `U`: an SMTP command that the MTA does not know; Postfix 3.7 gives only its verb. Since version 3.
    Unknown(&'i [u8]),
    /// `A`: the message is over without an end, or (Postfix) also with one. May repeat. Never answered.
    Abort,
    /// `Q`: the connection will be closed. Never answered.
    Quit,
    /// `K`: the SMTP session is over, and another one follows on this connection. Never answered. Since version 6.
    QuitNewConnection,
    /// A byte that no version of the protocol knows.
    Other(Frame<'i>),
}

/// A payload that does not have the shape of its command or reply; the byte says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed frame {:?}", char::from(*.0))]
pub struct Malformed(pub u8);

impl<'i> Command<'i> {
    /// Reads a frame from the MTA.
    ///
    /// # Errors
    /// When the payload does not have the shape of its command.
    #[inline]
    pub fn parse(frame: Frame<'i>) -> Result<Command<'i>, Malformed> {
        let payload = frame.payload;
        let command = match frame.code {
            b'D' => all(macro_list, payload).map(Command::Macros),
            b'R' => all(rcpt, payload).map(Command::Rcpt),
            b'M' => all(mail, payload).map(Command::Mail),
            b'A' => empty(payload, Command::Abort),
            b'C' => all(connect, payload).map(Command::Connect),
            b'H' => all(helo, payload).map(Command::Helo),
            b'T' => empty(payload, Command::Data),
            b'L' => all(header, payload).map(Command::Header),
            b'N' => empty(payload, Command::EndOfHeaders),
            b'B' => Some(Command::Body(payload)),
            b'E' => Some(Command::EndOfMessage(payload)),
            b'U' => all(unknown, payload).map(Command::Unknown),
            b'Q' => empty(payload, Command::Quit),
            b'K' => empty(payload, Command::QuitNewConnection),
            b'O' => all(opt_neg, payload).map(Command::Negotiate),
            _ => Some(Command::Other(frame)),
        };
        command.ok_or(Malformed(frame.code))
    }

    /// The byte on the wire.
    #[must_use]
    pub const fn code(&self) -> u8 {
        match self {
            Command::Negotiate(_) => b'O',
            Command::Macros(_) => b'D',
            Command::Connect(_) => b'C',
            Command::Helo(_) => b'H',
            Command::Mail(_) => b'M',
            Command::Rcpt(_) => b'R',
            Command::Data => b'T',
            Command::Header(_) => b'L',
            Command::EndOfHeaders => b'N',
            Command::Body(_) => b'B',
            Command::EndOfMessage(_) => b'E',
            Command::Unknown(_) => b'U',
            Command::Abort => b'A',
            Command::Quit => b'Q',
            Command::QuitNewConnection => b'K',
            Command::Other(frame) => frame.code,
        }
    }

    /// The bit that leaves the command out, and the bit that leaves its reply out.
    #[must_use]
    pub const fn steps(&self) -> (Steps, Steps) {
        match self {
            Command::Connect(_) => (Steps::NO_CONNECT, Steps::NR_CONNECT),
            Command::Helo(_) => (Steps::NO_HELO, Steps::NR_HELO),
            Command::Mail(_) => (Steps::NO_MAIL, Steps::NR_MAIL),
            Command::Rcpt(_) => (Steps::NO_RCPT, Steps::NR_RCPT),
            Command::Data => (Steps::NO_DATA, Steps::NR_DATA),
            Command::Header(_) => (Steps::NO_HEADERS, Steps::NR_HEADER),
            Command::EndOfHeaders => (Steps::NO_EOH, Steps::NR_EOH),
            Command::Body(_) => (Steps::NO_BODY, Steps::NR_BODY),
            Command::Unknown(_) => (Steps::NO_UNKNOWN, Steps::NR_UNKNOWN),
            _ => (Steps::NONE, Steps::NONE),
        }
    }

    /// Appends the command as a frame. A NUL within a string ends that string.
    pub fn encode(&self, output: &mut BytesMut) {
        write_frame(output, self.code(), |output| match self {
            Command::Negotiate(negotiate) => negotiate.put(output),
            Command::Macros(macros) => {
                output.put_u8(macros.code);
                output.put_slice(macros.list);
            }
            Command::Connect(connect) => connect.put(output),
            Command::Helo(name) | Command::Unknown(name) => put_c_string(output, name),
            Command::Mail(Mail { address, parameters }) | Command::Rcpt(Rcpt { address, parameters }) => {
                put_c_string(output, address);
                output.put_slice(parameters.as_wire());
            }
            Command::Header(header) => {
                put_c_string(output, header.name);
                put_c_string(output, header.value);
            }
            Command::Body(chunk) | Command::EndOfMessage(chunk) => output.put_slice(chunk),
            Command::Other(frame) => output.put_slice(frame.payload),
            Command::Data
            | Command::EndOfHeaders
            | Command::Abort
            | Command::Quit
            | Command::QuitNewConnection => {}
        });
    }
}

/// An offer of the MTA, or a filter's answer to it: version, actions, steps, and the filter's macro requests.
///
/// `u32be version | u32be actions | u32be steps | (u32be stage, names NUL)*`
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct OptNeg<'i> {
    /// The version to speak.
    pub version: Version,
    /// The MTA: all it permits. The filter: those it wants.
    pub actions: Actions,
    /// The MTA: all it can leave out. The filter: what it shall leave out.
    pub steps: Steps,
    /// The filter's macro requests, as they are on the wire; read them with [`OptNeg::macro_requests`].
    pub macros: &'i [u8],
}

impl<'i> OptNeg<'i> {
    /// What the filter asks for: the stage's number (see [`Stage::from_id`]) and names separated by spaces or commas.
    /// Stops where the bytes are no such list any more.
    pub fn macro_requests(&self) -> impl Iterator<Item = (u32, &'i [u8])> + use<'i> {
        let mut input = self.macros;
        std::iter::from_fn(move || {
            let (rest, request) = macro_request(input).ok()?;
            input = rest;
            Some(request)
        })
    }

    pub(crate) fn put(&self, output: &mut BytesMut) {
        output.put_u32(self.version.0);
        output.put_u32(self.actions.0);
        output.put_u32(self.steps.0);
        output.put_slice(self.macros);
    }
}

impl fmt::Debug for OptNeg<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OptNeg { version, actions, steps, macros } = self;
        write!(f, "OptNeg {{ {version:?}, {actions:?}, {steps:?}, macros: \"{}\" }}", macros.escape_ascii())
    }
}

/// The macros for one command: the command's byte and `(name NUL value NUL)*`, which may be odd or cut short.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct MacroList<'i> {
    /// The byte of the command that follows.
    pub code: u8,
    /// Names and values as they are on the wire.
    pub list: &'i [u8],
}

impl MacroList<'_> {
    /// The stage of the command, if it is one that has macros.
    #[must_use]
    pub fn stage(&self) -> Option<Stage> {
        Stage::from_command(self.code)
    }
}

impl fmt::Debug for MacroList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MacroList {{ {:?}, \"{}\" }}", char::from(self.code), self.list.escape_ascii())
    }
}

/// A client has connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect<'i> {
    /// The client's name, or its address in brackets if it has none (as far as the MTA found out).
    pub host: &'i [u8],
    /// Where it connected from.
    pub address: ClientAddress<'i>,
}

impl Connect<'_> {
    fn put(&self, output: &mut BytesMut) {
        put_c_string(output, self.host);
        let mut put = |family: u8, port: u16, address: &[u8]| {
            output.put_u8(family);
            output.put_u16(port);
            put_c_string(output, address);
        };
        match self.address {
            ClientAddress::Inet(address, port) => put(b'4', port, address.to_string().as_bytes()),
            ClientAddress::Inet6(address, port) => put(b'6', port, address.to_string().as_bytes()),
            ClientAddress::Unix(path) => put(b'L', 0, path),
            ClientAddress::Unknown => output.put_u8(b'U'),
        }
    }
}

/// The address of an SMTP client, as the MTA tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAddress<'i> {
    /// IPv4, and the client's port (0 where there is none, as with Postfix' `non_smtpd_milters`).
    Inet(Ipv4Addr, u16),
    /// IPv6, and the client's port. An IPv4-mapped address stays as it is.
    Inet6(Ipv6Addr, u16),
    /// The path of a unix socket.
    Unix(&'i [u8]),
    /// Not told, or not an address: Postfix after XCLIENT sends the word `unknown` with family `4`.
    Unknown,
}

impl<'i> ClientAddress<'i> {
    fn read(family: u8, port: u16, text: &'i [u8]) -> ClientAddress<'i> {
        match family {
            b'4' => parse_ip(text).map_or(ClientAddress::Unknown, |ip| ClientAddress::Inet(ip, port)),
            b'6' => parse_ip(text).map_or(ClientAddress::Unknown, |ip| ClientAddress::Inet6(ip, port)),
            b'L' => ClientAddress::Unix(text),
            _ => ClientAddress::Unknown,
        }
    }
}

/// Sendmail writes `IPv6:0:0:0:0:0:0:0:1`, Postfix `::1`; some software writes brackets, or the zone of a link-local address.
fn parse_ip<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    let text = std::str::from_utf8(text).ok()?;
    let text = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let text = match text.split_at_checked(5) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case("ipv6:") => rest,
        _ => text,
    };
    let text = text.split_once('%').map_or(text, |(address, _zone)| address);
    text.parse().ok()
}

/// MAIL FROM.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mail<'i> {
    /// The argument as the client wrote it, usually in angle brackets. The null sender is `<>`, or empty from
    /// Postfix' `non_smtpd_milters`.
    pub address: &'i [u8],
    /// ESMTP parameters, e.g. `SIZE=100`.
    pub parameters: CStrings<'i>,
}

/// RCPT TO.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Rcpt<'i> {
    /// The argument as the client wrote it: `<u@h>`, `u@h`, `<@r1,@r2:u@h>`, `<"a b"@h>`, `<joe>`.
    pub address: &'i [u8],
    /// ESMTP parameters, e.g. `NOTIFY=NEVER`.
    pub parameters: CStrings<'i>,
}

impl fmt::Debug for Mail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_path(f, "Mail", self.address, self.parameters)
    }
}

impl fmt::Debug for Rcpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_path(f, "Rcpt", self.address, self.parameters)
    }
}

fn write_path(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    address: &[u8],
    parameters: CStrings<'_>,
) -> fmt::Result {
    write!(f, "{name} {{ \"{}\"", address.escape_ascii())?;
    for parameter in parameters.iter() {
        write!(f, ", \"{}\"", parameter.escape_ascii())?;
    }
    f.write_str(" }")
}

/// One header field.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Header<'i> {
    /// The name, without the colon.
    pub name: &'i [u8],
    /// The value. Folded lines are separated by a bare `\n`. One leading space is missing unless
    /// [`Steps::HEADER_LEADING_SPACE`] was agreed.
    pub value: &'i [u8],
}

impl fmt::Debug for Header<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Header {{ \"{}\", \"{}\" }}", self.name.escape_ascii(), self.value.escape_ascii())
    }
}

/// `T` `N` `A` `Q` `K`: nothing.
fn empty<'i>(payload: &[u8], command: Command<'i>) -> Option<Command<'i>> {
    payload.is_empty().then_some(command)
}

/// `O`: `u32be version | u32be actions | u32be steps | rest`. What an MTA might send behind its three words is tolerated,
/// as libmilter tolerates it; what a filter sends there is its macro requests.
pub(crate) fn opt_neg(input: &[u8]) -> IResult<&[u8], OptNeg<'_>> {
    (be_u32, be_u32, be_u32, rest)
        .map(|(version, actions, steps, macros)| OptNeg {
            version: Version(version),
            actions: Actions(actions),
            steps: Steps(steps),
            macros,
        })
        .parse(input)
}

/// Within `O`: `u32be stage | names NUL`
fn macro_request(input: &[u8]) -> IResult<&[u8], (u32, &[u8])> {
    pair(be_u32, c_string).parse(input)
}

/// `D`: `byte command | (name NUL value NUL)*`. The list is not looked into: odd ones and cut ones are tolerated.
fn macro_list(input: &[u8]) -> IResult<&[u8], MacroList<'_>> {
    pair(u8, rest).map(|(code, list)| MacroList { code, list }).parse(input)
}

/// `C`: `host NUL | byte family | [u16be port | address NUL]`. The family `U` has nothing behind it; with a family that we
/// don't know, what is behind it is not looked at.
fn connect(input: &[u8]) -> IResult<&[u8], Connect<'_>> {
    let (input, (host, family)) = pair(c_string, u8).parse(input)?;
    let (input, address) = match family {
        b'4' | b'6' | b'L' => {
            pair(be_u16, c_string).map(|(port, text)| ClientAddress::read(family, port, text)).parse(input)?
        }
        _ => rest.map(|_: &[u8]| ClientAddress::Unknown).parse(input)?,
    };
    Ok((input, Connect { host, address }))
}

/// `H`: `name NUL`
fn helo(input: &[u8]) -> IResult<&[u8], &[u8]> {
    c_string(input)
}

/// `M`: `address NUL | (parameter NUL)*`
fn mail(input: &[u8]) -> IResult<&[u8], Mail<'_>> {
    pair(c_string, c_strings).map(|(address, parameters)| Mail { address, parameters }).parse(input)
}

/// `R`: `address NUL | (parameter NUL)*`
fn rcpt(input: &[u8]) -> IResult<&[u8], Rcpt<'_>> {
    pair(c_string, c_strings).map(|(address, parameters)| Rcpt { address, parameters }).parse(input)
}

/// `L`: `name NUL | value NUL`
fn header(input: &[u8]) -> IResult<&[u8], Header<'_>> {
    pair(c_string, c_string).map(|(name, value)| Header { name, value }).parse(input)
}

/// `U`: `line NUL`
fn unknown(input: &[u8]) -> IResult<&[u8], &[u8]> {
    c_string(input)
}
