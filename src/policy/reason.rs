//! Why a decision fell as it did: the closed list that is metric label, log field and reply tag alike.

use std::{fmt, str::FromStr};

/// The reason of a [`Decision`](super::Decision). The names are an interface: dashboards, scripts and the
/// bracketed tag at the end of each refusal use them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Backstop was disabled for a time; everything passes.
    Disabled,
    /// The client is on the deny list.
    DeniedClient,
    /// The MTA itself has refused the recipient already, and only tells us.
    MtaRefused,
    /// Submitted on the MTA's own host, where no client waits for an answer.
    Submission,
    /// The domain is not one that this site answers for.
    NotLocal,
    /// `postmaster`, or a recipient of the MTAs' own probes.
    Exempt,
    /// The client is blocked for guessing recipients.
    Harvest,
    /// The client has a dynamic address.
    DynamicClient,
    /// A bounce with more than one recipient.
    BounceMany,
    /// Not a valid address.
    BadAddress,
    /// The local part hides a route to a foreign domain.
    RelaySyntax,
    /// An address that never existed.
    SpamTrap,
    /// The account exists, mail to it is refused for now.
    SuspendedRecipient,
    /// Only authenticated senders may write to it.
    RestrictedRecipient,
    /// No directory in charge knows the recipient.
    UnknownRecipient,
    /// A directory in charge could not answer.
    DirectoryUnavailable,
    /// Asked to come again later.
    Greylisted,
    /// A bounce to somebody who sent nothing.
    UnsolicitedBounce,
    /// Nothing speaks against the recipient.
    Ok,
    /// The domain is local, but no directory is in charge of it.
    NoDirectory,
}

impl Reason {
    /// Every reason, in the order of the decision table.
    pub const ALL: [Self; 20] = [
        Self::Disabled,
        Self::DeniedClient,
        Self::MtaRefused,
        Self::Submission,
        Self::NotLocal,
        Self::Exempt,
        Self::Harvest,
        Self::DynamicClient,
        Self::BounceMany,
        Self::BadAddress,
        Self::RelaySyntax,
        Self::SpamTrap,
        Self::SuspendedRecipient,
        Self::RestrictedRecipient,
        Self::UnknownRecipient,
        Self::DirectoryUnavailable,
        Self::Greylisted,
        Self::UnsolicitedBounce,
        Self::Ok,
        Self::NoDirectory,
    ];

    /// The name in configuration, metrics, logs and replies.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::DeniedClient => "denied-client",
            Self::MtaRefused => "mta-refused",
            Self::Submission => "submission",
            Self::NotLocal => "not-local",
            Self::Exempt => "exempt",
            Self::Harvest => "harvest",
            Self::DynamicClient => "dynamic-client",
            Self::BounceMany => "bounce-many",
            Self::BadAddress => "bad-address",
            Self::RelaySyntax => "relay-syntax",
            Self::SpamTrap => "spam-trap",
            Self::SuspendedRecipient => "suspended-recipient",
            Self::RestrictedRecipient => "restricted-recipient",
            Self::UnknownRecipient => "unknown-recipient",
            Self::DirectoryUnavailable => "directory-unavailable",
            Self::Greylisted => "greylisted",
            Self::UnsolicitedBounce => "unsolicited-bounce",
            Self::Ok => "ok",
            Self::NoDirectory => "no-directory",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is no reason's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a reason; known are {all}", all = Reason::ALL.map(Reason::as_str).join(", "))]
pub struct UnknownReason(String);

impl FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|reason| reason.as_str() == name)
            .ok_or_else(|| UnknownReason(name.to_owned()))
    }
}

impl<'de> serde::Deserialize<'de> for Reason {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl serde::Serialize for Reason {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason.as_str().parse(), Ok(reason));
            assert_eq!(
                reason as usize, index,
                "ALL is in declaration order, so that arrays can be indexed by it"
            );
        }
        assert!("spamtrap".parse::<Reason>().is_err());
    }
}
