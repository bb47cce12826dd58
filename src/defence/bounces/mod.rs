//! Unsolicited bounces: mail without a sender to somebody who wrote to nobody.
//!
//! Remembers, as keyed hashes only, which local senders sent mail out, and says at the end of a message without a sender
//! whether one of its recipients did lately. Failure: every bounce is solicited; so it is until the site has remembered for
//! as long as it looks back.

mod alive;
mod senders;
mod site;
mod terms;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Shared;
use crate::{
    address::{Address, Delimiters, mailbox, untag},
    clock,
};

pub use senders::Senders;
use senders::Wrote;
pub use terms::Terms;

/// `[defence.bounces]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What becomes of a message without a sender whose recipients sent nothing lately: `monitor` counts and logs it,
    /// `enforce` refuses it at its end.
    pub unsolicited: Unsolicited,
    /// How long ago is lately (the default is 14 days). For as long as that after it was switched on nobody is
    /// refused. Bounces come up to five days late, some later; 1 s to 365 days.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub remember: Duration,
}

/// `unsolicited`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unsolicited {
    /// Nothing.
    #[default]
    Off,
    /// They are counted and logged.
    Monitor,
    /// They are refused.
    Enforce,
}

/// Who wrote lately.
#[derive(Debug)]
pub struct Bounces {
    config: Config,
    shared: Shared,
    delimiters: Delimiters,
    /// Why somebody may have written whom nobody here saw, or saw under another name.
    unseen: Vec<String>,
}

/// Whether somebody whom a bounce is for wrote lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Solicited {
    /// One of them did.
    Wrote,
    /// One of them is an address that only programs write with: of a list, or with a tag.
    Machine,
    /// It is for nobody whom the defences don't leave alone.
    Nobody,
    /// The site has not remembered for long enough.
    Learning,
    /// Some may have written whom nobody here saw.
    Unseen,
    /// The store may have given up who wrote.
    Evicted,
    /// The store does not answer, or was not told of a change yet.
    StoreDown,
    /// None of them did.
    No,
}

impl Default for Config {
    fn default() -> Self {
        // Queues give up after five days (RFC 5321 §4.5.4.1), and some say so late.
        Self { unsolicited: Unsolicited::Off, remember: Duration::from_secs(14 * 24 * 60 * 60) }
    }
}

impl Config {
    /// Tells `say` which key can't be used, and why.
    pub fn check(&self, say: &mut dyn FnMut(&'static str, String)) {
        if self.remember < Duration::from_secs(1) || self.remember > LONGEST {
            say(
                "remember",
                "must be at least 1s, or every bounce would be unsolicited, and at most 8760h (365 days)"
                    .to_owned(),
            );
        }
    }
}

impl Bounces {
    pub(super) fn new(
        config: &Config,
        shared: &Shared,
        delimiters: &Delimiters,
        unseen: Vec<String>,
    ) -> Self {
        Self { config: config.clone(), shared: shared.clone(), delimiters: delimiters.clone(), unseen }
    }

    /// Whether anything is remembered and asked.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.config.unsolicited != Unsolicited::Off
    }

    /// How it is remembered who wrote; `None`: it is switched off.
    #[must_use]
    pub fn terms(&self) -> Option<Terms> {
        let terms = || Terms::new(self.config.remember, &self.delimiters, self.unseen.is_empty());
        self.is_on().then(terms)
    }

    /// Unsolicited bounces are only counted.
    #[must_use]
    pub fn is_monitored(&self) -> bool {
        self.config.unsolicited == Unsolicited::Monitor
    }

    /// Mail went out in this name. Does not wait for the store.
    pub fn note(&self, sender: &Address) {
        self.shared.senders.note(mailbox(sender, &self.delimiters));
    }

    /// An MTA was sent away unheard: mail may go out now of which nobody knows.
    pub fn miss(&self) {
        self.shared.senders.miss();
    }

    /// Whether one of the recipients of a bounce wrote lately. `now` is in seconds since 1970. `is_rehearsal`: nothing is
    /// remembered of it.
    pub async fn solicited(&self, recipients: &[Address], now: u64, is_rehearsal: bool) -> Solicited {
        let Some(terms) = self.terms() else { return Solicited::Learning };
        if recipients.is_empty() {
            return Solicited::Nobody;
        }
        if recipients.iter().any(|recipient| is_of_a_machine(recipient.local())) {
            return Solicited::Machine;
        }
        let mailboxes: Vec<_> =
            recipients.iter().map(|recipient| mailbox(recipient, &self.delimiters)).collect();
        match self.shared.senders.wrote(&mailboxes, &terms, now, is_rehearsal).await {
            Wrote::Somebody => Solicited::Wrote,
            Wrote::CouldNotFindOut | Wrote::Nobody { .. } | Wrote::Evicted if !terms.sees_all => {
                Solicited::Unseen
            }
            Wrote::CouldNotFindOut => Solicited::StoreDown,
            Wrote::Evicted => Solicited::Evicted,
            Wrote::Nobody { since } if now < self.begins(since) => Solicited::Learning,
            Wrote::Nobody { .. } => Solicited::No,
        }
    }

    /// Why nobody can be called unsolicited, while that is so.
    #[must_use]
    pub fn notices(&self) -> Vec<String> {
        if !self.is_on() {
            return Vec::new();
        }
        let unseen = self.unseen.iter().map(|why| format!("bounces: none is called unsolicited: {why}"));
        unseen.chain(self.learning()).collect()
    }

    fn learning(&self) -> Option<String> {
        let senders = &self.shared.senders;
        let now = clock::since_1970().as_secs();
        let since = senders.since()?;
        let until = self.begins(since);
        if senders.is_untold() {
            let why = "the store does not tell what it gave up for want of memory: allow INFO to its user";
            return Some(format!("bounces: none is called unsolicited: {why}"));
        }
        (now < until).then_some(())?;
        let time = |seconds: u64| jiff::Timestamp::from_second(i64::try_from(seconds).ok()?).ok();
        let because = senders.trouble().map(|why| format!(": {why}")).unwrap_or_default();
        Some(format!(
            "bounces: senders are remembered since {}; no bounce is called unsolicited before {}{because}",
            time(since)?,
            time(until)?
        ))
    }

    /// When somebody can be called unsolicited, if senders are remembered since then.
    fn begins(&self, since: u64) -> u64 {
        since.saturating_add(self.config.remember.as_secs())
    }
}

impl Solicited {
    /// Whether it is let pass.
    #[must_use]
    pub fn is_solicited(self) -> bool {
        self != Self::No
    }

    /// In words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wrote => "somebody it is for wrote lately",
            Self::Machine => "it is for an address that programs write with",
            Self::Nobody => "it is for nobody who is defended",
            Self::Learning => "senders have not been remembered for long enough",
            Self::Unseen => "could not find out: senders may write unseen, or under another name",
            Self::Evicted => "could not find out: the store may have given up who wrote",
            Self::StoreDown => {
                "could not find out: the store does not answer, or it is not settled who wrote"
            }
            Self::No => "nobody it is for wrote lately",
        }
    }
}

/// A tag (SRS, BATV) was put there by some program of the site that knows its own bounces. Lists write in names of their own,
/// often from where no session shows it; and `=` holds the recipient of each message (VERP). Where reports are collected
/// (RFC 6591, 7489, 8460, 5965; the journal of Exchange) nobody writes, and many of them come without a sender.
fn is_of_a_machine(local: &str) -> bool {
    let mut words = local.split(|c: char| !c.is_alphanumeric());
    let is_of_a_list =
        |word| matches!(word, "owner" | "bounce" | "bounces" | "return" | "request" | "errors");
    let collects = |word| matches!(word, "dmarc" | "rua" | "ruf" | "tlsrpt" | "fbl" | "journal");
    untag(local).is_some() || local.contains('=') || words.any(|word| is_of_a_list(word) || collects(word))
}

/// Nobody reports so late.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

#[cfg(test)]
mod tests;
