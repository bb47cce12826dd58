//! What can go wrong between us and an LDAP server, and whom it speaks against.
//!
//! No fault ever means that a recipient does not exist. Text that a server sent is made safe to print here.

use std::{fmt, future::Future, io, panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt;
use ldap3::{LdapError, LdapResult};

use crate::directory::{Why, remote::Failure};

/// Why one server did not answer a question.
#[derive(Debug, thiserror::Error)]
pub(in crate::directory) enum Fault {
    /// No connection, or it was cut.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// No secure connection.
    #[error("TLS: {0}{hint}", hint = hint(.0))]
    Tls(io::Error),
    /// The host's name is none that a certificate can be for.
    #[error("TLS: a certificate can't be for this name")]
    Name,
    /// The connection is gone, or the library could not use it.
    #[error("{0}")]
    Library(LdapError),
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// No answer in time, while the server answered others.
    #[error("no answer to this question in time")]
    Slow,
    /// StartTLS was not granted.
    #[error("StartTLS was refused: {0}")]
    StartTls(Code),
    /// The bind was refused.
    #[error("the bind was refused: {0}")]
    Bind(Code),
    /// The password was refused a short while ago; to insist would lock the account.
    #[error("the password was refused; it is tried again when its file changes, or {} s later", .0.as_secs())]
    Refused(Duration),
    /// The result of a search is an error.
    #[error("{0}")]
    Search(Code),
    /// `noSuchObject`: the base is not there, or hidden.
    #[error("there is no base {0:?} that the account may see: {1}")]
    Base(String, Code),
    /// What came is not what RFC 4511 says.
    #[error("the answer made no sense")]
    Malformed,
    /// The same of one question, on a connection that was fine until then.
    #[error("the answer to this question made no sense, or was too long")]
    Unfit,
    /// It is an Active Directory, whose entries are read as if it were not.
    #[error("the server is Active Directory: set schema = \"active-directory\" (or list `attributes`)")]
    ActiveDirectory,
    /// There was more than one question may ask for.
    #[error("the answer has too many entries")]
    TooMany,
    /// A part of the directory is on another server, and nobody asked there.
    #[error(
        "a part of the directory is elsewhere ({0}): set follow_referrals, or ask the global catalogue (port 3268, or 3269 with TLS)"
    )]
    Elsewhere(String),
    /// A referral that can't be followed.
    #[error("the referral to {0} can't be followed: {1}")]
    Referral(String, &'static str),
    /// The server does not have this attribute, so nobody can be called absent.
    #[error("the server has no attribute {0:?}: look at `attributes` and `filter`")]
    Attribute(String),
    /// Not a single recipient can be seen, so nobody can be called absent.
    #[error(
        "not a single recipient can be seen: may the account read the addresses below the base, and do `attributes` and `filter` fit them?"
    )]
    Blind,
}

/// A result code (RFC 4511 §4.1.9) with what the server said to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::directory) struct Code {
    code: u32,
    text: String,
}

/// A fault, and where.
#[derive(Debug, thiserror::Error)]
#[error("{server}: {fault}{hint}")]
struct At {
    server: String,
    fault: Fault,
    /// What helps against it.
    hint: &'static str,
}

/// All servers are known to be down.
#[derive(Debug, thiserror::Error)]
#[error("all servers are left alone for a moment; the last that was wrong: {0}")]
struct AllDown(String);

/// All connections are in use.
#[derive(Debug, thiserror::Error)]
#[error("too many questions at once")]
struct Crowded;

impl Fault {
    /// For whoever decides.
    pub(super) fn why(&self) -> Why {
        match self {
            Self::Io(_) | Self::Tls(_) | Self::Name | Self::Library(_) => Why::Down,
            Self::TimedOut | Self::Slow => Why::TimedOut,
            _ => Why::Failed,
        }
    }

    /// Whether it speaks against the server, so that the others are asked first for a while. What speaks against one
    /// question only must not: the server still answers all others.
    pub(super) fn blames_server(&self) -> bool {
        match self {
            Self::Search(code) => code.blames_server(),
            Self::Slow
            | Self::Base(..)
            | Self::Unfit
            | Self::ActiveDirectory
            | Self::TooMany
            | Self::Elsewhere(_)
            | Self::Referral(..)
            | Self::Attribute(_)
            | Self::Blind => false,
            _ => true,
        }
    }

    /// Whether the connection was cut under the question, which says nothing of the server if the connection was old.
    pub(super) fn is_cut(&self) -> bool {
        matches!(self, Self::Io(_) | Self::Library(_))
    }

    /// The failure of a question to this server.
    pub(super) fn at(self, server: &str) -> Failure {
        Failure::new(self.why(), At { server: server.to_owned(), fault: self, hint: "" })
    }

    /// The same where nobody in particular asked.
    pub(super) fn at_anonymously(self, server: &str) -> Failure {
        let hint = if self.is_of_rights() { ": set bind_dn and password_file, or sasl" } else { "" };
        Failure::new(self.why(), At { server: server.to_owned(), fault: self, hint })
    }

    /// Whether somebody else might get an answer. Active Directory's word for that is operationsError.
    fn is_of_rights(&self) -> bool {
        match self {
            Self::Bind(code) | Self::Search(code) => matches!(code.code, 1 | 8 | 48 | 50),
            Self::Base(..) | Self::Blind => true,
            _ => false,
        }
    }
}

impl From<LdapError> for Fault {
    fn from(error: LdapError) -> Self {
        match error {
            LdapError::Io { source } => Self::Io(source),
            LdapError::LdapResult { result } => Self::Search(Code::of(&result)),
            LdapError::Timeout { .. } => Self::TimedOut,
            // The driver has ended: the connection is closed.
            LdapError::OpSend { .. }
            | LdapError::ResultRecv { .. }
            | LdapError::IdScrubSend { .. }
            | LdapError::EndOfStream => Self::Io(io::ErrorKind::ConnectionAborted.into()),
            other => Self::Library(other),
        }
    }
}

impl Code {
    /// The code of a result.
    pub(super) fn of(result: &LdapResult) -> Self {
        Self::new(result.rc, &result.text)
    }

    /// This code, with what the server said to it.
    pub(super) fn new(code: u32, text: &str) -> Self {
        Self { code, text: printable(text) }
    }

    /// The number.
    pub(super) fn number(&self) -> u32 {
        self.code
    }

    /// busy, unavailable, operationsError, unwillingToPerform, other: trouble of the server as a whole. protocolError
    /// too: whatever speaks so does not speak LDAPv3. A limit that was reached (timeLimit, adminLimit) speaks against the
    /// question.
    fn blames_server(&self) -> bool {
        matches!(self.code, 1 | 2 | 51 | 52 | 53 | 80)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(code, _)| *code == self.code) {
            Some((code, name)) => write!(f, "{name} ({code})")?,
            None => write!(f, "result code {}", self.code)?,
        }
        if self.text.is_empty() { Ok(()) } else { write!(f, ": {}", self.text) }
    }
}

/// The failure when no server is worth trying; `last` is what the last one had.
pub(super) fn all_down(last: &str) -> Failure {
    Failure::new(Why::Down, AllDown(last.to_owned()))
}

/// The failure when it is not the servers' turn before the deadline.
pub(super) fn crowded() -> Failure {
    Failure::new(Why::Busy, Crowded)
}

/// The library panics on some answers that are not as they should be. Whoever sends such is a server that fails.
pub(super) async fn caught<T>(asked: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    AssertUnwindSafe(asked).catch_unwind().await.unwrap_or(Err(Fault::Malformed))
}

/// What helps against a connection that is not secure.
fn hint(error: &io::Error) -> &'static str {
    let of_tls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    match of_tls {
        Some(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer)) => {
            ": name the authority that signed the server's certificate in ca_file"
        }
        Some(rustls::Error::InvalidMessage(_)) => NO_TLS,
        // OpenLDAP hangs up on what is no LDAP, Active Directory resets the connection.
        None if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => {
            NO_TLS
        }
        _ => "",
    }
}

/// Text of a server: one line of printable characters, and not too long.
pub(super) fn printable(text: &str) -> String {
    let text = text.trim_end_matches(['\0', '\r', '\n']);
    let mut safe: String = text.chars().take(LONGEST_TEXT).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST_TEXT).is_some() {
        safe.push('…');
    }
    safe
}

/// As when `ldaps://` is used with port 389.
const NO_TLS: &str =
    ": does it speak TLS at this port? ldaps:// is mostly port 636; ldap:// with start_tls is port 389";
/// Characters of a server's text that are kept.
const LONGEST_TEXT: usize = 200;

/// RFC 4511 §4.1.9, as far as a client without writes meets them.
const NAMES: [(u32, &str); 28] = [
    (1, "operationsError"),
    (2, "protocolError"),
    (3, "timeLimitExceeded"),
    (4, "sizeLimitExceeded"),
    (7, "authMethodNotSupported"),
    (8, "strongerAuthRequired"),
    (10, "referral"),
    (11, "adminLimitExceeded"),
    (12, "unavailableCriticalExtension"),
    (13, "confidentialityRequired"),
    (14, "saslBindInProgress"),
    (16, "noSuchAttribute"),
    (17, "undefinedAttributeType"),
    (18, "inappropriateMatching"),
    (19, "constraintViolation"),
    (21, "invalidAttributeSyntax"),
    (32, "noSuchObject"),
    (33, "aliasProblem"),
    (34, "invalidDNSyntax"),
    (36, "aliasDereferencingProblem"),
    (48, "inappropriateAuthentication"),
    (49, "invalidCredentials"),
    (50, "insufficientAccessRights"),
    (51, "busy"),
    (52, "unavailable"),
    (53, "unwillingToPerform"),
    (54, "loopDetect"),
    (80, "other"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_rfc_4511_and_whom_they_speak_against() {
        for (code, blames, shown) in [
            (1, true, "operationsError (1)"),
            (3, false, "timeLimitExceeded (3)"),
            (11, false, "adminLimitExceeded (11)"),
            (32, false, "noSuchObject (32)"),
            (50, false, "insufficientAccessRights (50)"),
            (51, true, "busy (51)"),
            (52, true, "unavailable (52)"),
            (53, true, "unwillingToPerform (53)"),
            (80, true, "other (80)"),
            (4096, false, "result code 4096"),
        ] {
            let code = Code::new(code, "");
            assert_eq!(code.to_string(), shown);
            assert_eq!(Fault::Search(code.clone()).blames_server(), blames, "{shown}");
            assert_eq!(Fault::Search(code).why(), Why::Failed);
        }
    }

    #[test]
    fn what_speaks_against_one_question_only() {
        let attribute = Fault::Attribute("x".to_owned());
        for fault in
            [Fault::Slow, Fault::Unfit, Fault::ActiveDirectory, attribute, Fault::Blind, Fault::TooMany]
        {
            assert!(!fault.blames_server(), "{fault}");
        }
        for fault in [Fault::TimedOut, Fault::Malformed, Fault::Bind(Code::new(49, ""))] {
            assert!(fault.blames_server(), "{fault}");
        }
    }

    #[test]
    fn what_would_help_is_told() {
        let rights = || Fault::Search(Code::new(50, ""));
        assert!(!rights().at("x").to_string().contains("bind_dn"));
        assert!(rights().at_anonymously("x").to_string().contains("bind_dn and password_file"));
        assert!(!Fault::TimedOut.at_anonymously("x").to_string().contains("bind_dn"));
        let error = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let tls = Fault::Tls(io::Error::new(io::ErrorKind::InvalidData, error));
        assert!(tls.to_string().contains("UnknownIssuer") && tls.to_string().contains("ca_file"), "{tls}");
        for kind in [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset] {
            let tls = Fault::Tls(kind.into());
            assert!(tls.to_string().contains("start_tls"), "{tls}");
        }
        assert!(!Fault::Tls(io::ErrorKind::TimedOut.into()).to_string().contains("start_tls"));
    }

    #[test]
    fn what_a_server_says_is_one_short_line() {
        let code = Code::new(49, "80090308: LdapErr\n\x1b[31mdata 52e\0");
        assert_eq!(code.to_string(), r"invalidCredentials (49): 80090308: LdapErr\n\u{1b}[31mdata 52e");
        assert_eq!(printable(&"x".repeat(9999)).chars().count(), LONGEST_TEXT + 1);
        assert_eq!(printable("caf\u{e9} \u{202e}"), r"café \u{202e}");
    }
}
