//! What ends a session. Each error has a word from a closed list, for the label of a metric.

use super::Phase;
use crate::command::Malformed;
use crate::flags::Actions;
use crate::frame::FrameError;
use crate::macros::MacrosTooLong;
use crate::negotiation::NegotiationError;

/// What ends a connection. The MTA is at fault, except in the last two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The bytes are no frames.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A frame does not have the shape of its command.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// No version of the protocol has such a command.
    #[error("unknown command byte {0:#04x}")]
    UnknownCommand(u8),
    /// A command before the MTA has made its offer.
    #[error("command {:?} before the negotiation", char::from(*.0))]
    NotNegotiated(u8),
    /// There is nothing to agree on.
    #[error(transparent)]
    Negotiation(#[from] NegotiationError),
    /// A command at a time when it can't come. libmilter would say nothing, and the MTA would wait in vain.
    #[error("command {:?} is out of order in phase {phase:?}", char::from(*.command))]
    OutOfOrder {
        /// The command's byte.
        command: u8,
        /// Where the MTA was.
        phase: Phase,
    },
    /// A command that the MTA had agreed to leave out.
    #[error("command {:?} was to be left out", char::from(*.0))]
    Suppressed(u8),
    /// More macros than a session keeps.
    #[error(transparent)]
    Macros(#[from] MacrosTooLong),
    /// The caller took the next event without answering the one before.
    #[error("command {:?} was not answered", char::from(*.0))]
    Unanswered(u8),
    /// The caller answered what this session had not asked.
    #[error("an answer without a question")]
    NotAsked,
}

impl ProtocolError {
    /// A word from a closed list, e.g. for the label of a metric.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            ProtocolError::Frame(FrameError::Empty) => "empty-frame",
            ProtocolError::Frame(FrameError::TooLong { .. }) => "frame-too-long",
            ProtocolError::Malformed(_) => "malformed",
            ProtocolError::UnknownCommand(_) => "unknown-command",
            ProtocolError::NotNegotiated(_) => "not-negotiated",
            ProtocolError::Negotiation(NegotiationError::VersionTooOld(_)) => "version-too-old",
            ProtocolError::Negotiation(NegotiationError::ActionsNotOffered(_)) => "actions-not-offered",
            ProtocolError::OutOfOrder { .. } => "out-of-order",
            ProtocolError::Suppressed(_) => "suppressed-step",
            ProtocolError::Macros(_) => "macros-too-long",
            ProtocolError::Unanswered(_) => "unanswered",
            ProtocolError::NotAsked => "not-asked",
        }
    }

    /// All words that [`ProtocolError::kind`] may give.
    pub const KINDS: [&'static str; 12] = [
        "empty-frame",
        "frame-too-long",
        "malformed",
        "unknown-command",
        "not-negotiated",
        "version-too-old",
        "actions-not-offered",
        "out-of-order",
        "suppressed-step",
        "macros-too-long",
        "unanswered",
        "not-asked",
    ];
}

/// Why a message can't be changed in this way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} was not agreed")]
pub struct NotAgreed(pub Actions);
