//! What a process knows of the site whose senders are remembered, and where in the store they are. Asks nobody.

use std::time::{Duration, Instant};

use ring::hmac;

use super::{alive::Anew, terms::Terms};
use crate::{
    address::{Address, Domain},
    clock,
    store::{Key, Op, Table},
};

/// What all that share the store have in common.
pub(super) struct Site {
    pub(super) key: hmac::Key,
    pub(super) since: u64,
    /// When this host said last that it remembers, by the clock that nobody sets and by the other one.
    pub(super) beaten: (Instant, u64),
    /// What the store had given up then; `None`: it does not tell.
    pub(super) evictions: Option<Vec<u8>>,
    /// By which it remembers.
    pub(super) terms: Terms,
    /// Why, and when, this host found that it has to begin anew, within the last hour.
    pub(super) anew: Option<(Anew, u64)>,
}

impl Site {
    pub(super) fn is_due(&self, now: u64, terms: &Terms) -> bool {
        clock::since(self.beaten.0) > BEAT || self.has_jumped(now) || self.terms != *terms
    }

    /// What this host said then is in the store yet, if that keeps what it is told.
    pub(super) fn has_just_beaten(&self) -> bool {
        clock::since(self.beaten.0) < GAP / 2
    }

    /// The clock was set forward by long: it was remembered for less long than it looks. Or the host slept.
    pub(super) fn has_jumped(&self, now: u64) -> bool {
        let (beaten, at) = self.beaten;
        now.saturating_sub(at) > (clock::since(beaten) + GAP).as_secs()
    }

    pub(super) fn sender(&self, mailbox: &Address) -> Key {
        self.hashed(mailbox.key())
    }

    /// When the domain was met first. No mailbox has that key: its local part is not empty.
    pub(super) fn domain(&self, domain: &Domain) -> Key {
        self.hashed(format!("@{domain}").as_bytes())
    }

    pub(super) fn meet(&self, domain: &Domain, now: u64) -> Op {
        Op::PutNew { key: self.domain(domain), value: now.to_be_bytes().to_vec(), ttl: FOR_GOOD }
    }

    fn hashed(&self, name: &[u8]) -> Key {
        let tag = hmac::sign(&self.key, name);
        let id: &[u8; 16] = tag.as_ref().first_chunk().expect("HMAC-SHA-256 has 32 bytes");
        Key::new(Table::Senders, id)
    }
}

pub(super) const BEAT: Duration = Duration::from_secs(60);

/// A host that was away for no longer than this had nobody write meanwhile: a restart, a reboot.
/// Longer than a drain, a boot, and the loading of all directories.
pub(super) const GAP: Duration = Duration::from_secs(5 * 60);

/// Ten years.
pub(super) const FOR_GOOD: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
