//! Whether a list has what no list may have. One that was given up is taken over by whoever got its domain, or is answered
//! for by a wildcard: it has everybody then, and would have everybody refused.
//!
//! RFC 5782 §5: 127.0.0.1 is never on a list, nor is ::FFFF:7F00:1; 127.0.0.2 and ::FFFF:7F00:2 always are. A name that is
//! made up for each probe is asked for as well: what was said of 127.0.0.1 may be remembered on the way here.
//! Failure: a list that has not answered yet is untested; later, what was found last counts.

use std::{
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv4Addr},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use tokio::{
    sync::watch,
    time::{timeout, timeout_at},
};

use super::{DnsList, Listing, query_name_v4, query_name_v6};
use crate::net::{DnsError, Resolver};

/// What is known of a list, and when it is probed again.
#[derive(Debug, Default)]
pub(super) struct Probe {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    v4: Proof,
    v6: Proof,
    /// It has not even what every list has.
    is_empty: bool,
    /// `None`: at once.
    due: Option<Instant>,
    /// Probes in a row that were not answered in full.
    failures: u32,
    /// Closed when the probe is over.
    running: Option<watch::Receiver<()>>,
}

/// Whether what a list says of addresses of one family is to be believed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Proof {
    /// It could not be found out yet.
    #[default]
    Untested,
    /// It has not everybody.
    Sound,
    /// It has whom it must not have.
    Everybody,
}

/// What a list says of whom it must not have, and of whom it must.
#[derive(Debug)]
pub(super) struct Answers {
    v4: Listing,
    v6: Listing,
    made_up: Listing,
    /// `None`: could not find out.
    is_empty: Option<bool>,
}

impl Probe {
    /// Whether a probe is due; then it is the caller's to do, and over when what is given here is dropped.
    pub(super) fn begin(&self, now: Instant) -> Option<watch::Sender<()>> {
        let mut state = self.state();
        let is_running = state.running.as_ref().is_some_and(|running| running.has_changed().is_ok());
        if is_running || state.due.is_some_and(|due| now < due) {
            return None;
        }
        let (sender, receiver) = watch::channel(());
        state.running = Some(receiver);
        Some(sender)
    }

    /// What is known; waits for the probe under way, until `deadline`, only as long as that is nothing.
    pub(super) async fn proof(&self, client: IpAddr, deadline: Instant) -> Proof {
        let (proof, running) = {
            let state = self.state();
            (state.proof(client), state.running.clone())
        };
        match running {
            Some(mut running) if proof == Proof::Untested => {
                let _ = timeout_at(deadline.into(), running.changed()).await;
                self.state().proof(client)
            }
            _ => proof,
        }
    }

    /// Takes the answers to a probe. `Some(true)`: from now on it has everybody; `Some(false)`: not any more.
    pub(super) fn learn(&self, answers: &Answers, now: Instant) -> Option<bool> {
        let mut guard = self.state();
        let state = &mut *guard;
        let before = state.has_everybody();
        let never = [answers.v4, answers.v6, answers.made_up];
        let has_everybody = never.iter().any(|listing| matches!(listing, Listing::Listed(_)));
        for (listing, proof) in [(answers.v4, &mut state.v4), (answers.v6, &mut state.v6)] {
            if has_everybody {
                *proof = Proof::Everybody;
            } else if listing == Listing::Clear {
                *proof = Proof::Sound;
            }
        }
        state.is_empty = answers.is_empty.unwrap_or(state.is_empty);
        let unanswered = never.iter().filter(|listing| listing.is_unknown()).count();
        let is_answered = has_everybody || unanswered == 0;
        state.failures = if is_answered { 0 } else { state.failures.saturating_add(1) };
        let pause = match state.failures {
            0 => EVERY,
            // It is down: whoever tries it next probes it, too.
            _ if unanswered == never.len() => Duration::ZERO,
            failures => AGAIN * 2_u32.saturating_pow((failures - 1).min(16)),
        };
        state.due = Some(now + pause.min(EVERY));
        let after = state.has_everybody();
        (before != after).then_some(after)
    }

    /// Nothing that it says is to be believed.
    pub(super) fn has_everybody(&self) -> bool {
        self.state().has_everybody()
    }

    /// It has not even what every list has.
    pub(super) fn is_empty(&self) -> bool {
        self.state().is_empty
    }

    /// It was asked several times whether it has everybody, and did not say so clearly.
    pub(super) fn is_in_doubt(&self) -> bool {
        let state = self.state();
        state.failures >= DOUBT && [state.v4, state.v6].contains(&Proof::Untested)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn proof(&self, client: IpAddr) -> Proof {
        if client.to_canonical().is_ipv4() { self.v4 } else { self.v6 }
    }

    fn has_everybody(&self) -> bool {
        [self.v4, self.v6].contains(&Proof::Everybody)
    }
}

impl Answers {
    /// Asks the list.
    pub(super) async fn of(list: &DnsList, dns: &Resolver) -> Self {
        let zone = list.zone();
        let ask = async |name: String| timeout(PATIENCE, dns.addresses_v4(&name)).await.ok();
        let (v4, v6, made_up, test_v4, test_v6) = tokio::join!(
            ask(query_name_v4(NEVER, zone)),
            ask(query_name_v6(NEVER.to_ipv6_mapped(), zone)),
            ask(made_up(zone)),
            ask(query_name_v4(ALWAYS, zone)),
            ask(query_name_v6(ALWAYS.to_ipv6_mapped(), zone)),
        );
        // Any answer will do: a list of dynamic addresses may say of a test that it is something else.
        let is_empty = match (test_v4, test_v6) {
            (Some(Ok(_)), _) | (_, Some(Ok(_))) => Some(false),
            (Some(Err(DnsError::None(_))), Some(Err(DnsError::None(_)))) => Some(true),
            _ => None,
        };
        let meaning = |found: Option<_>| found.map_or(Listing::Failed, |found| list.meaning(&found));
        let [v4, v6, made_up] = [v4, v6, made_up].map(meaning);
        Self { v4, v6, made_up, is_empty }
    }
}

/// A name below the zone that nobody has asked for.
fn made_up(zone: &str) -> String {
    format!("backstop-{:016x}.{zone}.", RandomState::new().hash_one(SystemTime::now()))
}

const NEVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const ALWAYS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// A list is given up in a day, not in a minute; but each minute refuses people.
const EVERY: Duration = Duration::from_secs(600);
/// After a probe that was answered in part; it doubles with each further one.
const AGAIN: Duration = Duration::from_secs(1);
/// For each question of a probe.
const PATIENCE: Duration = Duration::from_secs(2);
/// After so many of them an admin is told.
const DOUBT: u32 = 3;

#[cfg(test)]
mod tests;
