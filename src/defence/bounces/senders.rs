//! Which local senders sent mail out lately, and since when that is remembered without a gap.
//!
//! In the store is a keyed hash for each: whoever reads the store learns no names. The key is a secret of the site, kept
//! there too, shared by all that share the store. Failure: "could not find out". What can't be told to the store is kept,
//! in bounded memory, and told later; if even that is not enough, the site begins to remember anew.

use std::{
    borrow::Cow,
    collections::HashSet,
    fmt,
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

use crate::{
    address::Address,
    store::{Key, Op, Outcome, Store, StoreError, Table},
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
}

/// What all that share the store have in common.
struct Site {
    key: hmac::Key,
    since: u64,
    /// When this host said last that it remembers, by the clock that nobody sets and by the other one.
    beaten: (Instant, u64),
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
        }
    }

    /// Tells the store who writes, until `stop`. `remember` says for how long that is kept; nothing: it is switched off.
    pub async fn run(&self, remember: impl Fn() -> Option<Duration>, stop: CancellationToken) {
        loop {
            if let Some(remember) = remember() {
                let now = unix_seconds();
                if self.site.load().as_ref().is_none_or(|site| site.is_due(now)) {
                    // It is tried again soon.
                    let _ = self.beat(now).await;
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
                if let Some(remember) = remember() {
                    self.flush(remember).await;
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
        since.map_or(Wrote::CouldNotFindOut, |since| Wrote::Nobody { since })
    }

    /// Since when senders are remembered, in seconds since 1970.
    pub(super) fn since(&self) -> Option<u64> {
        self.site.load().as_ref().map(|site| site.since)
    }

    /// Finds out the site's secret, and says that this host goes on remembering. Where it did not for a while, others may have
    /// written whom nobody knows of: the site begins anew.
    pub(super) async fn beat(&self, now: u64) -> Result<(), StoreError> {
        let mut fresh = vec![0; 32];
        if SystemRandom::new().fill(&mut fresh).is_err() {
            return Err(StoreError::Down("the system gives no random numbers".to_owned()));
        }
        let outcomes = self
            .store
            .run(&[
                Op::PutNew { key: secret_key(), value: fresh.clone(), ttl: FOR_GOOD },
                Op::Get(since_key()),
                Op::Get(self.alive_key()),
            ])
            .await?;
        let mut values = outcomes.into_iter().map(Outcome::value);
        let secret = values.next().flatten();
        let since = values.next().flatten().and_then(|value| decode(&value));
        let alive = values.next().flatten();
        let site = self.site.load_full();
        let was_alive = alive.is_some() || site.is_some();
        // What it said last is not there: the store went back to what it had been, and lost who wrote since.
        let alive = alive.and_then(|value| decode(&value)).unwrap_or(now);
        let went_back = site.as_ref().map_or(0, |site| site.beaten.1.saturating_sub(alive));
        let has_jumped = site.is_some_and(|site| site.has_jumped(now)) || went_back > NOTED.as_secs() / 2;
        let lost = std::mem::take(&mut self.pending().lost);
        let begun = match since {
            Some(since) if secret.is_some() && was_alive && !lost && !has_jumped => since,
            _ => {
                info!("senders are remembered from now on; so far no bounce is called unsolicited");
                now
            }
        };
        if since != Some(begun) || went_back > BEAT.as_secs() {
            let noted = self.noted.iter().map(|(sender, ())| Address::clone(&sender));
            self.pending().senders.extend(noted);
        }
        let mut ops = vec![Op::Put { key: self.alive_key(), value: now.to_be_bytes().to_vec(), ttl: GAP }];
        if since != Some(begun) {
            ops.push(Op::Put { key: since_key(), value: begun.to_be_bytes().to_vec(), ttl: FOR_GOOD });
        }
        if let Err(error) = self.store.run(&ops).await {
            self.pending().lost |= lost;
            return Err(error);
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret.unwrap_or(fresh));
        self.site.store(Some(Site { key, since: begun, beaten: (Instant::now(), now) }.into()));
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

/// A host that was away for no longer than this had nobody write meanwhile, or hardly anybody: a restart, a reboot.
const GAP: Duration = Duration::from_secs(60 * 60);

/// Ten years.
const FOR_GOOD: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
