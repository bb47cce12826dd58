//! What may be answered: one type per stage, each holding only the replies that are right at that stage on both
//! Postfix and Sendmail.
//!
//! There is no *accept* for a recipient (it would hide the later ones), no *discard* of a connection (a silent bypass
//! on Sendmail), no *progress* where Sendmail takes it for an error and lets the recipient pass.
//!
//! ```compile_fail,E0599
//! # use milter_protocol::verdict::RcptVerdict;
//! let verdict = RcptVerdict::Accept; // a recipient is allowed with Continue
//! ```
//! ```compile_fail,E0599
//! # use milter_protocol::verdict::RcptVerdict;
//! let verdict = RcptVerdict::Skip; // Sendmail would not ask again in this session
//! ```
//! ```compile_fail,E0599
//! # use milter_protocol::verdict::ConnectVerdict;
//! let verdict = ConnectVerdict::Discard; // a silent bypass
//! ```
//! ```compile_fail,E0308
//! # use milter_protocol::verdict::RcptVerdict;
//! let verdict = RcptVerdict::Refuse("250 2.1.5 fine"); // only a checked SmtpReply
//! ```

use crate::smtp_reply::SmtpReply;

/// An answer to an event of one stage. Only the types of this module are.
pub trait Verdict: sealed::Verdict {}

pub(crate) mod sealed {
    use super::SmtpReply;

    pub trait Verdict {
        /// The byte of the command that is answered.
        const COMMAND: u8;

        fn outcome(self) -> Outcome;
    }

    /// What all verdicts are made of.
    #[derive(Debug)]
    pub enum Outcome {
        Continue,
        Refuse(SmtpReply),
        Accept,
        Discard,
        Skip,
    }
}

/// `Continue` and `Refuse` are in each verdict; the others are named.
macro_rules! verdict {
    ($(#[$doc:meta])* $name:ident($command:literal) { $($(#[$variant_doc:meta])* $variant:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[must_use]
        pub enum $name {
            /// Go on.
            Continue,
            /// Refuse, for now or for good, with this reply to the client.
            Refuse(SmtpReply),
            $($(#[$variant_doc])* $variant,)*
        }

        impl Verdict for $name {}

        impl sealed::Verdict for $name {
            const COMMAND: u8 = $command;

            fn outcome(self) -> sealed::Outcome {
                match self {
                    $name::Continue => sealed::Outcome::Continue,
                    $name::Refuse(reply) => sealed::Outcome::Refuse(reply),
                    $($name::$variant => sealed::Outcome::$variant,)*
                }
            }
        }
    };
}

verdict! {
    /// The answer to a connection. Sendmail drops the text of a refusal here.
    ConnectVerdict(b'C') {
        /// Let everything pass that comes on this connection, unseen.
        Accept,
    }
}

verdict! {
    /// The answer to HELO or EHLO.
    HeloVerdict(b'H') {
        /// Let everything pass that comes on this connection, unseen.
        Accept,
    }
}

verdict! {
    /// The answer to MAIL FROM.
    MailVerdict(b'M') {
        /// Let the message pass, unseen.
        Accept,
        /// Take the message from the client and throw it away.
        Discard,
    }
}

verdict! {
    /// The answer to RCPT TO. A refusal with 421 ends the SMTP session on both MTAs.
    RcptVerdict(b'R') {}
}

verdict! {
    /// The answer to DATA.
    DataVerdict(b'T') {
        /// Let the message pass without looking at it.
        Accept,
        /// Take the message from the client and throw it away.
        Discard,
    }
}

verdict! {
    /// The answer to a header field.
    HeaderVerdict(b'L') {
        /// Let the message pass without looking at the rest.
        Accept,
        /// Take the message from the client and throw it away.
        Discard,
    }
}

verdict! {
    /// The answer to the end of the header.
    EndOfHeadersVerdict(b'N') {
        /// Let the message pass without looking at the rest.
        Accept,
        /// Take the message from the client and throw it away.
        Discard,
    }
}

verdict! {
    /// The answer to a part of the body.
    BodyVerdict(b'B') {
        /// Let the message pass without looking at the rest.
        Accept,
        /// Take the message from the client and throw it away.
        Discard,
        /// Go on with the end of the message, show no more of the body. It is *continue* where
        /// [`Steps::SKIP`](crate::flags::Steps::SKIP) was not agreed.
        Skip,
    }
}

verdict! {
    /// The answer to the end of a message; changes of it come before
    /// ([`Session::modify`](crate::session::Session::modify)).
    EndOfMessageVerdict(b'E') {
        /// Let the message pass, with the changes.
        Accept,
        /// Take the message from the client and throw it away.
        Discard,
    }
}

verdict! {
    /// The answer to an SMTP command that the MTA does not know; it will refuse it in any case.
    UnknownVerdict(b'U') {}
}
