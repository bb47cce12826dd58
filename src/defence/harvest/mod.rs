//! Directory harvests: clients that guess recipients.
//!
//! Counts, per client and over a sliding window, the recipients that existed and those that did not; blocks for a time on
//! number and share. Watches the whole site for guesses that come from many clients. Failure: nobody is counted.
//!
//! Counts and blocks are in the store, shared by all processes that use it. What only this process knows (who asked for
//! whom, the sight of the whole site) is in [`Site`]; nothing of it grows.

mod blocked;
mod config;
mod rule;
mod seen;
mod watch;
mod window;

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use ipnet::IpNet;
use tracing::{info, warn};

use self::{
    blocked::Blocked,
    rule::Rule,
    seen::Seen,
    watch::{Asked, Limits, Sight, Watch},
    window::{Kind, Tally, Window},
};
use super::{Shared, standing};
use crate::{
    address::Address,
    policy::Lately,
    store::{Key, Op, Outcome},
};

pub(super) use config::Config;

/// What a client asked for.
#[derive(Debug, Clone, Copy)]
pub enum Guess<'a> {
    /// Somebody who exists, without sub-address: these are as many as one likes. Not whom a catch-all takes.
    Known(&'a Address),
    /// Nobody, whoever said so: a directory, or the MTA.
    Unknown(&'a Address),
    /// An address that never existed: only who guesses, or copies lists, knows it.
    Trap(&'a Address),
}

/// The counts.
#[derive(Debug)]
pub struct Harvest {
    ledger: Arc<Ledger>,
    rule: Rule,
    distributed: u64,
    block: Duration,
    shared: Shared,
}

/// What this process sees by itself, whatever the configuration: bounded memory.
#[derive(Debug, Default)]
pub struct Site {
    keys: RandomState,
    seen: Mutex<Seen>,
    watch: Mutex<Watch>,
    blocked: Mutex<Blocked>,
}

/// Who is counted, and where in the store.
#[derive(Debug)]
pub(super) struct Ledger {
    enabled: bool,
    except: Vec<IpNet>,
    private: bool,
    window: Window,
    history: Window,
}

impl Harvest {
    pub(super) fn new(config: &Config, shared: &Shared) -> Self {
        let ledger = Ledger {
            enabled: config.enabled,
            except: config.excepted(),
            private: config.private,
            window: Window::new(config.window),
            history: Window::new(HISTORY),
        };
        Self {
            ledger: Arc::new(ledger),
            rule: Rule { unknown: config.unknown.into(), ratio: config.ratio },
            distributed: config.distributed.into(),
            block: config.block,
            shared: shared.clone(),
        }
    }

    pub(super) fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Counts one recipient of a client that is no insider, and blocks the client when it is due; whether it counted, which
    /// it does once within the window. `lately`: what [`Standings::find`](super::Standings::find) has just found. Does not
    /// wait for the store.
    pub fn note(&self, client: IpAddr, lately: Lately, guess: Guess<'_>) -> bool {
        self.note_at(client, lately, guess, now())
    }

    /// What an admin should look at.
    #[must_use]
    pub fn notice(&self) -> Option<String> {
        let sight = self.shared.site.look(now());
        sight.is_on.then(|| {
            format!(
                "a distributed harvest is under way: about {} clients asked for {} unknown recipients within {:?}; \
                 limits are lower while it lasts",
                sight.clients,
                sight.unknown,
                self.ledger.window.length()
            )
        })
    }

    fn note_at(&self, client: IpAddr, mut lately: Lately, guess: Guess<'_>, now: Duration) -> bool {
        let (Guess::Known(address) | Guess::Unknown(address) | Guess::Trap(address)) = guess;
        let is_known = matches!(guess, Guess::Known(_));
        let client = standing::network(client);
        let Some(is_distributed) = self.see(client, address, is_known, now) else { return false };
        let [asked, _] = self.ledger.window.keys(Kind::Asked, client, now);
        let add = |key, by, window: Window| Op::Add { key, by, ttl: window.ttl() };
        if is_known {
            let [history, _] = self.ledger.history.keys(Kind::History, client, now);
            let ops =
                vec![add(asked, Tally::KNOWN, self.ledger.window), add(history, 1, self.ledger.history)];
            self.shared.store.later(ops);
            return true;
        }
        let weight = if matches!(guess, Guess::Trap(_)) { TRAP } else { 1 };
        let mut ops = vec![add(asked, weight, self.ledger.window)];
        lately.unknown += u64::from(weight);
        if self.rule.is_broken_by(lately, is_distributed) {
            let Lately { known, unknown, .. } = lately;
            let value = format!("guessed recipients: {unknown} of {} are unknown", unknown + known);
            // A longer block by the admin stays.
            ops.push(Op::PutNew { key: standing::block(client), value: value.into(), ttl: self.block });
            self.tell(client, lately, is_distributed, now);
        }
        self.shared.store.later(ops);
        true
    }

    /// Whether others guess as well; `None` where the client has asked for this address before.
    fn see(&self, client: IpAddr, address: &Address, is_known: bool, now: Duration) -> Option<bool> {
        let (site, window) = (&self.shared.site, self.ledger.window);
        let hash = site.keys.hash_one((client, address, is_known));
        if !lock(&site.seen).is_new(hash, window.bucket(now)) {
            return None;
        }
        let asked =
            Asked { client: site.keys.hash_one(client), address: site.keys.hash_one(address), is_known };
        let limits = Limits { unknown: self.distributed, ratio: self.rule.ratio, window };
        let sight = lock(&site.watch).note(limits, asked, now);
        report(sight);
        Some(sight.is_on)
    }

    fn tell(&self, client: IpAddr, lately: Lately, is_distributed: bool, now: Duration) {
        if !lock(&self.shared.site.blocked).begin(client, now, self.block) {
            return;
        }
        self.shared.metrics.harvest_blocks.inc();
        let Lately { known, unknown, history } = lately;
        let percent = unknown * 100 / (unknown + known).max(1);
        let block = self.block;
        info!(
            %client, unknown, known, percent, history, is_distributed, ?block,
            "client blocked, it guesses recipients"
        );
    }
}

impl Site {
    /// How many clients are blocked now, as far as this process blocked them.
    pub(super) fn blocked(&self) -> i64 {
        i64::try_from(lock(&self.blocked).count(now())).unwrap_or(i64::MAX)
    }

    /// Whether a distributed harvest is under way.
    pub(super) fn is_distributed(&self) -> bool {
        self.look(now()).is_on
    }

    /// Whether this process has just blocked the client, and the store may not know it yet.
    pub(super) fn is_blocked_since_now(&self, client: IpAddr, now: Duration) -> bool {
        lock(&self.blocked).is_fresh(standing::network(client), now)
    }

    /// The client is not blocked any longer.
    pub(super) fn release(&self, client: IpAddr) {
        lock(&self.blocked).release(standing::network(client));
    }

    fn look(&self, now: Duration) -> Sight {
        let sight = lock(&self.watch).look(now);
        report(sight);
        sight
    }
}

impl Ledger {
    /// What to ask the store for; `None`: this client is not counted.
    pub(super) fn questions(&self, client: IpAddr, now: Duration) -> Option<[Op; 4]> {
        if !self.is_counted(client) {
            return None;
        }
        let client = standing::network(client);
        let [current, before] = self.window.keys(Kind::Asked, client, now);
        let [recent, old] = self.history.keys(Kind::History, client, now);
        Some([current, before, recent, old].map(Op::Count))
    }

    /// Where what the client asked for within the window is counted.
    pub(super) fn guesses(&self, client: IpAddr, now: Duration) -> [Key; 2] {
        self.window.keys(Kind::Asked, standing::network(client), now)
    }

    /// What the answers mean.
    pub(super) fn read(&self, answers: &[Outcome], now: Duration) -> Option<Lately> {
        let [current, before, recent, old] = answers else { return None };
        let (current, before) = (Tally::of(current.count()), Tally::of(before.count()));
        Some(Lately {
            known: self.window.weigh(now, current.known, before.known),
            unknown: self.window.weigh(now, current.unknown, before.unknown),
            history: self.history.weigh(now, recent.count(), old.count()),
        })
    }

    fn is_counted(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.enabled
            && (self.private || !is_private(client))
            && !self.except.iter().any(|network| network.contains(&client))
    }
}

/// The time since 1970: what processes that share a store agree on.
pub(super) fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Behind such an address may be a proxy, or address translation: everybody then has the same one.
fn is_private(client: IpAddr) -> bool {
    match client {
        IpAddr::V4(v4) => {
            let is_shared = v4.to_bits() >> 22 == u32::from_be_bytes([100, 64, 0, 0]) >> 22; // RFC 6598
            v4.is_loopback() || v4.is_private() || v4.is_link_local() || v4.is_unspecified() || is_shared
        }
        IpAddr::V6(v6) => {
            v6.is_loopback() || v6.is_unspecified() || v6.is_unique_local() || v6.is_unicast_link_local()
        }
    }
}

fn report(sight: Sight) {
    let Sight { unknown, clients, is_on, has_changed } = sight;
    match (has_changed, is_on) {
        (true, true) => {
            warn!(
                unknown,
                clients, "a distributed harvest: many clients guess recipients; limits are lower now"
            );
        }
        (true, false) => info!(unknown, clients, "the distributed harvest is over"),
        (false, _) => {}
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a trap counts as.
const TRAP: u32 = 10;

/// How far back a good name goes.
const HISTORY: Duration = Duration::from_secs(30 * 24 * 60 * 60);

#[cfg(test)]
mod tests;
