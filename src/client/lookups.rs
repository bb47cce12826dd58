//! What the DNS says of a client's address: its names, confirmed both ways, and what lists have on it.
//!
//! All is asked at once, with one deadline, once for any number of sessions that want to know, and remembered for a while.
//! Failure: what is not known by the deadline is unknown, and asked again soon.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use ipnet::IpNet;
use moka::{Expiry, future::Cache};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{timeout, timeout_at},
};
use tokio_util::task::TaskTracker;

use super::{
    DnsList, Metrics,
    dns_list::{Asked, Listing},
};
use crate::{
    files::ago,
    net::{DnsError, NameServer, Resolver},
};

/// What is asked. Equal ones share what they remember.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Questions {
    pub(super) resolver: NameServer,
    /// Lists of bad clients.
    pub(super) bad: Vec<DnsList>,
    /// Lists of good clients.
    pub(super) good: Vec<DnsList>,
    /// The names of addresses are wanted.
    pub(super) names: bool,
    pub(super) deadline: Duration,
}

/// Outlives a reload of the configuration: metrics, the look-ups in use, what is known of lists, and how many questions are
/// not answered yet.
#[derive(Debug)]
pub struct Shared {
    metrics: Metrics,
    /// Owners of addresses decide how long the answers about names take, so lists have turns of their own.
    turns_of_names: Arc<Semaphore>,
    turns_of_lists: Arc<Semaphore>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    lookups: Vec<Weak<Lookups>>,
    lists: Vec<(NameServer, Weak<Asked>)>,
}

/// Asks the DNS about clients.
#[derive(Debug)]
pub(super) struct Lookups {
    questions: Questions,
    /// To ask for names.
    names: Resolver,
    /// To ask lists.
    lists: Resolver,
    bad: Box<[Arc<Asked>]>,
    good: Box<[Arc<Asked>]>,
    seen: Cache<IpAddr, Arc<Seen>>,
    /// Turns of each owner of addresses.
    shares: Mutex<HashMap<IpNet, Weak<Semaphore>>>,
    tasks: TaskTracker,
    metrics: Metrics,
}

/// What was found out about an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// When it was asked.
    pub(super) at: Instant,
    pub(super) reverse: Reverse,
    /// As many as there are lists, in their order.
    pub(super) bad: Vec<Listing>,
    pub(super) good: Vec<Listing>,
}

/// The names of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reverse {
    /// It was not asked.
    Unasked,
    /// It has none.
    Unnamed,
    /// It could not be found out.
    Unknown,
    /// These; none where its PTR records are no names of hosts.
    Names(Vec<Name>),
    /// More than anybody would read. Whoever has so many names for an address has them on purpose.
    Many,
}

/// One name of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) text: String,
    pub(super) is_confirmed: Confirmed,
}

/// Whether a name leads back to the address. Anybody can give his own address any name, but only who owns the name can
/// lead it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Confirmed {
    Yes,
    No,
    Unknown,
}

impl Shared {
    /// Nothing asked yet.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        let turns = || Arc::new(Semaphore::new(AT_ONCE));
        Self { metrics, turns_of_names: turns(), turns_of_lists: turns(), open: Mutex::default() }
    }

    /// The look-ups for these questions, with what they remember if they are in use already.
    pub(super) fn lookups(&self, questions: Questions) -> Arc<Lookups> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.lookups.retain(|lookups| lookups.strong_count() > 0);
        open.lists.retain(|(_, list)| list.strong_count() > 0);
        let same = open.lookups.iter().filter_map(Weak::upgrade);
        same.into_iter().find(|lookups| lookups.questions == questions).unwrap_or_else(|| {
            let dns = Resolver::asking(questions.resolver, questions.deadline);
            let lookups = Arc::new(Lookups {
                names: dns.taking(Arc::clone(&self.turns_of_names)),
                lists: dns.taking(Arc::clone(&self.turns_of_lists)),
                bad: questions.bad.iter().map(|list| open.asked(list, questions.resolver)).collect(),
                good: questions.good.iter().map(|list| open.asked(list, questions.resolver)).collect(),
                seen: Cache::builder().max_capacity(REMEMBERED).expire_after(Lifetime).build(),
                shares: Mutex::default(),
                tasks: TaskTracker::new(),
                questions,
                metrics: self.metrics.clone(),
            });
            open.lookups.push(Arc::downgrade(&lookups));
            lookups
        })
    }
}

impl Open {
    /// The list, with what is known of it if it is in use already.
    fn asked(&mut self, list: &DnsList, of: NameServer) -> Arc<Asked> {
        let lists = self.lists.iter().filter(|(server, _)| *server == of);
        let same = lists.filter_map(|(_, asked)| asked.upgrade()).find(|asked| asked.list() == list);
        same.unwrap_or_else(|| {
            let asked = Arc::new(Asked::new(list.clone()));
            self.lists.push((of, Arc::downgrade(&asked)));
            asked
        })
    }
}

impl Lookups {
    /// The longest that an answer takes.
    pub(super) fn deadline(&self) -> Duration {
        self.questions.deadline
    }

    /// What the DNS says of an address. Sessions that ask at the same time wait for one answer.
    pub(super) async fn seen(self: &Arc<Self>, client: IpAddr) -> Arc<Seen> {
        let ask = async {
            let lookups = Arc::clone(self);
            // In a task of its own: the end of a session is not the end of a question that others wait for, and a panic
            // in a library is no answer.
            let task = self.tasks.spawn(async move { lookups.ask(client).await });
            Arc::new(task.await.unwrap_or_else(|_| self.unknown()))
        };
        self.believed(self.seen.get_with(client, ask).await)
    }

    /// What it would say if this were the confirmed name of the address.
    pub(super) async fn seen_as(&self, client: IpAddr, name: &str) -> Seen {
        let at = Instant::now();
        let deadline = at + self.deadline();
        let (bad, good) = self.listings(client, deadline).await;
        let reverse = match host_name(name) {
            Some(text) => Reverse::Names(vec![Name { text, is_confirmed: Confirmed::Yes }]),
            None => Reverse::Names(Vec::new()),
        };
        Seen { at, reverse, bad, good }
    }

    /// Whether a name leads to the address.
    pub(super) async fn confirm(&self, name: &str, client: IpAddr, deadline: Instant) -> Confirmed {
        match self.share(client).await {
            Some(_share) => self.leads_to(name, client, deadline).await,
            None => Confirmed::Unknown,
        }
    }

    /// Each list with what it says, for `backstop check`.
    pub(super) fn explain(&self, seen: &Seen) -> Vec<String> {
        let lists = self.bad.iter().zip(&seen.bad).chain(self.good.iter().zip(&seen.good));
        lists.map(|(list, listing)| format!("{}: {listing}", list.list().zone())).collect()
    }

    /// How old that is; `None` where nothing is asked.
    pub(super) fn origin(&self, seen: &Seen) -> Option<String> {
        let asks = self.questions.names || !self.bad.is_empty() || !self.good.is_empty();
        asks.then(|| format!("[DNS, asked {}]", ago(seen.at.elapsed())))
    }

    /// Lists that are in trouble.
    pub(super) fn notices(&self) -> impl Iterator<Item = String> {
        self.bad.iter().chain(&self.good).filter_map(|list| list.notice())
    }

    async fn ask(&self, client: IpAddr) -> Seen {
        let at = Instant::now();
        let deadline = at + self.deadline();
        let (reverse, (bad, good)) =
            tokio::join!(self.reverse(client, deadline), self.listings(client, deadline));
        Seen { at, reverse, bad, good }
    }

    async fn listings(&self, client: IpAddr, deadline: Instant) -> (Vec<Listing>, Vec<Listing>) {
        // A silent one must not leave nothing for the question whether the client is what it calls itself.
        let deadline = deadline - self.deadline() / 4;
        let ask = |list| Asked::ask(list, &self.lists, client, deadline, &self.metrics);
        tokio::join!(join_all(self.bad.iter().map(ask)), join_all(self.good.iter().map(ask)))
    }

    async fn reverse(&self, client: IpAddr, deadline: Instant) -> Reverse {
        if !self.questions.names {
            return Reverse::Unasked;
        }
        let Some(_share) = self.share(client).await else {
            self.metrics.named("busy");
            return Reverse::Unknown;
        };
        let found = timeout_at((deadline + GRACE).into(), self.names_of(client, deadline)).await;
        let found = found.unwrap_or(Ok(Reverse::Unknown));
        self.metrics.named(found.as_ref().map_or("busy", Reverse::as_str));
        found.unwrap_or(Reverse::Unknown)
    }

    /// A share in the turns. Whoever owns addresses and names can make the answers slow, and come from many at once: he holds
    /// up his neighbours, and not everybody.
    async fn share(&self, client: IpAddr) -> Option<OwnedSemaphorePermit> {
        let turns = {
            let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
            if shares.len() >= MOST_SHARES {
                shares.retain(|_, turns| turns.strong_count() > 0);
            }
            let turns = shares.entry(owner(client)).or_default();
            turns.upgrade().unwrap_or_else(|| {
                let new = Arc::new(Semaphore::new(SHARE));
                *turns = Arc::downgrade(&new);
                new
            })
        };
        timeout(TURN, turns.acquire_owned()).await.ok()?.ok()
    }

    async fn names_of(&self, client: IpAddr, deadline: Instant) -> Result<Reverse, Busy> {
        let mut names: Vec<String> = match timeout_at(deadline.into(), self.names.names(client)).await {
            Ok(Ok(names)) if names.len() > MOST_NAMES => return Ok(Reverse::Many),
            Ok(Ok(names)) => names.iter().filter_map(|name| host_name(name)).collect(),
            Ok(Err(DnsError::None(_))) => return Ok(Reverse::Unnamed),
            Ok(Err(DnsError::Busy(_))) => return Err(Busy),
            Ok(Err(_)) | Err(_) => return Ok(Reverse::Unknown),
        };
        names.sort_unstable();
        names.dedup();
        let confirmed = names.into_iter().map(async |text| {
            let is_confirmed = self.leads_to(&text, client, deadline).await;
            Name { text, is_confirmed }
        });
        Ok(Reverse::Names(join_all(confirmed).await))
    }

    async fn leads_to(&self, name: &str, client: IpAddr, deadline: Instant) -> Confirmed {
        match timeout_at(deadline.into(), self.names.addresses_like(name, client)).await {
            Ok(Ok(addresses)) if addresses.contains(&client) => Confirmed::Yes,
            Ok(Ok(_) | Err(DnsError::None(_))) => Confirmed::No,
            Ok(Err(_)) | Err(_) => Confirmed::Unknown,
        }
    }

    /// Without what was said by a list that is known by now to have everybody.
    fn believed(&self, seen: Arc<Seen>) -> Arc<Seen> {
        let still = |lists: &[Arc<Asked>], found: &[Listing]| -> Vec<Listing> {
            lists.iter().zip(found).map(|(list, found)| list.still(*found)).collect()
        };
        let (bad, good) = (still(&self.bad, &seen.bad), still(&self.good, &seen.good));
        if bad == seen.bad && good == seen.good {
            return seen;
        }
        Arc::new(Seen { at: seen.at, reverse: seen.reverse.clone(), bad, good })
    }

    fn unknown(&self) -> Seen {
        let failed = |lists: &[Arc<Asked>]| vec![Listing::Failed; lists.len()];
        let (at, bad, good) = (Instant::now(), failed(&self.bad), failed(&self.good));
        Seen { at, reverse: Reverse::Unknown, bad, good }
    }
}

impl Seen {
    /// Something could not be found out.
    fn is_in_part_unknown(&self) -> bool {
        self.reverse.is_in_part_unknown()
            || self.bad.iter().chain(&self.good).any(|listing| listing.is_unknown())
    }
}

impl Reverse {
    pub(super) fn names(&self) -> &[Name] {
        match self {
            Self::Names(names) => names,
            _ => &[],
        }
    }

    fn is_in_part_unknown(&self) -> bool {
        *self == Self::Unknown || self.names().iter().any(|name| name.is_confirmed == Confirmed::Unknown)
    }

    /// The metric's label.
    fn as_str(&self) -> &'static str {
        match self {
            Self::Unasked => "unasked",
            Self::Unnamed => "unnamed",
            Self::Names(names) if names.iter().any(|name| name.is_confirmed == Confirmed::Yes) => "confirmed",
            _ if self.is_in_part_unknown() => "unknown",
            Self::Names(_) | Self::Many | Self::Unknown => "unconfirmed",
        }
    }
}

/// Nobody was asked.
struct Busy;

/// How long something is remembered.
struct Lifetime;

impl Expiry<IpAddr, Arc<Seen>> for Lifetime {
    fn expire_after_create(&self, _: &IpAddr, seen: &Arc<Seen>, _: Instant) -> Option<Duration> {
        Some(if seen.is_in_part_unknown() { UNKNOWN_FOR } else { KNOWN_FOR })
    }
}

/// A name that a host may have, in lower case and without a dot at its end: what a peer calls itself, or its address,
/// gets no further if it is anything else (RFC 1123 §2.1, and underscores, which are met).
pub(super) fn host_name(text: &str) -> Option<String> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let is_name = text.len() <= 253 && text.contains('.') && text.split('.').all(is_label);
    is_name.then(|| text.to_ascii_lowercase())
}

/// The network that most likely is of one owner, as providers get them: an IPv4 /16 or an IPv6 /32.
fn owner(client: IpAddr) -> IpNet {
    let bits = if client.is_ipv4() { 16 } else { 32 };
    IpNet::new_assert(client, bits).trunc()
}

/// Clients of one owner whose names are asked for at the same time. Each has [`MOST_NAMES`] names at most, so that all of
/// them together leave half of the turns to others.
const SHARE: usize = 4;
/// So long a client waits for others of the same owner.
const TURN: Duration = Duration::from_millis(100);
/// With so many those that nobody uses are dropped.
const MOST_SHARES: usize = 1024;
/// How many addresses are remembered at most, some hundred bytes each.
const REMEMBERED: u64 = 65_536;
/// The DNS' own answers are remembered for as long as they say; this spares the way there.
const KNOWN_FOR: Duration = Duration::from_secs(300);
/// What could not be found out may be known soon.
const UNKNOWN_FOR: Duration = Duration::from_secs(30);
/// An address with more names is not judged by them.
const MOST_NAMES: usize = 8;
/// Questions about names that are not answered yet, and as many to lists.
const AT_ONCE: usize = 64;
/// Descriptors that questions about clients may hold. The resolver puts one that is not answered three times, each from a
/// port of its own, and to two servers at once where the system names several.
pub const DESCRIPTORS: u64 = 2 * AT_ONCE as u64 * 3 * 2;
/// The inner deadlines come first.
const GRACE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests;
