//! Which local senders sent mail out lately, and since when that is remembered without a gap.
//!
//! In the store is a keyed hash for each: whoever reads the store learns no names. The key is a secret of the site, kept
//! there too, shared by all that share the store. Failure: "could not find out". What can't be told to the store is kept,
//! in bounded memory, and told later; if even that is not enough, the site begins to remember anew.

use std::{
    borrow::Cow,
    collections::HashSet,
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwapOption;
use moka::sync::Cache;
use ring::{
    hmac,
    rand::{SecureRandom, SystemRandom},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    alive::{Alive, Anew, Found},
    site::{BEAT, FOR_GOOD, GAP, Site},
    terms::Terms,
};
use crate::{
    address::{Address, Domain},
    clock,
    store::{Evictions, Key, Op, Outcome, Store, StoreError, Table},
};

/// Who wrote lately. Lives as long as the process.
pub struct Senders {
    store: Store,
    /// `None` until the store has answered for the first time, and while nothing is remembered.
    site: ArcSwapOption<Site>,
    /// Those who were noted within the last hour: they need not be told to the store again.
    noted: Cache<Address, ()>,
    pending: Mutex<Pending>,
    wake: Notify,
    host: String,
    /// Which process of the host this is.
    process: u64,
}

/// What the store was not told yet.
#[derive(Default)]
struct Pending {
    senders: HashSet<Address>,
    /// How many were too many.
    lost: u64,
    /// How often an MTA was sent away.
    missed: u64,
}

/// What is known of some senders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrote {
    /// One of them wrote.
    Somebody,
    /// None did, as far as is remembered: since then, in seconds since 1970.
    Nobody {
        /// When the site began to remember.
        since: u64,
    },
    /// The store may have given them up.
    Evicted,
    /// The store does not answer.
    CouldNotFindOut,
}

impl Senders {
    /// Remembers in this store, once [`Senders::run`] runs.
    #[must_use]
    pub fn new(store: Store) -> Self {
        let host = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned());
        Self {
            store,
            site: ArcSwapOption::const_empty(),
            noted: Cache::builder().max_capacity(MOST_NOTED).time_to_live(NOTED).build(),
            pending: Mutex::default(),
            wake: Notify::new(),
            host: host.unwrap_or_default(),
            process: RandomState::new().hash_one(SystemTime::now()),
        }
    }

    /// Tells the store who writes, until `stop`. `terms` says how that is kept; nothing: it is switched off.
    pub async fn run(&self, terms: impl Fn() -> Option<Terms>, stop: CancellationToken) {
        loop {
            if let Some(terms) = terms() {
                let now = clock::since_1970().as_secs();
                if self.has_gap() || self.site.load().as_ref().is_none_or(|site| site.is_due(now, &terms)) {
                    // It is tried again soon.
                    let _ = self.beat(now, &terms).await;
                }
                self.flush(terms.remember, now).await;
            } else if self.site.load().is_some() {
                self.forget().await;
            }
            let stopped = tokio::select! {
                () = stop.cancelled() => true,
                () = self.wake.notified() => false,
                () = tokio::time::sleep(TICK) => false,
            };
            if stopped {
                if let (Some(terms), true) = (terms(), self.site.load().is_some()) {
                    let now = clock::since_1970().as_secs();
                    self.flush(terms.remember, now).await;
                    // From here on it is away.
                    let _ = self.beat(now, &terms).await;
                }
                return;
            }
        }
    }

    pub(super) fn note(&self, sender: Cow<'_, Address>) {
        if self.noted.contains_key(&*sender) {
            return;
        }
        let sender = sender.into_owned();
        self.noted.insert(sender.clone(), ());
        let mut pending = self.pending();
        if pending.senders.len() < MOST_PENDING {
            pending.senders.insert(sender);
        } else {
            pending.lost += 1;
        }
        drop(pending);
        self.wake.notify_one();
    }

    /// An MTA was sent away unheard, and may let mail out that nobody sees.
    pub(super) fn miss(&self) {
        if self.site.load().is_some() {
            self.pending().missed += 1;
            self.wake.notify_one();
        }
    }

    /// Whether one of them wrote, by what is remembered by these terms. `is_rehearsal`: nothing is written down.
    pub(super) async fn wrote(
        &self,
        mailboxes: &[Cow<'_, Address>],
        terms: &Terms,
        now: u64,
        is_rehearsal: bool,
    ) -> Wrote {
        if mailboxes.iter().any(|mailbox| self.noted.contains_key(&**mailbox)) {
            return Wrote::Somebody;
        }
        let Some(site) = self.site.load_full() else { return Wrote::CouldNotFindOut };
        // What is not written down yet, and sessions that began before a reload or have just begun after it.
        if self.has_gap() || site.terms != *terms {
            return Wrote::CouldNotFindOut;
        }
        let domains = domains(mailboxes.iter().map(|mailbox| &**mailbox));
        let known = domains.iter().map(|domain| match is_rehearsal {
            true => Op::Get(site.domain(domain)),
            false => site.meet(domain, now),
        });
        let senders = mailboxes.iter().map(|mailbox| Op::Get(site.sender(mailbox)));
        let common = [Op::Get(since_key()), Op::Get(self.alive_key())];
        let ops: Vec<Op> = common.into_iter().chain(known).chain(senders).collect();
        let Ok(outcomes) = self.store.run(&ops).await else { return Wrote::CouldNotFindOut };
        let mut values = outcomes.into_iter().map(Outcome::value);
        let (since, alive) = (values.next().flatten(), values.next().flatten());
        let met: Vec<_> = values.by_ref().take(domains.len()).collect();
        if values.flatten().next().is_some() {
            return Wrote::Somebody;
        }
        // Asked each time: another process may have found a gap; and where what this host said of itself is gone, others may be.
        let (Some(since), Some(_)) = (since.and_then(|value| decode(&value)), alive) else {
            return Wrote::CouldNotFindOut;
        };
        // Before a domain came here its users wrote elsewhere.
        let met = met.into_iter().map(|value| value.and_then(|value| decode(&value)).unwrap_or(now));
        let since = met.fold(since, u64::max);
        // After the answer, so that what was given up before it is counted.
        let evictions = self.store.evictions(Table::Senders).await;
        match (evictions, &site.evictions) {
            (Ok(evictions), Some(before)) if evictions.is_none_since(before) => Wrote::Nobody { since },
            (Ok(_) | Err(StoreError::Refused(_)), _) => Wrote::Evicted,
            (Err(_), _) => Wrote::CouldNotFindOut,
        }
    }

    /// Since when senders are remembered, in seconds since 1970.
    pub(super) fn since(&self) -> Option<u64> {
        self.site.load().as_ref().map(|site| site.since)
    }

    /// What is wrong, or was within the last hour; nothing, if it is only new.
    pub(super) fn trouble(&self) -> Option<&'static str> {
        self.site.load().as_ref().and_then(|site| site.anew).and_then(|(anew, _)| anew.trouble())
    }

    /// The store does not tell what it gave up: nobody can be called unsolicited.
    pub(super) fn is_untold(&self) -> bool {
        self.site.load().as_ref().is_some_and(|site| site.evictions.is_none())
    }

    /// Finds out the site's secret, and says that this host goes on remembering. Where it did not for a while, others may have
    /// written whom nobody knows of: the site begins anew.
    pub(super) async fn beat(&self, now: u64, terms: &Terms) -> Result<(), StoreError> {
        let mut fresh = vec![0; 32];
        if SystemRandom::new().fill(&mut fresh).is_err() {
            return Err(StoreError::Down("the system gives no random numbers".to_owned()));
        }
        let outcomes = self
            .store
            .run(&[
                Op::PutNew { key: secret_key(), value: fresh.clone(), ttl: FOR_GOOD },
                Op::Get(since_key()),
                Op::Get(evictions_key()),
                Op::Get(self.alive_key()),
                Op::Get(terms_key()),
            ])
            .await?;
        let mut values = outcomes.into_iter().map(Outcome::value);
        let mut value = || values.next().flatten();
        let (secret, since, counted, alive, kept) = (value(), value(), value(), value(), value());
        // What is given up from here on is found by the next one.
        let evictions = match self.store.evictions(Table::Senders).await {
            Ok(evictions) => Some(evictions.to_bytes()).zip(Some(evictions)),
            Err(StoreError::Refused(_)) => None,
            Err(error) => return Err(error),
        };
        let is_evicted =
            |evictions: &Evictions| !counted.as_ref().is_some_and(|counted| evictions.is_none_since(counted));
        let since = since.and_then(|value| decode(&value));
        let site = self.site.load_full();
        let (lost, missed) = {
            let pending = self.pending();
            (pending.lost, pending.missed)
        };
        let found = Found {
            since: since.filter(|_| secret.is_some()),
            is_forgotten: alive.is_none() && site.as_ref().is_some_and(|site| site.has_just_beaten()),
            alive: alive.and_then(|value| Alive::decode(&value)),
            is_evicted: evictions.as_ref().is_some_and(|(_, evictions)| is_evicted(evictions)),
            own: site.as_ref().map(|site| Alive { at: site.beaten.1, process: self.process }),
            is_lost: lost > 0,
            is_missed: missed > 0,
            is_unseen: !terms.sees_all || site.as_ref().is_some_and(|site| !site.terms.sees_all),
            is_other: !kept.as_ref().is_some_and(|kept| terms.finds_what_was_kept_by(kept)),
            has_jumped: site.as_ref().is_some_and(|site| site.has_jumped(now)),
        };
        let anew = found.judge();
        let begun = since.filter(|_| anew.is_none()).unwrap_or(now);
        let evictions = evictions.map(|(bytes, _)| bytes);
        let is_counted = evictions.is_none() || evictions == counted;
        if anew.is_some() || !is_counted || found.went_back() > BEAT {
            let noted = self.noted.iter().map(|(sender, ())| Address::clone(&sender));
            self.pending().senders.extend(noted);
        }
        let put = |key, value, ttl| Op::Put { key, value, ttl };
        let mut ops = vec![put(self.alive_key(), Alive { at: now, process: self.process }.encode(), GAP)];
        if anew.is_some() {
            ops.push(put(since_key(), begun.to_be_bytes().to_vec(), FOR_GOOD));
        }
        if let Some(evictions) = evictions.clone().filter(|_| !is_counted) {
            ops.push(put(evictions_key(), evictions, FOR_GOOD));
        }
        if kept != Some(terms.to_bytes()) {
            ops.push(put(terms_key(), terms.to_bytes(), FOR_GOOD));
        }
        self.store.run(&ops).await?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret.unwrap_or(fresh));
        let before =
            site.and_then(|site| site.anew).filter(|(_, at)| now.saturating_sub(*at) < NOTED.as_secs());
        // What lasts is told once.
        let is_told =
            |anew: &Anew| before.is_some_and(|(before, _)| before == *anew) && anew.trouble().is_some();
        if let Some(anew) = anew.filter(|anew| !is_told(anew)) {
            match anew.trouble() {
                None => info!("senders are remembered from now on; so far no bounce is called unsolicited"),
                Some(why) => {
                    warn!(why, "senders are remembered from now on; so far no bounce is called unsolicited");
                }
            }
        }
        let anew = anew.map(|anew| (anew, now)).or(before);
        let beaten = (clock::now(), now);
        let site = Site { key, since: begun, beaten, evictions, terms: terms.clone(), anew };
        self.site.store(Some(site.into()));
        let mut pending = self.pending();
        pending.lost = pending.lost.saturating_sub(lost);
        pending.missed = pending.missed.saturating_sub(missed);
        Ok(())
    }

    /// Tells the store whom it does not know of yet.
    pub(super) async fn flush(&self, remember: Duration, now: u64) {
        let Some(site) = self.site.load_full() else { return };
        loop {
            let batch: Vec<Address> = self.pending().senders.iter().take(BATCH).cloned().collect();
            if batch.is_empty() {
                return;
            }
            let put =
                |sender| Op::Put { key: site.sender(sender), value: b"1".to_vec(), ttl: remember + NOTED };
            let met = domains(batch.iter()).into_iter().map(|domain| site.meet(domain, now));
            let ops: Vec<Op> = batch.iter().map(put).chain(met).collect();
            if self.store.run(&ops).await.is_err() {
                return;
            }
            let mut pending = self.pending();
            for sender in &batch {
                pending.senders.remove(sender);
            }
        }
    }

    /// It was switched off: who writes from now on is not known.
    async fn forget(&self) {
        *self.pending() = Pending::default();
        self.noted.invalidate_all();
        match self.store.run(&[Op::Remove(self.alive_key())]).await {
            Ok(_) => self.site.store(None),
            Err(error) => warn!(%error, "the store was not told that senders are no longer remembered"),
        }
    }

    /// Each host by itself: mail that one of them does not see goes out unseen.
    pub(super) fn alive_key(&self) -> Key {
        Key::new(Table::Secrets, format!("bounces/alive/{}", self.host))
    }

    /// Somebody may have written who is not counted in [`Site::since`] yet.
    fn has_gap(&self) -> bool {
        let pending = self.pending();
        pending.lost > 0 || pending.missed > 0
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Senders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Senders").field("since", &self.since()).finish_non_exhaustive()
    }
}

/// Each once.
fn domains<'a>(addresses: impl Iterator<Item = &'a Address>) -> Vec<&'a Domain> {
    let mut domains: Vec<_> = addresses.map(Address::domain).collect();
    domains.sort_unstable_by_key(|domain| domain.as_str());
    domains.dedup();
    domains
}

fn secret_key() -> Key {
    Key::new(Table::Secrets, "bounces/secret")
}

fn since_key() -> Key {
    Key::new(Table::Secrets, "bounces/since")
}

fn evictions_key() -> Key {
    Key::new(Table::Secrets, "bounces/evictions")
}

fn terms_key() -> Key {
    Key::new(Table::Secrets, "bounces/terms")
}

fn decode(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_be_bytes)
}

/// Who was told to the store is not told again for so long; about 10 MB.
const NOTED: Duration = Duration::from_secs(60 * 60);
const MOST_NOTED: u64 = 100_000;

/// While the store is down.
const MOST_PENDING: usize = 100_000;
const BATCH: usize = 500;

const TICK: Duration = Duration::from_secs(1);
