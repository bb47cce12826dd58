//! As many file descriptors as the sessions need: a session has one, and systemd and shells give 1024 unless asked.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::{debug, warn};

use crate::client::DESCRIPTORS;

/// Raises this process' own limit to what `sessions` need, as far as it may. Gives how many sessions there are enough
/// for: one more is closed at once, and does not wait for a descriptor that may never come.
pub(super) fn enough_for(sessions: usize) -> usize {
    let (soft, hard) = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok(limits) => limits,
        Err(error) => {
            debug!(%error, "the limit of file descriptors is not known");
            return sessions;
        }
    };
    let wanted = u64::try_from(sessions).unwrap_or(u64::MAX).saturating_add(OTHERS);
    let mut have = soft;
    if soft < wanted.min(hard) {
        match setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard) {
            Ok(()) => have = wanted.min(hard),
            Err(error) => debug!(%error, "the limit of file descriptors can't be raised"),
        }
    }
    let most = possible(sessions, have);
    if most < sessions {
        warn!(
            sessions = most,
            descriptors = have,
            "fewer sessions than limits.sessions are possible; LimitNOFILE= (systemd) or ulimit -n allows more files"
        );
    }
    most
}

/// With few descriptors, half of them are for sessions; with very few, what is left of those that nothing goes without.
fn possible(sessions: usize, descriptors: u64) -> usize {
    let least = OWN.min(descriptors / 4 * 3);
    let most = descriptors - OTHERS.min(least.max(descriptors / 2));
    usize::try_from(most).map_or(sessions, |most| most.min(sessions))
}

/// For the event loops of all threads, listeners, logs and the store.
const OWN: u64 = 64;
/// For files, pages, commands, servers that are asked, the programs that detection runs, and questions to the DNS.
const OTHERS: u64 = 256 + DESCRIPTORS;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_fit_the_descriptors() {
        for (sessions, descriptors, expected) in [
            (10_000, 524_288, 10_000),
            (10_000, 11_024, 10_000),
            (10_000, 11_023, 9_999),
            (10_000, 1024, 512),
            (10_000, 128, 64),
            (10_000, 64, 16),
            (10, 64, 10),
            (1, 0, 0),
            (usize::MAX, u64::MAX, usize::MAX - 1024),
        ] {
            assert_eq!(possible(sessions, descriptors), expected, "{sessions} {descriptors}");
        }
    }
}
