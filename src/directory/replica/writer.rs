//! The one hand that changes a replica: its feed's.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Change, ObjectId, Recipient, content::Content, held::Limits, ledger::Ledger, place, store};
use crate::clock;

/// Tells a replica what the directory says. There is one for each replica, and its feed has it.
#[derive(Debug)]
pub(in crate::directory) struct Writer {
    content: Arc<Content>,
    term: u64,
    cookie: Option<Vec<u8>>,
    limits: Limits,
    /// A listing begins with what comes next.
    begins: bool,
    /// What the listing under way came to, for the log.
    listed: Listed,
    /// The feed has worked.
    pub(super) worked: bool,
}

/// The content was lost (the file on disk could not be read any more) and begins anew: whom it knew still exists until
/// a listing is complete, but [`Writer::cookie`] is gone. The feed ends with this as its failure, and is run again.
#[derive(Debug, thiserror::Error)]
#[error("the replica's file could not be read any more; everything is listed again")]
pub(in crate::directory) struct Lost;

impl Writer {
    /// The writer of loaded content; the one before may not write any more.
    pub(super) async fn open(content: Arc<Content>, limits: Limits) -> Result<Self, Lost> {
        let opened = Arc::clone(&content);
        let opened = tokio::task::spawn_blocking(move || opened.begin_term()).await;
        let (term, cookie) = opened.unwrap_or(Err(Lost))?;
        Ok(Self { content, term, cookie, limits, begins: false, listed: Listed::new(), worked: false })
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
        if changes.is_empty() && (cookie.is_none() || cookie == self.cookie) {
            return Ok(());
        }
        let told = cookie.clone();
        self.work(move |ledger, content| ledger.apply(content, changes, told)).await?;
        if cookie.is_some() {
            self.cookie = cookie;
        }
        Ok(())
    }

    /// A listing of everything begins; one that was not ended is forgotten.
    pub(in crate::directory) fn begin_listing(&mut self) {
        self.content.not_live();
        self.begins = true;
        self.listed = Listed::new();
    }

    /// A part of the listing: these objects are there, with these recipients. New addresses are in force at once,
    /// changed attributes soon; what an object has lost counts when the listing is complete. Of any size; a thousand objects are a good one.
    ///
    /// # Errors
    /// [`Lost`].
    pub(in crate::directory) async fn list(
        &mut self,
        page: Vec<(ObjectId, Vec<Recipient>)>,
    ) -> Result<(), Lost> {
        let entries = page.len();
        self.work(move |ledger, content| ledger.list(content, &page)).await?;
        self.listed.add(entries, &self.content);
        Ok(())
    }

    /// A part of the listing: these are there, unchanged (RFC 4533 §3.3.2, present phase).
    ///
    /// # Errors
    /// [`Lost`].
    pub(in crate::directory) async fn keep(&mut self, ids: Vec<ObjectId>) -> Result<(), Lost> {
        self.work(move |ledger, _| {
            ledger.keep(&ids);
            Ok(())
        })
        .await
    }

    /// The listing is complete: what was not in it is gone, unless that is so much that it is held back. The cookie takes
    /// the place of the one before, also where there is none. (A feed of mere listings has none; a cookie that is worth
    /// nothing without the whole listing is given here and not before.)
    ///
    /// # Errors
    /// [`Lost`].
    pub(in crate::directory) async fn end_listing(&mut self, cookie: Option<Vec<u8>>) -> Result<(), Lost> {
        let (told, limits, before) = (cookie.clone(), self.limits, self.content.held());
        let is_first = !self.content.is_complete();
        let held = self
            .work(move |ledger, content| {
                let held = ledger.end_listing(content, told, limits)?;
                if held.is_none()
                    && let Some(path) = content.path()
                {
                    place::clear_others(&path);
                }
                Ok(held)
            })
            .await?;
        self.cookie = cookie;
        let name = &self.content.name;
        if is_first && self.content.is_complete() {
            let (addresses, seconds) = (self.content.memory.len(), clock::since(self.listed.began).as_secs());
            tracing::info!(directory = %name, addresses, seconds, "everything is listed, for the first time");
        }
        match (held, before) {
            (Some(held), None) => tracing::error!(
                directory = %name, reason = held.reason().to_string(),
                "what the directory lists is held back, the old content stays; `backstop reload --accept` takes it"
            ),
            (None, Some(_)) => {
                tracing::info!(directory = %name, "what the directory lists is in force again");
            }
            _ => {}
        }
        Ok(())
    }

    /// As of this time the replica is what the directory says: everything that it said up to then has been told. `live`:
    /// changes arrive by themselves, within a second or two. A live feed says so every second or two, after it heard from
    /// the server: where that was five seconds ago, whom the replica does not know is asked for once more.
    pub(in crate::directory) fn current(&mut self, as_of: Instant, live: bool) {
        self.worked = true;
        self.content.confirm(as_of, live);
    }

    /// Whether a listing is held back, until one says the same again some time later.
    pub(in crate::directory) fn holds_back(&self) -> bool {
        self.content.held().is_some()
    }

    async fn work<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Ledger, &Content) -> store::Result<T> + Send + 'static,
    ) -> Result<T, Lost> {
        let (content, term) = (Arc::clone(&self.content), self.term);
        let begins = std::mem::take(&mut self.begins);
        let done = tokio::task::spawn_blocking(move || {
            content.work(Some(term), |ledger| {
                if begins {
                    ledger.begin_listing();
                }
                work(ledger, &content)
            })
        });
        let done = done.await.unwrap_or(Err(Lost));
        if done.is_err() {
            self.cookie = None;
        }
        done
    }
}

/// How far a listing is. Somebody may wait for the first one, and look at the log.
#[derive(Debug, Clone, Copy)]
struct Listed {
    began: Instant,
    told: Instant,
    entries: usize,
}

impl Listed {
    fn new() -> Self {
        let now = clock::now();
        Self { began: now, told: now, entries: 0 }
    }

    fn add(&mut self, entries: usize, content: &Content) {
        self.entries += entries;
        if clock::since(self.told) >= TELL && !content.is_complete() {
            self.told = clock::now();
            tracing::info!(directory = %content.name, entries = self.entries, "the directory is being listed");
        }
    }
}

/// Between two log lines of one listing.
const TELL: Duration = Duration::from_secs(10);

#[cfg(test)]
impl Writer {
    /// A replica of its own, with nothing on disk. For tests of feeds.
    pub(in crate::directory) fn in_memory() -> Self {
        let content = Content::new("test");
        content.load(None).unwrap();
        let (term, cookie) = content.begin_term().unwrap();
        let limits = Limits { max_shrink: 0.1, confirmed_after: Duration::from_secs(300) };
        Self { content, term, cookie, limits, begins: false, listed: Listed::new(), worked: false }
    }

    /// Another look at the same replica, while a feed has the writer. For tests of feeds.
    pub(in crate::directory) fn view(&self) -> Self {
        Self { content: Arc::clone(&self.content), cookie: self.cookie.clone(), ..*self }
    }

    /// It goes to another feed. For tests of feeds.
    pub(in crate::directory) fn hand_on(mut self) -> Self {
        self.term = self.content.begin_term().unwrap().0;
        self
    }

    /// What the replica knows of the address, for tests of feeds.
    pub(in crate::directory) fn find(
        &self,
        address: &crate::address::Address,
    ) -> Option<crate::policy::Attributes> {
        self.content.memory.find(address)
    }

    /// How many addresses the replica knows, for tests of feeds.
    pub(in crate::directory) fn addresses(&self) -> u64 {
        self.content.memory.len()
    }

    /// Whether whom it does not know is absent at once, for tests of feeds.
    pub(in crate::directory) fn is_current(&self) -> bool {
        self.content.is_current()
    }

    /// Whether a listing was complete and believed, for tests of feeds.
    pub(in crate::directory) fn is_complete(&self) -> bool {
        self.content.is_complete()
    }
}
