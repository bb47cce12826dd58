//! Connections to the servers of one directory: reached, secured and bound within a time limit.
//!
//! [`Servers`] remembers which of them fail. It never sends a password where others can read it, unless that is allowed,
//! and does not insist on a password that was refused, which would lock the account. Failure: [`Fault`], or what is left of
//! it as a [`Failure`].

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ldap3::Ldap;
use smallvec::SmallVec;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

use super::{
    fault::{self, Code, Fault},
    settings::{Access, Bind},
    transport::{self, Gate, Opened},
    url::Server,
};
use crate::{directory::remote::Failure, net::Failover};

/// The servers of one directory. Cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::directory) struct Servers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    access: Arc<Access>,
    failover: Failover,
    /// Which ones have failed and did not work since.
    down: Box<[AtomicBool]>,
    /// What was wrong last.
    last: Mutex<String>,
    /// Passwords that servers have refused, by server.
    refused: Arc<Mutex<HashMap<String, Refused>>>,
    tasks: TaskTracker,
    gate: Gate,
}

#[derive(Debug)]
struct Refused {
    until: Instant,
    password: Arc<str>,
}

impl Servers {
    /// Connects nowhere yet.
    pub(super) fn new(access: Access) -> Self {
        Self::with(Arc::new(access), Arc::default())
    }

    /// The same servers for another purpose: what fails there fails there only, but a password that was refused is not
    /// tried again.
    pub(super) fn apart(&self) -> Self {
        Self::with(Arc::clone(&self.0.access), Arc::clone(&self.0.refused))
    }

    fn with(access: Arc<Access>, refused: Arc<Mutex<HashMap<String, Refused>>>) -> Self {
        let count = access.servers.len();
        Self(Arc::new(Shared {
            access,
            failover: Failover::new(count),
            down: (0..count).map(|_| AtomicBool::new(false)).collect(),
            last: Mutex::default(),
            refused,
            tasks: TaskTracker::new(),
            gate: Gate::new(),
        }))
    }

    /// A connection of its own, bound and ready, to the first server that can be reached within `limit`; and which one
    /// that is, for [`Servers::worked`] and [`Servers::failed`]. The time is shared so that a server that hangs leaves
    /// enough for the next.
    ///
    /// # Errors
    /// What was wrong with the last one tried; `Why::Down` at once when all are known to be down.
    pub(in crate::directory) async fn connect(&self, limit: Duration) -> Result<(usize, Ldap), Failure> {
        let until = Instant::now() + limit;
        let candidates = self.candidates();
        let mut failure = None;
        for (tried, &server) in candidates.iter().enumerate() {
            let until = share(until, candidates.len() - tried);
            match self.connect_to(server, until).await {
                Ok(opened) => return Ok((server, opened.ldap)),
                Err(fault) => failure = Some(self.failed(server, fault)),
            }
        }
        Err(failure.unwrap_or_else(|| self.all_down()))
    }

    /// A connection to this one.
    pub(super) async fn connect_to(&self, server: usize, until: Instant) -> Result<Opened, Fault> {
        let server = self.0.access.servers.get(server).expect("an index into the same list");
        self.open(server, until).await
    }

    /// A connection, with the same bind, to a server that is none of the configured ones.
    pub(super) async fn open(&self, server: &Server, until: Instant) -> Result<Opened, Fault> {
        let shared = &*self.0;
        let opened = async {
            let sealed = matches!(shared.access.bind, Bind::Gssapi);
            let mut opened =
                transport::connect(server, &shared.access.tls, sealed, until, &shared.gate, &shared.tasks)
                    .await?;
            shared.bind(&mut opened.ldap, server).await?;
            Ok(opened)
        };
        timeout_at(until, fault::caught(opened)).await.unwrap_or(Err(Fault::TimedOut))
    }

    /// The servers worth trying now, in order. One that was down and is due for a trial gets it in the background, unless
    /// there is no other: so that the preferred one is found again without a question that waits for it.
    pub(super) fn candidates(&self) -> SmallVec<[usize; 4]> {
        let mut candidates = self.0.failover.candidates(Instant::now().into_std());
        if candidates.len() > 1
            && let Some(&server) = candidates.last()
            && self.0.is_down(server)
        {
            candidates.pop();
            let servers = self.clone();
            self.0.tasks.spawn(async move {
                match servers.connect_to(server, Instant::now() + TRIAL).await {
                    Ok(_) => servers.worked(server),
                    Err(fault) => drop(servers.failed(server, fault)),
                }
            });
        }
        candidates
    }

    /// The server answered.
    pub(in crate::directory) fn worked(&self, server: usize) {
        if let Some(down) = self.0.down.get(server) {
            // Written only when it changes: every question comes through here.
            if down.load(Ordering::Relaxed) {
                down.store(false, Ordering::Relaxed);
            }
            self.0.failover.worked(server);
        }
    }

    /// The server had this fault; it is spared for a while if that speaks against it. The failure is that of a question
    /// that asked nobody else.
    pub(in crate::directory) fn failed(&self, server: usize, fault: Fault) -> Failure {
        if fault.blames_server() {
            if let Some(down) = self.0.down.get(server) {
                down.store(true, Ordering::Relaxed);
            }
            self.0.failover.failed(server, Instant::now().into_std());
        } else {
            self.worked(server);
        }
        let failure = self.failure(server, fault);
        *self.0.last.lock().unwrap_or_else(PoisonError::into_inner) = failure.to_string();
        failure
    }

    /// The failure of a question to this server.
    pub(super) fn failure(&self, server: usize, fault: Fault) -> Failure {
        let name = self.0.access.servers.get(server).map(ToString::to_string).unwrap_or_default();
        match self.0.access.bind {
            Bind::Anonymous => fault.at_anonymously(&name),
            _ => fault.at(&name),
        }
    }

    /// The failure when there are no candidates.
    pub(super) fn all_down(&self) -> Failure {
        fault::all_down(&self.0.last.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Holds back what comes on all its connections.
    pub(super) fn gate(&self) -> &Gate {
        &self.0.gate
    }

    pub(super) fn access(&self) -> &Access {
        &self.0.access
    }
}

impl Shared {
    fn is_down(&self, server: usize) -> bool {
        self.down.get(server).is_some_and(|down| down.load(Ordering::Relaxed))
    }

    async fn bind(&self, ldap: &mut Ldap, server: &Server) -> Result<(), Fault> {
        let answer = match &self.access.bind {
            Bind::Anonymous => ldap.simple_bind("", "").await?,
            Bind::External => ldap.sasl_external_bind().await?,
            Bind::Gssapi => self.gssapi(ldap, server).await?,
            Bind::Simple { dn, password } => {
                let (place, password) = (server.to_string(), password.current().await);
                self.may_try(&place, &password)?;
                let answer = ldap.simple_bind(dn, &password).await?;
                if answer.rc == INVALID_CREDENTIALS {
                    self.refuse(place, password);
                }
                answer
            }
        };
        if answer.rc == 0 { Ok(()) } else { Err(Fault::Bind(Code::of(&answer))) }
    }

    /// Whether this password was not refused a short while ago.
    fn may_try(&self, place: &str, password: &str) -> Result<(), Fault> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match refused.get(place) {
            Some(refused) if *refused.password == *password && refused.until > now => {
                Err(Fault::Refused(refused.until - now))
            }
            _ => Ok(()),
        }
    }

    fn refuse(&self, place: String, password: Arc<str>) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        refused.retain(|_, refused| refused.until > now);
        refused.insert(place, Refused { until: now + REFUSED, password });
    }

    /// Kerberos asks servers of its own, and waits for them.
    #[cfg(feature = "gssapi")]
    async fn gssapi(&self, ldap: &mut Ldap, server: &Server) -> Result<ldap3::LdapResult, Fault> {
        let super::url::Place::Tcp { host, .. } = &server.place else { return Err(Fault::Name) };
        let (mut ldap, host, runtime) = (ldap.clone(), host.clone(), tokio::runtime::Handle::current());
        let bound = self.tasks.spawn_blocking(move || runtime.block_on(ldap.sasl_gssapi_bind(&host)));
        Ok(bound.await.map_err(|error| Fault::Io(error.into()))??)
    }

    #[cfg(not(feature = "gssapi"))]
    #[expect(clippy::unused_async, reason = "it waits where it does something")]
    async fn gssapi(&self, _: &mut Ldap, _: &Server) -> Result<ldap3::LdapResult, Fault> {
        Err(Fault::Io(std::io::ErrorKind::Unsupported.into()))
    }
}

/// The end of this try, when there are `tries` until `until`.
pub(super) fn share(until: Instant, tries: usize) -> Instant {
    let now = Instant::now();
    now + until.saturating_duration_since(now) / u32::try_from(tries.max(1)).unwrap_or(u32::MAX)
}

/// RFC 4511 §4.1.9
const INVALID_CREDENTIALS: u32 = 49;
/// Active Directory commonly locks an account after ten wrong passwords in ten minutes.
const REFUSED: Duration = Duration::from_secs(120);
/// For finding out whether a server is back.
const TRIAL: Duration = Duration::from_secs(3);
