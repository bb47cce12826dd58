//! How often each client was refused lately: a table of fixed size. Two clients that meet in one place take turns.

use std::{
    hash::BuildHasher,
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::store::Keys;

/// The counts.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    keys: Keys,
    slots: Vec<Option<Slot>>,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    client: u64,
    refusals: u32,
    last: Instant,
}

impl Refusals {
    /// How many there were before this one, none of them followed by a pause as long as `window`.
    pub(super) fn count(&mut self, client: IpAddr, now: Instant, window: Duration) -> u32 {
        let (client, slot) = self.slot(client);
        let before = match slot {
            Some(slot) if slot.client == client && now.saturating_duration_since(slot.last) < window => {
                slot.refusals
            }
            _ => 0,
        };
        *slot = Some(Slot { client, refusals: before.saturating_add(1).min(MOST), last: now });
        before
    }

    /// One less.
    pub(super) fn forgive(&mut self, client: IpAddr) {
        let (client, slot) = self.slot(client);
        if let Some(slot) = slot.as_mut().filter(|slot| slot.client == client) {
            slot.refusals = slot.refusals.saturating_sub(1);
        }
    }

    fn slot(&mut self, client: IpAddr) -> (u64, &mut Option<Slot>) {
        let hash = self.keys.hash_one(client);
        // Nobody pays for a tarpit that is off.
        if self.slots.is_empty() {
            self.slots.resize(SLOTS, None);
        }
        (hash, &mut self.slots[hash as usize % SLOTS])
    }
}

/// Less than three megabytes.
const SLOTS: usize = 1 << 16;

/// What takes the shortest first delay over every cap; forgiving begins there.
const MOST: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_clients_takes_no_more_room() {
        let mut refusals = Refusals::default();
        let now = Instant::now();
        for client in 0..200_000_u32 {
            refusals.count(IpAddr::from(client.to_be_bytes()), now, Duration::from_secs(60));
        }
        assert_eq!(refusals.slots.len(), SLOTS);
        let strange: u32 = (300_000..301_000_u32)
            .map(|client| refusals.count(IpAddr::from(client.to_be_bytes()), now, Duration::from_secs(60)))
            .sum();
        assert_eq!(strange, 0, "nobody pays for another");
    }
}
