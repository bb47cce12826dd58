//! What is told of a span of time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Rule, queue::Noted, top::Entry};
use crate::{policy::Reason, readable::Ip};

/// Everything since a time.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// In seconds since 1970.
    pub now: u64,
    /// The beginning of what is told, likewise; later than was asked for where no more is known.
    pub since: u64,
    /// So long the server has run since then.
    pub running_seconds: u64,
    /// Recipients that were decided, and clients and messages that were refused; the most frequent first.
    pub decisions: Vec<Count>,
    /// Refusals that are counted, but missing in all that follows.
    pub missed: u64,
    /// Counts in what follows may be too low: there were more than there is room for.
    pub at_least: bool,
    /// Something that speaks against a rule may be missing in what follows.
    pub is_robbed: bool,
    /// Refusals by rule, with the last samples, newest last.
    pub(crate) rules: Vec<(Rule, Entry)>,
    /// Those that nobody has.
    pub unknown_recipients: Vec<Listed>,
    /// Who was refused anything.
    pub clients: Vec<Listed>,
    /// /24 and /48.
    pub networks: Vec<Listed>,
    /// What the greylist found, by the outcomes of `backstop_greylist_total`.
    pub greylist: BTreeMap<String, u64>,
    /// What is only watched now.
    pub watched: Vec<Watched>,
}

/// How often something was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Why.
    pub reason: Reason,
    /// `continue`, `reject` or `defer`.
    pub verdict: String,
    /// `false`: it was only watched.
    pub enforced: bool,
    /// How often.
    pub times: u64,
}

impl Count {
    /// As people read it: what has passed is one, whether or not anything would have been enforced.
    #[must_use]
    pub fn told(counts: &[Self]) -> Vec<Self> {
        let mut told: Vec<Self> = Vec::new();
        for count in counts {
            let is_same = |other: &&mut Self| {
                count.verdict == "continue" && other.verdict == count.verdict && other.reason == count.reason
            };
            match told.iter_mut().find(is_same) {
                Some(other) => other.times = other.times.saturating_add(count.times),
                None => told.push(count.clone()),
            }
        }
        told.sort_by_key(|count| std::cmp::Reverse(count.times));
        told
    }
}

/// A recipient, a client or a network in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Which one.
    pub what: String,
    /// How often, at least.
    pub times: u64,
    /// Of these, by insiders.
    pub insiders: u64,
    /// Of these, by clients that ask for recipients that exist.
    pub good: u64,
    /// The last time.
    pub last: Sample,
}

/// One refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// In seconds since 1970.
    pub at: u64,
    /// Why.
    pub reason: Reason,
    /// `false`: the mail passed.
    pub enforced: bool,
    /// The local domain, as it is configured.
    pub domain: String,
    /// The client's address; empty where the MTA does not tell it.
    pub client: String,
    /// As the client wrote it.
    pub sender: String,
    /// The address, or what the client wrote.
    pub recipient: String,
    /// The client is trusted or authenticated.
    pub insider: bool,
    /// The client asks for recipients that exist.
    pub good: bool,
}

/// A mode, domain or reason that is only watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// `mode`, `domain:NAME` or `reason:NAME`.
    pub what: String,
    /// In seconds since 1970.
    pub since: u64,
}

impl Sample {
    /// Makes it one of this refusal. The texts that it has had are written over.
    pub(super) fn fill(&mut self, refusal: &Noted<'_>) {
        let Noted { at, rule, client, sender, recipient, is_insider, is_good } = *refusal;
        (self.at, self.reason, self.enforced) = (at, rule.reason, rule.enforced);
        (self.insider, self.good) = (is_insider, is_good);
        for (own, text) in
            [(&mut self.domain, rule.domain), (&mut self.sender, sender), (&mut self.recipient, recipient)]
        {
            own.clear();
            own.push_str(text);
        }
        self.client.clear();
        if let Some(client) = client {
            self.client.push_str(Ip::from(client).as_str());
        }
    }
}

impl From<&Noted<'_>> for Sample {
    fn from(refusal: &Noted<'_>) -> Self {
        let mut sample = Self::default();
        sample.fill(refusal);
        sample
    }
}

impl Default for Sample {
    fn default() -> Self {
        let (client, sender, recipient, domain) = Default::default();
        let (insider, good) = (false, false);
        Self { at: 0, reason: Reason::Ok, enforced: false, domain, client, sender, recipient, insider, good }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The metric tells them apart; for a reader they would be the same line twice.
    #[test]
    fn what_passed_is_told_once() {
        let count = |reason, verdict: &str, enforced, times| Count {
            reason,
            verdict: verdict.to_owned(),
            enforced,
            times,
        };
        let told = Count::told(&[
            count(Reason::UnknownRecipient, "reject", true, 6),
            count(Reason::Ok, "continue", true, 5),
            count(Reason::UnknownRecipient, "reject", false, 4),
            count(Reason::Ok, "continue", false, 3),
            count(Reason::NotLocal, "continue", false, 2),
        ]);
        let shown: Vec<_> = told.iter().map(|count| (count.reason, count.enforced, count.times)).collect();
        assert_eq!(
            shown,
            [
                (Reason::Ok, true, 8),
                (Reason::UnknownRecipient, true, 6),
                (Reason::UnknownRecipient, false, 4),
                (Reason::NotLocal, false, 2)
            ]
        );
    }
}
