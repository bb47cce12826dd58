//! One hour, or one day.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Rule,
    network::Network,
    queue::Noted,
    summary::Count,
    top::{MOST_SAMPLES, Top},
};
use crate::policy::Reason;

/// What was decided in that time.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Bucket {
    /// Which one it is: so many have begun since 1970.
    pub(super) number: u64,
    /// So long the server has run in it.
    pub(super) seconds: u64,
    /// Of these, it was disabled.
    #[serde(default)]
    pub(super) disabled: u64,
    /// Of an hour: its lists are not part of its day yet. Where nothing says so, they are: it was once otherwise.
    #[serde(default)]
    pub(super) is_apart: bool,
    pub(super) counts: Vec<Count>,
    /// Refusals that are counted, but not in the lists.
    pub(super) missed: u64,
    /// By outcome.
    pub(super) greylist: BTreeMap<String, u64>,
    pub(super) rules: Top<Rule>,
    /// Unknown ones.
    pub(super) recipients: Top<String>,
    pub(super) clients: Top<Network>,
    pub(super) networks: Top<Network>,
}

/// What was counted since the last time.
#[derive(Debug, Clone, Default)]
pub(super) struct Counted {
    pub(super) seconds: u64,
    /// Of these, it was disabled.
    pub(super) disabled: u64,
    pub(super) counts: Vec<Count>,
    pub(super) missed: u64,
    pub(super) greylist: Vec<(String, u64)>,
}

impl Bucket {
    pub(super) fn new(number: u64) -> Self {
        Self { number, ..Self::default() }
    }

    pub(super) fn count(&mut self, counted: &Counted) {
        self.seconds = self.seconds.saturating_add(counted.seconds);
        self.disabled = self.disabled.saturating_add(counted.disabled);
        self.missed = self.missed.saturating_add(counted.missed);
        for count in &counted.counts {
            add(&mut self.counts, count);
        }
        for (outcome, times) in &counted.greylist {
            match self.greylist.get_mut(outcome) {
                Some(count) => *count = count.saturating_add(*times),
                None => {
                    self.greylist.insert(outcome.clone(), *times);
                }
            }
        }
    }

    pub(super) fn note(&mut self, refusal: &Noted<'_>) {
        self.rules.add(refusal.rule, refusal, MOST_SAMPLES);
        if matches!(refusal.rule.reason, Reason::UnknownRecipient | Reason::SpamTrap) {
            self.recipients.add(refusal.recipient, refusal, 1);
        }
        if let Some(client) = refusal.client {
            self.clients.add(Network::of(client), refusal, 1);
            self.networks.add(Network::around(client), refusal, 1);
        }
    }

    /// Takes in the lists of an hour that is over.
    pub(super) fn fold(&mut self, hour: &Self) {
        self.rules.fold(&hour.rules, MOST_SAMPLES);
        self.recipients.fold(&hour.recipients, 1);
        self.clients.fold(&hour.clients, 1);
        self.networks.fold(&hour.networks, 1);
    }

    /// It is over, and part of its day: what is kept is less than while anybody may still come to the top.
    pub(super) fn close(&mut self) {
        self.rules.close(KEPT_RULES, MOST_SAMPLES);
        self.recipients.close(KEPT, 1);
        self.clients.close(KEPT, 1);
        self.networks.close(KEPT, 1);
    }
}

/// Adds a count to those of the same kind.
pub(super) fn add(counts: &mut Vec<Count>, more: &Count) {
    let same = |count: &&mut Count| {
        (count.reason, count.enforced, &*count.verdict) == (more.reason, more.enforced, &*more.verdict)
    };
    match counts.iter_mut().find(same) {
        Some(count) => count.times = count.times.saturating_add(more.times),
        None => counts.push(more.clone()),
    }
}

/// So many of each list are kept of an hour or a day that is over.
const KEPT: usize = 64;
const KEPT_RULES: usize = 128;
