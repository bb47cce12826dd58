//! Connections for questions, kept open: many questions share a few of them.
//!
//! A question goes to the first server that is not known to be down. When that fails, the next is asked at once; when it
//! is silent for its share of the time, the next is asked as well, and whoever answers first is heard. So a server that
//! hangs costs a share of the deadline, and then is left alone; one that answers others meanwhile does not hang. A connection that was cut while nobody looked is replaced
//! and asked again, which nobody notices. Failure: a [`Failure`], by the deadline.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool, AtomicU32, AtomicU64, AtomicUsize,
            Ordering::{Acquire, Relaxed},
        },
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
    transport::Opened,
    vocabulary,
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
    /// When it answered last.
    answered: Mark,
    /// When the last search began that showed a recipient.
    sighted: Mark,
    /// The name of one.
    somebody: Mutex<Option<String>>,
    /// When the last look that showed none began. Whoever looks holds it, and others wait for what comes of that.
    blind: tokio::sync::Mutex<Mark>,
    /// When it was asked which attributes it has, and the first that it has not.
    vocabulary: tokio::sync::Mutex<Option<(Instant, Option<String>)>>,
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
    is_unfit: Arc<AtomicBool>,
    born: Instant,
    questions: AtomicU32,
    answered: Mark,
    /// It is not to be used any more.
    is_spent: AtomicBool,
}

/// A point in time that all cores can write: microseconds on the pool's clock, from 1; 0: never.
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
            somebody: Mutex::default(),
            blind: tokio::sync::Mutex::default(),
            vocabulary: tokio::sync::Mutex::default(),
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
            // If it is silent then, there is time to find out why before the next one is asked.
            let patience = share(until, 2 * servers.len());
            let asked = async {
                let result = self.ask_server(server, question, shape, patience, until).await;
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
        patience: Instant,
        until: Instant,
    ) -> Result<Found, Fault> {
        let began = self.clock.now();
        let asked = async {
            let (link, is_new) = self.link(server, shape, until).await?;
            let again = async || {
                let (link, _) = self.link(server, shape, until).await?;
                self.ask_link(server, &link, question, shape).await
            };
            let mut asked = pin!(self.ask_link(server, &link, question, shape));
            let ended = match timeout_at(patience, &mut asked).await {
                Ok(result) => result,
                // Whether it answers others, or would.
                Err(_) => {
                    let mut looked = pin!(self.is_awake(server, &link, began).fuse());
                    match timeout_at(share(until, 4), &mut looked).await {
                        Ok(true) => asked.await,
                        _ if is_new => beside(looked, asked).await,
                        // Something on the way may have forgotten the connection.
                        _ => {
                            link.is_spent.store(true, Relaxed);
                            beside(looked, pin!(first_good(asked, pin!(again())))).await
                        }
                    }
                }
            };
            match ended {
                // Which of the answers on it could not be taken shows where each question has a connection to itself.
                Err(fault) if fault.is_cut() && link.is_unfit.load(Acquire) => {
                    let link = self.open(server, shape, until).await?;
                    let result = self.ask_link(server, &link, question, shape).await;
                    let is_unfit = link.is_unfit.load(Acquire);
                    result.map_err(|fault| if fault.is_cut() && is_unfit { Fault::Unfit } else { fault })
                }
                Err(fault) if fault.is_cut() && !is_new => again().await,
                ended => ended,
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
            link.answered.set(&self.clock);
            line.answered.set(&self.clock);
            if let Some(object) = objects.first() {
                line.sighted.raise(pending.began);
                line.somebody().get_or_insert_with(|| object.dn.clone());
            } else if references.is_empty()
                && let Err(fault) = self.can_be_absent(line, &mut ldap, question, shape).await
            {
                found = Err(fault);
            }
        }
        match &found {
            Err(fault) if fault.is_cut() => link.is_spent.store(true, Relaxed),
            // It speaks against this question, but the library may have lost its place.
            Err(Fault::Malformed) => {
                link.is_spent.store(true, Relaxed);
                found = Err(Fault::Unfit);
            }
            _ => {
                link.answered.set(&self.clock);
                line.answered.set(&self.clock);
            }
        }
        drop(pending);
        found
    }

    /// Whether it means anything that this server found nobody.
    async fn can_be_absent(
        &self,
        line: &Line,
        ldap: &mut Ldap,
        question: &Question,
        shape: &Shape,
    ) -> Result<(), Fault> {
        Self::has_attributes(line, ldap, shape).await?;
        self.look_around(line, ldap, question, shape).await
    }

    /// Whether the server has the attributes that the administrator names. Those who ask at the same time look once.
    async fn has_attributes(line: &Line, ldap: &mut Ldap, shape: &Shape) -> Result<(), Fault> {
        if shape.named().is_empty() {
            return Ok(());
        }
        let mut known = line.vocabulary.lock().await;
        let missing = match &*known {
            Some((at, None)) if at.elapsed() < VOCABULARY => None,
            Some((at, Some(missing))) if at.elapsed() < MISSING => Some(missing.clone()),
            _ => {
                let missing = match fault::caught(vocabulary::check(ldap, shape.named())).await {
                    Ok(()) => None,
                    Err(Fault::Attribute(missing)) => Some(missing),
                    Err(fault) => return Err(fault),
                };
                *known = Some((Instant::now(), missing.clone()));
                missing
            }
        };
        missing.map_or(Ok(()), |missing| Err(Fault::Attribute(missing)))
    }

    /// Whether any recipient can be seen there. Those who ask at the same time look once.
    async fn look_around(
        &self,
        line: &Line,
        ldap: &mut Ldap,
        question: &Question,
        shape: &Shape,
    ) -> Result<(), Fault> {
        let asked = self.clock.now();
        let blind = line.blind.lock().await;
        // A sight from before the answer says nothing of the rights that it was given with.
        if line.sighted.is_since(asked) {
            return Ok(());
        }
        if blind.is_since(asked) {
            return Err(Fault::Blind);
        }
        let began = self.clock.now();
        let known = line.somebody().clone();
        let looked = fault::caught(question.sight(ldap, &shape.all(), known)).await;
        match &looked {
            Ok(somebody) => {
                line.sighted.raise(began);
                *line.somebody() = Some(somebody.clone());
            }
            Err(Fault::Blind) => blind.raise(began),
            Err(_) => {}
        }
        looked.map(drop)
    }

    /// Whether the connection answered since then, or answers another question now: one that any server answers at once.
    async fn is_awake(&self, server: usize, link: &Link, began: u64) -> bool {
        if link.answered.is_since(began) {
            return true;
        }
        let mut ldap = link.ldap.clone();
        if fault::caught(Question::is_active_directory(&mut ldap)).await.is_err() {
            return link.answered.is_since(began);
        }
        link.answered.set(&self.clock);
        self.line(server).answered.set(&self.clock);
        true
    }

    /// A connection to the server, and whether it was opened for this.
    async fn link(&self, server: usize, shape: &Shape, until: Instant) -> Result<(Arc<Link>, bool), Fault> {
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
        let link = Arc::new(self.open(server, shape, until).await?);
        *slot.link.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&link));
        Ok((link, true))
    }

    /// A new connection to the server, if its entries can be read so.
    async fn open(&self, server: usize, shape: &Shape, until: Instant) -> Result<Link, Fault> {
        let Opened { mut ldap, is_unfit } = self.servers.connect_to(server, until).await?;
        if !shape.fits_active_directory() && fault::caught(Question::is_active_directory(&mut ldap)).await? {
            return Err(Fault::ActiveDirectory);
        }
        Ok(Link {
            ldap,
            is_unfit,
            born: Instant::now(),
            questions: AtomicU32::new(0),
            answered: Mark::default(),
            is_spent: AtomicBool::new(false),
        })
    }

    fn line(&self, server: usize) -> &Line {
        self.lines.get(server).expect("there is one for each server")
    }

    /// No answer came. Whether that speaks against the server depends on whether it answered others meanwhile.
    fn silence(&self, server: usize, began: u64) -> Fault {
        if self.line(server).answered.is_since(began) { Fault::Slow } else { Fault::TimedOut }
    }
}

impl Line {
    fn somebody(&self) -> MutexGuard<'_, Option<String>> {
        self.somebody.lock().unwrap_or_else(PoisonError::into_inner)
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
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX).saturating_add(1)
    }
}

impl Mark {
    fn set(&self, clock: &Clock) {
        self.0.store(clock.now(), Relaxed);
    }

    /// Sets it to this point, unless it is later already.
    fn raise(&self, to: u64) {
        self.0.fetch_max(to, Relaxed);
    }

    fn is_since(&self, began: u64) -> bool {
        self.0.load(Relaxed) >= began
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

/// What comes of `work`, while `aside` goes on as well.
async fn beside<T>(aside: impl Future + Unpin, work: impl Future<Output = T> + Unpin) -> T {
    match select(aside, work).await {
        Either::Left((_, work)) => work.await,
        Either::Right((done, _)) => done,
    }
}

/// Questions at a time on one connection. OpenLDAP reads no further than 100 of somebody unknown.
const SHARED_BY: usize = 32;
/// How long a connection is used.
const LIFE: Duration = Duration::from_secs(10 * 60);
/// How many questions use a connection.
const QUESTIONS: u32 = 50_000;
/// For so long it counts which attributes a server has.
const VOCABULARY: Duration = Duration::from_secs(60 * 60);
/// For so long it counts that it has not all.
const MISSING: Duration = Duration::from_secs(10);
