//! An SMTP reply of the filter's own: the only way to a REPLYCODE (`y`), and only in the form that does no harm.
//!
//! What happens with other forms was seen on real MTAs: a CRLF at the end shifts all later replies of the SMTP session by one; a
//! last line with `-` hangs the client; a missing NUL made Postfix 3.7.11 send bytes of its memory to the client.
//! So a [`SmtpReply`] is checked when it is made, and encoded once; it is cheap to clone and to send.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::str::FromStr;

use bytes::{BufMut, Bytes, BytesMut};

use crate::frame::write_frame;

/// A reply such as `550 5.1.1 No such user here`, of one line or more.
///
/// ```
/// use milter_protocol::smtp_reply::SmtpReply;
///
/// let reply = SmtpReply::new(550, "5.1.1".parse()?, ["No such user here"])?;
/// assert_eq!(reply.to_string(), "550 5.1.1 No such user here");
/// assert!(reply.is_permanent());
/// assert!(SmtpReply::new(550, "4.1.1".parse()?, ["These two differ"]).is_err());
/// # Ok::<(), milter_protocol::smtp_reply::SmtpReplyError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SmtpReply {
    /// The whole frame, length word and NUL included.
    frame: Bytes,
}

/// An enhanced status code (RFC 3463), e.g. 5.1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnhancedCode {
    /// 4 (temporary) or 5 (permanent).
    pub class: u8,
    /// What it is about; at most 999.
    pub subject: u16,
    /// What exactly; at most 999.
    pub detail: u16,
}

/// Why something is not a reply that may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SmtpReplyError {
    /// Only 400 to 599: a filter can't say yes in this way.
    #[error("{0} is not a reply code from 400 to 599")]
    Code(u16),
    /// Not of the form `class.subject.detail`, class 4 or 5, the others at most 999 (RFC 3463 §2).
    #[error("not an enhanced status code")]
    Enhanced,
    /// The class must be the first digit of the code.
    #[error("the enhanced status code's class {class} is not the first digit of {code}")]
    ClassDiffers {
        /// The reply code.
        code: u16,
        /// The class of the enhanced code.
        class: u8,
    },
    /// No lines, or one without text.
    #[error("line {0} has no text")]
    NoText(usize),
    /// CR, LF, NUL, another control character, or one outside of ASCII (RFC 5321 §4.2); see [`sanitize`].
    #[error("line {line} has the character {character:?}")]
    Character {
        /// Which line, from 1.
        line: usize,
        /// The character.
        character: char,
    },
    /// Over [`SmtpReply::MAX_LINE`].
    #[error("line {line} has {length} bytes, more than {max}", max = SmtpReply::MAX_LINE)]
    LineTooLong {
        /// Which line, from 1.
        line: usize,
        /// Its length.
        length: usize,
    },
    /// Over [`SmtpReply::MAX_LINES`].
    #[error("more than {max} lines", max = SmtpReply::MAX_LINES)]
    TooManyLines,
    /// Not a reply at all, or not ended by exactly one NUL, or lines with different codes, or a `%` that is not doubled.
    #[error("not the wire form of a reply")]
    Wire,
}

impl SmtpReply {
    /// The most bytes of a line on the wire: the codes and doubled `%` included, CRLF not. RFC 5321 §4.5.3.1.5 allows
    /// 512; the rest is for what MTAs add.
    pub const MAX_LINE: usize = 480;
    /// The most lines; libmilter takes no more.
    pub const MAX_LINES: usize = 32;

    /// Makes a reply of the same codes on each line.
    ///
    /// # Errors
    /// When the codes contradict each other, or a line is empty, too long, or has characters other than printable ASCII.
    pub fn new<L: AsRef<str>>(
        code: u16,
        enhanced: EnhancedCode,
        lines: impl IntoIterator<Item = L>,
    ) -> Result<SmtpReply, SmtpReplyError> {
        if !(400..600).contains(&code) {
            return Err(SmtpReplyError::Code(code));
        }
        enhanced.check()?;
        if u16::from(enhanced.class) != code / 100 {
            return Err(SmtpReplyError::ClassDiffers { code, class: enhanced.class });
        }
        let mut text = String::new();
        let mut line_start = 0;
        for (index, line) in lines.into_iter().enumerate() {
            if index == SmtpReply::MAX_LINES {
                return Err(SmtpReplyError::TooManyLines);
            }
            if index > 0 {
                text.replace_range(line_start + 3..line_start + 4, "-");
                text.push_str("\r\n");
            }
            line_start = text.len();
            write!(text, "{code} {enhanced} ").expect("a String takes all");
            put_text(&mut text, index + 1, line.as_ref())?;
            let length = text.len() - line_start;
            if length > SmtpReply::MAX_LINE {
                return Err(SmtpReplyError::LineTooLong { line: index + 1, length });
            }
        }
        if text.is_empty() {
            return Err(SmtpReplyError::NoText(1));
        }
        let mut frame = BytesMut::with_capacity(text.len() + 6);
        write_frame(&mut frame, b'y', |frame| {
            frame.put_slice(text.as_bytes());
            frame.put_u8(0);
        });
        Ok(SmtpReply { frame: frame.freeze() })
    }

    /// Reads the payload of a `y` frame, and takes it only if it is of the safe form.
    ///
    /// # Errors
    /// When it is of any other form, even of one that MTAs take (e.g. without an enhanced code).
    pub fn from_wire(payload: &[u8]) -> Result<SmtpReply, SmtpReplyError> {
        let text = payload.strip_suffix(&[0]).and_then(|text| std::str::from_utf8(text).ok());
        let text = text.ok_or(SmtpReplyError::Wire)?;
        let (first, _) = split_line(text)?;
        let mut lines = Vec::new();
        for line in text.split("\r\n") {
            let (codes, text) = split_line(line)?;
            if codes != first {
                return Err(SmtpReplyError::Wire);
            }
            lines.push(text.replace("%%", "%"));
        }
        let reply = SmtpReply::new(first.0, first.1, lines)?;
        // Whatever is not as we would have written it (`%`, `-`, leading zeros) is not the safe form.
        if reply.wire_text() == text.as_bytes() { Ok(reply) } else { Err(SmtpReplyError::Wire) }
    }

    /// The reply code, 400 to 599.
    #[must_use]
    pub fn code(&self) -> u16 {
        self.codes().0
    }

    /// The enhanced status code.
    #[must_use]
    pub fn enhanced(&self) -> EnhancedCode {
        self.codes().1
    }

    /// The text of each line, without the codes.
    pub fn lines(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.wire_lines().map(|(_, text)| {
            if text.contains('%') { Cow::Owned(text.replace("%%", "%")) } else { Cow::Borrowed(text) }
        })
    }

    /// Whether it is a permanent refusal (5xx) and not a temporary one (4xx).
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        self.wire_text().starts_with(b"5")
    }

    /// Appends the `y` frame.
    pub fn encode(&self, output: &mut BytesMut) {
        output.extend_from_slice(&self.frame);
    }

    fn codes(&self) -> (u16, EnhancedCode) {
        self.wire_lines().next().expect("at least one line").0
    }

    fn wire_lines(&self) -> impl Iterator<Item = ((u16, EnhancedCode), &str)> {
        let text = std::str::from_utf8(self.wire_text()).expect("made of ASCII");
        text.split("\r\n").map(|line| split_line(line).expect("made by new()"))
    }

    fn wire_text(&self) -> &[u8] {
        &self.frame[5..self.frame.len() - 1]
    }
}

/// As the client sees it: `%` single, lines separated by a line feed.
impl fmt::Display for SmtpReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, enhanced) = self.codes();
        let mut lines = self.lines().peekable();
        while let Some(line) = lines.next() {
            if lines.peek().is_some() {
                writeln!(f, "{code}-{enhanced} {line}")?;
            } else {
                write!(f, "{code} {enhanced} {line}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for SmtpReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SmtpReply({:?})", self.to_string())
    }
}

impl EnhancedCode {
    fn check(self) -> Result<(), SmtpReplyError> {
        let fine = matches!(self.class, 4 | 5) && self.subject <= 999 && self.detail <= 999;
        if fine { Ok(()) } else { Err(SmtpReplyError::Enhanced) }
    }
}

impl fmt::Display for EnhancedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// RFC 3463 §2: `class "." subject "." detail`, no leading zeros.
impl FromStr for EnhancedCode {
    type Err = SmtpReplyError;

    fn from_str(text: &str) -> Result<EnhancedCode, SmtpReplyError> {
        let mut parts = text.split('.').map(number);
        let (class, subject, detail) = (parts.next(), parts.next(), parts.next());
        let (Some(Some(class)), Some(Some(subject)), Some(Some(detail)), None) =
            (class, subject, detail, parts.next())
        else {
            return Err(SmtpReplyError::Enhanced);
        };
        let class = u8::try_from(class).map_err(|_| SmtpReplyError::Enhanced)?;
        let code = EnhancedCode { class, subject, detail };
        code.check().map(|()| code)
    }
}

/// Makes text that came from a client fit for a reply: whatever is not printable ASCII becomes `?`, and what is
/// longer than `max` characters is cut. Says nothing of what the text means: a client still chooses the words.
#[must_use]
pub fn sanitize(text: &[u8], max: usize) -> Cow<'_, str> {
    let cut = &text[..text.len().min(max)];
    match std::str::from_utf8(cut) {
        Ok(text) if text.bytes().all(is_printable) => Cow::Borrowed(text),
        _ => Cow::Owned(
            cut.iter().map(|&byte| if is_printable(byte) { char::from(byte) } else { '?' }).collect(),
        ),
    }
}

fn is_printable(byte: u8) -> bool {
    (b' '..=b'~').contains(&byte)
}

/// Appends `text` with each `%` doubled: both MTAs give it to a printf of theirs.
fn put_text(output: &mut String, line: usize, text: &str) -> Result<(), SmtpReplyError> {
    if text.trim().is_empty() {
        return Err(SmtpReplyError::NoText(line));
    }
    for character in text.chars() {
        if !matches!(character, ' '..='~') {
            return Err(SmtpReplyError::Character { line, character });
        }
        output.push(character);
        if character == '%' {
            output.push('%');
        }
    }
    Ok(())
}

/// `ddd`, ` ` or `-`, enhanced code, ` `, text
fn split_line(line: &str) -> Result<((u16, EnhancedCode), &str), SmtpReplyError> {
    let (code, rest) = line.split_at_checked(3).ok_or(SmtpReplyError::Wire)?;
    let code = number(code).ok_or(SmtpReplyError::Wire)?;
    let rest = rest.strip_prefix([' ', '-']).ok_or(SmtpReplyError::Wire)?;
    let (enhanced, text) = rest.split_once(' ').ok_or(SmtpReplyError::Wire)?;
    Ok(((code, enhanced.parse()?), text))
}

/// One to three digits without a leading zero.
fn number(text: &str) -> Option<u16> {
    let digits = (1..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits && (text == "0" || !text.starts_with('0')) { text.parse().ok() } else { None }
}
