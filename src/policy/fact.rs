//! What the parts found out, in the words that [`next`](super::next) decides on.

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
}

impl Attributes {
    /// The attributes of one recipient that several directories know: what any of them says counts,
    /// except that a catch-all is one only where nobody knows the address itself.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        Self {
            suspended: self.suspended || other.suspended,
            restricted: self.restricted || other.restricted,
            catch_all: self.catch_all && other.catch_all,
        }
    }
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
