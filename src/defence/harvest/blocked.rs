//! Whom this process has blocked: for the gauge, and so that a block is told of once.

use std::{collections::HashMap, net::IpAddr, time::Duration};

/// Clients with the time at which their block ends.
#[derive(Debug, Default)]
pub(super) struct Blocked {
    until: HashMap<IpAddr, Duration>,
}

impl Blocked {
    /// Notes a block; whether it is a new one. Sessions that run at the same time may all find it due.
    pub(super) fn begin(&mut self, client: IpAddr, now: Duration, block: Duration) -> bool {
        let until = now + block;
        if let Some(old) = self.until.get(&client)
            && until.saturating_sub(*old) < AT_ONCE.min(block)
        {
            return false;
        }
        if self.until.len() >= MOST {
            self.forget(now);
        }
        if self.until.len() < MOST {
            self.until.insert(client, until);
        }
        true
    }

    pub(super) fn release(&mut self, client: IpAddr) {
        self.until.remove(&client);
    }

    /// How many there are.
    pub(super) fn count(&mut self, now: Duration) -> usize {
        self.forget(now);
        self.until.len()
    }

    fn forget(&mut self, now: Duration) {
        self.until.retain(|_, until| *until > now);
    }
}

/// Within this time it is the same block.
const AT_ONCE: Duration = Duration::from_secs(10);

/// Beyond this number the gauge stands still; they are blocked all the same.
const MOST: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_begins_once_and_ends_by_itself() {
        let (mut blocked, hour) = (Blocked::default(), Duration::from_secs(3600));
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let at = |second: u64| Duration::from_secs(1_000_000 + second);
        assert!(blocked.begin(one, at(0), hour));
        assert!(!blocked.begin(one, at(1), hour), "another session found out the same");
        assert!(blocked.begin(other, at(1), hour));
        assert_eq!(blocked.count(at(2)), 2);
        assert!(blocked.begin(one, at(100), hour), "somebody released it elsewhere, and it went on");
        blocked.release(other);
        assert_eq!(blocked.count(at(100)), 1);
        assert_eq!(blocked.count(at(100 + 3600)), 0);
    }
}
