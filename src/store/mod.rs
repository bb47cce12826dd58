//! State that outlives the process, and may be shared by several: small values by key, each until a set time.
//!
//! It knows tables and keys, not what they mean. Failure: a [`StoreError`], after a deadline at most; whoever asked goes
//! on as if nothing was known, and the metrics say so. Where nothing can be written there is one warning, and state
//! lives in memory.

mod config;
pub(crate) mod disk;
mod embedded;
mod evicted;
mod file;
mod hashed;
mod memory;
mod metrics;
mod op;
mod place;
mod redis;
mod shard;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use smallvec::SmallVec;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    clock,
    net::{PasswordError, TlsError},
};

pub use config::Config;
use embedded::Embedded;
pub use evicted::Evictions;
pub(crate) use hashed::Keys;
use memory::Memory;
pub use metrics::Metrics;
use metrics::What;
pub use op::{Entry, Key, LONGEST, Op, Outcome, SHORTEST, Table};
pub use place::{Place, PlaceError, Server};
use redis::Redis;

/// Where state is kept. Cheap to clone; clones are the same store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    backend: Backend,
    metrics: Metrics,
    /// What is not as it was configured.
    notice: Option<String>,
    /// Where it is, as it was configured.
    place: Option<String>,
}

#[derive(Debug)]
enum Backend {
    Memory(Memory),
    Embedded(Embedded),
    Redis(Box<Redis>),
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not what is in it: that is everybody.
        f.debug_struct("Store").field("notice", &self.inner.notice).finish_non_exhaustive()
    }
}

/// What is in the memory of this process, as it is at one time: it can be asked without waiting.
#[derive(Debug, Clone, Copy)]
pub struct Here<'s> {
    memory: &'s Memory,
    now: Instant,
}

impl Here<'_> {
    /// What [`Op::Get`] gives.
    #[must_use]
    pub fn value(&self, table: Table, id: &[u8]) -> Option<Vec<u8>> {
        self.memory.value(table, id, self.now)
    }

    /// What [`Op::Count`] gives.
    #[must_use]
    pub fn count(&self, table: Table, id: &[u8]) -> u64 {
        self.memory.number(table, id, self.now)
    }

    /// Nothing was ever put there: no key has to be made to ask for it.
    #[must_use]
    pub fn is_empty(&self, table: Table) -> bool {
        !self.memory.is_used(table)
    }

    /// What [`Store::has_evicted`] gives.
    #[must_use]
    pub fn has_evicted(&self, table: Table, age: Duration) -> bool {
        self.memory.has_evicted(table, age, self.now)
    }
}

/// What was asked could not be found out, or what was told may be lost.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It was not told to the store in time, or not answered.
    #[error("the store does not answer: {0}")]
    Down(String),
    /// The store answered, and will not.
    #[error("the store refuses: {0}")]
    Refused(String),
    /// It is in force, and will be gone with this process.
    #[error("it is in force, but can't be written down: {0}")]
    Unsaved(String),
}

/// The store can't be used as configured.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// `store.password_file`
    #[error("store.password_file: {0}")]
    Password(#[from] PasswordError),
    /// `store.ca_file`, or the system's authorities.
    #[error("store.ca_file: {0}")]
    Tls(#[from] TlsError),
}

impl Store {
    /// Opens what is configured. Redis need not be there yet; where a directory can't be used, state lives in memory, and the
    /// log says so. [`Store::follow`] has to run, too.
    ///
    /// # Errors
    /// When a file that the configuration names can't be used.
    ///
    /// # Panics
    /// Never: what opens it does not panic.
    pub async fn open(config: &Config, metrics: Metrics) -> Result<Self, OpenError> {
        let (opened, of) = (config.clone(), metrics.clone());
        let opened = TaskTracker::new().spawn_blocking(move || open(&opened, &of)).await;
        let (backend, notice) = opened.expect("opening does not panic")?;
        metrics.up.set(1);
        metrics.unsaved.set(notice.is_some().into());
        if let Backend::Redis(redis) = &backend {
            redis.connect().await;
        }
        let place = Some(config.url.to_string());
        Ok(Self { inner: Arc::new(Inner { backend, metrics, notice, place }) })
    }

    /// One that forgets everything with the process.
    #[must_use]
    pub fn in_memory(metrics: Metrics) -> Self {
        metrics.up.set(1);
        Self {
            inner: Arc::new(Inner {
                backend: Backend::Memory(Memory::new(false)),
                metrics,
                notice: None,
                place: None,
            }),
        }
    }

    /// The same with room for so many entries in each table.
    #[cfg(test)]
    pub(crate) fn bounded(metrics: Metrics, capacity: usize) -> Self {
        let backend = Backend::Memory(Memory::with_capacity(false, |_| capacity));
        Self { inner: Arc::new(Inner { backend, metrics, notice: None, place: None }) }
    }

    /// What can be asked without waiting; `None` where the store is another process.
    #[must_use]
    pub fn here(&self) -> Option<Here<'_>> {
        let memory = match &self.inner.backend {
            Backend::Memory(memory) => memory,
            Backend::Embedded(embedded) => &embedded.memory,
            Backend::Redis(_) => return None,
        };
        Some(Here { memory, now: clock::now() })
    }

    /// Carries out all of these, in order and in one round trip; an outcome for each, in the same order. In the memory of
    /// this process it answers without waiting; in Redis others see all of them done, or none.
    ///
    /// # Errors
    /// [`StoreError`]; then some of them may have been carried out.
    pub async fn run(&self, ops: &[Op]) -> Result<Vec<Outcome>, StoreError> {
        match &self.inner.backend {
            Backend::Memory(memory) => Ok(memory.run(ops)),
            Backend::Embedded(embedded) => Ok(embedded.run(ops)),
            Backend::Redis(redis) => redis.run(ops, What::Run).await,
        }
    }

    /// Carries out all of these some time soon; if that fails they are lost, and counted.
    pub fn later(&self, ops: impl Into<SmallVec<[Op; 2]>>) {
        let ops = ops.into();
        match &self.inner.backend {
            Backend::Memory(memory) => memory.tell(&ops),
            Backend::Embedded(embedded) => embedded.memory.tell(&ops),
            Backend::Redis(redis) => redis.later(ops.into_vec()),
        }
    }

    /// Carries out all of these; when this returns they are kept, whatever happens to the process.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn keep(&self, ops: &[Op]) -> Result<(), StoreError> {
        let kept = match &self.inner.backend {
            Backend::Memory(memory) => {
                memory.run(ops);
                return Ok(());
            }
            Backend::Redis(redis) => return redis.run(ops, What::Keep).await.map(drop),
            Backend::Embedded(embedded) => {
                embedded.run(ops);
                self.write().await.and_then(|()| embedded.trouble().map_or(Ok(()), Err))
            }
        };
        kept.map_err(|why| {
            self.inner.metrics.failed(What::Keep);
            StoreError::Unsaved(why)
        })
    }

    /// All of a table, in the order of the keys.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn list(&self, table: Table) -> Result<Vec<Entry>, StoreError> {
        match &self.inner.backend {
            Backend::Memory(memory) => Ok(memory.list(table)),
            Backend::Embedded(embedded) => Ok(embedded.memory.list(table)),
            Backend::Redis(redis) => redis.list(table).await,
        }
    }

    /// Whether others may change it: what is known of it grows old while it does not answer. A store in the memory of this
    /// process always answers, whatever its disk does.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self.inner.backend, Backend::Redis(_))
    }

    /// How much of a table was given up before its time; with Redis, of all that is in it. An eviction that came before an
    /// answer of [`Store::run`] is counted when this is asked after it.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Refused`] where Redis does not tell.
    pub async fn evictions(&self, table: Table) -> Result<Evictions, StoreError> {
        match &self.inner.backend {
            Backend::Memory(memory) => Ok(memory.evictions(table)),
            Backend::Embedded(embedded) => Ok(embedded.memory.evictions(table)),
            Backend::Redis(redis) => redis.evictions().await,
        }
    }

    /// Whether within the last hour something of a table was given up that was younger than this, if all of the table is
    /// kept equally long. Redis does not tell what it gave up: it may have been anything.
    #[must_use]
    pub fn has_evicted(&self, table: Table, age: Duration) -> bool {
        let now = clock::now();
        match &self.inner.backend {
            Backend::Memory(memory) => memory.has_evicted(table, age, now),
            Backend::Embedded(embedded) => embedded.memory.has_evicted(table, age, now),
            Backend::Redis(redis) => redis.has_evicted(now),
        }
    }

    /// Where it is, in words; `None` if it is nobody's: of one that forgets everything with the process.
    #[must_use]
    pub fn place(&self) -> Option<String> {
        let place = self.inner.place.as_ref()?;
        // It could not be opened.
        Some(if self.inner.notice.is_some() { format!("memory, not {place}") } else { place.clone() })
    }

    /// Whether it is anywhere: [`Store::place`] has words for it.
    #[must_use]
    pub fn has_place(&self) -> bool {
        self.inner.place.is_some()
    }

    /// Why nothing that it is told will outlive this process, where it could not be opened as configured.
    #[must_use]
    pub fn unkept(&self) -> Option<&str> {
        self.inner.notice.as_deref()
    }

    /// Whether within the last hour it lost all that it was told, as far as this process saw.
    #[must_use]
    pub fn has_forgotten(&self) -> bool {
        matches!(&self.inner.backend, Backend::Redis(redis) if redis.has_forgotten())
    }

    /// What an admin should look at.
    #[must_use]
    pub fn notices(&self) -> Vec<String> {
        let more = match &self.inner.backend {
            Backend::Memory(_) => Vec::new(),
            Backend::Embedded(embedded) => {
                let trouble = embedded.trouble();
                trouble.into_iter().map(|why| format!("store: its file can't be written: {why}")).collect()
            }
            Backend::Redis(redis) => redis.notices(),
        };
        self.inner.notice.iter().cloned().chain(more).collect()
    }

    /// Gives up what is over, writes down what has changed, keeps the connection; until `stop`, and then for the last time.
    pub async fn follow(&self, stop: CancellationToken) {
        if let Backend::Redis(redis) = &self.inner.backend {
            return redis.follow(stop).await;
        }
        let mut often = tokio::time::interval(OFTEN);
        often.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = often.tick() => {}
            }
            // Who is stuck here is a slow disk, which nobody else waits for.
            let _ = self.work(Inner::tend).await;
        }
        let _ = self.work(Inner::close).await;
    }

    /// Writes down what has changed.
    async fn write(&self) -> Result<(), String> {
        let written = self.work(|inner| {
            if let Backend::Embedded(embedded) = &inner.backend {
                embedded.write();
            }
        });
        match tokio::time::timeout(DISK, written).await {
            Ok(true) => Ok(()),
            Ok(false) => Err("writing it down came to a bad end".to_owned()),
            Err(_) => Err(format!("the disk takes more than {DISK:?}")),
        }
    }

    /// Does something that blocks; `false` if it panicked.
    async fn work(&self, work: impl FnOnce(&Inner) + Send + 'static) -> bool {
        let inner = Arc::clone(&self.inner);
        TaskTracker::new().spawn_blocking(move || work(&inner)).await.is_ok()
    }
}

impl Inner {
    fn tend(&self) {
        let memory = match &self.backend {
            Backend::Memory(memory) => memory,
            Backend::Embedded(embedded) => &embedded.memory,
            Backend::Redis(_) => return,
        };
        memory.sweep(clock::now());
        for table in Table::ALL {
            self.metrics.entries(table, memory.len(table));
            self.metrics.evicted(table.as_str(), memory.evictions(table).count);
        }
        if let Backend::Embedded(embedded) = &self.backend {
            embedded.write();
            self.metrics.unsaved.set(embedded.trouble().is_some().into());
        }
    }

    fn close(&self) {
        if let Backend::Embedded(embedded) = &self.backend {
            embedded.close();
        }
    }
}

/// What is configured, or memory and why. Blocks.
fn open(config: &Config, metrics: &Metrics) -> Result<(Backend, Option<String>), OpenError> {
    if let Place::Redis(server) = &config.url {
        return Ok((Backend::Redis(Box::new(Redis::new(server, config, metrics.clone())?)), None));
    }
    let embedded = config.directory().and_then(|directory| Embedded::open(&directory));
    Ok(match embedded {
        Ok(embedded) => (Backend::Embedded(embedded), None),
        Err(error) => {
            tracing::warn!(
                store = %config.url, %error,
                "nothing can be stored: blocks, trusts and what the defences know live in memory"
            );
            let notice =
                format!("store {}: {error}: what it is told will be gone with the process", config.url);
            (Backend::Memory(Memory::new(false)), Some(notice))
        }
    })
}

/// What is told is on disk after this long, and the time that writing takes.
const OFTEN: Duration = Duration::from_millis(500);
/// The longest that a command waits for the disk.
const DISK: Duration = Duration::from_secs(10);
