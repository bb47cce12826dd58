//! How a client stands: trusted for a time (`backstop trust`, POP before SMTP), or blocked (by the harvest defence, or
//! `backstop block`).
//!
//! One round trip to the store at most. Failure: neither.

use std::{net::IpAddr, sync::Arc, time::Duration};

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
    /// What it asked for; `None` where that is not counted, or can't be found out.
    pub lately: Option<Lately>,
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
            Ok([trusted, blocked, asked @ ..]) => {
                let is_there = |outcome: &Outcome| matches!(outcome, Outcome::Value(Some(_)));
                Standing {
                    trusted: is_there(trusted),
                    blocked: is_there(blocked) || self.site.is_blocked_since_now(client, now),
                    lately: self.ledger.read(asked, now),
                }
            }
            _ => Standing::default(),
        }
    }

    /// Trusts a client for so long.
    ///
    /// # Errors
    /// If that can't be kept.
    pub async fn trust(&self, client: IpAddr, ttl: Duration) -> Result<(), StoreError> {
        self.store.keep(&[Op::Put { key: trust(client), value: Vec::new(), ttl }]).await
    }

    /// Blocks a client for so long.
    ///
    /// # Errors
    /// If that can't be kept.
    pub async fn block(&self, client: IpAddr, why: &str, ttl: Duration) -> Result<(), StoreError> {
        self.store.keep(&[Op::Put { key: block(client), value: why.into(), ttl }]).await
    }

    /// Neither trusts nor blocks it any longer.
    ///
    /// # Errors
    /// If that can't be kept.
    pub async fn release(&self, client: IpAddr) -> Result<(), StoreError> {
        self.site.release(client);
        self.store.keep(&[Op::Remove(trust(client)), Op::Remove(block(client))]).await
    }

    /// All that are trusted, or all that are blocked.
    ///
    /// # Errors
    /// If it can't be found out.
    pub async fn list(&self, table: Table) -> Result<Vec<Entry>, StoreError> {
        self.store.list(table).await
    }
}

fn trust(client: IpAddr) -> Key {
    Key::new(Table::Trusts, client.to_canonical().to_string())
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
