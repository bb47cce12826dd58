//! Who asks for whom: which client has which session, and for whom it asks there. Pure: session `n` is always the same.

use std::net::Ipv4Addr;

use crate::people;

/// What clients do.
#[derive(Debug, Clone, PartialEq)]
pub struct Mix {
    /// So many addresses are known to the milter.
    pub addresses: u64,
    /// The share of recipients that are unknown, 0 to 1.
    pub unknown: f64,
    /// Recipients in each session.
    pub recipients: u32,
    /// Sessions of each client, one behind the other. Clients are told apart by their address; there are
    /// [`Mix::MOST_CLIENTS`] at most, then they come again.
    pub sessions_a_client: u64,
}

/// One SMTP session, as the MTA shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// The client's address.
    pub client: Ipv4Addr,
    /// The client's name, or its address in brackets.
    pub host: String,
    /// The client's port.
    pub port: u16,
    /// What it says that it is.
    pub helo: String,
    /// The sender, without angle brackets.
    pub sender: String,
    /// The recipients, without angle brackets.
    pub recipients: Vec<Recipient>,
}

/// Somebody who is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// Without angle brackets.
    pub address: String,
    /// The milter knows it.
    pub is_known: bool,
}

impl Mix {
    /// The clients have addresses in 198.18.0.0/15, which is for measuring (RFC 2544).
    pub const MOST_CLIENTS: u64 = 1 << 17;

    /// What is measured as the attack: one recipient a session, 95 of 100 unknown, from clients of whom each comes four
    /// times, so that nobody is blocked for harvesting: each refusal is that of an unknown recipient. (Backstop's defaults
    /// block a client after 20 unknown recipients, and after 5 while many clients attack.)
    #[must_use]
    pub fn attack(addresses: u64) -> Self {
        Self { addresses, unknown: 0.95, recipients: 1, sessions_a_client: 4 }
    }

    /// Good mail: everybody is known.
    #[must_use]
    pub fn good(addresses: u64) -> Self {
        Self { unknown: 0.0, ..Self::attack(addresses) }
    }

    /// The session with this number.
    #[must_use]
    pub fn visit(&self, session: u64) -> Visit {
        let client = (session / self.sessions_a_client.max(1)) % Self::MOST_CLIENTS;
        let address = Ipv4Addr::from_bits(FIRST_CLIENT.to_bits() + client as u32);
        // Every other one has a name.
        let is_named = client.is_multiple_of(2);
        let [_, _, c, d] = address.octets();
        let name = format!("host-{c}-{d}.pool{}.example.net", client >> 16);
        let recipients = (0..u64::from(self.recipients)).map(|place| {
            let hash = people::mix(session.wrapping_mul(1 << 20).wrapping_add(place));
            let is_known = (hash >> 11) as f64 / (1_u64 << 53) as f64 >= self.unknown;
            let number = people::mix(hash) % self.addresses.max(1);
            let address = if is_known { people::known(number) } else { people::unknown(number) };
            Recipient { address, is_known }
        });
        Visit {
            client: address,
            host: if is_named { name.clone() } else { format!("[{address}]") },
            port: 1024 + (people::mix(session) % 60_000) as u16,
            helo: name,
            sender: format!("offer{}@sender{}.example", people::mix(session) % 100_000, session % 100),
            recipients: recipients.collect(),
        }
    }
}

const FIRST_CLIENT: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use super::*;

    #[test]
    fn the_shares_are_those_asked_for() {
        let mix = Mix { recipients: 3, ..Mix::attack(1000) };
        let recipients: Vec<_> = (0..2000).flat_map(|n| mix.visit(n).recipients).collect();
        assert_eq!(recipients.len(), 6000);
        let known = recipients.iter().filter(|recipient| recipient.is_known).count();
        assert!((240..360).contains(&known), "{known} of 6000 are 5 %");
        let all: HashSet<_> = (0..1000).map(people::known).collect();
        assert!(recipients.iter().all(|r| all.contains(&r.address) == r.is_known));
        assert!(Mix::good(10).visit(3).recipients.iter().all(|recipient| recipient.is_known));
    }

    #[test]
    fn each_client_comes_so_often() {
        let mut sessions: BTreeMap<Ipv4Addr, u32> = BTreeMap::new();
        let mix = Mix::attack(10);
        (0..4000).for_each(|n| *sessions.entry(mix.visit(n).client).or_default() += 1);
        assert_eq!(sessions.len(), 1000);
        assert!(sessions.values().all(|times| *times == 4));
        let last = mix.visit(4 * Mix::MOST_CLIENTS - 1);
        assert_eq!(last.client, Ipv4Addr::new(198, 19, 255, 255));
        assert_eq!(mix.visit(4 * Mix::MOST_CLIENTS).client, mix.visit(0).client);
    }

    #[test]
    fn a_session_is_always_the_same() {
        assert_eq!(Mix::attack(100).visit(7), Mix::attack(100).visit(7));
        assert_ne!(Mix::attack(100).visit(7), Mix::attack(100).visit(8));
    }
}
