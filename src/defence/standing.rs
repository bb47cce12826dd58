//! How a client stands: trusted for a time (`backstop trust`, POP before SMTP), or blocked (by the harvest defence, or
//! `backstop block`).
//!
//! One round trip to the store at most for a decision. Failure: neither trusted nor blocked.

use std::{net::IpAddr, sync::Arc, time::Duration};

use ipnet::IpNet;
use smallvec::SmallVec;

use super::{
    Harvest, Shared,
    harvest::{self, Ledger, Site},
    network,
};
use crate::{
    clock,
    policy::{Counts, Lately},
    store::{Entry, Key, Op, Outcome, Store, StoreError, Table},
};

/// Trusts and blocks.
#[derive(Debug)]
pub struct Standings {
    store: Store,
    ledger: Arc<Ledger>,
    site: Arc<Site>,
}

/// How a client stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Trusted for a time.
    pub trusted: bool,
    /// Blocked for a time.
    pub blocked: Option<Block>,
    /// The store does not answer: it passes for neither.
    pub unanswered: bool,
    /// It may be trusted for a time all the same: the store does not answer, or has lost what it was told.
    pub unsure: bool,
    /// What it asked for; `None` where that is not counted, or can't be found out.
    pub lately: Option<Lately>,
}

/// A block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Whom it is of: the client, or the larger network that it is in.
    pub network: IpNet,
    /// By an administrator, not for guesses.
    pub by_hand: bool,
    /// Why; empty where nobody said so.
    pub why: String,
}

impl Block {
    /// The address or the network that it is of, as text.
    #[must_use]
    pub fn name(&self) -> String {
        network::name(self.network)
    }
}

/// Whom is asked for.
#[derive(Debug, Clone, Copy)]
struct Who {
    own: IpNet,
    /// The larger network that it is in, if that is looked at.
    wider: Option<IpNet>,
    /// What it asks for is counted.
    is_counted: bool,
}

/// What came of [`Standings::release`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Released {
    /// It was blocked or trusted, or the larger network that it is in was blocked.
    pub before: bool,
    /// That network, if it was.
    pub wider: Option<String>,
}

/// What came of [`Standings::trust`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trust {
    /// It was trusted already.
    pub before: bool,
    /// How long it is trusted from now.
    pub left: Duration,
}

/// A client that is trusted, or one that is blocked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The address, or the network that it stands for.
    pub client: String,
    /// Why; empty where nobody said so.
    pub reason: String,
    /// How long yet.
    pub left: Duration,
}

/// Why a client is neither trusted nor blocked as was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Unspecified, multicast or broadcast.
    #[error("{0} is the address of no client")]
    NoClient(IpAddr),
    /// To trust it would be to trust all who come through a proxy here; to block it, to block them.
    #[error(
        "{0} is this host itself; client.trusted and client.denied of the configuration say how it stands"
    )]
    Loopback(IpAddr),
    /// None, or too much.
    #[error("a time is at least a second, and here at most {} days", .0.as_secs() / DAY)]
    Time(Duration),
    /// Too long, or not to be shown on a terminal.
    #[error("a reason is one line of at most {MOST_REASON} characters")]
    Reason,
    /// It could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Standings {
    pub(super) fn new(shared: &Shared, harvest: &Harvest) -> Self {
        let (store, site) = (shared.store.clone(), Arc::clone(&shared.site));
        Self { store, ledger: Arc::clone(harvest.ledger()), site }
    }

    /// Where it is asked for, in words; `None` where nobody's store is.
    #[must_use]
    pub fn place(&self) -> Option<String> {
        self.store.place()
    }

    /// Whether there is a store at all that knows.
    #[must_use]
    pub fn has_place(&self) -> bool {
        self.store.has_place()
    }

    /// How the client stands now.
    pub async fn find(&self, client: IpAddr) -> Standing {
        self.find_at(client, clock::since_1970()).await
    }

    /// The same without waiting; `None` where the store has to be waited for.
    #[must_use]
    pub fn find_here(&self, client: IpAddr) -> Option<Standing> {
        self.find_here_at(client, clock::since_1970())
    }

    pub(super) async fn find_at(&self, client: IpAddr, now: Duration) -> Standing {
        if let Some(standing) = self.find_here_at(client, now) {
            return standing;
        }
        let who = self.who(client);
        let mut ops: SmallVec<[Op; 6]> = SmallVec::new();
        ops.extend([Op::Get(trust(client)), Op::Get(block(who.own))]);
        if who.is_counted {
            ops.extend(self.ledger.questions(who.own, now));
        }
        if let Some(wider) = who.wider {
            ops.push(Op::Get(block(wider)));
            ops.extend(self.ledger.questions(wider, now));
        }
        let found = self.store.run(&ops).await;
        let Ok([trusted, blocked, counts @ ..]) = found.as_deref() else {
            return Standing { unanswered: true, unsure: true, ..Standing::default() };
        };
        let read = |counts: &[Outcome]| {
            let counts: &[Outcome; harvest::QUESTIONS] = counts.try_into().ok()?;
            Some(self.ledger.read(counts.each_ref().map(Outcome::count), now))
        };
        let (counts, of_network) = counts.split_at(counts.len().min(harvest::QUESTIONS));
        let has_forgotten =
            self.store.has_forgotten() || self.store.has_evicted(Table::Trusts, Duration::MAX);
        let of_own = (blocked.bytes(), read(counts));
        let of_wider = of_network.split_first().map(|(blocked, counts)| (blocked.bytes(), read(counts)));
        self.judge(who, is_there(trusted), has_forgotten, of_own, || of_wider, now)
    }

    fn find_here_at(&self, client: IpAddr, now: Duration) -> Option<Standing> {
        let here = self.store.here()?;
        let who = self.who(client);
        let value = |key: fn(IpNet) -> Key, network| {
            if here.is_empty(Table::Blocks) { None } else { here.value(Table::Blocks, &key(network).id) }
        };
        let trusted = !here.is_empty(Table::Trusts) && here.value(Table::Trusts, &trust(client).id).is_some();
        let blocked = value(block, who.own);
        let counts = who.is_counted.then(|| self.ledger.ask(here, who.own, now));
        let blocked_wider = who.wider.and_then(|wider| value(block, wider));
        let of_wider = || {
            let counts = who.wider.map(|wider| self.ledger.ask(here, wider, now))?;
            Some((blocked_wider.as_deref(), Some(counts)))
        };
        let has_forgotten = here.has_evicted(Table::Trusts, Duration::MAX);
        Some(self.judge(who, trusted, has_forgotten, (blocked.as_deref(), counts), of_wider, now))
    }

    fn who(&self, client: IpAddr) -> Who {
        let is_counted = self.ledger.is_counted(client);
        let wider = network::wider(client).filter(|_| is_counted);
        Who { own: network::of(client), wider, is_counted }
    }

    /// What the answers mean. Of a network: what blocks it, and what was asked for; `has_forgotten`: trusts are lost, or
    /// perhaps.
    fn judge<'v>(
        &self,
        who: Who,
        trusted: bool,
        has_forgotten: bool,
        (blocked, asked): (Option<&[u8]>, Option<Counts>),
        of_wider: impl FnOnce() -> Option<(Option<&'v [u8]>, Option<Counts>)>,
        now: Duration,
    ) -> Standing {
        // Who is excepted from now on need not wait for the end of a block.
        let applies = |block: &Block| block.by_hand || who.is_counted;
        let mut standing = Standing {
            trusted,
            unsure: !trusted && has_forgotten,
            blocked: self.read_block(who.own, blocked, now).filter(applies),
            unanswered: false,
            lately: asked.map(|own| Lately { own, network: None }),
        };
        if let (Some(wider), Some(lately)) = (who.wider, &mut standing.lately)
            && let Some((blocked, asked)) = of_wider()
        {
            lately.network = asked;
            // Who has a good name does not pay for his neighbours.
            if standing.blocked.is_none() && !self.ledger.spares(lately.own) {
                standing.blocked = self.read_block(wider, blocked, now);
            }
        }
        standing
    }

    fn read_block(&self, network: IpNet, found: Option<&[u8]>, now: Duration) -> Option<Block> {
        if let Some(value) = found {
            return Some(Block { network, by_hand: !value.starts_with(GUESSED), why: shown(value) });
        }
        let is_new = self.site.is_blocked_since_now(network, now);
        is_new.then(|| Block { network, by_hand: false, why: String::new() })
    }

    /// Trusts a client for so long from now. Who is trusted for longer already stays so: what an admin has said is not cut
    /// short by a log-in.
    ///
    /// # Errors
    /// [`Refused`]
    pub async fn trust(&self, client: IpAddr, ttl: Duration) -> Result<Trust, Refused> {
        check(client, ttl, LONGEST_TRUST)?;
        let now = clock::since_1970();
        let end = (now + ttl).as_secs();
        let before = self.store.run(&[Op::Get(trust(client))]).await?.pop().and_then(Outcome::value);
        let end_before = before.as_deref().and_then(|end| str::from_utf8(end).ok()?.parse::<u64>().ok());
        if let Some(end_before) = end_before.filter(|before| *before > end) {
            return Ok(Trust { before: true, left: Duration::from_secs(end_before).saturating_sub(now) });
        }
        self.store.keep(&[Op::Put { key: trust(client), value: end.to_string().into(), ttl }]).await?;
        Ok(Trust { before: before.is_some(), left: ttl })
    }

    /// Blocks a client for so long from now, whatever was said of it before; of an IPv6 address the /64. Gives whether it was
    /// blocked already.
    ///
    /// # Errors
    /// [`Refused`]
    pub async fn block(&self, client: IpAddr, why: &str, ttl: Duration) -> Result<bool, Refused> {
        check(client, ttl, LONGEST_BLOCK)?;
        if why.chars().count() > MOST_REASON || why.chars().any(char::is_control) {
            return Err(Refused::Reason);
        }
        let own = network::of(client);
        let key = block(own);
        let before = self.store.run(&[Op::Get(key.clone())]).await?;
        // What it has just been blocked for does not count any more.
        self.site.release(own);
        self.store.keep(&[Op::Put { key, value: why.into(), ttl }]).await?;
        Ok(before.iter().any(is_there))
    }

    /// Neither trusts nor blocks it any longer, nor the larger network that it is in, and forgets what they guessed.
    ///
    /// # Errors
    /// If that can't be kept.
    pub async fn release(&self, client: IpAddr) -> Result<Released, StoreError> {
        self.release_at(client, clock::since_1970()).await
    }

    pub(super) async fn release_at(&self, client: IpAddr, now: Duration) -> Result<Released, StoreError> {
        let wider = network::wider(client);
        let networks = || [Some(network::of(client)), wider].into_iter().flatten();
        let keys: Vec<Key> = std::iter::once(trust(client)).chain(networks().map(block)).collect();
        let before = self.store.run(&keys.iter().cloned().map(Op::Get).collect::<Vec<_>>()).await?;
        networks().for_each(|network| self.site.release(network));
        // Or its next guess would have it blocked again.
        let guesses = networks().flat_map(|network| self.ledger.guesses(network, now));
        let ops: Vec<Op> = keys.into_iter().chain(guesses).map(Op::Remove).collect();
        self.store.keep(&ops).await?;
        let wider = wider.filter(|_| before.get(2).is_some_and(is_there)).map(network::name);
        Ok(Released { before: before.iter().any(is_there), wider })
    }

    /// All that are trusted for a time.
    ///
    /// # Errors
    /// If it can't be found out.
    pub async fn trusted(&self) -> Result<Vec<Listed>, StoreError> {
        Ok(self.store.list(Table::Trusts).await?.into_iter().map(|entry| listed(entry, false)).collect())
    }

    /// All that are blocked.
    ///
    /// # Errors
    /// If it can't be found out.
    pub async fn blocked(&self) -> Result<Vec<Listed>, StoreError> {
        Ok(self.store.list(Table::Blocks).await?.into_iter().map(|entry| listed(entry, true)).collect())
    }
}

/// The address that is trusted, or the network that is blocked, as text.
#[must_use]
pub fn name(client: IpAddr, is_block: bool) -> String {
    if is_block { network::name(network::of(client)) } else { client.to_canonical().to_string() }
}

/// What blocks a client, or a network, for its guesses, where it is not blocked already.
pub(super) fn block_for_guessing(client: IpNet, why: &str, ttl: Duration) -> Op {
    Op::PutNew { key: block(client), value: [GUESSED, why.as_bytes()].concat(), ttl }
}

fn block(client: IpNet) -> Key {
    Key::new(Table::Blocks, network::text(client))
}

/// A trust is of the very address: another host of the same network did not log in.
fn trust(client: IpAddr) -> Key {
    // A network of one address is written like that address, where it is of IPv4.
    match client.to_canonical() {
        client @ IpAddr::V4(_) => Key::new(Table::Trusts, network::text(client.into())),
        client @ IpAddr::V6(_) => Key::new(Table::Trusts, client.to_string()),
    }
}

fn is_there(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Value(Some(_)))
}

fn check(client: IpAddr, ttl: Duration, longest: Duration) -> Result<(), Refused> {
    let client = client.to_canonical();
    let is_broadcast = matches!(client, IpAddr::V4(client) if client.is_broadcast());
    if client.is_unspecified() || client.is_multicast() || is_broadcast {
        return Err(Refused::NoClient(client));
    }
    if client.is_loopback() {
        return Err(Refused::Loopback(client));
    }
    if ttl < Duration::from_secs(1) || ttl > longest {
        return Err(Refused::Time(longest));
    }
    Ok(())
}

fn listed(entry: Entry, is_block: bool) -> Listed {
    let client = String::from_utf8_lossy(&entry.id).into_owned();
    let reason = if is_block { shown(&entry.value) } else { String::new() };
    Listed { client, reason, left: entry.left }
}

/// A reason that another process may have written.
fn shown(reason: &[u8]) -> String {
    let reason = reason.strip_prefix(GUESSED).unwrap_or(reason);
    String::from_utf8_lossy(reason).chars().take(MOST_REASON).collect()
}

/// What the reason of a block for guesses begins with; no admin can write it.
const GUESSED: &[u8] = b"\x01";
const DAY: u64 = 24 * 60 * 60;
/// Who is to be trusted for longer belongs into the configuration.
const LONGEST_TRUST: Duration = Duration::from_secs(7 * DAY);
/// The same for who is to be kept out.
const LONGEST_BLOCK: Duration = Duration::from_secs(30 * DAY);
/// Characters.
const MOST_REASON: usize = 200;

#[cfg(test)]
mod tests;
