//! Suspensions by command in memory, found without a search.

use std::{collections::HashMap, sync::Arc};

use super::record::Record;
use crate::address::Address;

/// Both by what is behind the `@` that domains are written with.
#[derive(Debug, Clone, Default)]
pub(super) struct List {
    addresses: HashMap<Box<str>, Arc<Record>>,
    domains: HashMap<Box<str>, Arc<Record>>,
}

impl List {
    pub(super) fn get(&self, what: &str) -> Option<&Arc<Record>> {
        match domain(what) {
            Some(domain) => self.domains.get(domain),
            None => self.addresses.get(what),
        }
    }

    pub(super) fn insert(&mut self, record: Record) {
        match domain(&record.what) {
            Some(domain) => self.domains.insert(domain.into(), Arc::new(record)),
            None => self.addresses.insert(record.what.as_str().into(), Arc::new(record)),
        };
    }

    pub(super) fn remove(&mut self, what: &str) {
        match domain(what) {
            Some(domain) => self.domains.remove(domain),
            None => self.addresses.remove(what),
        };
    }

    /// What names this address, and what names its domain.
    pub(super) fn find(&self, address: &Address) -> impl Iterator<Item = &Arc<Record>> {
        let of_address = self.addresses.get(address.key_str());
        let of_domain = self.domains.get(address.domain().as_str());
        of_address.into_iter().chain(of_domain)
    }

    pub(super) fn len(&self) -> usize {
        self.addresses.len() + self.domains.len()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.addresses.values().chain(self.domains.values())
    }
}

/// The domain of `@example.com`. A local part may begin with `@`; then there is another one.
fn domain(what: &str) -> Option<&str> {
    what.strip_prefix('@').filter(|rest| !rest.contains('@'))
}
