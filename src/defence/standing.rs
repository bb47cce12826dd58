//! How a client stands: trusted for a time (`backstop trust`, POP before SMTP), or blocked (by the harvest defence, or
//! `backstop block`).
//!
//! One round trip to the store at most for a decision. Failure: neither trusted nor blocked.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use smallvec::SmallVec;

use super::{
    Harvest, Shared,
    harvest::{self, Ledger, Site},
};
use crate::{
    policy::Lately,
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// Trusted for a time.
    pub trusted: bool,
    /// Blocked for a time.
    pub blocked: bool,
    /// The store does not answer: it passes for neither.
    pub unanswered: bool,
    /// What it asked for; `None` where that is not counted, or can't be found out.
    pub lately: Option<Lately>,
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

    /// How the client stands now.
    pub async fn find(&self, client: IpAddr) -> Standing {
        let now = harvest::now();
        let mut ops: SmallVec<[Op; 6]> = SmallVec::new();
        ops.extend([Op::Get(trust(client)), Op::Get(block(client))]);
        ops.extend(self.ledger.questions(client, now).into_iter().flatten());
        match self.store.run(&ops).await.as_deref() {
            Ok([trusted, blocked, asked @ ..]) => Standing {
                trusted: is_there(trusted),
                blocked: is_there(blocked) || self.site.is_blocked_since_now(client, now),
                unanswered: false,
                lately: self.ledger.read(asked, now),
            },
            _ => Standing { unanswered: true, ..Standing::default() },
        }
    }

    /// Why it is blocked, if somebody said so.
    pub async fn why_blocked(&self, client: IpAddr) -> Option<String> {
        let found = self.store.run(&[Op::Get(block(client))]).await.ok()?.pop()?.value()?;
        Some(shown(&found)).filter(|why| !why.is_empty())
    }

    /// Trusts a client for so long from now. Who is trusted for longer already stays so: what an admin has said is not cut
    /// short by a log-in.
    ///
    /// # Errors
    /// [`Refused`]
    pub async fn trust(&self, client: IpAddr, ttl: Duration) -> Result<Trust, Refused> {
        check(client, ttl, LONGEST_TRUST)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
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
        let before = self.store.run(&[Op::Get(block(client))]).await?;
        self.store.keep(&[Op::Put { key: block(client), value: why.into(), ttl }]).await?;
        Ok(before.iter().any(is_there))
    }

    /// Neither trusts nor blocks it any longer, and forgets what it guessed. Gives whether it was either.
    ///
    /// # Errors
    /// If that can't be kept.
    pub async fn release(&self, client: IpAddr) -> Result<bool, StoreError> {
        self.release_at(client, harvest::now()).await
    }

    pub(super) async fn release_at(&self, client: IpAddr, now: Duration) -> Result<bool, StoreError> {
        let before = self.store.run(&[Op::Get(trust(client)), Op::Get(block(client))]).await?;
        self.site.release(client);
        let mut ops = vec![Op::Remove(trust(client)), Op::Remove(block(client))];
        // Or its next guess would have it blocked again.
        ops.extend(self.ledger.guesses(client, now).map(Op::Remove));
        self.store.keep(&ops).await?;
        Ok(before.iter().any(is_there))
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
    match (network(client), is_block) {
        (IpAddr::V6(network), true) => format!("{network}/64"),
        _ => client.to_canonical().to_string(),
    }
}

/// A block is of an IPv4 address, or of the /64 of an IPv6 address.
pub(super) fn block(client: IpAddr) -> Key {
    Key::new(Table::Blocks, network(client).to_string())
}

/// What counts as one client: an IPv4 address, or the /64 of an IPv6 address, which one host has to itself.
pub(super) fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}

/// A trust is of the very address: another host of the same network did not log in.
fn trust(client: IpAddr) -> Key {
    Key::new(Table::Trusts, client.to_canonical().to_string())
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
    let id = String::from_utf8_lossy(&entry.id).into_owned();
    let client = id.parse().map_or(id, |client| name(client, is_block));
    let reason = if is_block { shown(&entry.value) } else { String::new() };
    Listed { client, reason, left: entry.left }
}

/// A reason that another process may have written.
fn shown(reason: &[u8]) -> String {
    String::from_utf8_lossy(reason).chars().take(MOST_REASON).collect()
}

const DAY: u64 = 24 * 60 * 60;
/// Who is to be trusted for longer belongs into the configuration.
const LONGEST_TRUST: Duration = Duration::from_secs(7 * DAY);
/// The same for who is to be kept out.
const LONGEST_BLOCK: Duration = Duration::from_secs(30 * DAY);
/// Characters.
const MOST_REASON: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{defence::Metrics, store, telemetry::Registry};

    fn standings() -> Standings {
        let registry = Registry::default();
        let store = Store::in_memory(store::Metrics::register(&registry));
        let shared = Shared::new(store, Metrics::register(&registry));
        Standings::new(&shared, &Harvest::new(&harvest::Config::default(), &shared))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    const HOUR: Duration = Duration::from_secs(60 * 60);

    /// RFC 4291 §2.5.1: an interface's own part is 64 bits long; RFC 6177: a site has a /64 at least.
    #[tokio::test]
    async fn a_block_is_of_what_one_host_has_to_itself() {
        for (blocked, client, expected) in [
            ("203.0.113.9", "203.0.113.9", true),
            ("203.0.113.9", "::ffff:203.0.113.9", true),
            ("::ffff:203.0.113.9", "203.0.113.9", true),
            ("203.0.113.9", "203.0.113.8", false),
            ("2001:db8:1:2::9", "2001:db8:1:2:ffff::1", true),
            ("2001:db8:1:2::9", "2001:db8:1:3::9", false),
        ] {
            let standings = standings();
            assert!(!standings.block(ip(blocked), "why", HOUR).await.unwrap());
            let found = standings.find(ip(client)).await;
            assert_eq!((found.trusted, found.blocked), (false, expected), "{blocked} {client}");
            assert!(standings.block(ip(blocked), "why", HOUR).await.unwrap(), "it was before");
            assert_eq!(standings.release(ip(client)).await.unwrap(), expected);
            assert_eq!(standings.find(ip(blocked)).await.blocked, !expected);
        }
    }

    #[tokio::test]
    async fn a_trust_is_of_the_very_address() {
        let standings = standings();
        standings.trust(ip("2001:db8::9"), HOUR).await.unwrap();
        standings.trust(ip("::ffff:192.168.1.9"), HOUR).await.unwrap();
        for (client, expected) in
            [("2001:db8::9", true), ("2001:db8::8", false), ("192.168.1.9", true), ("192.168.1.8", false)]
        {
            assert_eq!(standings.find(ip(client)).await.trusted, expected, "{client}");
        }
        let trusted: Vec<String> =
            standings.trusted().await.unwrap().into_iter().map(|listed| listed.client).collect();
        assert_eq!(trusted, ["192.168.1.9", "2001:db8::9"]);
    }

    /// A log-in of a client that an admin trusts for a day.
    #[tokio::test]
    async fn a_trust_is_never_cut_short() {
        let standings = standings();
        let client = ip("203.0.113.9");
        assert_eq!(standings.trust(client, HOUR).await.unwrap(), Trust { before: false, left: HOUR });
        let again = standings.trust(client, HOUR / 60).await.unwrap();
        assert!(again.before && again.left > HOUR / 2, "{again:?}");
        assert!(standings.trusted().await.unwrap()[0].left > HOUR / 2);
        assert_eq!(standings.trust(client, HOUR * 2).await.unwrap(), Trust { before: true, left: HOUR * 2 });
        assert!(standings.trusted().await.unwrap()[0].left > HOUR);
    }

    #[tokio::test]
    async fn blocks_are_listed_as_networks_with_reason_and_time() {
        let standings = standings();
        standings.block(ip("2001:db8:1:2::9"), "it guesses", HOUR).await.unwrap();
        let blocked = standings.blocked().await.unwrap();
        assert_eq!(blocked.len(), 1);
        assert_eq!(
            (blocked[0].client.as_str(), blocked[0].reason.as_str()),
            ("2001:db8:1:2::/64", "it guesses")
        );
        assert!(blocked[0].left <= HOUR && blocked[0].left > HOUR / 2, "{blocked:?}");
    }

    #[tokio::test]
    async fn what_makes_no_sense_is_refused() {
        let standings = standings();
        for client in ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255"] {
            assert!(matches!(standings.trust(ip(client), HOUR).await, Err(Refused::NoClient(_))), "{client}");
            assert!(
                matches!(standings.block(ip(client), "", HOUR).await, Err(Refused::NoClient(_))),
                "{client}"
            );
        }
        for client in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(matches!(standings.trust(ip(client), HOUR).await, Err(Refused::Loopback(_))), "{client}");
            assert!(
                matches!(standings.block(ip(client), "", HOUR).await, Err(Refused::Loopback(_))),
                "{client}"
            );
        }
        let client = ip("203.0.113.9");
        for ttl in [Duration::ZERO, LONGEST_BLOCK + Duration::from_secs(1), Duration::MAX] {
            assert!(matches!(standings.trust(client, ttl).await, Err(Refused::Time(_))), "{ttl:?}");
            assert!(matches!(standings.block(client, "", ttl).await, Err(Refused::Time(_))), "{ttl:?}");
        }
        for why in ["two\nlines", "\u{1b}[2J", &"x".repeat(MOST_REASON + 1)] {
            assert!(matches!(standings.block(client, why, HOUR).await, Err(Refused::Reason)), "{why:?}");
        }
        let found = standings.find(client).await;
        assert!(!found.trusted && !found.blocked, "{found:?}");
    }
}
