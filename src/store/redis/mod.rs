//! State in a Redis server, shared by all who use it.
//!
//! One connection, on which the questions of all sessions go at the same time. One question that is not answered in time
//! ends it; while there is none, whoever asks is told so at once, and only [`Redis::follow`] tries to connect. What Redis
//! loses is not put there again from anybody's memory: what was resumed or released meanwhile would be back.

mod command;
mod connection;

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use arc_swap::ArcSwapOption;
use redis::{Pipeline, RedisError, Value};
use tokio::{
    sync::{Notify, mpsc},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::connection::{ConnectError, Connector, Live};
use super::{
    Config, Entry, Evictions, Op, OpenError, Outcome, StoreError, Table,
    evicted::Lately,
    metrics::{Metrics, What},
    op::LONGEST,
    place::Server,
};

/// A Redis server.
#[derive(Debug)]
pub(super) struct Redis {
    name: String,
    prefix: String,
    deadline: Duration,
    connector: Connector,
    current: ArcSwapOption<Live>,
    /// The connection was given up.
    broken: Notify,
    queue: mpsc::Sender<Late>,
    queued: tokio::sync::Mutex<mpsc::Receiver<Late>>,
    health: Mutex<Health>,
    evicted: Lately,
    metrics: Metrics,
    tasks: TaskTracker,
}

/// What nobody waits for.
#[derive(Debug)]
struct Late {
    ops: Vec<Op>,
    since: Instant,
}

#[derive(Debug, Default)]
struct Health {
    trouble: Option<Trouble>,
    /// What was found when it was looked at last.
    marker: Option<Vec<u8>>,
    /// It lost what it was told.
    forgot: Option<SystemTime>,
    /// What was found when it was looked at last.
    evictions: Option<Evictions>,
    /// It does not tell.
    is_silent: bool,
}

#[derive(Debug)]
struct Trouble {
    since: Instant,
    text: String,
}

impl Redis {
    /// Connects nowhere. Reads files, so it blocks.
    pub(super) fn new(server: &Server, config: &Config, metrics: Metrics) -> Result<Self, OpenError> {
        let (queue, queued) = mpsc::channel(QUEUE);
        metrics.up.set(0);
        Ok(Self {
            name: config.url.to_string(),
            prefix: config.prefix.clone(),
            deadline: config.deadline,
            connector: Connector::new(server, config)?,
            current: ArcSwapOption::empty(),
            broken: Notify::new(),
            queue,
            queued: tokio::sync::Mutex::new(queued),
            health: Mutex::default(),
            evicted: Lately::default(),
            metrics,
            tasks: TaskTracker::new(),
        })
    }

    pub(super) async fn run(&self, ops: &[Op], what: What) -> Result<Vec<Outcome>, StoreError> {
        if ops.is_empty() {
            return Ok(Vec::new());
        }
        let answers = self.ask(&command::pipeline(&self.prefix, ops)).await;
        let outcomes = answers.and_then(|answers| {
            let strange = || StoreError::Refused("its answers are not those of Redis".to_owned());
            command::outcomes(ops, answers).ok_or_else(strange)
        });
        outcomes.inspect_err(|_| self.metrics.failed(what))
    }

    pub(super) fn later(&self, ops: Vec<Op>) {
        if self.queue.try_send(Late { ops, since: Instant::now() }).is_err() {
            self.metrics.failed(What::Later);
        }
    }

    pub(super) async fn list(&self, table: Table) -> Result<Vec<Entry>, StoreError> {
        let listed = timeout(LISTING, self.scan(table)).await;
        let silent = || Err(StoreError::Down(format!("no end of the list in {LISTING:?}")));
        listed.unwrap_or_else(|_| silent()).inspect_err(|_| self.metrics.failed(What::List))
    }

    /// Why it does not answer, and what an admin should know besides.
    pub(super) fn notices(&self) -> Vec<String> {
        let health = self.health();
        let trouble = health.trouble.as_ref().map(|trouble| {
            let seconds = trouble.since.elapsed().as_secs();
            format!("store {}: out of use for {seconds} s: {}", self.name, trouble.text)
        });
        let forgot = health.forgot.map(|when| {
            let ago = when.elapsed().unwrap_or_default().as_secs();
            format!(
                "store {}: {ago} s ago it had lost what it was told: blocks, trusts and suspensions of before are gone",
                self.name
            )
        });
        let evicted = self.has_evicted(Instant::now()).then(|| {
            format!(
                "store {}: within the last hour it has given up what it was told, for want of memory; what that was is not \
                 known. Give it more (maxmemory), or one of its own",
                self.name
            )
        });
        let silent = health.is_silent.then(|| {
            format!(
                "store {}: it does not tell what it gives up for want of memory: allow INFO to its user",
                self.name
            )
        });
        trouble.into_iter().chain(forgot).chain(evicted).chain(silent).collect()
    }

    /// How much it gave up for want of memory.
    pub(super) async fn evictions(&self) -> Result<Evictions, StoreError> {
        let answers = self.ask(&command::evictions()).await?;
        let evictions = command::read_evictions(answers)
            .ok_or_else(|| StoreError::Refused("INFO does not tell how many keys were evicted".to_owned()))?;
        self.metrics.evicted("all", evictions.count);
        let before = self.health().evictions.replace(evictions.clone());
        if before.is_some_and(|before| before.run == evictions.run && before.count != evictions.count) {
            self.evicted.tell(Duration::ZERO, Instant::now());
        }
        Ok(evictions)
    }

    /// Whether it gave anything up lately.
    pub(super) fn has_evicted(&self, now: Instant) -> bool {
        self.evicted.is_any_below(Duration::MAX, now)
    }

    /// Whether it lost what it was told lately.
    pub(super) fn has_forgotten(&self) -> bool {
        self.health().forgot.is_some_and(|when| when.elapsed().is_ok_and(|ago| ago < LATELY))
    }

    /// Tries once to connect.
    pub(super) async fn connect(&self) -> bool {
        let connected = timeout(CONNECT, self.connector.connect(&self.tasks)).await;
        match connected.unwrap_or(Err(ConnectError::Silent)) {
            Ok((live, marker)) => {
                self.works(marker);
                self.current.store(Some(Arc::new(live)));
                true
            }
            Err(error) => {
                self.fails(&error);
                false
            }
        }
    }

    /// Keeps the connection, and carries out what nobody waits for, until `stop`.
    pub(super) async fn follow(&self, stop: CancellationToken) {
        let mut queued = self.queued.lock().await;
        let mut pause = FIRST_PAUSE;
        let mut second = tokio::time::interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut late = Vec::new();
        loop {
            if self.current.load().is_none() && !self.connect().await {
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
                continue;
            }
            pause = FIRST_PAUSE;
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.broken.notified() => {}
                _ = second.tick() => self.look().await,
                _ = queued.recv_many(&mut late, BATCH) => self.deliver(&mut late).await,
            }
        }
        while let Ok(one) = queued.try_recv() {
            late.push(one);
            if late.len() == BATCH || queued.is_empty() {
                self.deliver(&mut late).await;
            }
        }
        self.current.store(None);
    }

    /// Whether it still is what it was: nobody may ask for a long time.
    async fn look(&self) {
        let Some(live) = self.current.load_full() else { return };
        match timeout(self.deadline.max(PATIENCE), self.connector.probe(&live)).await {
            Ok(Ok(marker)) => {
                self.works(marker);
                // Who wants to know it asks, and hears of a failure.
                let told = self.evictions().await;
                self.health().is_silent = matches!(told, Err(StoreError::Refused(_)));
            }
            Ok(Err(error)) => self.give_up(&live, &error),
            Err(_) => self.give_up(&live, &ConnectError::Silent),
        }
    }

    async fn deliver(&self, late: &mut Vec<Late>) {
        // What was to be remembered long ago may be wrong by now.
        let (fresh, stale): (Vec<Late>, Vec<Late>) =
            late.drain(..).partition(|late| late.since.elapsed() < LATEST);
        let pipeline = command::pipeline(&self.prefix, fresh.iter().flat_map(|late| &late.ops));
        let lost = if pipeline.is_empty() || self.ask(&pipeline).await.is_ok() { 0 } else { fresh.len() };
        for _ in 0..lost + stale.len() {
            self.metrics.failed(What::Later);
        }
    }

    /// One round trip.
    async fn ask(&self, pipeline: &Pipeline) -> Result<Vec<Value>, StoreError> {
        let Some(live) = self.current.load_full() else {
            let text = self.health().trouble.as_ref().map(|trouble| trouble.text.clone());
            return Err(StoreError::Down(text.unwrap_or_else(|| "not connected yet".to_owned())));
        };
        let begun = Instant::now();
        let mut connection = live.connection.clone();
        let answered = timeout(self.deadline, pipeline.query_async(&mut connection)).await;
        self.metrics.request.observe(begun.elapsed().as_secs_f64());
        match answered {
            Ok(Ok(answers)) => Ok(answers),
            Ok(Err(error)) if is_refusal(&error) => Err(StoreError::Refused(error.to_string())),
            Ok(Err(error)) => {
                let error = ConnectError::from(error);
                self.give_up(&live, &error);
                Err(StoreError::Down(error.to_string()))
            }
            Err(_) => {
                let error = format!("no answer in {:?}", self.deadline);
                self.give_up(&live, &error);
                Err(StoreError::Down(error))
            }
        }
    }

    /// All keys of a table, a page at a time so that others are not kept waiting, with what they hold.
    async fn scan(&self, table: Table) -> Result<Vec<Entry>, StoreError> {
        let prefix = command::table_prefix(&self.prefix, table);
        let mut found = BTreeMap::new();
        let mut cursor = "0".to_owned();
        loop {
            let mut page = Pipeline::new();
            page.cmd("SCAN").arg(&cursor).arg("MATCH").arg(format!("{prefix}*")).arg("COUNT").arg(PAGE);
            let answers = self.ask(&page).await?;
            let strange = || StoreError::Refused("its answers are not those of Redis".to_owned());
            let (next, keys): (String, Vec<Vec<u8>>) = answers
                .into_iter()
                .next()
                .and_then(|page| redis::from_redis_value(page).ok())
                .ok_or_else(strange)?;
            let keys: Vec<_> = keys.into_iter().filter(|key| key.starts_with(prefix.as_bytes())).collect();
            let mut values = Pipeline::new();
            for key in &keys {
                values.cmd("GET").arg(key).cmd("PTTL").arg(key);
            }
            let answers = if keys.is_empty() { Vec::new() } else { self.ask(&values).await? };
            for (key, answer) in keys.iter().zip(answers.chunks_exact(2)) {
                let [Value::BulkString(value), Value::Int(left)] = answer else { continue };
                let left = match *left {
                    // It has no end; nothing of ours is like that.
                    -1 => LONGEST,
                    left => Duration::from_millis(left.try_into().unwrap_or(0)),
                };
                let id = key.get(prefix.len()..).unwrap_or_default().to_vec();
                if !left.is_zero() {
                    found.insert(id, (value.clone(), left));
                }
            }
            if next == "0" {
                break;
            }
            cursor = next;
        }
        Ok(found.into_iter().map(|(id, (value, left))| Entry { id, value, left }).collect())
    }

    fn works(&self, marker: Vec<u8>) {
        self.metrics.up.set(1);
        let mut health = self.health();
        if let Some(trouble) = health.trouble.take() {
            let seconds = trouble.since.elapsed().as_secs();
            tracing::info!(store = self.name, seconds, "the store answers again");
        }
        if health.marker.as_ref().is_some_and(|before| *before != marker) {
            tracing::warn!(
                store = self.name,
                "the store has lost what it was told: blocks, trusts and suspensions of before are gone, the greylist begins anew"
            );
            health.forgot = Some(SystemTime::now());
        }
        health.marker = Some(marker);
    }

    fn fails(&self, error: &dyn std::fmt::Display) {
        self.metrics.up.set(0);
        let text = error.to_string();
        let mut health = self.health();
        match &mut health.trouble {
            Some(trouble) => {
                tracing::debug!(store = self.name, error = text, "the store does not answer");
                trouble.text = text;
            }
            none => {
                tracing::warn!(
                    store = self.name,
                    error = text,
                    "the store does not answer: nobody is blocked, greylisted or trusted for a time"
                );
                *none = Some(Trouble { since: Instant::now(), text });
            }
        }
    }

    /// Nobody asks on this connection any more.
    fn give_up(&self, live: &Arc<Live>, error: &dyn std::fmt::Display) {
        let before = self.current.compare_and_swap(live, None);
        if before.as_ref().is_some_and(|before| Arc::ptr_eq(before, live)) {
            self.fails(error);
            self.broken.notify_one();
        }
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// It was understood and refused, and the next question may fare better: a key that somebody uses for something else, a
/// command that is not allowed. What else a server says instead of an answer (that it is read-only, loading, full) goes for everything.
fn is_refusal(error: &RedisError) -> bool {
    let errors = error.clone().into_server_errors();
    errors.is_some_and(|errors| {
        errors.iter().all(|(_, error)| matches!(error.code(), "ERR" | "WRONGTYPE" | "NOPERM"))
    })
}

/// From the operating system, by way of the keys of hash tables.
fn random() -> u64 {
    RandomState::new().hash_one(SystemTime::now())
}

/// What is told and not carried out yet, at most.
const QUEUE: usize = 10_000;
/// So much of it goes in one round trip.
const BATCH: usize = 256;
/// What could not be carried out until then is given up.
const LATEST: Duration = Duration::from_secs(10);
/// For one attempt to connect.
const CONNECT: Duration = Duration::from_secs(2);
/// A server that nobody asks is not called dead before.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between attempts; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// For a whole table.
const LISTING: Duration = Duration::from_secs(20);
/// What was lost has mostly been told again by then.
const LATELY: Duration = Duration::from_secs(60 * 60);
/// Keys that SCAN looks at in one go.
const PAGE: u32 = 1000;
