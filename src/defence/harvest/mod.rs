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
    fmt,
    hash::BuildHasher,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ipnet::IpNet;
use smallvec::SmallVec;
use tracing::{info, warn};

use self::{
    blocked::Blocked,
    rule::Rule,
    seen::Seen,
    watch::{Asked, Limits, Sight, Watch},
    window::{Kind, Tally, Window},
};
use super::{Shared, network, standing};
use crate::{
    address::Address,
    clock,
    policy::{Counts, Lately},
    store::{Here, Key, Keys, Op, Table},
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

/// What a client comes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Somebody's mail.
    Mail,
    /// A server's own report or question, such as a bounce or a call-out. Where somebody forges our addresses, many honest
    /// servers come with these at the same time.
    Report,
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
#[derive(Default)]
pub struct Site {
    keys: Keys,
    /// The length of the window in force, in milliseconds. Sessions that began before a reload remember by it, too: what one
    /// window holds would be forgotten with each look through the other.
    window: AtomicU64,
    guesses: Mutex<Seen>,
    known: Mutex<Seen>,
    history: Mutex<Seen>,
    watch: Mutex<Watch>,
    blocked: Mutex<Blocked>,
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the tables: they have half a million places.
        f.debug_struct("Site").field("window", &self.window).finish_non_exhaustive()
    }
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
        let length = u64::try_from(config.window.as_millis()).unwrap_or(u64::MAX);
        shared.site.window.store(length, Ordering::Relaxed);
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
    pub fn note(&self, client: IpAddr, lately: Lately, guess: Guess<'_>, purpose: Purpose) -> bool {
        self.note_at(client, lately, guess, purpose, clock::since_1970())
    }

    /// What an admin should look at.
    #[must_use]
    pub fn notice(&self) -> Option<String> {
        let sight = self.shared.site.look(clock::since_1970());
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

    fn note_at(
        &self,
        client: IpAddr,
        mut lately: Lately,
        guess: Guess<'_>,
        purpose: Purpose,
        now: Duration,
    ) -> bool {
        let own = network::of(client);
        if guess.is_known() {
            // Those who write every hour are no news; to the site they are, or all that is new would be guesses.
            self.watch(client, guess, purpose, now);
        }
        if !self.is_new(own, guess, now) {
            return false;
        }
        let wider = network::wider(client).filter(|wider| self.is_new(*wider, guess, now));
        let weight = match guess {
            Guess::Known(_) => {
                let add = |network| self.friend(network, guess, now);
                let ops: SmallVec<[Op; 2]> = add(own).chain(wider.into_iter().flat_map(add)).collect();
                self.shared.store.later(ops);
                return true;
            }
            Guess::Unknown(_) => 1,
            Guess::Trap(_) => TRAP,
        };
        let mut ops: SmallVec<[Op; 2]> = SmallVec::new();
        ops.push(self.guess(own, weight, purpose, now));
        count(&mut lately.own, weight, purpose);
        if let (Some(wider), Some(asked)) = (wider, &mut lately.network) {
            ops.push(self.guess(wider, weight, purpose, now));
            count(asked, weight, purpose);
        }
        let is_distributed = self.rule.is_suspicious(lately.own) && self.watch(client, guess, purpose, now);
        let is_network_bad = lately.network.is_some_and(|asked| self.rule.wider().is_broken_by(asked, false));
        let is_lower = is_distributed || (is_network_bad && purpose == Purpose::Mail);
        if self.rule.is_broken_by(lately.own, is_lower) {
            ops.push(self.block(own, lately.own, is_lower, now));
        }
        // Who is spared goes on while it is blocked already; all others are not asked any more then.
        let blocks_network = is_network_bad && !self.ledger.spares(lately.own);
        if let (Some(wider), Some(asked), true) = (wider, lately.network, blocks_network) {
            ops.push(self.block(wider, asked, false, now));
        }
        self.shared.store.later(ops);
        true
    }

    /// Whether it has not asked for this address before; for one that is known, within this window.
    fn is_new(&self, client: IpNet, guess: Guess<'_>, now: Duration) -> bool {
        let site = &self.shared.site;
        let (hash, bucket) = (site.hash(client, guess), site.window().bucket(now));
        if guess.is_known() {
            lock(&site.known).is_new_in(bucket, hash)
        } else {
            lock(&site.guesses).is_new(hash, bucket)
        }
    }

    /// Counts for the site as a whole; whether many clients guess. Reports are left out of both.
    fn watch(&self, client: IpAddr, guess: Guess<'_>, purpose: Purpose, now: Duration) -> bool {
        let site = &self.shared.site;
        if purpose == Purpose::Report {
            return false;
        }
        // Who has a /48 is one client of the site's, however many he makes of himself.
        let client = network::wider(client).unwrap_or_else(|| network::of(client));
        let asked = Asked {
            client: site.keys.hash_one(client),
            address: site.keys.hash_one(guess.address()),
            is_known: guess.is_known(),
        };
        let window = site.window();
        let limits = Limits { unknown: self.distributed, ratio: self.rule.ratio, window };
        let sight = lock(&site.watch).note(limits, asked, now);
        report(sight);
        sight.is_on
    }

    /// One more known recipient of a client or network.
    fn friend(&self, network: IpNet, guess: Guess<'_>, now: Duration) -> impl Iterator<Item = Op> {
        let Ledger { window, history, .. } = *self.ledger;
        let add = move |kind, by, window: Window| Op::Add {
            key: window.key(kind, network, now),
            by,
            ttl: window.ttl(),
        };
        let site = &self.shared.site;
        let is_new = lock(&site.history).is_new_in(history.bucket(now), site.hash(network, guess));
        let good_name = is_new.then(|| add(Kind::History, Tally::KNOWN, history));
        [add(Kind::Asked, Tally::KNOWN, window)].into_iter().chain(good_name)
    }

    /// One more unknown one.
    fn guess(&self, network: IpNet, weight: u32, purpose: Purpose, now: Duration) -> Op {
        let key = self.ledger.window.key(Kind::Asked, network, now);
        let one = match purpose {
            Purpose::Mail => Tally::UNKNOWN,
            Purpose::Report => Tally::REPORT,
        };
        Op::Add { key, by: weight * one, ttl: self.ledger.window.ttl() }
    }

    /// Blocks a client, or a whole network. A longer block by the admin stays.
    fn block(&self, client: IpNet, asked: Counts, is_lower: bool, now: Duration) -> Op {
        let Counts { known, unknown, history, .. } = asked;
        let why = format!("guessed recipients: {unknown} of {} are unknown", unknown + known);
        let op = standing::block_for_guessing(client, &why, self.block);
        if lock(&self.shared.site.blocked).begin(client, now, self.block) {
            self.shared.metrics.harvest_blocks.inc();
            let percent = unknown * 100 / (unknown + known).max(1);
            let (client, block) = (network::name(client), self.block);
            info!(
                client,
                unknown,
                known,
                percent,
                history,
                is_lower,
                ?block,
                "client blocked, it guesses recipients"
            );
        }
        op
    }
}

impl<'a> Guess<'a> {
    fn address(self) -> &'a Address {
        let (Self::Known(address) | Self::Unknown(address) | Self::Trap(address)) = self;
        address
    }

    fn is_known(self) -> bool {
        matches!(self, Self::Known(_))
    }
}

impl Site {
    fn window(&self) -> Window {
        Window::new(Duration::from_millis(self.window.load(Ordering::Relaxed)))
    }

    fn hash(&self, client: IpNet, guess: Guess<'_>) -> u64 {
        self.keys.hash_one((client, guess.address(), guess.is_known()))
    }

    /// How many clients are blocked now, as far as this process blocked them.
    pub(super) fn blocked(&self) -> i64 {
        i64::try_from(lock(&self.blocked).count(clock::since_1970())).unwrap_or(i64::MAX)
    }

    /// Whether a distributed harvest is under way.
    pub(super) fn is_distributed(&self) -> bool {
        self.look(clock::since_1970()).is_on
    }

    /// Whether this process has just blocked the client, and the store may not know it yet.
    pub(super) fn is_blocked_since_now(&self, client: IpNet, now: Duration) -> bool {
        lock(&self.blocked).is_fresh(client, now)
    }

    /// The client is not blocked any longer.
    pub(super) fn release(&self, client: IpNet) {
        lock(&self.blocked).release(client);
    }

    fn look(&self, now: Duration) -> Sight {
        let sight = lock(&self.watch).look(now);
        report(sight);
        sight
    }
}

impl Ledger {
    /// What to ask the store for about a client, or a network, that is counted.
    pub(super) fn questions(&self, network: IpNet, now: Duration) -> [Op; QUESTIONS] {
        self.ids(network, now).map(|id| Op::Count(Key::new(Table::Harvest, id)))
    }

    /// The same, asked in memory.
    pub(super) fn ask(&self, here: Here<'_>, network: IpNet, now: Duration) -> Counts {
        self.read(self.ids(network, now).map(|id| here.count(Table::Harvest, &id)), now)
    }

    fn ids(&self, network: IpNet, now: Duration) -> [window::Id; QUESTIONS] {
        let [current, before] = self.window.ids(Kind::Asked, network, now);
        let [recent, old] = self.history.ids(Kind::History, network, now);
        [current, before, recent, old]
    }

    /// Where what it asked for within the window is counted.
    pub(super) fn guesses(&self, network: IpNet, now: Duration) -> [Key; 2] {
        self.window.keys(Kind::Asked, network, now)
    }

    /// What the answers mean, in the order of the questions.
    pub(super) fn read(&self, [current, before, recent, old]: [u64; QUESTIONS], now: Duration) -> Counts {
        let [current, before, recent, old] = [current, before, recent, old].map(Tally::of);
        let reports = self.window.weigh(now, current.reports, before.reports);
        Counts {
            known: self.window.weigh(now, current.known, before.known),
            unknown: reports + self.window.weigh(now, current.unknown, before.unknown),
            reports,
            history: self.history.weigh(now, recent.known, old.known),
        }
    }

    /// Whether a client's name is so good that it does not pay for others in its network.
    pub(super) fn spares(&self, asked: Counts) -> bool {
        self.enabled && rule::has_good_name(asked)
    }

    /// Whether this client is counted, and blocked for its guesses.
    pub(super) fn is_counted(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.enabled
            && (self.private || !is_private(client))
            && !self.except.iter().any(|network| network.contains(&client))
    }
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

fn count(asked: &mut Counts, weight: u32, purpose: Purpose) {
    asked.unknown += u64::from(weight);
    if purpose == Purpose::Report {
        asked.reports += u64::from(weight);
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

/// Of the store, about one client or network.
pub(super) const QUESTIONS: usize = 4;

/// How far back a good name goes.
const HISTORY: Duration = Duration::from_secs(30 * 24 * 60 * 60);

#[cfg(test)]
mod tests;
