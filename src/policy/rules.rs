//! The admin's choices, compiled once from the configuration.

use std::collections::BTreeSet;

use crate::address::{Domain, DomainPattern};

use super::{Reason, Replies};

/// What [`next`](super::next) goes by besides the facts.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Decide, count and log as always, but let everything pass.
    pub monitor: bool,
    /// Monitor mode for these domains only.
    pub monitor_domains: Vec<DomainPattern>,
    /// Monitor mode for these reasons only.
    pub monitor_reasons: BTreeSet<Reason>,
    /// Local parts in comparison form that are free from the defences (`recipients.exempt`).
    pub exempt: Locals,
    /// Local parts in comparison form that are never refused: the MTAs' own probes.
    pub probes: Locals,
    /// What is refused, and how.
    pub replies: Replies,
    /// Which questions are worth asking.
    pub defences: Defences,
}

/// The defences that are switched on; one that is off is never asked about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Defences {
    /// Row 2: there is a deny list.
    pub denied: bool,
    /// Row 6: clients may be blocked, or trusted for a time.
    pub standing: bool,
    /// Row 7: refuse dynamic clients.
    pub dynamic: bool,
    /// The same as soon as they connect.
    pub dynamic_at_connect: bool,
    /// Row 11: there are traps.
    pub traps: bool,
    /// Row 16.
    pub greylist: bool,
    /// Row 17.
    pub unsolicited: bool,
}

/// Local parts in comparison form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Locals {
    names: BTreeSet<String>,
    /// One bit for each length that a name has: hardly anybody who is asked about has one of these.
    lengths: u64,
}

impl Locals {
    /// Whether this is one of them.
    #[must_use]
    pub fn contains(&self, local: &str) -> bool {
        self.lengths & bit_of_length(local) != 0 && self.names.contains(local)
    }
}

impl FromIterator<String> for Locals {
    fn from_iter<I: IntoIterator<Item = String>>(names: I) -> Self {
        let names: BTreeSet<String> = names.into_iter().collect();
        let lengths = names.iter().fold(0, |lengths, name| lengths | bit_of_length(name));
        Self { names, lengths }
    }
}

fn bit_of_length(name: &str) -> u64 {
    1 << (name.len() % 64)
}

impl Defences {
    /// Whether a decision may depend on the client's class.
    #[must_use]
    pub fn asks_for_class(&self) -> bool {
        self.dynamic || self.dynamic_at_connect || self.greylist
    }
}

impl Rules {
    /// Whether this reason refuses nobody, while others do (`[monitor] reasons`).
    #[must_use]
    pub fn only_watches(&self, reason: Reason) -> bool {
        !self.monitor && self.monitor_reasons.contains(&reason)
    }

    /// Whether the defences leave this recipient alone (RFC 2142 `abuse`): rows 6 to 8, 11, 16, 17.
    #[must_use]
    pub fn is_exempt(&self, local: &str) -> bool {
        self.exempt.contains(local)
    }

    /// Whether this recipient is no trap, whoever lists it: somebody may have to write to it.
    #[must_use]
    pub fn is_no_trap(&self, local: &str) -> bool {
        self.is_never_refused(local) || self.is_exempt(local)
    }

    /// Whether recipients in this domain are only watched.
    #[must_use]
    pub fn is_watched(&self, domain: &Domain) -> bool {
        self.monitor_domains.iter().any(|pattern| pattern.matches(domain))
    }

    /// Whether this recipient is never refused: `postmaster` (RFC 5321 §4.5.1), `mailer-daemon`, and the
    /// senders that MTAs use for address probes, which other sites verify in their turn.
    #[must_use]
    pub fn is_never_refused(&self, local: &str) -> bool {
        matches!(local, "postmaster" | "mailer-daemon" | "double-bounce") || self.probes.contains(local)
    }
}
