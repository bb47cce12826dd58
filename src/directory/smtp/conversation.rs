//! What is said on one connection: banner, EHLO or LHLO, STARTTLS, then MAIL FROM:<> and RCPT TO for each question, and
//! RSET before the next; never DATA. Sans-IO: bytes in, bytes and steps out.
//!
//! Whatever the server says that it was not asked for ends the conversation. So does every refusal but one of the
//! recipient. Failure answer: [`TalkError`].

use std::{collections::VecDeque, fmt};

use crate::{
    address::Address,
    net::smtp_reply::{Reader, Reply, ReplyError},
};

/// Both sides of one connection so far.
#[derive(Debug)]
pub(super) struct Conversation {
    protocol: Protocol,
    /// Who we say we are.
    name: String,
    tls: Tls,
    reader: Reader,
    output: Vec<u8>,
    /// What the server still has to answer, in order.
    asked: VecDeque<Stage>,
    /// What is said when it has.
    next: VecDeque<(Stage, String)>,
    upgrade: bool,
    secured: bool,
    offers: Offers,
    /// A MAIL was said that no RSET followed.
    begun: bool,
    /// It was with SMTPUTF8.
    utf8: bool,
    answer: Option<Reply>,
}

/// The protocol's name for hello, and its port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Protocol {
    Smtp,
    Lmtp,
}

/// What becomes of STARTTLS (RFC 3207).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tls {
    Never,
    WhereOffered,
    Always,
}

/// What the server was asked last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Banner,
    Hello,
    StartTls,
    Reset,
    Mail,
    Rcpt,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Send this.
    Write(Vec<u8>),
    /// Wait for bytes, and hand them to [`Conversation::receive`].
    Read,
    /// Begin TLS, then call [`Conversation::secured`].
    StartTls,
    /// Nothing: a question can be asked.
    Idle,
    /// Nothing: this is the answer to the question.
    Answer(Reply),
}

/// Why a conversation came to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum TalkError {
    #[error("{0}: {1}")]
    Refused(Stage, Reply),
    #[error("it closes the connection: {0}")]
    Closing(Reply),
    #[error("it closed the connection without an answer to {0}")]
    Closed(Stage),
    #[error("what it says makes no sense: {0}")]
    Reply(#[from] ReplyError),
    #[error("it says more than it was asked for")]
    Unasked,
    #[error("it says more before TLS begins: somebody may be tampering with the connection (CVE-2011-0411)")]
    Smuggled,
    #[error("it does not offer STARTTLS, which tls = \"verify\" asks for")]
    NoTls,
    #[error("it does not offer SMTPUTF8, which this address needs")]
    NoUtf8,
}

#[derive(Debug, Default)]
struct Offers {
    start_tls: bool,
    utf8: bool,
    pipelining: bool,
}

impl Conversation {
    /// The server speaks first.
    pub(super) fn new(protocol: Protocol, name: &str, tls: Tls) -> Self {
        Self {
            protocol,
            name: name.to_owned(),
            tls,
            reader: Reader::default(),
            output: Vec::new(),
            asked: VecDeque::from([Stage::Banner]),
            next: VecDeque::new(),
            upgrade: false,
            secured: false,
            offers: Offers::default(),
            begun: false,
            utf8: false,
            answer: None,
        }
    }

    /// Asks for a recipient; to be called when [`Step::Idle`] or [`Step::Answer`] came last.
    pub(super) fn ask(&mut self, recipient: &Address) -> Result<(), TalkError> {
        let utf8 = !recipient.key_str().is_ascii();
        if utf8 && !self.offers.utf8 {
            return Err(TalkError::NoUtf8);
        }
        if std::mem::replace(&mut self.begun, true) {
            self.next.push_back((Stage::Reset, "RSET\r\n".to_owned()));
        }
        self.utf8 = utf8;
        let parameter = if utf8 { " SMTPUTF8" } else { "" };
        self.next.push_back((Stage::Mail, format!("MAIL FROM:<>{parameter}\r\n")));
        self.rcpt(recipient);
        Ok(())
    }

    /// Asks for another one in the same transaction; to be called when [`Step::Answer`] came last.
    pub(super) fn ask_also(&mut self, recipient: &Address) -> Result<(), TalkError> {
        if !self.utf8 && !recipient.key_str().is_ascii() {
            return self.ask(recipient);
        }
        self.rcpt(recipient);
        Ok(())
    }

    /// What came from the server. Not longer than a few thousand bytes at a time, with all steps taken in between.
    pub(super) fn receive(&mut self, bytes: &[u8]) {
        self.reader.push(bytes);
    }

    /// TLS has begun: nothing that was said before counts (RFC 3207 §4.2).
    pub(super) fn secured(&mut self) {
        self.upgrade = false;
        self.secured = true;
        self.offers = Offers::default();
        self.hello();
    }

    /// What the server has to answer next.
    pub(super) fn stage(&self) -> Stage {
        self.asked.front().copied().unwrap_or(Stage::Reset)
    }

    /// What to do next.
    pub(super) fn step(&mut self) -> Result<Step, TalkError> {
        loop {
            if !self.output.is_empty() {
                return Ok(Step::Write(std::mem::take(&mut self.output)));
            }
            if self.upgrade {
                return Ok(Step::StartTls);
            }
            if let Some(stage) = self.asked.front().copied() {
                let Some(reply) = self.reader.take()? else { return Ok(Step::Read) };
                self.asked.pop_front();
                self.heard(stage, reply)?;
                continue;
            }
            if !self.reader.is_empty() {
                return Err(TalkError::Unasked);
            }
            if self.next.is_empty() {
                return Ok(self.answer.take().map_or(Step::Idle, Step::Answer));
            }
            // RFC 2920 §3.1: RSET, MAIL and RCPT may all go at once.
            let count = if self.offers.pipelining { self.next.len() } else { 1 };
            for (stage, line) in self.next.drain(..count) {
                self.output.extend_from_slice(line.as_bytes());
                self.asked.push_back(stage);
            }
        }
    }

    fn heard(&mut self, stage: Stage, reply: Reply) -> Result<(), TalkError> {
        if reply.code == 421 {
            return Err(TalkError::Closing(reply));
        }
        let wanted = match stage {
            Stage::Banner | Stage::StartTls => reply.code == 220,
            Stage::Hello => reply.code == 250,
            Stage::Reset | Stage::Mail => (200..300).contains(&reply.code),
            Stage::Rcpt => !(300..400).contains(&reply.code),
        };
        match stage {
            Stage::StartTls if !wanted && self.tls == Tls::WhereOffered => {}
            _ if !wanted => return Err(TalkError::Refused(stage, reply)),
            Stage::Banner => self.hello(),
            Stage::Hello => return self.greeted(&reply),
            Stage::StartTls if !self.reader.is_empty() => return Err(TalkError::Smuggled),
            Stage::StartTls => self.upgrade = true,
            Stage::Reset | Stage::Mail => {}
            Stage::Rcpt => self.answer = Some(reply),
        }
        Ok(())
    }

    fn rcpt(&mut self, recipient: &Address) {
        // An address never holds a control character, and shows itself quoted where needed.
        self.next.push_back((Stage::Rcpt, format!("RCPT TO:<{recipient}>\r\n")));
    }

    fn hello(&mut self) {
        let verb = match self.protocol {
            Protocol::Smtp => "EHLO",
            Protocol::Lmtp => "LHLO",
        };
        self.next.push_back((Stage::Hello, format!("{verb} {}\r\n", self.name)));
    }

    /// RFC 5321 §4.1.1.1: after the first line, each begins with a keyword.
    fn greeted(&mut self, reply: &Reply) -> Result<(), TalkError> {
        for line in reply.lines.iter().skip(1) {
            let word = line.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
            match word.as_str() {
                "STARTTLS" => self.offers.start_tls = true,
                "SMTPUTF8" => self.offers.utf8 = true,
                "PIPELINING" => self.offers.pipelining = true,
                _ => {}
            }
        }
        if self.secured || self.tls == Tls::Never {
            return Ok(());
        }
        if self.offers.start_tls {
            self.next.push_back((Stage::StartTls, "STARTTLS\r\n".to_owned()));
        } else if self.tls == Tls::Always {
            return Err(TalkError::NoTls);
        }
        Ok(())
    }
}

/// What a refusal at this stage is.
impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Banner => "it refuses the connection",
            Self::Hello => "it refuses our greeting",
            Self::StartTls => "it refuses STARTTLS",
            Self::Reset => "it refuses RSET",
            Self::Mail => {
                "it refuses the null sender MAIL FROM:<>, which every server has to take (RFC 5321 §4.5.5), so it can't be asked"
            }
            Self::Rcpt => "it does not answer RCPT as it should",
        })
    }
}

#[cfg(test)]
mod tests;
