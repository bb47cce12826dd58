//! The one hand that changes a replica: its feed's.

use std::{
    collections::{HashMap, HashSet},
    time::Instant,
};

use super::{Change, ObjectId, Recipient};
use crate::{address::Address, policy::Attributes};

/// Tells a replica what the directory says. There is one for each replica, and its feed has it.
#[derive(Debug, Default)]
pub(in crate::directory) struct Writer {
    objects: HashMap<ObjectId, Vec<Recipient>>,
    cookie: Option<Vec<u8>>,
    seen: Option<HashSet<ObjectId>>,
}

/// The content was lost (the file on disk could not be read any more) and begins anew: whom it knew still exists until
/// a listing is complete, but [`Writer::cookie`] is gone. The feed ends with this as its failure, and is run again.
#[derive(Debug, thiserror::Error)]
#[error("the replica's file could not be read any more; everything is listed again")]
pub(in crate::directory) struct Lost;

impl Writer {
    /// A replica of its own, with nothing on disk. For tests of feeds.
    #[cfg(test)]
    pub(in crate::directory) fn in_memory() -> Self {
        Self::default()
    }

    /// What the feed stored with its last change, byte for byte; `None` at the start, and whenever everything has to be
    /// listed. Several kinds of feed may follow one directory in turn: each marks its own, and takes others' for none.
    pub(in crate::directory) fn cookie(&self) -> Option<Vec<u8>> {
        self.cookie.clone()
    }

    /// Changes that the directory told one by one, in this order: its explicit word, in force and on disk when this
    /// returns, in one transaction with the cookie (`None`: the one before stays). Also within a listing, where an object
    /// that was put counts as listed. A transaction waits for the disk, so what came together should be told together.
    ///
    /// # Errors
    /// [`Lost`].
    pub(in crate::directory) async fn apply(
        &mut self,
        changes: Vec<Change>,
        cookie: Option<Vec<u8>>,
    ) -> Result<(), Lost> {
        for change in changes {
            match change {
                Change::Put(id, recipients) => {
                    if let Some(seen) = &mut self.seen {
                        seen.insert(id.clone());
                    }
                    self.objects.insert(id, recipients);
                }
                Change::Remove(id) => drop(self.objects.remove(&id)),
            }
        }
        self.cookie = cookie.or(self.cookie.take());
        Ok(())
    }

    /// A listing of everything begins; one that was not ended is forgotten.
    pub(in crate::directory) fn begin_listing(&mut self) {
        self.seen = Some(HashSet::new());
    }

    /// A part of the listing: these objects are there, with these recipients. New ones are in force at once; what an
    /// object has lost counts when the listing is complete. Of any size; a thousand objects are a good one.
    ///
    /// # Errors
    /// [`Lost`].
    pub(in crate::directory) async fn list(
        &mut self,
        page: Vec<(ObjectId, Vec<Recipient>)>,
    ) -> Result<(), Lost> {
        for (id, recipients) in page {
            self.seen.get_or_insert_default().insert(id.clone());
            self.objects.insert(id, recipients);
        }
        Ok(())
    }

    /// A part of the listing: these are there, unchanged (RFC 4533 §3.3.2, present phase).
    ///
    /// # Errors
    /// [`Lost`].
    pub(in crate::directory) async fn keep(&mut self, ids: Vec<ObjectId>) -> Result<(), Lost> {
        self.seen.get_or_insert_default().extend(ids);
        Ok(())
    }

    /// The listing is complete: what was not in it is gone, unless that is so much that it is held back. The cookie takes
    /// the place of the one before, also where there is none. (A feed of mere listings has none; a cookie that is worth
    /// nothing without the whole listing is given here and not before.)
    ///
    /// # Errors
    /// [`Lost`].
    pub(in crate::directory) async fn end_listing(&mut self, cookie: Option<Vec<u8>>) -> Result<(), Lost> {
        let seen = self.seen.take().unwrap_or_default();
        self.objects.retain(|id, _| seen.contains(id));
        self.cookie = cookie;
        Ok(())
    }

    /// As of this time the replica is what the directory says: everything that it said up to then has been told. `live`:
    /// changes arrive by themselves, within a second or two. A live feed says so every second or two, after it heard from
    /// the server: where that was five seconds ago, whom the replica does not know is asked for once more.
    pub(in crate::directory) fn current(&mut self, as_of: Instant, live: bool) {
        let _ = (as_of, live);
    }

    /// What the replica knows of the address, for tests of feeds.
    #[cfg(test)]
    pub(in crate::directory) fn find(&self, address: &Address) -> Option<Attributes> {
        use crate::directory::Entry;
        let all = self.objects.values().flatten();
        let own = all.filter(|recipient| matches!(&recipient.entry, Entry::Address(own) if own == address));
        own.map(|recipient| recipient.attributes).reduce(Attributes::merge)
    }

    /// How many recipients the replica knows, for tests of feeds.
    #[cfg(test)]
    pub(in crate::directory) fn addresses(&self) -> u64 {
        self.objects.values().flatten().count() as u64
    }
}
