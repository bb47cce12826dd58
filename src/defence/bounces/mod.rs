//! Unsolicited bounces: mail without a sender to somebody who wrote to nobody.
//!
//! Remembers, as keyed hashes only, which local senders sent mail out, and says at the end of a message without a sender
//! whether one of its recipients did lately. Failure: every bounce is solicited; so it is until the site has remembered for
//! as long as it looks back.

mod senders;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::Shared;
use crate::address::{Address, Delimiters, mailbox, untag};

pub use senders::Senders;
use senders::Wrote;

/// `[defence.bounces]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What becomes of bounces to those who wrote to nobody.
    pub unsolicited: Unsolicited,
    /// For how long it is remembered who wrote.
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
    /// The store does not answer.
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
        if self.remember < Duration::from_secs(1) {
            say("remember", "must be at least 1s: every bounce would be unsolicited".to_owned());
        }
    }
}

impl Bounces {
    pub(super) fn new(config: &Config, shared: &Shared) -> Self {
        Self { config: config.clone(), shared: shared.clone() }
    }

    /// Whether anything is remembered and asked.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.config.unsolicited != Unsolicited::Off
    }

    /// For how long it is remembered who wrote; `None`: it is switched off.
    #[must_use]
    pub fn remembers(&self) -> Option<Duration> {
        self.is_on().then_some(self.config.remember)
    }

    /// Unsolicited bounces are only counted.
    #[must_use]
    pub fn is_monitored(&self) -> bool {
        self.config.unsolicited == Unsolicited::Monitor
    }

    /// Mail went out in this name. Does not wait for the store.
    pub fn note(&self, sender: &Address, delimiters: &Delimiters) {
        self.shared.senders.note(mailbox(sender, delimiters));
    }

    /// Whether one of the recipients of a bounce wrote lately. `now` is in seconds since 1970.
    pub async fn solicited(&self, recipients: &[Address], delimiters: &Delimiters, now: u64) -> Solicited {
        if recipients.is_empty() {
            return Solicited::Nobody;
        }
        if recipients.iter().any(|recipient| is_of_a_machine(recipient.local())) {
            return Solicited::Machine;
        }
        let mailboxes: Vec<_> = recipients.iter().map(|recipient| mailbox(recipient, delimiters)).collect();
        match self.shared.senders.wrote(&mailboxes).await {
            Wrote::Somebody => Solicited::Wrote,
            Wrote::CouldNotFindOut => Solicited::StoreDown,
            Wrote::Nobody { since } if now < self.begins(since) => Solicited::Learning,
            Wrote::Nobody { .. } => Solicited::No,
        }
    }

    /// From when on somebody can be called unsolicited, while that is not so yet.
    #[must_use]
    pub fn notice(&self) -> Option<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
        let since = self.shared.senders.since().filter(|_| self.is_on())?;
        let until = self.begins(since);
        let time = |seconds: u64| jiff::Timestamp::from_second(i64::try_from(seconds).ok()?).ok();
        (now < until).then_some(())?;
        Some(format!(
            "bounces: senders are remembered since {}; no bounce is called unsolicited before {}",
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
            Self::StoreDown => "could not find out: the store does not answer",
            Self::No => "nobody it is for wrote lately",
        }
    }
}

/// A tag (SRS, BATV) was put there by some program of the site that knows its own bounces. Lists write in names of their own,
/// often from where no session shows it; and `=` holds the recipient of each message (VERP).
fn is_of_a_machine(local: &str) -> bool {
    let mut words = local.split(|c: char| !c.is_alphanumeric());
    let is_of_a_list =
        |word| matches!(word, "owner" | "bounce" | "bounces" | "return" | "request" | "errors");
    untag(local).is_some() || local.contains('=') || words.any(is_of_a_list)
}

#[cfg(test)]
mod tests;
