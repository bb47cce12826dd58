//! What the MTA offers, what the filter wants, and what both have agreed on.
//!
//! A wanted step that the MTA can't leave out is left out here instead: the session answers the event itself
//! ([`Agreed::handled_here`]). A wanted action that is not offered ends the negotiation: the filter could not do
//! its work. The data size bits ([`Steps::MDS`]) are never echoed: Sendmail would answer 451.

use bytes::{BufMut, Bytes, BytesMut};

use crate::command::OptNeg;
use crate::flags::{Actions, Steps, Version};
use crate::macros::Stage;
use crate::wire::put_c_string;

/// What Sendmail 8.14 and later and Postfix 2.6 and later offer.
pub const CURRENT_OFFER: Offer =
    Offer { version: Version::MAX, actions: Actions(0x1FF), steps: Steps(0x1F_FFFF), macros: &[] };

/// The MTA's first frame.
pub type Offer<'i> = OptNeg<'i>;

/// What a filter wants from every MTA. Cheap to clone: one is made at start, each session gets a clone.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    actions: Actions,
    steps: Steps,
    /// `(u32be stage, names NUL)*`
    macros: Bytes,
}

/// Wishes that can't be met without harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WantedError {
    /// `NO_RCPT` or `NR_RCPT`: no recipient could be refused any more.
    #[error("{0} would take away the right to refuse recipients")]
    Recipients(Steps),
    /// The bits are Sendmail's to set.
    #[error("{0} must not be sent by a filter")]
    DataSize(Steps),
}

impl Wanted {
    /// What shall be permitted, and what shall be left out. [`Actions::SET_SYMLIST`] need not be named.
    ///
    /// # Errors
    /// For steps that would make refusing a recipient impossible, or are not for a filter to set.
    pub fn new(actions: Actions, steps: Steps) -> Result<Wanted, WantedError> {
        let hidden = steps & (Steps::NO_RCPT | Steps::NR_RCPT);
        if !hidden.is_empty() {
            return Err(WantedError::Recipients(hidden));
        }
        if steps.intersects(Steps::MDS) {
            return Err(WantedError::DataSize(steps & Steps::MDS));
        }
        Ok(Wanted { actions: actions - Actions::SET_SYMLIST, steps, macros: Bytes::new() })
    }

    /// Also asks for these macros (names separated by spaces, e.g. `"i {rcpt_addr}"`) at one stage, in place of the MTA's own list.
    ///
    /// It is dropped where the MTA doesn't offer [`Actions::SET_SYMLIST`]. An empty list means "none" to Sendmail and "the
    /// default" to Postfix; Sendmail heeds a list for the end of the message only if there is one for the end of the header, too.
    #[must_use]
    pub fn macros(mut self, stage: Stage, names: &str) -> Wanted {
        let mut list = BytesMut::from(&self.macros[..]);
        list.put_u32(stage.id());
        put_c_string(&mut list, names.as_bytes());
        self.macros = list.freeze();
        self
    }

    /// Answers an offer.
    ///
    /// # Errors
    /// When the version is too old, or an action that is wanted is not offered.
    pub fn agree(&self, offer: &Offer<'_>) -> Result<Agreed, NegotiationError> {
        if offer.version < Version::MIN {
            return Err(NegotiationError::VersionTooOld(offer.version));
        }
        let (offered, can) = meant(offer);
        let missing = self.actions - offered;
        if !missing.is_empty() {
            return Err(NegotiationError::ActionsNotOffered(missing));
        }
        let lists = !self.macros.is_empty() && offered.contains(Actions::SET_SYMLIST);
        Ok(Agreed {
            version: offer.version.min(Version::MAX),
            actions: if lists { self.actions | Actions::SET_SYMLIST } else { self.actions },
            steps: self.steps & can,
            handled_here: (self.steps & Steps::EVENTS) - can,
        })
    }

    /// The filter's `O` for what was agreed.
    pub(crate) fn answer(&self, agreed: &Agreed) -> OptNeg<'_> {
        let lists = agreed.actions.contains(Actions::SET_SYMLIST);
        OptNeg {
            version: agreed.version,
            actions: agreed.actions,
            steps: agreed.steps,
            macros: if lists { &self.macros } else { &[] },
        }
    }
}

/// What holds for this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The version both speak.
    pub version: Version,
    /// What the filter may do at the end of a message.
    pub actions: Actions,
    /// What the MTA leaves out.
    pub steps: Steps,
    /// What the filter wanted to be left out and the MTA can't: such events are answered with *continue* by the session
    /// itself, and those of a `NO_*` step are not shown.
    pub handled_here: Steps,
}

impl Agreed {
    /// Whether the filter wanted the step, be it the MTA or the session that sees to it.
    #[must_use]
    pub fn wanted(&self, step: Steps) -> bool {
        (self.steps | self.handled_here).contains(step)
    }
}

/// Why there is nothing to agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NegotiationError {
    /// Version 1, or none.
    #[error("the MTA speaks version {0}; the oldest we speak is {min}", min = Version::MIN)]
    VersionTooOld(Version),
    /// The filter needs these.
    #[error("the MTA does not permit {0}")]
    ActionsNotOffered(Actions),
}

/// What an offer permits: libmilter takes a word of zero for what version 1 had.
pub(crate) fn meant(offer: &Offer<'_>) -> (Actions, Steps) {
    let actions = if offer.actions.is_empty() { FIRST_ACTIONS } else { offer.actions };
    let steps = if offer.steps.is_empty() { FIRST_STEPS } else { offer.steps };
    (actions, steps)
}

/// `SMFI_V1_ACTS`
const FIRST_ACTIONS: Actions = Actions(0x0F);
/// `SMFI_V1_PROT`
const FIRST_STEPS: Steps = Steps(0x3F);
