//! The greylist: who comes for the first time has to come again.
//!
//! Servers that queue their mail do; senders of spam often don't. It tells how long a client has to wait; it never refuses
//! by itself. Failure: while the store does not answer everybody passes, and so they do for an hour when it has to give up
//! first attempts too early: a flood of strangers' attempts would make everybody else wait again and again.
//!
//! Messages without a sender pass, and so do those from addresses that servers ask or report with (`double-bounce`,
//! `postmaster`, `mailer-daemon`): another site that verifies our senders would put our own mail off if it had to wait.

mod key;
mod rule;

use std::{fmt, net::IpAddr, sync::atomic::Ordering, time::Duration};

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use tracing::{info, warn};

use super::Shared;
use crate::{
    address::{Address, ReversePath, parse_mail},
    policy::ClientClass,
    store::{Key, Op, Outcome, Table},
};

use key::{Id, clients, sender_key, triplet};
use rule::{Attempt, Client, Found, judge};

/// `[defence.greylist]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `suspicious`: clients of class `generic`, `dynamic` or `unnamed`; `all`: all but insiders and clients on a
    /// list of good ones.
    pub mode: Mode,
    /// How long after the first attempt another one passes; 1 s to 24 h.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub delay: Duration,
    /// An attempt later than this is a first one again; at least twice the delay, at most 365 days.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub window: Duration,
    /// How long after its last message who came back passes at once (the default is 35 days); at least the window, at
    /// most 365 days.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub pass: Duration,
    /// After so many messages that came back, all mail of that client passes; `0`: never.
    pub passes: u32,
}

/// `mode`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Nobody.
    #[default]
    Off,
    /// Clients of class `generic`, `dynamic` or `unnamed`.
    Suspicious,
    /// All that are neither insiders nor on a list of good clients.
    All,
}

/// The greylist.
#[derive(Debug)]
pub struct Greylist {
    config: Config,
    shared: Shared,
}

/// Who comes, from where, to whom.
#[derive(Debug, Clone, Copy)]
pub struct Triplet<'a> {
    /// The client's address.
    pub client: IpAddr,
    /// Its name, where the DNS confirms it both ways and it is a server's: the domain then stands for the client.
    pub name: Option<&'a str>,
    /// As written behind MAIL FROM.
    pub sender: &'a [u8],
    /// Somebody who exists, without tag and sub-address.
    pub recipient: &'a Address,
    /// The first recipient of its message: one message counts once.
    pub is_first: bool,
}

/// How long to wait, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// Zero: it passes.
    pub left: Duration,
    /// Why, or why not.
    pub why: Why,
}

/// Why a client has to come again, or need not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It was never seen with this sender and recipient: it has to wait so long.
    First(Duration),
    /// It came back too early: so long yet.
    Early(Duration),
    /// It came back.
    Returned,
    /// It came back earlier, with this sender and recipient.
    Known,
    /// It came back often.
    Client,
    /// There is no sender, or one that servers ask and report with.
    NoSender,
    /// It is on a list of good clients.
    Welcome,
    /// Its class is not greylisted.
    Class(ClientClass),
    /// The MTA does not tell the client's address.
    NoAddress,
    /// The store has no room for first attempts.
    Overrun,
    /// The store does not answer.
    StoreDown,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::Off,
            delay: Duration::from_secs(5 * 60),
            window: Duration::from_secs(2 * DAY),
            pass: Duration::from_secs(35 * DAY),
            passes: 5,
        }
    }
}

impl Config {
    /// Tells `say` which key can't be used, and why.
    pub fn check(&self, say: &mut dyn FnMut(&'static str, String)) {
        let second = Duration::from_secs(1);
        if self.delay < second || self.delay > Duration::from_secs(DAY) {
            say("delay", "must be at least 1s and at most 24h".to_owned());
        }
        if self.window < self.delay.saturating_mul(2) {
            let message = format!(
                "must be at least twice the delay ({:?}): servers come back when their queue does, not when they may",
                self.delay
            );
            say("window", message);
        }
        if self.window > LONGEST {
            say("window", "must be at most 8760h (365 days)".to_owned());
        }
        if self.pass < self.window || self.pass > LONGEST {
            let message =
                format!("must be at least the window ({:?}), and at most 8760h (365 days)", self.window);
            say("pass", message);
        }
    }
}

impl Greylist {
    pub(super) fn new(config: &Config, shared: &Shared) -> Self {
        Self { config: config.clone(), shared: shared.clone() }
    }

    /// Whether anybody is greylisted.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.config.mode != Mode::Off
    }

    /// Whether clients of this class are greylisted.
    #[must_use]
    pub fn judges(&self, class: ClientClass) -> bool {
        match self.config.mode {
            Mode::Off => false,
            Mode::Suspicious => {
                matches!(class, ClientClass::Generic | ClientClass::Dynamic | ClientClass::Unnamed)
            }
            Mode::All => class != ClientClass::Trusted,
        }
    }

    /// Whether this one has to come again. `now` is the time that its message began, in seconds since 1970: all of its
    /// recipients wait, and pass, together. `is_rehearsal`: nothing is remembered of it.
    pub async fn check(&self, coming: Triplet<'_>, now: u64, is_rehearsal: bool) -> Wait {
        let wait = match sender(coming.sender) {
            None => Wait::passes(Why::NoSender),
            Some(sender) => self.judge(coming, &sender, now, is_rehearsal).await,
        };
        if !is_rehearsal {
            self.shared.metrics.greylist.with_label_values(&[wait.why.outcome()]).inc();
        }
        wait
    }

    async fn judge(&self, coming: Triplet<'_>, sender: &[u8], now: u64, is_rehearsal: bool) -> Wait {
        let ids: Ids = clients(coming.client, coming.name)
            .into_iter()
            .map(|client| (client, triplet(client, sender, coming.recipient)))
            .collect();
        let is_overrun = self.is_overrun();
        let mut ops: SmallVec<[Op; 6]> = SmallVec::new();
        for (client, triplet) in &ids {
            let first = Key::new(Table::Greylist, triplet);
            ops.push(Op::Get(client_key(client)));
            ops.push(Op::Get(triplet_key(triplet)));
            // Awaited with the others: were it lost, the client would come for the first time again and again.
            ops.push(if is_rehearsal || is_overrun {
                Op::Get(first)
            } else {
                Op::PutNew { key: first, value: Attempt(now).encode(), ttl: self.config.window }
            });
        }
        let Ok(outcomes) = self.shared.store.run(&ops).await else { return Wait::passes(Why::StoreDown) };
        let mut values = outcomes.into_iter().map(Outcome::value);
        let mut value = || values.next().flatten();
        let found: SmallVec<[Found; 2]> = ids
            .iter()
            .map(|_| Found {
                client: value().and_then(|value| Client::decode(&value)),
                known: value().and_then(|value| Attempt::decode(&value)),
                first: value().and_then(|value| Attempt::decode(&value)),
            })
            .collect();
        let why = match judge(&self.config, &found, now) {
            Why::First(_) | Why::Early(_) if is_overrun => Why::Overrun,
            why => why,
        };
        if !is_rehearsal {
            self.remember(why, &ids, &found, coming.is_first, now);
        }
        Wait { left: why.left(), why }
    }

    /// What an admin should know.
    #[must_use]
    pub fn notice(&self) -> Option<String> {
        (self.is_on() && self.is_overrun()).then(|| format!("greylist: nobody has to come again: {OVERRUN}"))
    }

    /// Whether first attempts were given up, within the last hour, before those who made them can have come again.
    fn is_overrun(&self) -> bool {
        let age = self.config.delay.saturating_add(COMES_AGAIN);
        let is_overrun = self.shared.store.has_evicted(Table::Greylist, age);
        match (self.shared.is_overrun.swap(is_overrun, Ordering::Relaxed), is_overrun) {
            (false, true) => warn!(why = OVERRUN, "nobody has to come again, for an hour at least"),
            (true, false) => info!("those who come for the first time have to come again, as before"),
            _ => {}
        }
        is_overrun
    }

    /// What need not be awaited: were it lost, somebody would wait once more.
    fn remember(&self, why: Why, ids: &Ids, found: &[Found], is_first: bool, now: u64) {
        let ttl = self.config.pass;
        let is_old = |at: u64| now.saturating_sub(at) > ttl.as_secs() / RENEWALS;
        let mut ops = Vec::new();
        if matches!(why, Why::Returned | Why::Known) {
            for ((_, triplet), found) in ids.iter().zip(found) {
                if found.known.is_none_or(|known| is_old(known.0)) {
                    let value = Attempt(now).encode();
                    ops.push(Op::Put { key: triplet_key(triplet), value, ttl });
                }
            }
        }
        // The first is what stands for the client: its domain, if it has one.
        if let (Some((id, _)), Some(found)) = (ids.first(), found.first()) {
            let known = found.client.unwrap_or_default();
            let count = match why {
                Why::Returned if is_first => Some(known.passes.saturating_add(1)),
                Why::Client if is_old(known.at) => Some(known.passes),
                _ => None,
            };
            if let Some(passes) = count {
                ops.push(Op::Put { key: client_key(id), value: Client { passes, at: now }.encode(), ttl });
            }
        }
        if matches!(why, Why::Known | Why::Client) {
            // They don't wait: no need to keep when they came.
            let new = ids.iter().zip(found).filter(|(_, found)| found.first.is_none());
            ops.extend(new.map(|((_, triplet), _)| Op::Remove(Key::new(Table::Greylist, triplet))));
        }
        if !ops.is_empty() {
            self.shared.store.later(ops);
        }
    }
}

impl Wait {
    /// It need not.
    #[must_use]
    pub const fn passes(why: Why) -> Self {
        Self { left: Duration::ZERO, why }
    }
}

impl Why {
    /// How long to wait yet.
    #[must_use]
    pub const fn left(self) -> Duration {
        match self {
            Self::First(left) | Self::Early(left) => left,
            _ => Duration::ZERO,
        }
    }

    /// The label of `greylist_total`.
    /// One of each outcome.
    pub(super) const OUTCOMES: [Self; 8] = [
        Self::First(Duration::ZERO),
        Self::Early(Duration::ZERO),
        Self::Returned,
        Self::Known,
        Self::Client,
        Self::NoSender,
        Self::Overrun,
        Self::StoreDown,
    ];

    /// As `backstop_greylist_total` has it.
    pub(super) const fn outcome(self) -> &'static str {
        match self {
            Self::First(_) => "first",
            Self::Early(_) => "early",
            Self::Returned => "returned",
            Self::Known => "known",
            Self::Client => "client",
            Self::NoSender | Self::Welcome | Self::Class(_) | Self::NoAddress => "exempt",
            Self::Overrun => "overrun",
            Self::StoreDown => "store-down",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First(left) => {
                write!(
                    f,
                    "it was never seen with this sender and recipient; another attempt passes after {left:?}"
                )
            }
            Self::Early(left) => {
                write!(f, "it was seen with this sender and recipient; it passes in {left:?}")
            }
            Self::Returned => f.write_str("it comes back in time"),
            Self::Known => f.write_str("it came back earlier with this sender and recipient"),
            Self::Client => f.write_str("this client, or its network or domain, came back often"),
            Self::NoSender => f.write_str("no sender, or one that servers ask and report with"),
            Self::Welcome => f.write_str("it is on a list of good clients"),
            Self::Class(class) => write!(f, "its class, {}, is not greylisted", class.as_str()),
            Self::NoAddress => f.write_str("the MTA does not tell the client's address"),
            Self::Overrun => f.write_str("the store has no room to remember who has to come again"),
            Self::StoreDown => f.write_str("the store does not answer"),
        }
    }
}

/// Each name of the client with that of the triplet, what stands for the client first.
type Ids = SmallVec<[(Id, Id); 2]>;

/// What stands for the sender; `None`: nobody who would come again.
fn sender(written: &[u8]) -> Option<Vec<u8>> {
    match parse_mail(written) {
        ReversePath::Null => None,
        ReversePath::Address(address) => {
            let local = address.local();
            // Postfix may add a time stamp to it (address_verify_sender_ttl).
            let asks = local.starts_with("double-bounce") || matches!(local, "postmaster" | "mailer-daemon");
            (!asks).then(|| sender_key(&address))
        }
        ReversePath::Other => Some(written.to_vec()),
    }
}

fn client_key(id: &Id) -> Key {
    Key::new(Table::Passed, [b"c", &id[..]].concat())
}

fn triplet_key(id: &Id) -> Key {
    Key::new(Table::Passed, [b"t", &id[..]].concat())
}

const OVERRUN: &str = "within the last hour there were more first attempts than the store has room for; with Redis, give it \
                       more memory (maxmemory)";

/// Servers come again this long after they may, or earlier.
const COMES_AGAIN: Duration = Duration::from_secs(60 * 60);

const DAY: u64 = 24 * 60 * 60;

/// Nothing is kept for longer.
const LONGEST: Duration = Duration::from_secs(365 * DAY);

/// What is kept for `pass` is written again after this part of it.
const RENEWALS: u64 = 32;

#[cfg(test)]
mod tests;
