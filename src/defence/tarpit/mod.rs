//! The tarpit: a refusal that takes its time, longer with each one for the same client.
//!
//! Each delay is capped, and so is how many wait at once: a delay holds a process of the MTA. Failure: no delay.

mod refusals;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use self::refusals::Refusals;
use super::{Metrics, Shared, network};
use crate::clock;

/// `[defence.tarpit]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Delay refusals of unknown recipients and of dynamic clients.
    pub enabled: bool,
    /// The first delay of a client; each later one is twice as long.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub first: Duration,
    /// No delay is longer. Together with `limits.lookup` at most 8 s; what took long already is delayed less.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub max: Duration,
    /// A client that was refused nothing for so long begins anew; at least 1 s.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub window: Duration,
    /// So many refusals are delayed at the same time, at most; a fifth of them for one client.
    pub sleepers: usize,
}

/// The delays.
#[derive(Debug)]
pub struct Tarpit {
    config: Config,
    sleepers: Arc<Sleepers>,
    metrics: Metrics,
}

/// Who waits now, and who was refused lately.
#[derive(Debug, Default)]
pub struct Sleepers {
    asleep: Mutex<HashMap<IpAddr, usize>>,
    refusals: Mutex<Refusals>,
}

/// A delay that was granted; while it is there it counts.
#[derive(Debug)]
pub struct Held {
    /// How long.
    pub delay: Duration,
    client: IpAddr,
    begun: Instant,
    sleepers: Arc<Sleepers>,
    metrics: Metrics,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: false,
            first: Duration::from_millis(250),
            max: Duration::from_secs(4),
            window: Duration::from_secs(60 * 60),
            sleepers: 50,
        }
    }
}

impl Config {
    /// Tells `say` which key can't be used, and why.
    pub fn check(&self, say: &mut dyn FnMut(&'static str, String)) {
        if self.first.is_zero() || self.first > self.max {
            say("first", format!("must be more than 0, and at most `max` ({:?})", self.max));
        }
        if self.window < SHORTEST_WINDOW {
            say(
                "window",
                format!("must be at least {SHORTEST_WINDOW:?}, or no delay is longer than the first"),
            );
        }
        if self.sleepers == 0 {
            say("sleepers", "must be at least 1; `enabled = false` switches the defence off".to_owned());
        }
    }

    /// The delay before a refusal, after so many others.
    fn delay(&self, refusals: u32) -> Duration {
        let factor = 1_u32.checked_shl(refusals).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.max)
    }

    /// One client alone gets a part of the places.
    fn share(&self) -> usize {
        (self.sleepers / 5).max(1)
    }
}

impl Tarpit {
    pub(super) fn new(config: &Config, shared: &Shared) -> Self {
        let (sleepers, metrics) = (Arc::clone(&shared.sleepers), shared.metrics.clone());
        Self { config: config.clone(), sleepers, metrics }
    }

    /// The delay before the next refusal of this client; `None`: none. `is_stressed`: nobody should wait now.
    pub fn hold(&self, client: IpAddr, is_stressed: bool) -> Option<Held> {
        self.hold_at(client, is_stressed, clock::now())
    }

    /// The client asked for somebody who exists: its next delay is half as long. A mailing list with a few dead addresses
    /// waits little.
    pub fn forgive(&self, client: IpAddr) {
        if self.config.enabled {
            lock(&self.sleepers.refusals).forgive(network::of(client).addr());
        }
    }

    fn hold_at(&self, client: IpAddr, is_stressed: bool, now: Instant) -> Option<Held> {
        if !self.config.enabled {
            return None;
        }
        let client = network::of(client).addr();
        let refusals = lock(&self.sleepers.refusals).count(client, now, self.config.window);
        if is_stressed || !self.sleepers.admit(client, &self.config) {
            return None;
        }
        self.metrics.tarpit_sleeping.inc();
        let (sleepers, metrics) = (Arc::clone(&self.sleepers), self.metrics.clone());
        Some(Held { delay: self.config.delay(refusals), client, begun: now, sleepers, metrics })
    }
}

impl Sleepers {
    fn admit(&self, client: IpAddr, config: &Config) -> bool {
        let mut asleep = lock(&self.asleep);
        let all: usize = asleep.values().sum();
        let own = asleep.get(&client).copied().unwrap_or(0);
        let is_admitted = all < config.sleepers && own < config.share();
        if is_admitted {
            asleep.insert(client, own + 1);
        }
        is_admitted
    }

    fn leave(&self, client: IpAddr) {
        let mut asleep = lock(&self.asleep);
        if let Some(own) = asleep.get_mut(&client) {
            *own -= 1;
            if *own == 0 {
                asleep.remove(&client);
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.sleepers.leave(self.client);
        self.metrics.tarpit_sleeping.dec();
        self.metrics.tarpit_seconds.inc_by(clock::since(self.begun).as_secs_f64());
    }
}

/// Delays of a shorter one would be over before the next refusal.
const SHORTEST_WINDOW: Duration = Duration::from_secs(1);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        store::{self, Store},
        telemetry::Registry,
    };

    fn tarpit(sleepers: usize) -> Tarpit {
        let registry = Registry::default();
        let store = Store::in_memory(store::Metrics::register(&registry));
        let shared = Shared::new(store, Metrics::register(&registry));
        Tarpit::new(&Config { enabled: true, sleepers, ..Config::default() }, &shared)
    }

    fn client(last: u8) -> IpAddr {
        IpAddr::from([198, 51, 100, last])
    }

    #[test]
    fn each_delay_is_twice_the_one_before_up_to_the_cap() {
        let tarpit = tarpit(50);
        let mut now = Instant::now();
        let delays = |now, number| -> Vec<u128> {
            let delay = |_| tarpit.hold_at(client(1), false, now).map_or(0, |held| held.delay.as_millis());
            (0..number).map(delay).collect()
        };
        assert_eq!(delays(now, 7), [250, 500, 1000, 2000, 4000, 4000, 4000]);
        assert_eq!(delays(now, 100).last(), Some(&4000));
        now += Duration::from_secs(3599);
        assert_eq!(delays(now, 1), [4000], "it came back within the window");
        now += Duration::from_secs(3600);
        assert_eq!(delays(now, 2), [250, 500], "it stayed away for as long");
        assert_eq!(tarpit.hold_at(client(2), false, now).map(|held| held.delay.as_millis()), Some(250));
    }

    #[test]
    fn who_knows_somebody_waits_less() {
        let tarpit = tarpit(50);
        let now = Instant::now();
        let delay = || tarpit.hold_at(client(1), false, now).map(|held| held.delay.as_millis());
        for expected in [250, 500, 1000] {
            assert_eq!(delay(), Some(expected));
        }
        (0..2).for_each(|_| tarpit.forgive(client(1)));
        assert_eq!(delay(), Some(500));
        (0..50).for_each(|_| tarpit.forgive(client(1)));
        assert_eq!(delay(), Some(250));
        tarpit.forgive(client(9));
    }

    #[test]
    fn places_are_few_and_one_client_gets_a_part() {
        let tarpit = tarpit(10);
        let now = Instant::now();
        let mut held: Vec<Held> = (0..5).filter_map(|_| tarpit.hold_at(client(1), false, now)).collect();
        assert_eq!(held.len(), 2, "a fifth of the places");
        held.extend((2..30).filter_map(|last| tarpit.hold_at(client(last), false, now)));
        assert_eq!((held.len(), tarpit.metrics.tarpit_sleeping.get()), (10, 10));
        assert!(tarpit.hold_at(client(40), false, now).is_none());
        held.pop();
        assert!(tarpit.hold_at(client(40), true, now).is_none(), "nobody waits under load");
        assert!(tarpit.hold_at(client(40), false, now).is_some());
        held.clear();
        assert_eq!(tarpit.metrics.tarpit_sleeping.get(), 0);
        assert!(lock(&tarpit.sleepers.asleep).is_empty(), "nothing is left behind");
        assert!(tarpit.metrics.tarpit_seconds.get() < 5.0);
    }

    #[test]
    fn what_can_not_be_used_is_told() {
        let complaints = |config: Config| {
            let mut keys = Vec::new();
            config.check(&mut |key, _| keys.push(key));
            keys
        };
        let good = Config::default();
        assert_eq!(complaints(good.clone()), [""; 0]);
        assert_eq!(complaints(Config { first: Duration::ZERO, ..good.clone() }), ["first"]);
        assert_eq!(complaints(Config { max: Duration::from_millis(100), ..good.clone() }), ["first"]);
        assert_eq!(complaints(Config { sleepers: 0, ..good }), ["sleepers"]);
    }
}
