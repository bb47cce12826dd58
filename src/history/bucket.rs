//! One hour, or one day.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use serde::{Deserialize, Serialize};

use super::{
    Refusal, Rule,
    summary::{Count, Sample},
    top::{Entry, MOST_SAMPLES, Top},
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
    pub(super) counts: Vec<Count>,
    /// Refusals that are counted, but not in the lists.
    pub(super) missed: u64,
    /// By outcome.
    pub(super) greylist: BTreeMap<String, u64>,
    pub(super) rules: Top<Rule>,
    /// Unknown ones.
    pub(super) recipients: Top<String>,
    pub(super) clients: Top<String>,
    pub(super) networks: Top<String>,
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

    pub(super) fn note(&mut self, refusal: &Noted) {
        let Noted { rule, one, recipient, client, network } = refusal;
        self.rules.add(rule, one, MOST_SAMPLES);
        if let Some(recipient) = recipient {
            self.recipients.add(recipient, one, 1);
        }
        if let (Some(client), Some(network)) = (client, network) {
            self.clients.add(client, one, 1);
            self.networks.add(network, one, 1);
        }
    }

    /// It is over: what is kept is less than while anybody may still come to the top.
    pub(super) fn close(&mut self) {
        self.rules.close(KEPT_RULES, MOST_SAMPLES);
        self.recipients.close(KEPT, 1);
        self.clients.close(KEPT, 1);
        self.networks.close(KEPT, 1);
    }
}

/// A refusal in the form in which lists take it.
#[derive(Debug)]
pub(super) struct Noted {
    rule: Rule,
    one: Entry,
    recipient: Option<String>,
    client: Option<String>,
    network: Option<String>,
}

impl From<Refusal> for Noted {
    fn from(refusal: Refusal) -> Self {
        let Refusal { at, rule, client, sender, recipient, is_insider, is_good } = refusal;
        let is_unknown = matches!(rule.reason, Reason::UnknownRecipient | Reason::SpamTrap);
        let unknown = is_unknown.then(|| recipient.clone());
        let sample = Sample {
            at,
            reason: rule.reason,
            enforced: rule.enforced,
            domain: rule.domain.clone(),
            client: client.map(|client| client.to_string()).unwrap_or_default(),
            sender,
            recipient,
            insider: is_insider,
            good: is_good,
        };
        let one =
            Entry { times: 1, insiders: is_insider.into(), good: is_good.into(), samples: vec![sample] };
        Self { rule, one, recipient: unknown, client: client.map(who), network: client.map(network) }
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

/// The client: of IPv6 its /64, in which it has any address it likes.
fn who(client: IpAddr) -> String {
    match client {
        IpAddr::V4(client) => client.to_string(),
        IpAddr::V6(client) => masked(client, 64),
    }
}

fn network(client: IpAddr) -> String {
    match client {
        IpAddr::V4(client) => {
            let [a, b, c, _] = client.octets();
            format!("{}/24", Ipv4Addr::new(a, b, c, 0))
        }
        IpAddr::V6(client) => masked(client, 48),
    }
}

fn masked(client: Ipv6Addr, length: u32) -> String {
    format!("{}/{length}", Ipv6Addr::from_bits(client.to_bits() & (u128::MAX << (128 - length))))
}

/// So many of each list are kept of an hour or a day that is over.
const KEPT: usize = 64;
const KEPT_RULES: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_and_their_networks() {
        for (client, expected, of) in [
            ("203.0.113.9", "203.0.113.9", "203.0.113.0/24"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", "2001:db8:1::/48"),
        ] {
            let client: IpAddr = client.parse().unwrap();
            assert_eq!((who(client), network(client)), (expected.to_owned(), of.to_owned()));
        }
    }
}
