//! Whom this process has blocked: for the gauge, so that a block is told of once, and so that it is in force at once.

use std::{collections::HashMap, time::Duration};

use ipnet::IpNet;

/// Clients with their blocks.
#[derive(Debug, Default)]
pub(super) struct Blocked {
    blocks: HashMap<IpNet, Block>,
}

#[derive(Debug, Clone, Copy)]
struct Block {
    begun: Duration,
    until: Duration,
}

impl Blocked {
    /// Notes a block; whether it is a new one. Sessions that run at the same time may all find it due.
    pub(super) fn begin(&mut self, client: IpNet, now: Duration, block: Duration) -> bool {
        if self.is_fresh(client, now) {
            return false;
        }
        if self.blocks.len() >= MOST {
            self.forget(now);
        }
        if self.blocks.len() < MOST {
            self.blocks.insert(client, Block { begun: now, until: now + block });
        }
        true
    }

    /// Whether the client was blocked so short a time ago that a store on another host may not know it yet.
    pub(super) fn is_fresh(&self, client: IpNet, now: Duration) -> bool {
        let block = self.blocks.get(&client).filter(|block| now < block.until);
        // A clock that was set back would make it last: no block is younger than nothing.
        block.is_some_and(|block| now.checked_sub(block.begun).is_some_and(|age| age < AT_ONCE))
    }

    pub(super) fn release(&mut self, client: IpNet) {
        self.blocks.remove(&client);
    }

    /// How many there are.
    pub(super) fn count(&mut self, now: Duration) -> usize {
        self.forget(now);
        self.blocks.len()
    }

    fn forget(&mut self, now: Duration) {
        self.blocks.retain(|_, block| block.until > now);
    }
}

/// Within this time it is the same block.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Beyond this number the gauge stands still; they are blocked all the same.
const MOST: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn client(last: u8) -> IpNet {
        std::net::IpAddr::from([192, 0, 2, last]).into()
    }

    #[test]
    fn a_block_begins_once_and_ends_by_itself() {
        let (mut blocked, hour) = (Blocked::default(), Duration::from_secs(3600));
        let (one, other) = (client(1), client(2));
        let at = |second: u64| Duration::from_secs(1_000_000 + second);
        assert!(blocked.begin(one, at(0), hour));
        assert!(!blocked.begin(one, at(1), hour), "another session found out the same");
        assert!(blocked.begin(other, at(1), hour));
        assert_eq!(blocked.count(at(2)), 2);
        assert!(blocked.is_fresh(one, at(2)) && !blocked.is_fresh(one, at(60)));
        assert!(blocked.begin(one, at(100), hour), "somebody released it elsewhere, and it went on");
        assert!(blocked.is_fresh(one, at(101)));
        blocked.release(one);
        assert!(!blocked.is_fresh(one, at(101)), "released by hand");
        assert!(blocked.begin(one, at(100), hour));
        blocked.release(other);
        assert_eq!(blocked.count(at(100)), 1);
        assert_eq!(blocked.count(at(100 + 3600)), 0);
    }

    #[test]
    fn a_short_block_is_over_in_time() {
        let (mut blocked, second) = (Blocked::default(), Duration::from_secs(1));
        let (one, now) = (client(1), Duration::from_secs(1_000_000));
        assert!(blocked.begin(one, now, second));
        assert!(blocked.is_fresh(one, now + second / 2) && !blocked.is_fresh(one, now + second));
        assert!(blocked.begin(one, now + second, second), "it is a new one");
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_nobody_blocked() {
        let (mut blocked, hour) = (Blocked::default(), Duration::from_secs(3600));
        let (one, now) = (client(1), Duration::from_secs(1_000_000));
        assert!(blocked.begin(one, now + hour * 24, hour));
        assert!(!blocked.is_fresh(one, now));
        assert!(blocked.begin(one, now, hour), "a new one is told of");
    }
}
