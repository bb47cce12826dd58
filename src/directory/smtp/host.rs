//! One next hop: its connections, its servers, and how it is asked.

use std::{
    iter,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use smallvec::SmallVec;
use tokio::{
    sync::Semaphore,
    time::{Instant as Deadline, timeout, timeout_at},
};

use super::{
    Shared,
    conversation::TalkError,
    judge::{Judgement, judge},
    routes::Route,
    servers::{Place, Server, Servers},
    trouble::Trouble,
    vouch::{Key, Random, invented},
    wire::Connection,
};
use crate::{
    address::{Address, Domain},
    net::smtp_reply::Reply,
};

/// The servers of one route.
#[derive(Debug)]
pub(super) struct Host {
    route: Route,
    permits: Semaphore,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    servers: Option<Arc<Servers>>,
    /// When they were last looked up.
    looked_up: Option<Instant>,
    /// Connections that nobody uses, the last used one last.
    idle: Vec<(Place, Connection)>,
    /// Somebody sees to it that they are closed in time.
    watched: bool,
    /// What was wrong last, until a server answers.
    trouble: Option<String>,
}

impl Host {
    pub(super) fn new(route: Route, connections: usize) -> Self {
        Self { route, permits: Semaphore::new(connections), state: Mutex::default() }
    }

    /// Whether it answered when it was last asked.
    pub(super) fn is_well(&self) -> bool {
        self.state().trouble.is_none()
    }

    /// Whether it knows the recipient.
    pub(super) async fn ask(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        recipient: &Address,
        deadline: Deadline,
    ) -> Result<bool, Trouble> {
        // Enough has to be left for the question, or a host that is merely busy would seem to be silent.
        let left = deadline.saturating_duration_since(Deadline::now());
        let permit = timeout(left / 2, self.permits.acquire()).await;
        // The semaphore is never closed.
        let Ok(Ok(_permit)) = permit else { return Err(Trouble::Busy(self.name())) };
        let answer = self.ask_servers(shared, recipient, deadline).await;
        match &answer {
            Err(trouble @ (Trouble::Resolve(_) | Trouble::Down { .. })) => self.note(Some(trouble)),
            Err(trouble) if trouble.blames_server() => self.note(Some(trouble)),
            // Whether that is the server's fault is being found out.
            Err(Trouble::Slow(_)) => {}
            Ok(_) | Err(_) => self.note(None),
        }
        answer
    }

    async fn ask_servers(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        recipient: &Address,
        deadline: Deadline,
    ) -> Result<bool, Trouble> {
        let servers = self.servers(shared, deadline).await?;
        let mut candidates = servers.health.candidates(Instant::now());
        // One that may be back is tried in its own place: a backup server would be asked for ever otherwise, and that one
        // may take everybody.
        candidates.sort_unstable();
        let mut trouble = None;
        // One that greeted us, and then was silent about this recipient: of the others, only a yes counts then.
        let mut slow = None;
        for (at, &index) in candidates.iter().enumerate() {
            let Some(server) = servers.list.get(index) else { continue };
            let left = deadline.saturating_duration_since(Deadline::now());
            // A server that hangs leaves time to try the next one.
            let share = if at + 1 == candidates.len() { left } else { left / 2 };
            let until = Deadline::now() + share;
            let mut session = Session { host: self, shared, server, until, greeted: false, connection: None };
            let asked = timeout_at(until, session.ask(recipient)).await;
            let error = match asked {
                Ok(Ok(known)) => {
                    servers.health.worked(index);
                    session.end();
                    return if known { Ok(true) } else { slow.map_or(Ok(false), Err) };
                }
                Ok(Err(error)) if !error.blames_server() => {
                    servers.health.worked(index);
                    session.end();
                    return Err(slow.unwrap_or(error));
                }
                Ok(Err(error)) => error,
                Err(_) => {
                    self.drop_idle(&server.place);
                    if session.greeted {
                        self.look_into_silence(shared, &servers, index, recipient.domain());
                        slow.get_or_insert_with(|| Trouble::Slow(server.to_string()));
                        continue;
                    }
                    Trouble::TimedOut(server.to_string())
                }
            };
            servers.health.failed(index, Instant::now());
            trouble = Some(error);
        }
        Err(slow.or(trouble).unwrap_or_else(|| Trouble::Down {
            destination: self.name(),
            last: self.state().trouble.clone().unwrap_or_else(|| "it did not answer".to_owned()),
        }))
    }

    /// A server that greets and then is silent: this recipient may be too hard for it, it may delay its refusals, or it
    /// answers nobody any more. The last is found out beside the questions, by a control recipient that it took before.
    fn look_into_silence(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        servers: &Arc<Servers>,
        index: usize,
        domain: &Domain,
    ) {
        let Some(server) = servers.list.get(index) else { return };
        if !shared.vouch.has_taken_control(&(server.place.clone(), domain.clone())) {
            servers.health.worked(index);
            return;
        }
        if server.looked_into.swap(true, Relaxed) {
            return;
        }
        let (host, servers) = (Arc::clone(self), Arc::clone(servers));
        let control = shared.settings.control(domain);
        let within = Arc::clone(shared);
        shared.tasks.spawn(async move {
            let Some(server) = servers.list.get(index) else { return };
            let asked = async {
                let mut connection = Connection::open(server, &within.settings).await?;
                let reply = connection.ask(&control).await;
                connection.quit();
                reply
            };
            let asked = timeout(within.settings.deadline, asked).await;
            match asked.unwrap_or_else(|_| Err(Trouble::TimedOut(server.to_string()))) {
                Err(trouble) if trouble.blames_server() => {
                    servers.health.failed(index, Instant::now());
                    host.note(Some(&trouble));
                }
                Ok(_) | Err(_) => servers.health.worked(index),
            }
            server.looked_into.store(false, Relaxed);
        });
    }

    /// The servers as the DNS has them now, or had them a while ago.
    async fn servers(&self, shared: &Shared, deadline: Deadline) -> Result<Arc<Servers>, Trouble> {
        let known = {
            let mut state = self.state();
            let fresh = state.looked_up.is_some_and(|at| at.elapsed() < LOOK_UP);
            if let Some(servers) = state.servers.as_ref().filter(|_| fresh) {
                return Ok(Arc::clone(servers));
            }
            if state.servers.is_some() {
                // The others go on with what is known.
                state.looked_up = Some(Instant::now());
            }
            state.servers.clone()
        };
        let left = deadline.saturating_duration_since(Deadline::now());
        let share = if known.is_some() { left / 4 } else { left };
        let found = timeout(share, Servers::find(&self.route, &shared.dns)).await;
        let found = found.unwrap_or_else(|_| Err(Trouble::TimedOut(format!("looking up {}", self.name()))));
        let mut state = self.state();
        let servers = match (found, known) {
            (Ok(found), Some(known)) if found.same(&known) => known,
            (Ok(found), _) => Arc::new(found),
            (Err(_), Some(known)) => return Ok(known),
            (Err(error), None) => return Err(error),
        };
        state.looked_up = Some(Instant::now());
        state.servers = Some(Arc::clone(&servers));
        Ok(servers)
    }

    /// For logs.
    fn name(&self) -> String {
        self.route.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    fn note(&self, trouble: Option<&Trouble>) {
        let mut state = self.state();
        match trouble {
            // It repeats what is known.
            Some(Trouble::Down { .. }) if state.trouble.is_some() => {}
            trouble => state.trouble = trouble.map(ToString::to_string),
        }
    }

    /// A connection to this server that is still good, as far as can be seen.
    fn take_idle(&self, place: &Place) -> Option<Connection> {
        let mut state = self.state();
        while let Some(at) = state.idle.iter().rposition(|(of, _)| of == place) {
            let (_, mut connection) = state.idle.remove(at);
            if connection.idle.elapsed() < IDLE && connection.is_quiet() {
                return Some(connection);
            }
        }
        None
    }

    fn drop_idle(&self, place: &Place) {
        self.state().idle.retain(|(of, _)| of != place);
    }

    fn park(self: &Arc<Self>, shared: &Shared, place: &Place, mut connection: Connection) {
        connection.idle = Instant::now();
        let mut state = self.state();
        state.idle.push((place.clone(), connection));
        if !std::mem::replace(&mut state.watched, true) {
            shared.tasks.spawn(close_idle(Arc::downgrade(self)));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One server, while it is asked one question and what that depends on.
struct Session<'a> {
    host: &'a Arc<Host>,
    shared: &'a Shared,
    server: &'a Server,
    /// When it has to be over.
    until: Deadline,
    /// The server has greeted us on the connection that is used now.
    greeted: bool,
    connection: Option<Connection>,
}

impl Session<'_> {
    async fn ask(&mut self, recipient: &Address) -> Result<bool, Trouble> {
        let domain = recipient.domain();
        let key = (self.server.place.clone(), domain.clone());
        let control = self.shared.settings.control(domain);
        let witness = self.shared.vouch.witness(&key, recipient).filter(|taken| *taken != control);
        let others: SmallVec<[&Address; 2]> = iter::once(&control).chain(&witness).collect();
        let (reply, after) = self.rcpt(recipient, &others).await?;
        let server = self.server.to_string();
        match (self.judge(&reply), after.as_slice()) {
            (Judgement::Takes, _) => match self.random(&key).await? {
                Random::Refused => {
                    self.shared.vouch.took(&key, recipient);
                    Ok(true)
                }
                Random::Taken => Err(Trouble::TakesAll { server, domain: domain.clone() }),
                Random::Undecided => Err(Trouble::Undecided { server, domain: domain.clone() }),
            },
            (Judgement::TakesUnseen, _) => Err(Trouble::TakesUnseen { server, reply }),
            (Judgement::PutOff, _) => Err(Trouble::PutOff { server, reply }),
            (judgement, [of_control, of_witness @ ..]) => {
                self.see_to_control(&key, &control, of_control)?;
                if let (Some(witness), Some(reply)) = (&witness, of_witness.first()) {
                    self.see_to_witness(witness, reply)?;
                }
                if judgement == Judgement::Unknown {
                    Ok(false)
                } else {
                    Err(Trouble::Refused { server, reply })
                }
            }
            // No refusal counts by itself.
            (Judgement::Unknown | Judgement::Refuses, []) => Err(Trouble::Refused { server, reply }),
        }
    }

    /// What it makes of a random recipient of the domain.
    async fn random(&mut self, key: &Key) -> Result<Random, Trouble> {
        if let Some(random) = self.shared.vouch.recall(key) {
            return Ok(random);
        }
        // A server that delays its refusals must not make those wait for ever whom it takes.
        let left = self.until.saturating_duration_since(Deadline::now());
        let random = match timeout(left / 2, self.rcpt(&invented(&key.1), &[])).await {
            Ok(Ok((reply, _))) => match self.judge(&reply) {
                Judgement::Takes | Judgement::TakesUnseen => Random::Taken,
                Judgement::Unknown | Judgement::Refuses => Random::Refused,
                Judgement::PutOff => Random::Undecided,
            },
            Ok(Err(Trouble::Choked(_))) | Err(_) => Random::Undecided,
            Ok(Err(error)) => return Err(error),
        };
        self.shared.vouch.random(key, &self.server.to_string(), random);
        Ok(random)
    }

    /// An error unless it took the control recipient; `reply`: what it said of him after it had refused another.
    fn see_to_control(&self, key: &Key, control: &Address, reply: &Reply) -> Result<(), Trouble> {
        let (server, control, judgement) =
            (self.server.to_string(), Box::new(control.clone()), self.judge(reply));
        let reply = reply.clone();
        match judgement {
            Judgement::Takes | Judgement::TakesUnseen => {
                self.shared.vouch.control_taken(key);
                Ok(())
            }
            Judgement::PutOff => Err(Trouble::ControlPutOff { server, control, reply }),
            Judgement::Unknown | Judgement::Refuses => {
                let trouble = Trouble::Control { server, control, reply };
                self.shared.vouch.control_refused(key, &trouble.to_string());
                Err(trouble)
            }
        }
    }

    /// An error unless it took whom it took before; `reply`: what it said of him now.
    fn see_to_witness(&self, witness: &Address, reply: &Reply) -> Result<(), Trouble> {
        match self.judge(reply) {
            Judgement::Takes | Judgement::TakesUnseen => Ok(()),
            Judgement::PutOff | Judgement::Unknown | Judgement::Refuses => Err(Trouble::Witness {
                server: self.server.to_string(),
                witness: Box::new(witness.clone()),
                reply: reply.clone(),
            }),
        }
    }

    /// One recipient in a transaction of its own, and where it is refused for good, what the server says of these others
    /// right after that. A connection that turns out to be stale is replaced once.
    async fn rcpt(&mut self, recipient: &Address, others: &[&Address]) -> Result<Replies, Trouble> {
        let kept = self.connection.take().or_else(|| self.host.take_idle(&self.server.place));
        if let Some(mut connection) = kept {
            self.greeted = true;
            match exchange(&mut connection, recipient, others).await {
                Ok(replies) => return Ok(self.keep(connection, replies)),
                Err(error @ Trouble::Talk { error: TalkError::NoUtf8, .. }) => {
                    self.connection = Some(connection);
                    return Err(error);
                }
                // The others may be no better.
                Err(_) => self.host.drop_idle(&self.server.place),
            }
        }
        let mut connection = self.open().await?;
        match exchange(&mut connection, recipient, others).await {
            Ok(replies) => Ok(self.keep(connection, replies)),
            Err(error) if error.blames_server() => Err(self.try_another(recipient, error).await),
            Err(error) => Err(error),
        }
    }

    /// It went wrong, after the server had greeted us: who is to blame, it or the recipient? Whoever knows an address that
    /// it chokes on must not be able to make it seem down for everybody.
    async fn try_another(&mut self, recipient: &Address, error: Trouble) -> Trouble {
        let control = self.shared.settings.control(recipient.domain());
        let asked = async {
            let mut connection = self.open().await?;
            let reply = connection.ask(&control).await?;
            Ok(self.keep(connection, reply))
        };
        asked.await.map_or_else(|error| error, |_| Trouble::Choked(Box::new(error)))
    }

    async fn open(&mut self) -> Result<Connection, Trouble> {
        self.greeted = false;
        let connection = Connection::open(self.server, &self.shared.settings).await?;
        self.greeted = true;
        Ok(connection)
    }

    fn keep<T>(&mut self, connection: Connection, replies: T) -> T {
        if connection.questions < QUESTIONS {
            self.connection = Some(connection);
        } else {
            connection.quit();
        }
        replies
    }

    fn judge(&self, reply: &Reply) -> Judgement {
        judge(reply, &self.shared.settings.absent)
    }

    /// Leaves the connection to the next question.
    fn end(self) {
        if let Some(connection) = self.connection {
            self.host.park(self.shared, &self.server.place, connection);
        }
    }
}

/// What is said of a recipient, and then, if that was a refusal, of the others.
type Replies = (Reply, SmallVec<[Reply; 2]>);

/// Asks for the recipient, and after a refusal for the others in the same transaction.
async fn exchange(
    connection: &mut Connection,
    recipient: &Address,
    others: &[&Address],
) -> Result<Replies, Trouble> {
    let reply = connection.ask(recipient).await?;
    let mut after = SmallVec::new();
    if reply.code >= 500 {
        for other in others {
            after.push(connection.ask_also(other).await?);
        }
    }
    Ok((reply, after))
}

/// Takes leave on connections that were not used for a while.
async fn close_idle(host: Weak<Host>) {
    loop {
        tokio::time::sleep(IDLE).await;
        let Some(host) = host.upgrade() else { return };
        let mut state = host.state();
        let idle = std::mem::take(&mut state.idle);
        let (old, kept): (Vec<_>, Vec<_>) =
            idle.into_iter().partition(|(_, connection)| connection.idle.elapsed() >= IDLE);
        state.idle = kept;
        for (_, connection) in old {
            connection.quit();
        }
        if state.idle.is_empty() {
            state.watched = false;
            return;
        }
    }
}

/// A connection that is not used for so long is closed.
const IDLE: Duration = Duration::from_secs(10);
/// So many questions on one connection: Postfix slows down after 10 refused recipients (`smtpd_soft_error_limit`) and hangs
/// up after 20, Exim hangs up after 10 RSETs (`smtp_accept_max_nonmail`).
const QUESTIONS: u32 = 8;
/// So long the addresses of a host are not looked up again.
const LOOK_UP: Duration = Duration::from_secs(30);
