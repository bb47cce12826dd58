//! A replica without a directory, for benches.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
    sync::Arc,
};

use super::{Change, ObjectId, Recipient, content::Content, held::Limits};
use crate::{address::Address, directory::Entry, policy::Attributes};

/// Content that is told of by hand. What fails, panics.
#[derive(Debug)]
pub struct Rehearsal {
    content: Arc<Content>,
}

impl Rehearsal {
    /// Loads the file, or makes it.
    ///
    /// # Panics
    /// If it can't be.
    pub fn open(path: &Path) -> Self {
        let content = Content::new("rehearsal");
        content.load(Some(path.to_owned())).expect("it can be loaded");
        Self { content }
    }

    /// Lists all of them, one object each, in pages.
    ///
    /// # Panics
    /// If they can't be written down.
    pub fn list(&self, addresses: impl Iterator<Item = Address>) {
        let limits = Limits { max_shrink: 0.1, confirmed_after: std::time::Duration::ZERO };
        let content = &self.content;
        let mut addresses = addresses.peekable();
        while addresses.peek().is_some() {
            let page: Vec<_> = addresses.by_ref().take(1000).map(object).collect();
            content.work(None, |ledger| ledger.list(content, &page)).expect("it can be written");
        }
        content.work(None, |ledger| ledger.end_listing(content, None, limits)).expect("it can be written");
    }

    /// Tells of one more.
    ///
    /// # Panics
    /// If that can't be written down.
    pub fn add(&self, address: Address) {
        let (id, recipients) = object(address);
        let changes = vec![Change::Put(id, recipients)];
        let content = &self.content;
        content.work(None, |ledger| ledger.apply(content, changes, None)).expect("it can be written");
    }

    /// What a look-up finds.
    pub fn find(&self, address: &Address) -> Option<Attributes> {
        self.content.memory.find(address)
    }

    /// Addresses; bytes of the index; changes beside it.
    pub fn size(&self) -> (u64, usize, usize) {
        let (bytes, changes) = self.content.memory.size();
        (self.content.memory.len(), bytes, changes)
    }

    /// Looks at all of the file, as a replica does after its start, before it follows its directory.
    ///
    /// # Panics
    /// If it is damaged.
    pub fn check(&self) {
        self.content.work(None, |_| Ok(())).expect("it is whole");
    }

    /// Waits until the copy of the index is written, if one is due.
    ///
    /// # Panics
    /// If it can't be.
    pub fn wait_for_copy(&self) {
        self.content.work(None, |ledger| ledger.wait_for_copy(&self.content)).expect("it can be written");
    }

    /// Closes the file.
    pub fn close(self) {
        self.content.close();
    }
}

/// What goes for an address: one of a hundred is suspended, and another one restricted.
fn attributes(address: &Address) -> Attributes {
    let hash =
        address.key().iter().fold(0_u32, |hash, &byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
    Attributes { suspended: hash % 100 == 0, restricted: hash % 100 == 1, ..Attributes::default() }
}

/// With an id as long as an `entryUUID`.
fn object(address: Address) -> (ObjectId, Vec<Recipient>) {
    let hash = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, &address).hash(&mut hasher);
        hasher.finish().to_le_bytes()
    };
    let id: ObjectId = [hash(0), hash(1)].concat().into();
    let attributes = attributes(&address);
    (id, vec![Recipient { entry: Entry::Address(address), attributes }])
}
