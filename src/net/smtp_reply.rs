//! Replies of a server (RFC 5321 §4.2), read from bytes as they come. Pure.
//!
//! They are hostile input: lines, replies and what is kept of their text are bounded, and the text is made printable before
//! anybody sees it. Failure answer: [`ReplyError`], after which nothing on that connection can be believed.

use std::fmt;

use milter_protocol::smtp_reply::sanitize;
use nom::{
    AsChar, IResult, Parser,
    branch::alt,
    bytes::complete::{tag, take_while_m_n},
    character::complete::{char, one_of},
    combinator::{eof, map_res, not, opt, peek, recognize, value, verify},
    sequence::{pair, preceded, terminated},
};

/// One reply, all of its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// 200 to 599.
    pub code: u16,
    /// What the lines say besides (RFC 2034).
    pub status: Said,
    /// The lines without the code, printable ASCII, each cut at [`KEPT`] characters.
    pub lines: Vec<String>,
}

/// The enhanced status code of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// No line has one.
    Nothing,
    /// Those lines that have one agree.
    Status(Status),
    /// They do not.
    Several,
}

/// An enhanced status code (RFC 3463 §2), such as 5.1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Status {
    /// 2, 4 or 5.
    pub class: u8,
    /// What it is about.
    pub subject: u16,
    /// What exactly.
    pub detail: u16,
}

/// What came is no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// Does not begin as one; the line, made printable.
    #[error("not a line of an SMTP reply: {0:?}")]
    Line(String),
    /// Too long a line.
    #[error("a line of more than {MAX_LINE} bytes")]
    LongLine,
    /// Too many lines, or too much in all.
    #[error("a reply of more than {MAX_LINES} lines or {MAX_REPLY} bytes")]
    Long,
    /// One reply with two codes.
    #[error("the lines of one reply begin with {0} and {1}")]
    Codes(u16, u16),
}

/// Puts bytes together to replies.
#[derive(Debug, Default)]
pub struct Reader {
    /// Bytes that are not yet a line.
    buffer: Vec<u8>,
    /// So many of them hold no line feed.
    searched: usize,
    /// The lines of a reply whose last one is still to come.
    begun: Option<Reply>,
    /// Bytes of that reply.
    size: usize,
}

impl Reader {
    /// Takes what was received. To be followed by [`Reader::take`] until that has no more.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole reply; `None`: more bytes are needed.
    ///
    /// # Errors
    /// [`ReplyError`].
    pub fn take(&mut self) -> Result<Option<Reply>, ReplyError> {
        loop {
            let rest = self.buffer.get(self.searched..).unwrap_or_default();
            let Some(at) = rest.iter().position(|&byte| byte == b'\n') else {
                self.searched = self.buffer.len();
                return if self.buffer.len() > MAX_LINE { Err(ReplyError::LongLine) } else { Ok(None) };
            };
            let line: Vec<u8> = self.buffer.drain(..=self.searched + at).collect();
            self.searched = 0;
            if let Some(reply) = self.add(&line)? {
                return Ok(Some(reply));
            }
        }
    }

    /// Whether there is nothing that belongs to a next reply.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty() && self.begun.is_none()
    }

    fn add(&mut self, line: &[u8]) -> Result<Option<Reply>, ReplyError> {
        if line.len() > MAX_LINE {
            return Err(ReplyError::LongLine);
        }
        self.size += line.len();
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let (_, (code, last, text)) =
            reply_line(text).map_err(|_| ReplyError::Line(sanitize(text, KEPT).into_owned()))?;
        let said = status_of(text);
        let reply = self.begun.get_or_insert_with(|| Reply { code, status: said, lines: Vec::new() });
        if reply.code != code {
            return Err(ReplyError::Codes(reply.code, code));
        }
        if reply.lines.len() == MAX_LINES || self.size > MAX_REPLY {
            return Err(ReplyError::Long);
        }
        reply.status = reply.status.and(said);
        reply.lines.push(sanitize(text, KEPT).into_owned());
        if !last {
            return Ok(None);
        }
        self.size = 0;
        Ok(self.begun.take())
    }
}

impl Said {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, said) | (said, Self::Nothing) => said,
            (Self::Status(one), Self::Status(two)) if one == two => self,
            _ => Self::Several,
        }
    }
}

impl Status {
    /// `5.1.1`, and nothing else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        terminated(digits, eof).parse(text.as_bytes()).ok().map(|(_, status)| status)
    }
}

/// On one line, for a log.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        for line in self.lines.iter().filter(|line| !line.is_empty()).take(SHOWN) {
            write!(f, " {line}")?;
        }
        Ok(())
    }
}

/// `Reply-code [ ( "-" / SP ) textstring ]`: the code, whether it is the last line, and the text.
fn reply_line(input: &[u8]) -> IResult<&[u8], (u16, bool, &[u8])> {
    let (rest, code) = verify(number(3, 3), |code| (200..600).contains(code)).parse(input)?;
    let (text, last) =
        alt((value(false, char('-')), value(true, char(' ')), value(true, eof))).parse(rest)?;
    Ok((&[], (code, last, text)))
}

/// The enhanced status code at the beginning of a line's text. Some servers write `#5.1.0` or `(5.7.1)`, or have a colon
/// after it: such a code is read, too, since a refusal that names another reason must not pass for one that names none.
fn status_of(text: &[u8]) -> Said {
    let end = not(alt((recognize(pair(char('.'), one_of("0123456789"))), recognize(one_of("0123456789")))));
    let parsed: IResult<_, _> = terminated(preceded(opt(one_of("#([")), digits), peek(end)).parse(text);
    parsed.map_or(Said::Nothing, |(_, status)| Said::Status(status))
}

/// `class "." subject "." detail` (RFC 3463 §2)
fn digits(input: &[u8]) -> IResult<&[u8], Status> {
    let (input, class) = one_of("245").parse(input)?;
    let (input, subject) = preceded(tag("."), number(1, 3)).parse(input)?;
    let (input, detail) = preceded(tag("."), number(1, 3)).parse(input)?;
    let class = class as u8 - b'0';
    Ok((input, Status { class, subject, detail }))
}

fn number<'a>(
    least: usize,
    most: usize,
) -> impl Parser<&'a [u8], Output = u16, Error = nom::error::Error<&'a [u8]>> {
    map_res(take_while_m_n(least, most, AsChar::is_dec_digit), |digits: &[u8]| {
        std::str::from_utf8(digits).unwrap_or_default().parse()
    })
}

/// With its end. RFC 5321 §4.5.3.1.5 allows 512, and there are servers that write more.
const MAX_LINE: usize = 2048;
const MAX_LINES: usize = 100;
/// All lines of a reply.
const MAX_REPLY: usize = 32 * 1024;
/// Characters of a line that are kept.
const KEPT: usize = 200;
/// Lines that are shown.
const SHOWN: usize = 3;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8], chunk: usize) -> Result<Vec<Reply>, ReplyError> {
        let mut reader = Reader::default();
        let mut replies = Vec::new();
        for part in bytes.chunks(chunk.max(1)) {
            reader.push(part);
            while let Some(reply) = reader.take()? {
                replies.push(reply);
            }
        }
        Ok(replies)
    }

    fn one(text: &str) -> Reply {
        let mut replies = read(text.as_bytes(), 7).unwrap();
        assert_eq!(replies.len(), 1, "{text:?}");
        replies.remove(0)
    }

    fn status(class: u8, subject: u16, detail: u16) -> Said {
        Said::Status(Status { class, subject, detail })
    }

    /// RFC 5321 §4.2, RFC 2034 §4, and what servers write.
    #[test]
    fn codes_and_status_codes() {
        for (text, code, said) in [
            ("250 2.1.5 Ok\r\n", 250, status(2, 1, 5)),
            ("250 Ok\r\n", 250, Said::Nothing),
            ("250\r\n", 250, Said::Nothing),
            ("250 \r\n", 250, Said::Nothing),
            ("250 bare line feed\n", 250, Said::Nothing),
            ("550 5.1.1 <x@y>: Recipient address rejected: User unknown\r\n", 550, status(5, 1, 1)),
            ("550 5.1.10 RESOLVER.ADR.RecipientNotFound\r\n", 550, status(5, 1, 10)),
            ("550 5.1.1\r\n", 550, status(5, 1, 1)),
            ("550 5.1.1: no\r\n", 550, status(5, 1, 1)),
            ("550 #5.1.0 Address rejected.\r\n", 550, status(5, 1, 0)),
            ("550 (5.7.1) no\r\n", 550, status(5, 7, 1)),
            ("550 No such user\r\n", 550, Said::Nothing),
            ("550 5.1 short\r\n", 550, Said::Nothing),
            ("550 5.1.1.1 long\r\n", 550, Said::Nothing),
            ("550 5.1.1111 long\r\n", 550, Said::Nothing),
            ("550 3.1.1 no class\r\n", 550, Said::Nothing),
            ("550 192.0.2.1 is listed\r\n", 550, Said::Nothing),
            ("550 4.1.1 of another class\r\n", 550, status(4, 1, 1)),
            ("550-5.1.1 one\r\n550-5.1.1 two\r\n550 5.1.1 three\r\n", 550, status(5, 1, 1)),
            ("550-5.1.1 one\r\n550 go away\r\n", 550, status(5, 1, 1)),
            ("550-sorry\r\n550 5.7.1 go away\r\n", 550, status(5, 7, 1)),
            ("550-5.1.1 one\r\n550 5.7.1 two\r\n", 550, Said::Several),
            ("550-5.1.1 a\r\n550-5.7.1 b\r\n550 5.1.1 c\r\n", 550, Said::Several),
            ("421 4.3.2 Shutting down\r\n", 421, status(4, 3, 2)),
        ] {
            let reply = one(text);
            assert_eq!((reply.code, reply.status), (code, said), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_reply() {
        let line = |text: &str| ReplyError::Line(text.to_owned());
        for (text, error) in [
            ("\r\n", line("")),
            ("25\r\n", line("25")),
            ("250x\r\n", line("250x")),
            ("2500 Ok\r\n", line("2500 Ok")),
            ("199 too low\r\n", line("199 too low")),
            ("600 too high\r\n", line("600 too high")),
            ("+50 sign\r\n", line("+50 sign")),
            (" 250 blank\r\n", line(" 250 blank")),
            ("HTTP/1.1 400 Bad Request\r\n", line("HTTP/1.1 400 Bad Request")),
            ("\u{1b}[2J\r\n", line("?[2J")),
            ("250-a\r\n550 b\r\n", ReplyError::Codes(250, 550)),
            ("250-a\r\nb\r\n", line("b")),
        ] {
            assert_eq!(read(text.as_bytes(), 3), Err(error), "{text:?}");
        }
        assert_eq!(read(b"250 a\0\xff\x1b\r\x08\r\n", 3).unwrap()[0].lines, ["a?????"]);
    }

    #[test]
    fn nothing_grows_without_bound() {
        let line = |length: usize| format!("250 {}\r\n", "x".repeat(length - 6));
        assert!(read(line(MAX_LINE).as_bytes(), 100).is_ok());
        assert_eq!(read(line(MAX_LINE + 1).as_bytes(), 100), Err(ReplyError::LongLine));
        assert_eq!(read(&vec![b'2'; MAX_LINE + 1], 100), Err(ReplyError::LongLine), "without an end");
        let many = |lines: usize| format!("{}250 b\r\n", "250-a\r\n".repeat(lines - 1));
        assert_eq!(read(many(MAX_LINES).as_bytes(), 100).unwrap()[0].lines.len(), MAX_LINES);
        assert_eq!(read(many(MAX_LINES + 1).as_bytes(), 100), Err(ReplyError::Long));
        let big = format!("250-{}\r\n", "x".repeat(2000)).repeat(20);
        assert_eq!(read(big.as_bytes(), 100), Err(ReplyError::Long));
        assert!(one(&line(2000)).lines[0].len() <= KEPT);
    }

    #[test]
    fn what_belongs_to_a_next_reply_is_seen() {
        let mut reader = Reader::default();
        assert!(reader.is_empty());
        reader.push(b"250 a\r\n250-b\r\n");
        assert!(reader.take().unwrap().is_some() && !reader.is_empty());
        assert!(reader.take().unwrap().is_none() && !reader.is_empty(), "half a reply");
        reader.push(b"250 c\r\nx");
        assert!(reader.take().unwrap().is_some() && !reader.is_empty());
    }

    #[test]
    fn status_codes_of_the_configuration() {
        assert_eq!(Status::parse("5.4.1"), Some(Status { class: 5, subject: 4, detail: 1 }));
        for wrong in ["", "5.4", "5.4.1.", "5.4.1 ", "6.1.1", "5.1234.1", "#5.1.1", "550"] {
            assert_eq!(Status::parse(wrong), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn chunks_make_no_difference(bytes in proptest::collection::vec(
            prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'2'), Just(b'5'), Just(b'0'), Just(b'-'), Just(b' '), Just(b'.'), any::<u8>()], 0..150,
        ), chunk in 1_usize..20) {
            prop_assert_eq!(read(&bytes, chunk), read(&bytes, 300));
        }

        #[test]
        fn what_is_shown_is_printable(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut text = b"250 ".to_vec();
            text.extend(bytes.iter().filter(|&&byte| byte != b'\n'));
            text.push(b'\n');
            let shown = read(&text, 50).unwrap()[0].to_string();
            prop_assert!(shown.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }

        #[test]
        fn what_was_written_is_read(code in 200_u16..600, lines in proptest::collection::vec("[ -~]{0,80}", 1..20)) {
            let last = lines.len() - 1;
            let mark = |at: usize| if at == last { ' ' } else { '-' };
            let wire: String = lines.iter().enumerate().map(|(at, line)| format!("{code}{}{line}\r\n", mark(at))).collect();
            let replies = read(wire.as_bytes(), 11).unwrap();
            prop_assert_eq!(replies.len(), 1);
            prop_assert_eq!(replies[0].code, code);
            prop_assert_eq!(&replies[0].lines, &lines);
        }
    }
}
