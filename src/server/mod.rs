//! The milter server: accepts MTAs' connections and answers what they ask.
//!
//! It never decides by itself: it collects what the MTA tells, asks the [`policy`](crate::policy), finds out what
//! that wants to know, and passes the verdict on. Failure: a session that breaks ends alone; over the limit, a
//! connection is closed at once, so that the MTA goes on by its own choice instead of waiting.

mod asked;
mod buffers;
mod config;
mod decide;
mod lines;
mod metrics;
mod recipient;
mod session;
mod snapshot;
#[cfg(test)]
mod tests;
mod waits;

use std::{
    future::poll_fn,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use milter_protocol::{
    flags::{Actions, Steps},
    macros::Stage,
    negotiation::Wanted,
};
use tokio::runtime::Handle;
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};
use tracing::{error, warn};

use waits::{Place, Waits};

use crate::{
    clock,
    history::History,
    net::{Connection, Listener, event_loop},
    telemetry::Rate,
};

pub use asked::{Asked, client_step};
pub use config::Limits;
pub use decide::{Envelope, LONGEST_REPLY, decide};
pub use metrics::{Callback, Metrics};
pub use recipient::recipient;
pub use snapshot::Snapshot;

/// The server's shared state.
#[derive(Debug)]
pub struct Server {
    snapshot: ArcSwap<Snapshot>,
    metrics: Metrics,
    history: Arc<History>,
    lines: lines::Lines,
    ends: session::Ends,
    began: Instant,
    /// Clients whose class is counted with that of the next one.
    unclassified: AtomicU64,
    classes: Rate,
    /// At the same time, at most.
    sessions: AtomicUsize,
    open: AtomicUsize,
    next_id: AtomicU64,
    /// Of the sessions.
    tasks: TaskTracker,
    /// What is found out beside the sessions; nobody waits for it.
    asides: TaskTracker,
    /// Where that runs: not on the threads that serve MTAs.
    home: Handle,
    waits: Waits,
    wanted: WantedSteps,
    last_mta: ArcSwapOption<String>,
    /// Beside the snapshot that a session keeps: open sessions follow at once.
    disabled: AtomicBool,
}

/// What a session may ask its MTA for.
#[derive(Debug)]
struct WantedSteps {
    /// Recipients, and whom they come from.
    quiet: Wanted,
    /// An answer when a client connects.
    connect: Wanted,
    /// What a client calls itself, which matters only where its class does. That is to be found out while the client talks:
    /// Postfix keeps what needs no answer until something does, and would not show a client before its first recipient.
    class: Wanted,
}

impl Server {
    /// A server that decides by `snapshot`. What it finds out beside its sessions is done here, and not where it accepts.
    ///
    /// # Panics
    /// Outside of an event loop.
    #[must_use]
    pub fn new(snapshot: Snapshot, limits: &Limits, metrics: Metrics, history: Arc<History>) -> Arc<Self> {
        let wanted = |steps| {
            Wanted::new(Actions::NONE, steps)
                .expect("recipients are not suppressed")
                .macros(Stage::Connect, "j v")
                .macros(Stage::Mail, "{auth_type} {auth_authen} {mail_addr}")
                .macros(Stage::Rcpt, "{rcpt_mailer} {rcpt_host} {rcpt_addr}")
        };
        metrics.sessions_limit.set(gauge(limits.sessions));
        let lines = lines::Lines::new(0, &metrics.log_lines_left_out);
        Arc::new(Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            metrics,
            history,
            lines,
            ends: session::Ends::new(),
            began: clock::now(),
            unclassified: AtomicU64::new(0),
            classes: Rate::default(),
            sessions: AtomicUsize::new(limits.sessions),
            open: AtomicUsize::new(0),
            next_id: AtomicU64::new(1),
            tasks: TaskTracker::new(),
            asides: TaskTracker::new(),
            home: Handle::current(),
            waits: Waits::default(),
            wanted: WantedSteps {
                quiet: wanted(QUIET | Steps::NR_CONNECT),
                connect: wanted(QUIET),
                class: wanted(Steps(QUIET.0 & !Steps::NO_HELO.0 | Steps::NR_HELO.0)),
            },
            last_mta: ArcSwapOption::const_empty(),
            disabled: AtomicBool::new(false),
        })
    }

    /// The snapshot that a session begins with now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Sessions that begin from now on decide by this one.
    pub fn replace(&self, snapshot: Snapshot) {
        self.snapshot.store(Arc::new(snapshot));
    }

    /// From now on there may be so many sessions at the same time; those that are open stay.
    pub fn limit_sessions(&self, most: usize) {
        self.metrics.sessions_limit.set(gauge(most));
        self.sessions.store(most, Ordering::Relaxed);
    }

    /// From now on the log has so many lines for refusals in a second, at most; 0: all of them, as at the beginning.
    pub fn limit_lines(&self, per_second: u32) {
        self.lines.limit(per_second);
    }

    /// Tells the log what was left out of it, until `stop`.
    pub async fn tell_what_was_left_out(&self, stop: CancellationToken) {
        self.lines.tell(stop).await;
    }

    /// Lets everything pass from the next decision on, in open sessions as well; or decides again.
    pub fn set_disabled(&self, disabled: bool) {
        self.disabled.store(disabled, Ordering::Relaxed);
    }

    /// Whether everything passes.
    #[must_use]
    pub fn is_disabled(&self) -> bool {
        self.disabled.load(Ordering::Relaxed)
    }

    /// The number of open sessions.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// So many may be open.
    #[must_use]
    pub fn sessions_limit(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    /// Recipients refused that a bounce would have told somebody else, since the start.
    #[must_use]
    pub fn backscatter_prevented(&self) -> u64 {
        self.metrics.backscatter_prevented.get()
    }

    /// Recipients decided since the start.
    #[must_use]
    pub fn recipients_decided(&self) -> u64 {
        self.metrics.callbacks(Callback::Rcpt)
    }

    /// The MTA that connected last: its name and version, as far as it tells them.
    #[must_use]
    pub fn last_mta(&self) -> Option<String> {
        self.last_mta.load().as_deref().cloned()
    }

    /// Takes connections until [`drain`](Self::drain) is called, and serves them in the [event loop](event_loop) that this
    /// is a task of. Several may take those of one listener: whichever is idle does.
    ///
    /// # Errors
    /// When the listener itself is broken: the process can't do its work any more.
    pub async fn accept(self: Arc<Self>, listener: Arc<Listener>) -> io::Result<()> {
        let mut told: Option<Instant> = None;
        let mut place = Place::new(&self.waits, self.began + FOR_EVER);
        let mut accepting = listener.accepting();
        loop {
            let accepted = poll_fn(|context| {
                if place.wait(context) { Poll::Ready(None) } else { accepting.poll_accept().map(Some) }
            });
            let Some(accepted) = accepted.await else { return Ok(()) };
            match accepted {
                Ok(connection) => self.begin(connection),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) if is_shortage(&error) => {
                    // Waiting is all that helps; sessions that end free what is missing.
                    accepting.pause();
                    if told.is_none_or(|told| clock::since(told) > TELL_AGAIN) {
                        warn!(%error, address = listener.address(), "can't accept connections, they wait");
                        told = Some(clock::now());
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(error) => {
                    error!(%error, address = listener.address(), "the listener is broken");
                    return Err(error);
                }
            }
        }
    }

    /// Accepts nothing more, lets the messages under way finish, at most for `limit`. Gives the number of sessions cut.
    pub async fn drain(&self, limit: Duration) -> usize {
        self.waits.begin_end();
        self.tasks.close();
        let _ = tokio::time::timeout(limit, self.tasks.wait()).await;
        self.open()
    }

    /// Ends sessions whose MTA is silent for too long, until `stop`.
    pub async fn end_the_silent(&self, stop: CancellationToken) {
        self.waits.run(stop).await;
    }

    /// Whether it stops: nothing more is accepted.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.waits.is_ending()
    }

    /// Serves it in this thread's event loop.
    fn begin(self: &Arc<Self>, mut connection: Connection) {
        self.metrics.sessions.inc();
        if self.open() >= self.sessions.load(Ordering::Relaxed) {
            // Closed, not left waiting: the MTA then does at once what its admin chose.
            self.metrics.sessions_over_limit.inc();
            self.snapshot.load().defences.bounces.miss();
            return;
        }
        let open = Open::new(self);
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        event_loop::spawn(Box::pin(async move {
            let mut session = session::Session::new(id, Arc::clone(&open.server));
            // Lent: each call that took them would keep a place for them of its own.
            session.run(&mut connection).await;
        }));
    }

    /// So many sessions are open, or it stops, that nobody should be kept longer than needed.
    fn is_stressed(&self) -> bool {
        self.is_draining() || self.open() > self.sessions.load(Ordering::Relaxed) / 2
    }

    fn wanted(&self, snapshot: &Snapshot) -> Wanted {
        let defences = &snapshot.rules.defences;
        if defences.dynamic || defences.greylist {
            &self.wanted.class
        } else if defences.denied || defences.dynamic_at_connect {
            &self.wanted.connect
        } else {
            &self.wanted.quiet
        }
        .clone()
    }
}

/// Counts a session while it lives, however it ends.
struct Open {
    server: Arc<Server>,
    _waited_for: TaskTrackerToken,
}

impl Open {
    fn new(server: &Arc<Server>) -> Self {
        server.open.fetch_add(1, Ordering::Relaxed);
        server.metrics.sessions_open.inc();
        Self { server: Arc::clone(server), _waited_for: server.tasks.token() }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.server.open.fetch_sub(1, Ordering::Relaxed);
        self.server.metrics.sessions_open.dec();
        if std::thread::panicking() {
            self.server.metrics.session_panics.inc();
        }
    }
}

/// A count as a gauge has it.
fn gauge(count: usize) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

/// The peer gave up before it was accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(error.kind(), K::ConnectionAborted | K::ConnectionReset | K::ConnectionRefused | K::Interrupted)
}

/// Out of descriptors or memory: EMFILE, ENFILE, ENOBUFS, ENOMEM.
fn is_shortage(error: &io::Error) -> bool {
    use nix::errno::Errno;
    let known = [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM];
    error.raw_os_error().is_some_and(|code| known.contains(&Errno::from_raw(code)))
}

/// Longer than any machine is up.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// A shortage fills no log.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// What MTAs need not tell, or not wait for. Both still send the macros of a step that is left out. Connect is never
/// left out (only there is the client's address told as such), and the end of a message can't be.
const QUIET: Steps = Steps(
    Steps::NO_HELO.0
        | Steps::NR_MAIL.0
        | Steps::NO_DATA.0
        | Steps::NO_HEADERS.0
        | Steps::NO_EOH.0
        | Steps::NO_BODY.0
        | Steps::NO_UNKNOWN.0
        | Steps::RCPT_REJ.0,
);
