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
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
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

use super::alive::{Alive, Anew, Found};
use crate::{
    address::Address,
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

/// What all that share the store have in common.
struct Site {
    key: hmac::Key,
    since: u64,
    /// For how long who wrote since then is kept.
    remember: Duration,
    /// When this host said last that it remembers, by the clock that nobody sets and by the other one.
    beaten: (Instant, u64),
    /// What the store had given up then; `None`: it does not tell.
    evictions: Option<Vec<u8>>,
    /// Why, and when, this host found that it has to begin anew, within the last hour.
    anew: Option<(Anew, u64)>,
}

/// What the store was not told yet.
#[derive(Default)]
struct Pending {
    senders: HashSet<Address>,
    /// There were too many.
    lost: bool,
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

    /// Tells the store who writes, until `stop`. `remember` says for how long that is kept; nothing: it is switched off.
    pub async fn run(&self, remember: impl Fn() -> Option<Duration>, stop: CancellationToken) {
        loop {
            if let Some(remember) = remember() {
                let now = unix_seconds();
                if self.site.load().as_ref().is_none_or(|site| site.is_due(now) || site.remember != remember)
                {
                    // It is tried again soon.
                    let _ = self.beat(now, remember).await;
                }
                self.flush(remember).await;
            } else if self.site.load().is_some() {
                self.forget().await;
            }
            let stopped = tokio::select! {
                () = stop.cancelled() => true,
                () = self.wake.notified() => false,
                () = tokio::time::sleep(TICK) => false,
            };
            if stopped {
                if let (Some(remember), true) = (remember(), self.site.load().is_some()) {
                    self.flush(remember).await;
                    // From here on it is away.
                    let _ = self.beat(unix_seconds(), remember).await;
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
            pending.lost = true;
        }
        drop(pending);
        self.wake.notify_one();
    }

    pub(super) async fn wrote(&self, mailboxes: &[Cow<'_, Address>]) -> Wrote {
        if mailboxes.iter().any(|mailbox| self.noted.contains_key(&**mailbox)) {
            return Wrote::Somebody;
        }
        let Some(site) = self.site.load_full() else { return Wrote::CouldNotFindOut };
        let senders = mailboxes.iter().map(|mailbox| Op::Get(site.sender(mailbox)));
        let ops: Vec<Op> = [Op::Get(since_key())].into_iter().chain(senders).collect();
        let Ok(outcomes) = self.store.run(&ops).await else { return Wrote::CouldNotFindOut };
        let mut values = outcomes.into_iter().map(Outcome::value);
        let since = values.next().flatten().and_then(|value| decode(&value));
        if values.flatten().next().is_some() {
            return Wrote::Somebody;
        }
        // Asked each time: another process may have found a gap.
        let Some(since) = since else { return Wrote::CouldNotFindOut };
        // After the answer, so that what was given up before it is counted.
        let evictions = self.store.evictions(Table::Senders).await;
        match (evictions, &site.evictions) {
            (Ok(evictions), Some(before)) if evictions.is_none_since(before) => Wrote::Nobody { since },
            (Ok(_) | Err(StoreError::Refused(_)), _) => Wrote::Evicted,
            (Err(_), _) => Wrote::CouldNotFindOut,
        }
    }

    /// Whether who wrote since then is kept for so long: the configuration may just have been changed.
    pub(super) fn keeps(&self, remember: Duration) -> bool {
        self.site.load().as_ref().is_some_and(|site| site.remember >= remember)
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

    /// Finds out the site's secret, and says that this host goes on remembering, for how long. Where it did not for a while,
    /// or not for as long, others may have written whom nobody knows of: the site begins anew.
    pub(super) async fn beat(&self, now: u64, remember: Duration) -> Result<(), StoreError> {
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
                Op::Get(remember_key()),
            ])
            .await?;
        let mut values = outcomes.into_iter().map(Outcome::value);
        let mut value = || values.next().flatten();
        let (secret, since, counted, alive) = (value(), value(), value(), value());
        let kept_for = value().and_then(|value| decode(&value));
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
        let lost = std::mem::take(&mut self.pending().lost);
        let found = Found {
            since: since.filter(|_| secret.is_some()),
            alive: alive.and_then(|value| Alive::decode(&value)),
            is_evicted: evictions.as_ref().is_some_and(|(_, evictions)| is_evicted(evictions)),
            own: site.as_ref().map(|site| Alive { at: site.beaten.1, process: self.process }),
            is_longer: kept_for.is_none_or(|kept_for| kept_for < remember.as_secs()),
            is_lost: lost,
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
        if kept_for != Some(remember.as_secs()) {
            ops.push(put(remember_key(), remember.as_secs().to_be_bytes().to_vec(), FOR_GOOD));
        }
        if let Some(evictions) = evictions.clone().filter(|_| !is_counted) {
            ops.push(put(evictions_key(), evictions, FOR_GOOD));
        }
        if let Err(error) = self.store.run(&ops).await {
            self.pending().lost |= lost;
            return Err(error);
        }
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
        self.site.store(Some(
            Site { key, since: begun, remember, beaten: (Instant::now(), now), evictions, anew }.into(),
        ));
        Ok(())
    }

    /// Tells the store whom it does not know of yet.
    pub(super) async fn flush(&self, remember: Duration) {
        let Some(site) = self.site.load_full() else { return };
        loop {
            let batch: Vec<Address> = self.pending().senders.iter().take(BATCH).cloned().collect();
            if batch.is_empty() {
                return;
            }
            let put =
                |sender| Op::Put { key: site.sender(sender), value: b"1".to_vec(), ttl: remember + NOTED };
            let ops: Vec<Op> = batch.iter().map(put).collect();
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

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Senders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Senders").field("since", &self.since()).finish_non_exhaustive()
    }
}

impl Site {
    fn is_due(&self, now: u64) -> bool {
        self.beaten.0.elapsed() > BEAT || self.has_jumped(now)
    }

    /// The clock was set forward by long: it was remembered for less long than it looks. Or the host slept.
    fn has_jumped(&self, now: u64) -> bool {
        let (beaten, at) = self.beaten;
        now.saturating_sub(at) > (beaten.elapsed() + GAP).as_secs()
    }

    fn sender(&self, mailbox: &Address) -> Key {
        let tag = hmac::sign(&self.key, mailbox.key());
        let id: &[u8; 16] = tag.as_ref().first_chunk().expect("HMAC-SHA-256 has 32 bytes");
        Key::new(Table::Senders, id)
    }
}

fn secret_key() -> Key {
    Key::new(Table::Secrets, "bounces/secret")
}

fn since_key() -> Key {
    Key::new(Table::Secrets, "bounces/since")
}

/// For how long senders are kept since then, at least.
fn remember_key() -> Key {
    Key::new(Table::Secrets, "bounces/remember")
}

fn evictions_key() -> Key {
    Key::new(Table::Secrets, "bounces/evictions")
}

fn decode(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_be_bytes)
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Who was told to the store is not told again for so long; about 10 MB.
const NOTED: Duration = Duration::from_secs(60 * 60);
const MOST_NOTED: u64 = 100_000;

/// While the store is down.
const MOST_PENDING: usize = 100_000;
const BATCH: usize = 500;

const TICK: Duration = Duration::from_secs(1);
const BEAT: Duration = Duration::from_secs(60);

/// A host that was away for no longer than this had nobody write meanwhile: a restart, a reboot.
/// Longer than a drain, a boot, and the loading of all directories.
const GAP: Duration = Duration::from_secs(5 * 60);

/// Ten years.
const FOR_GOOD: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
