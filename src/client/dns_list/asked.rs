//! A list that is asked: with how much patience, and what is told of it.
//!
//! Failure: a list that does not answer is left alone for a while, so that it slows nobody down.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    sync::Semaphore,
    time::{timeout, timeout_at},
};
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::{
    DnsList,
    probe::{Answers, Probe, Proof},
    query_name,
};
use crate::{
    client::Metrics,
    net::{Failover, Resolver},
};

/// What a list says of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::client) enum Listing {
    /// Listed, by an answer that counts.
    Listed(Ipv4Addr),
    /// Not listed, or by answers that don't count.
    Clear,
    /// It refuses to serve, and says so by this answer.
    Refused(Ipv4Addr),
    /// No answer, or a failure.
    Failed,
    /// It was not asked, since it does not answer these days.
    Spared,
    /// It was not asked, since too many questions are not answered yet.
    Busy,
    /// It says that it has the address, but whether it has everybody could not be found out yet.
    Untested,
    /// It has everybody.
    Everybody,
}

impl Listing {
    /// Whether it could not be found out.
    pub(in crate::client) fn is_unknown(self) -> bool {
        !matches!(self, Self::Listed(_) | Self::Clear)
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Listed(_) => "listed",
            Self::Clear => "clear",
            Self::Refused(_) => "refused",
            Self::Failed => "failed",
            Self::Spared => "spared",
            Self::Busy => "busy",
            Self::Untested => "untested",
            Self::Everybody => "everybody",
        }
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listed(answer) => write!(f, "listed ({answer})"),
            Self::Clear => f.write_str("not listed"),
            Self::Refused(answer) => write!(f, "refuses to serve ({answer}), which says nothing"),
            Self::Failed => f.write_str("no answer"),
            Self::Spared => f.write_str("not asked, since it does not keep up"),
            Self::Busy => f.write_str("not asked, too many questions at once"),
            Self::Untested => f.write_str("listed, but whether it lists everybody is not known yet"),
            Self::Everybody => f.write_str("lists everybody, which says nothing"),
        }
    }
}

/// A list that is asked.
#[derive(Debug)]
pub(in crate::client) struct Asked {
    list: DnsList,
    circuit: Failover,
    at_once: Semaphore,
    probe: Probe,
    tasks: TaskTracker,
    trouble: Mutex<Trouble>,
}

#[derive(Debug, Default)]
struct Trouble {
    now: Option<Listing>,
    /// When it was told last.
    told: Option<Instant>,
}

impl Asked {
    pub(in crate::client) fn new(list: DnsList) -> Self {
        Self {
            list,
            circuit: Failover::new(1),
            at_once: Semaphore::new(AT_ONCE),
            probe: Probe::default(),
            tasks: TaskTracker::new(),
            trouble: Mutex::default(),
        }
    }

    pub(in crate::client) fn list(&self) -> &DnsList {
        &self.list
    }

    /// Asks for an address until `deadline`.
    pub(in crate::client) async fn ask(
        self: &Arc<Self>,
        dns: &Resolver,
        client: IpAddr,
        deadline: Instant,
        metrics: &Metrics,
    ) -> Listing {
        let found = self.question(dns, client, deadline).await;
        match found {
            Listing::Spared | Listing::Busy => {}
            Listing::Failed => self.circuit.failed(0, Instant::now()),
            _ => self.circuit.worked(0),
        }
        self.tell(found, Instant::now());
        let found = self.tested(found, dns, client, deadline).await;
        metrics.asked(&self.list.zone, found.as_str());
        found
    }

    async fn question(self: &Arc<Self>, dns: &Resolver, client: IpAddr, deadline: Instant) -> Listing {
        let Ok(Ok(_turn)) = timeout(TURN, self.at_once.acquire()).await else { return Listing::Busy };
        if self.circuit.candidates(Instant::now()).is_empty() {
            return Listing::Spared;
        }
        self.test(dns);
        let name = query_name(client, &self.list.zone);
        let found = timeout_at(deadline.into(), dns.addresses_v4(&name)).await;
        found.map_or(Listing::Failed, |found| self.list.meaning(&found))
    }

    /// Probes the list, where that is due. Nobody waits for it here.
    fn test(self: &Arc<Self>, dns: &Resolver) {
        let Some(running) = self.probe.begin(Instant::now()) else { return };
        let (asked, dns) = (Arc::clone(self), dns.clone());
        self.tasks.spawn(async move {
            let answers = Answers::of(&asked.list, &dns).await;
            asked.learn(&answers, Instant::now());
            drop(running);
        });
    }

    /// What the list said, as far as it is to be believed.
    async fn tested(
        self: &Arc<Self>,
        found: Listing,
        dns: &Resolver,
        client: IpAddr,
        deadline: Instant,
    ) -> Listing {
        if !matches!(found, Listing::Listed(_)) {
            return found;
        }
        let mut proof = self.probe.proof(client, deadline).await;
        if proof == Proof::Untested {
            // The probe under way may have begun while the list was down.
            self.test(dns);
            proof = self.probe.proof(client, deadline).await;
        }
        match proof {
            Proof::Sound => found,
            Proof::Everybody => Listing::Everybody,
            Proof::Untested => Listing::Untested,
        }
    }

    /// What the list said some time ago, as far as it is to be believed now.
    pub(in crate::client) fn still(&self, found: Listing) -> Listing {
        let is_listed = matches!(found, Listing::Listed(_));
        if is_listed && self.probe.has_everybody() { Listing::Everybody } else { found }
    }

    pub(super) fn learn(&self, answers: &Answers, now: Instant) {
        let list = &*self.list.zone;
        match self.probe.learn(answers, now) {
            Some(true) => warn!(
                list,
                "a DNS list has 127.0.0.1 or a name that nobody has, so it has everybody; it counts as unknown"
            ),
            Some(false) => info!(list, "the DNS list has not everybody any more"),
            None => {}
        }
    }

    /// What an admin should look at.
    pub(in crate::client) fn notice(&self) -> Option<String> {
        let zone = &self.list.zone;
        if self.probe.has_everybody() {
            return Some(format!("the DNS list {zone}: {}", Listing::Everybody));
        }
        if let Some(trouble) = self.trouble().now {
            return Some(format!("the DNS list {zone}: {trouble}"));
        }
        if self.probe.is_in_doubt() {
            return Some(format!(
                "the DNS list {zone}: whether it has 127.0.0.1 (RFC 5782 §5) could not be found out, so whom it lists \
                 counts as unknown"
            ));
        }
        self.probe.is_empty().then(|| {
            format!(
                "the DNS list {zone}: it does not have 127.0.0.2, as lists should; perhaps it is empty, or the resolver \
                 hides its answers"
            )
        })
    }

    /// One line when trouble begins and one when it ends, and not many of a list that comes and goes.
    fn tell(&self, found: Listing, now: Instant) {
        let mut trouble = self.trouble();
        let list = &*self.list.zone;
        let before = trouble.now;
        if matches!(found, Listing::Spared | Listing::Busy) || before.is_some() == found.is_unknown() {
            return;
        }
        trouble.now = Some(found).filter(|found| found.is_unknown());
        if trouble.told.is_some_and(|told| now < told + TELL_AGAIN) && trouble.now.is_some() {
            return;
        }
        trouble.told = Some(now);
        match found {
            Listing::Refused(answer) => warn!(
                list,
                %answer,
                "a DNS list refuses to serve, it counts as unknown; many lists refuse public resolvers, and those who ask too much"
            ),
            Listing::Failed => warn!(list, "a DNS list does not answer, it counts as unknown"),
            _ => info!(list, "the DNS list answers again"),
        }
    }

    fn trouble(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Questions to one list that are not answered yet: a part of those to all.
const AT_ONCE: usize = 24;
/// So long a question waits for others to be answered. Behind so many there is no use in waiting.
const TURN: Duration = Duration::from_millis(100);
/// A list that comes and goes fills no log.
const TELL_AGAIN: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_told_once() {
        let asked = Asked::new("bl.example".parse().expect("a list"));
        let refused = Listing::Refused(Ipv4Addr::new(127, 255, 255, 254));
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        for (seconds, found, told) in [
            (0, Listing::Clear, None),
            (1, refused, Some(1)),
            (2, refused, Some(1)),
            (3, Listing::Spared, Some(1)),
            (3, Listing::Busy, Some(1)),
            (4, Listing::Clear, Some(4)),
            (5, Listing::Failed, Some(4)),
            (6, Listing::Clear, Some(6)),
            (700, Listing::Failed, Some(700)),
        ] {
            asked.tell(found, after(seconds));
            assert_eq!(asked.trouble().told, told.map(after), "{seconds}");
            let is_in_trouble = found.is_unknown();
            assert_eq!(asked.notice().is_some(), is_in_trouble, "{seconds}");
        }
    }
}
