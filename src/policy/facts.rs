//! What is known of one recipient (or connection, or message) so far, and what may be asked.

use std::{fmt, time::Duration};

use smallvec::SmallVec;

use crate::address::{Address, Domain, Inner, routes};

use super::{ClientClass, DomainFact, Lately, Reason, RecipientFact, SuspensionFact};

/// When the MTA wants an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stage {
    /// A client has connected.
    Connect,
    /// `RCPT TO`.
    #[default]
    Rcpt,
    /// The message has been received.
    EndOfMessage,
}

impl Stage {
    /// The name in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Rcpt => "rcpt",
            Self::EndOfMessage => "eom",
        }
    }
}

/// The facts of one decision. What is `None` has not been asked yet, or has no source.
#[derive(Debug, Clone, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one independent fact, named by the decision table"
)]
pub struct Facts {
    /// Which rows apply.
    pub stage: Stage,
    /// Row 1: `backstop disable` is in force.
    pub disabled: bool,
    /// The client is in a trusted network, or trusted for a time.
    pub trusted: bool,
    /// The client has authenticated to the MTA.
    pub authenticated: bool,
    /// Row 2: the client is on the deny list.
    pub denied: bool,
    /// Row 3: the MTA has refused this recipient already.
    pub mta_refused: bool,
    /// Row 3: submitted on the MTA's own host.
    pub submission: bool,
    /// The reverse path is `<>`: a bounce (RFC 5321 §4.5.5).
    pub null_sender: bool,
    /// Recipients of this message that were let pass.
    pub accepted: Option<u32>,
    /// Row 6.
    pub blocked: Option<bool>,
    /// Whether the client is trusted for a time could not be found out: it may be an insider.
    pub is_unsure: bool,
    /// Row 6: by an administrator, not for what it asked for.
    pub by_hand: bool,
    /// Found out together with row 6, for the count.
    pub lately: Option<Lately>,
    /// Row 7.
    pub class: Option<ClientClass>,
    /// Row 16: how long it has to wait yet; zero: it need not.
    pub greylisted: Option<Duration>,
    /// Row 11: an earlier recipient of this message was a trap.
    pub trapped: bool,
    /// Some recipient that was let pass is in a domain that is only watched: the message may not be refused as a whole.
    pub watched: bool,
    /// Row 17: some recipient sent mail lately. `None`: not asked, or could not find out.
    pub solicited: Option<bool>,
    /// What the suspension that applies has to say in place of the usual text. Fill it in with [`Level::suspended`].
    pub text: Option<String>,
    /// What the client wrote.
    pub recipient: Recipient,
    /// It had no domain; the MTA has added its own, which need not be among the local domains that we know.
    pub bare: bool,
}

impl Facts {
    /// Trusted, trusted for a time, or authenticated.
    #[must_use]
    pub fn insider(&self) -> bool {
        self.trusted || self.authenticated
    }

    /// Nobody knows whether it is an insider: no refusal for good of those that insiders are spared.
    #[must_use]
    pub fn may_be_insider(&self) -> bool {
        self.is_unsure && !self.insider()
    }

    /// The words of the reply of this reason, where they are not the usual ones.
    #[must_use]
    pub fn own_text(&self, reason: Reason) -> Option<&str> {
        match reason {
            Reason::SuspendedRecipient => self.text.as_deref(),
            Reason::Harvest if self.by_hand => Some(BLOCKED_BY_HAND),
            _ => None,
        }
    }
}

/// The recipient as far as it could be read.
#[derive(Debug, Clone, Default)]
pub enum Recipient {
    /// No recipient at this stage.
    #[default]
    None,
    /// The address, and the inner routes that its local part hides, outermost first.
    Levels(SmallVec<[Level; 1]>),
    /// A local part without a domain, in comparison form, and nobody told which one the MTA adds.
    Bare(String),
    /// Not a valid address (RFC 5321 §4.1.2).
    Invalid {
        /// What could be saved of the domain: whether it is ours decides whether it is our business.
        domain: Option<Domain>,
        /// Whether the domain is local.
        fact: Option<DomainFact>,
    },
}

impl Recipient {
    /// A valid address; the inner routes are uncovered here. What hides no address ends them.
    #[must_use]
    pub fn address(address: Address) -> Self {
        let inner = routes(&address);
        let mut levels = SmallVec::new();
        levels.push(Level::new(address));
        levels.extend(inner.map_while(|inner| match inner {
            Inner::Address(address) => Some(Level::new(address)),
            Inner::Malformed => None,
        }));
        Self::Levels(levels)
    }

    /// The outermost address.
    #[must_use]
    pub fn outermost(&self) -> Option<&Address> {
        match self {
            Self::Levels(levels) => levels.first().map(|level| &level.address),
            Self::None | Self::Bare(_) | Self::Invalid { .. } => None,
        }
    }

    /// The domain, as far as it is known.
    #[must_use]
    pub fn domain(&self) -> Option<&Domain> {
        match self {
            Self::Invalid { domain, .. } => domain.as_ref(),
            _ => self.outermost().map(Address::domain),
        }
    }
}

/// One address, and what is known of it.
#[derive(Debug, Clone)]
pub struct Level {
    /// In comparison form.
    pub address: Address,
    /// Rows 4 and 18.
    pub domain: Option<DomainFact>,
    /// Row 11.
    pub trap: Option<bool>,
    /// Row 12, from suspensions (a directory may say so too).
    pub suspended: Option<SuspensionFact>,
    /// Rows 10, 12 to 15.
    pub found: Option<RecipientFact>,
}

impl Level {
    /// An address of which nothing is known.
    #[must_use]
    pub fn new(address: Address) -> Self {
        Self { address, domain: None, trap: None, suspended: None, found: None }
    }
}

/// Who is blocked by hand has not asked for unknown recipients, as the usual text would say.
const BLOCKED_BY_HAND: &str = "Blocked for a time, try again later";

/// What [`next`](super::next) wants to know. An index counts the [`Level`]s of the recipient from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Is the domain local? Fill in [`Level::domain`], or `fact` of an invalid recipient.
    Domain(usize),
    /// Is the client trusted for a time, or blocked? Fill in [`Facts::blocked`], [`Facts::by_hand`], [`Facts::lately`], and [`Facts::trusted`] if
    /// it is, or [`Facts::is_unsure`].
    Standing,
    /// What does the client look like? Fill in [`Facts::class`].
    Class,
    /// Is it a trap? Fill in [`Level::trap`].
    Trap(usize),
    /// Is it suspended? Fill in [`Level::suspended`].
    Suspended(usize),
    /// Does it exist? Fill in [`Level::found`].
    Recipient(usize),
    /// Must it wait? Fill in [`Facts::greylisted`].
    Greylist,
    /// Did a recipient send mail lately? Fill in [`Facts::solicited`].
    Solicited,
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Domain(_) => "domain",
            Self::Standing => "standing",
            Self::Class => "client-class",
            Self::Trap(_) => "trap",
            Self::Suspended(_) => "suspended",
            Self::Recipient(_) => "recipient",
            Self::Greylist => "greylist",
            Self::Solicited => "solicited",
        })
    }
}
