//! What the parts found out, in the words that [`next`](super::next) decides on.

use std::cmp::Ordering;

/// What the directories know of one recipient, merged over every directory in charge of its domain.
///
/// Only [`Absent`](RecipientFact::Absent) may become a permanent refusal: "could not find out" is
/// a fact of its own, so that no caller can take it for "does not exist".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecipientFact {
    /// A directory knows the address, one of its forms, or a catch-all of its domain.
    Exists(Attributes),
    /// Every directory in charge was asked, and answered that there is no such recipient.
    Absent,
    /// No directory knows it, and at least one could not answer.
    Unknown(Unavailable),
}

/// What a directory says of a recipient besides that it exists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Attributes {
    /// The account exists, mail to it is refused for now.
    pub suspended: bool,
    /// Only authenticated senders may write to it.
    pub restricted: bool,
    /// Nobody knows the address itself: the catch-all of its domain takes it.
    pub catch_all: bool,
    /// That may be wrong: a directory in charge could not tell whether it knows the address, or a longer form than this is of;
    /// or this is what it knew before. Nothing final may rest on it.
    pub unsure: bool,
    /// Which of the address' forms they are of: 0 is the address as it is, then come the shorter ones.
    pub form: u8,
}

impl Attributes {
    /// It exists, and nothing else is said of it.
    pub const PLAIN: Self =
        Self { suspended: false, restricted: false, catch_all: false, unsure: false, form: 0 };

    /// The attributes of one recipient that several directories know: of the longest form that one of them knows, what any of
    /// them says of it counts. A catch-all says something where nobody knows a form of the address.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        let longest = match (self.catch_all, self.form).cmp(&(other.catch_all, other.form)) {
            Ordering::Less => self,
            Ordering::Greater => other,
            Ordering::Equal => Self {
                suspended: self.suspended || other.suspended,
                restricted: self.restricted || other.restricted,
                ..self
            },
        };
        Self { unsure: self.unsure || other.unsure, ..longest }
    }

    /// Whether somebody may be refused for them.
    #[must_use]
    pub fn may_refuse(self) -> bool {
        self.suspended || self.restricted
    }
}

/// Whether a recipient is suspended, apart from what the directories say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SuspensionFact {
    /// It is not.
    #[default]
    No,
    /// It was, when that could last be found out.
    Unknown,
    /// It is.
    Yes,
}

/// What the admin chose for mail to a directory that can't answer (`on_unavailable`).
///
/// Ordered: when several directories can't answer, the greater one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unavailable {
    /// Let the recipient pass.
    Continue,
    /// Answer 451, so that the client tries again.
    Defer,
}

/// Whether this site answers for a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DomainFact {
    /// None of our business.
    Foreign,
    /// This site answers for it.
    Local {
        /// A directory is in charge of it, so that a recipient can be found absent.
        in_charge: bool,
        /// The admin names it. A domain that was only detected is refused nothing that its MTA would take: Sendmail
        /// makes `john.doe` of `john doe`, which is no address at all.
        configured: bool,
    },
}

/// What a client asked for lately. No row looks at it: the harvest defence goes on from it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lately {
    /// The client itself.
    pub own: Counts,
    /// All of the larger network that it is in, where that counts for anything.
    pub network: Option<Counts>,
}

/// How many recipients were asked for, each once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Recipients that exist, within the defence's window.
    pub known: u64,
    /// Recipients that don't.
    pub unknown: u64,
    /// Those of the latter that only a server's report or question was for: a bounce, a call-out.
    pub reports: u64,
    /// Recipients that exist, within the last month.
    pub history: u64,
}

/// What a connecting address looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientClass {
    /// In `client.trusted`, or the MTA's own networks.
    Trusted,
    /// A named server.
    Server,
    /// A name that only spells out the address.
    Generic,
    /// An access line whose address changes.
    Dynamic,
    /// No PTR record.
    Unnamed,
    /// Could not find out, or the MTA does not tell the address.
    Unknown,
}

impl ClientClass {
    /// The name in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trusted => "trusted",
            Self::Server => "server",
            Self::Generic => "generic",
            Self::Dynamic => "dynamic",
            Self::Unnamed => "unnamed",
            Self::Unknown => "unknown",
        }
    }
}
