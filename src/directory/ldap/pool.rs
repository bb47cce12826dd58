//! Connections for questions, kept open: many questions share a few of them.
//!
//! A question goes to the first server that is not known to be down. When that fails, the next is asked at once; when it
//! is silent for its share of the time, the next is asked as well, and whoever answers first is heard. So a server that
//! hangs costs a share of the deadline, and then is left alone. A connection that was cut while nobody looked is replaced
//! and asked again, which nobody notices. Failure: a [`Failure`], by the deadline.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Either, select},
};
use ldap3::Ldap;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

use super::{
    connection::{Servers, share},
    fault::{self, Fault},
    referral::Referral,
    schema::Shape,
    search::{Found, Question},
};
use crate::directory::remote::Failure;

/// Connections to the servers of one directory.
#[derive(Debug)]
pub(super) struct Pool {
    servers: Servers,
    /// For each server.
    lines: Box<[Line]>,
    places: Semaphore,
    clock: Clock,
}

/// The connections to one server.
#[derive(Debug)]
struct Line {
    slots: Box<[Slot]>,
    next: AtomicUsize,
    /// When it answered last, and when a recipient was seen last.
    answered: Mark,
    sighted: Mark,
}

/// A connection, or the place for one. Whoever finds it empty opens it, and others wait for that.
#[derive(Debug, Default)]
struct Slot {
    link: Mutex<Option<Arc<Link>>>,
    opening: tokio::sync::Mutex<()>,
}

/// An open connection.
#[derive(Debug)]
struct Link {
    ldap: Ldap,
    born: Instant,
    questions: AtomicU32,
    answered: Mark,
    /// It is not to be used any more.
    is_spent: AtomicBool,
}

/// A point in time that all cores can write: milliseconds on the pool's clock, from 1; 0: never.
#[derive(Debug, Default)]
struct Mark(AtomicU64);

#[derive(Debug)]
struct Clock(Instant);

impl Pool {
    /// Connects nowhere yet.
    pub(super) fn new(servers: Servers, connections: usize) -> Self {
        let line = || Line {
            slots: (0..connections).map(|_| Slot::default()).collect(),
            next: AtomicUsize::new(0),
            answered: Mark::default(),
            sighted: Mark::default(),
        };
        let lines = servers.access().servers.iter().map(|_| line()).collect();
        let places = Semaphore::new(connections * SHARED_BY);
        Self { servers, lines, places, clock: Clock(Instant::now()) }
    }

    /// The answer of the first server that gives one, by `until`.
    pub(super) async fn ask(
        &self,
        question: &Question,
        shape: &Shape,
        until: Instant,
    ) -> Result<Found, Failure> {
        // Whose turn comes later would blame a server for having had no time.
        let Ok(Ok(_place)) = timeout_at(share(until, 2), self.places.acquire()).await else {
            return Err(fault::crowded());
        };
        let candidates = self.servers.candidates();
        if candidates.is_empty() {
            return Err(self.servers.all_down());
        }
        self.ask_from(&candidates, question, shape, until).await
    }

    /// Asks the first of these servers, then the others.
    fn ask_from<'a>(
        &'a self,
        servers: &'a [usize],
        question: &'a Question,
        shape: &'a Shape,
        until: Instant,
    ) -> BoxFuture<'a, Result<Found, Failure>> {
        let [server, others @ ..] = servers else { unreachable!("called with at least one") };
        let (server, began) = (*server, self.clock.now());
        async move {
            let has_ended = AtomicBool::new(false);
            let asked = async {
                let result = self.ask_server(server, question, shape, until).await;
                has_ended.store(true, Relaxed);
                match result {
                    Ok(found) => {
                        self.servers.worked(server);
                        Ok(found)
                    }
                    Err(fault) => Err(self.servers.failed(server, fault)),
                }
            };
            if others.is_empty() {
                return asked.await;
            }
            let mut asked = pin!(asked);
            match timeout_at(share(until, servers.len()), &mut asked).await {
                Ok(Ok(found)) => return Ok(found),
                Ok(Err(_)) => return self.ask_from(others, question, shape, until).await,
                Err(_) => {}
            }
            let result = first_good(asked, self.ask_from(others, question, shape, until)).await;
            if !has_ended.load(Relaxed) {
                self.servers.failed(server, self.silence(server, began));
            }
            result
        }
        .boxed()
    }

    /// Asks one server; by `until` it is silent.
    async fn ask_server(
        &self,
        server: usize,
        question: &Question,
        shape: &Shape,
        until: Instant,
    ) -> Result<Found, Fault> {
        let began = self.clock.now();
        let asked = async {
            let (link, is_new) = self.link(server, until).await?;
            let again = async || {
                let (link, _) = self.link(server, until).await?;
                self.ask_link(server, &link, question, shape).await
            };
            let mut asked = pin!(self.ask_link(server, &link, question, shape));
            if is_new {
                return asked.await;
            }
            match timeout_at(share(until, 2), &mut asked).await {
                Ok(Err(fault)) if fault.is_cut() => again().await,
                Ok(result) => result,
                // It answers others.
                Err(_) if link.answered.is_since(began) => asked.await,
                // Something on the way may have forgotten the connection.
                Err(_) => {
                    link.is_spent.store(true, Relaxed);
                    first_good(asked, pin!(again())).await
                }
            }
        };
        timeout_at(until, asked).await.unwrap_or_else(|_| Err(self.silence(server, began)))
    }

    /// Asks on this connection. If that is given up before the end, and the connection answered nobody else either, nobody
    /// will use it again.
    async fn ask_link(
        &self,
        server: usize,
        link: &Link,
        question: &Question,
        shape: &Shape,
    ) -> Result<Found, Fault> {
        let line = self.line(server);
        let pending = Pending { link, began: self.clock.now() };
        let mut ldap = link.ldap.clone();
        let mut found = fault::caught(question.ask(&mut ldap)).await;
        if let Ok(Found { objects, references, .. }) = &mut found {
            references
                .retain(|url| !Referral::parse(url).is_some_and(|referral| shape.is_aside(&referral.base)));
            let sighted = line.sighted.age(&self.clock).is_some_and(|age| age < SIGHT);
            if !objects.is_empty() {
                line.sighted.set(&self.clock);
            } else if references.is_empty() && !sighted {
                fault::caught(question.sight(&mut ldap, &shape.all())).await?;
                line.sighted.set(&self.clock);
            }
        }
        match &found {
            Err(fault) if fault.is_cut() => link.is_spent.store(true, Relaxed),
            _ => {
                link.answered.set(&self.clock);
                line.answered.set(&self.clock);
            }
        }
        drop(pending);
        found
    }

    /// A connection to the server, and whether it was opened for this.
    async fn link(&self, server: usize, until: Instant) -> Result<(Arc<Link>, bool), Fault> {
        let line = self.line(server);
        let at = line.next.fetch_add(1, Relaxed) % line.slots.len().max(1);
        let slot = line.slots.get(at).expect("the configuration has at least one connection");
        if let Some(link) = slot.usable() {
            return Ok((link, false));
        }
        let _alone = slot.opening.lock().await;
        if let Some(link) = slot.usable() {
            return Ok((link, false));
        }
        let link = Arc::new(Link {
            ldap: self.servers.connect_to(server, until).await?,
            born: Instant::now(),
            questions: AtomicU32::new(0),
            answered: Mark::default(),
            is_spent: AtomicBool::new(false),
        });
        *slot.link.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&link));
        Ok((link, true))
    }

    fn line(&self, server: usize) -> &Line {
        self.lines.get(server).expect("there is one for each server")
    }

    /// No answer came. Whether that speaks against the server depends on whether it answered others meanwhile.
    fn silence(&self, server: usize, began: u64) -> Fault {
        if self.line(server).answered.is_since(began) { Fault::Slow } else { Fault::TimedOut }
    }
}

impl Slot {
    fn usable(&self) -> Option<Arc<Link>> {
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        if link.as_ref().is_some_and(|link| !link.take_question()) {
            *link = None;
        }
        link.clone()
    }
}

impl Link {
    /// Whether one more question may use it. The library remembers a number for each, and a server that came back should be
    /// found again, so no connection is used for ever.
    fn take_question(&self) -> bool {
        !self.is_spent.load(Relaxed)
            && !self.ldap.clone().is_closed()
            && self.born.elapsed() < LIFE
            && self.questions.fetch_add(1, Relaxed) < QUESTIONS
    }
}

/// A question under way.
struct Pending<'a> {
    link: &'a Link,
    began: u64,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if !self.link.answered.is_since(self.began) {
            self.link.is_spent.store(true, Relaxed);
        }
    }
}

impl Clock {
    fn now(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }
}

impl Mark {
    fn set(&self, clock: &Clock) {
        self.0.store(clock.now(), Relaxed);
    }

    fn is_since(&self, began: u64) -> bool {
        self.0.load(Relaxed) >= began
    }

    fn age(&self, clock: &Clock) -> Option<Duration> {
        match self.0.load(Relaxed) {
            0 => None,
            at => Some(Duration::from_millis(clock.now().saturating_sub(at))),
        }
    }
}

/// The first of the two that succeeds; if neither does, what the later one says.
async fn first_good<T, E>(
    one: impl Future<Output = Result<T, E>> + Unpin,
    other: impl Future<Output = Result<T, E>> + Unpin,
) -> Result<T, E> {
    match select(one, other).await {
        Either::Left((Ok(good), _)) | Either::Right((Ok(good), _)) => Ok(good),
        Either::Left((Err(_), other)) => other.await,
        Either::Right((Err(_), one)) => one.await,
    }
}

/// Questions at a time on one connection. OpenLDAP reads no further than 100 of somebody unknown.
const SHARED_BY: usize = 32;
/// How long a connection is used.
const LIFE: Duration = Duration::from_secs(10 * 60);
/// How many questions use a connection.
const QUESTIONS: u32 = 50_000;
/// After this time it is checked again that the account can see anybody at all.
const SIGHT: Duration = Duration::from_secs(30);
