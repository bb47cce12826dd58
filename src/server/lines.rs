//! How many lines the log has for refusals: under an attack not one for each, and none of them waits for the others.
//!
//! A client has a share, so that one alone does not drive out the lines of the others. What is left out is counted, and told.
//! Warnings and errors are none of these lines.

use std::{
    hash::BuildHasher,
    net::IpAddr,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::{Duration, Instant},
};

use foldhash::quality::RandomState;
use prometheus::{IntCounter, IntCounterVec};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    clock,
    policy::Reason,
    telemetry::{Pace, Rate},
};

/// Who may write a line.
#[derive(Debug)]
pub(super) struct Lines {
    began: Instant,
    per_second: AtomicU32,
    all: Rate,
    /// Of a client the one that its address hashes to: two may share one.
    clients: Vec<Rate>,
    keys: RandomState,
    is_limiting: AtomicBool,
    left_out: [IntCounter; Reason::ALL.len()],
}

impl Lines {
    /// Counts what is left out in `left_out`, by reason.
    pub(super) fn new(per_second: u32, left_out: &IntCounterVec) -> Self {
        Self {
            began: clock::now(),
            per_second: AtomicU32::new(per_second),
            all: Rate::default(),
            clients: std::iter::repeat_with(Rate::default).take(CLIENTS).collect(),
            keys: RandomState::default(),
            is_limiting: AtomicBool::new(false),
            left_out: Reason::ALL.map(|reason| left_out.with_label_values(&[reason.as_str()])),
        }
    }

    /// So many in a second from now on; 0: as many as there are.
    pub(super) fn limit(&self, per_second: u32) {
        self.per_second.store(per_second, Ordering::Relaxed);
    }

    /// Whether there may be one now. If not, it is counted, and the first time said at once.
    pub(super) fn allow(&self, reason: Reason, client: Option<IpAddr>, now: Instant) -> bool {
        let per_second = self.per_second.load(Ordering::Relaxed);
        if per_second == 0 {
            return true;
        }
        let since = now.saturating_duration_since(self.began);
        // A client that has had its share takes nothing of what is for all.
        let rate = client.and_then(|client| self.clients.get(self.slot(client)));
        let share = Pace::new(SECOND * SHARE / per_second, per_second);
        let every = Pace::new(SECOND / per_second, per_second.saturating_mul(2));
        if rate.is_none_or(|rate| rate.allows(share, since)) && self.all.allows(every, since) {
            return true;
        }
        if let Some(count) = self.left_out.get(reason as usize) {
            count.inc();
        }
        if !self.is_limiting.load(Ordering::Relaxed) && !self.is_limiting.swap(true, Ordering::Relaxed) {
            warn!(
                refusals_per_second = per_second,
                "many refusals: from now on some have no line of their own, and are counted"
            );
        }
        false
    }

    /// Tells each ten seconds how many were left out, and once more at the end; until `stop`.
    pub(super) async fn tell(&self, stop: CancellationToken) {
        // Of those before the first look as well.
        let mut told = [0; Reason::ALL.len()];
        let (mut began, mut last, mut quiet) = (clock::now(), told, 0);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let stops = tokio::select! {
                () = stop.cancelled() => true,
                _ = tick.tick() => false,
            };
            let counts = self.counts();
            if counts == told && !self.is_limiting.load(Ordering::Relaxed) {
                began = clock::now();
            } else {
                quiet = if counts == last { quiet + 1 } else { 0 };
                let is_over = stops || quiet >= QUIET;
                if is_over {
                    quiet = 0;
                    // Before the last count: who comes now says so again.
                    self.is_limiting.store(false, Ordering::Relaxed);
                }
                if is_over || clock::since(began) >= EACH {
                    let counts = self.counts();
                    say(&told, &counts, clock::since(began));
                    (told, began) = (counts, clock::now());
                }
            }
            last = counts;
            if stops {
                return;
            }
        }
    }

    fn counts(&self) -> [u64; Reason::ALL.len()] {
        std::array::from_fn(|at| self.left_out.get(at).map_or(0, IntCounter::get))
    }

    /// Of IPv6 the /64, in which a client has any address it likes.
    fn slot(&self, client: IpAddr) -> usize {
        let network = match client {
            IpAddr::V4(client) => client.to_bits().into(),
            IpAddr::V6(client) => (client.to_bits() >> 64) as u64,
        };
        usize::try_from(self.keys.hash_one(network)).unwrap_or_default() % CLIENTS
    }
}

fn say(told: &[u64; Reason::ALL.len()], counts: &[u64; Reason::ALL.len()], time: Duration) {
    let by_reason =
        Reason::ALL.iter().zip(counts.iter().zip(told)).map(|(reason, (is, was))| (reason, is - was));
    let by_reason: Vec<_> = by_reason.filter(|(_, times)| *times > 0).collect();
    let left_out: u64 = by_reason.iter().map(|(_, times)| times).sum();
    if left_out == 0 {
        return;
    }
    let reasons: Vec<String> = by_reason.iter().map(|(reason, times)| format!("{reason} {times}")).collect();
    let (reasons, seconds) = (reasons.join(", "), time.as_secs_f64().round().max(1.0));
    warn!(left_out, reasons, "{left_out} refusals were not logged in the last {seconds} s");
}

const SECOND: Duration = Duration::from_secs(1);
/// A client may have every fifth line, and after a pause as many at once as there may be in a second.
const SHARE: u32 = 5;
const CLIENTS: usize = 1024;
const TICK: Duration = SECOND;
/// Ten ticks, of which the last one may come a little early.
const EACH: Duration = Duration::from_millis(9_500);
/// It is over when for so many ticks nothing was left out.
const QUIET: u32 = 2;

#[cfg(test)]
mod tests {
    use std::sync::{Arc, atomic::AtomicU64};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::telemetry::Registry;

    fn lines(per_second: u32) -> Lines {
        Lines::new(per_second, &Registry::default().counters("left_out_total", "x", &["reason"]))
    }

    fn client(last: u32) -> Option<IpAddr> {
        Some(IpAddr::from((u32::from_be_bytes([198, 18, 0, 0]) + last).to_be_bytes()))
    }

    #[test]
    fn a_client_has_a_share_and_all_have_a_limit() {
        let lines = lines(10);
        let reason = Reason::UnknownRecipient;
        let allowed = |client, millis: u64, times: usize| {
            let now = lines.began + Duration::from_millis(millis);
            (0..times).filter(|_| lines.allow(reason, client, now)).count()
        };
        assert_eq!(allowed(client(1), 0, 100), 10, "as many at once as there may be in a second");
        assert_eq!(allowed(client(2), 0, 1), 1, "another client has its own");
        let alone: usize = (1..=10_000).map(|millis| allowed(client(1), millis, 1)).sum();
        assert_eq!(alone, 20, "one alone has a fifth");
        let many: usize =
            (10_000..20_000).map(|millis| allowed(client(millis as u32 % 500), millis, 1)).sum();
        assert!((100..=120).contains(&many), "{many}");
        let left_out = lines.left_out[reason as usize].get();
        assert_eq!(left_out, (90 + 10_000 - 20 + 10_000 - many) as u64);
        assert!(lines.is_limiting.load(Ordering::Relaxed));
    }

    #[test]
    fn no_limit_and_a_limit_that_changes() {
        let lines = lines(0);
        let now = lines.began;
        assert!((0..10_000).all(|_| lines.allow(Reason::Harvest, client(1), now)));
        lines.limit(1);
        assert!((0..100).any(|_| !lines.allow(Reason::Harvest, client(1), now)));
        assert!(lines.allow(Reason::Harvest, None, now), "who has no address has no share");
    }

    /// Adds up what lines tell of.
    struct Told(Arc<AtomicU64>);

    impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Told {
        fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
            struct LeftOut<'a>(&'a AtomicU64);
            impl tracing::field::Visit for LeftOut<'_> {
                fn record_u64(&mut self, field: &tracing::field::Field, value: u64) {
                    if field.name() == "left_out" {
                        self.0.fetch_add(value, Ordering::Relaxed);
                    }
                }
                fn record_debug(&mut self, _: &tracing::field::Field, _: &dyn std::fmt::Debug) {}
            }
            event.record(&mut LeftOut(&self.0));
        }
    }

    #[tokio::test]
    async fn what_was_left_out_before_the_first_look_is_told() {
        let (lines, told) = (lines(10), Arc::new(AtomicU64::new(0)));
        let may = |_: &u64| lines.allow(Reason::Harvest, client(1), lines.began);
        let left_out = (0..100_u64).filter(|number| !may(number)).count();
        let _here = tracing::subscriber::set_default(tracing_subscriber::registry().with(Told(told.clone())));
        let stop = CancellationToken::new();
        stop.cancel();
        lines.tell(stop).await;
        assert_eq!((told.load(Ordering::Relaxed), left_out), (90, 90));
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let lines = lines(5);
        let slot = |client: &str| lines.slot(client.parse().unwrap());
        assert_eq!(slot("2001:db8:1:2::3"), slot("2001:db8:1:2:ffff::4"));
        let networks: std::collections::BTreeSet<usize> =
            (0..50).map(|network| slot(&format!("2001:db8:1:{network:x}::3"))).collect();
        assert!(networks.len() > 25, "{networks:?}");
    }
}
