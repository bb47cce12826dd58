//! Everything, page by page: how a replica begins where the feed has no better way, and what finds deletions where the server
//! shows none.
//!
//! A listing counts only if the server says that it was complete. A page is handed over before the next one is asked for.

use std::{
    convert::Infallible,
    mem::take,
    time::{Duration, Instant},
};

use super::{
    End, POLL,
    link::{Link, Pages, QUICK, id_of},
    subject::Subject,
};
use crate::directory::{ldap::fault::Fault, replica::Writer};

/// Lists everything now and after each `refresh`.
pub(super) async fn follow(
    link: &mut Link,
    subject: &Subject,
    again: &mut Again,
    writer: &mut Writer,
) -> Result<Infallible, End> {
    loop {
        let began = Instant::now();
        everything(link, subject, None, again, writer).await?;
        writer.current(began, false);
        // A connection on which nothing moves is cut by some, and that should be seen before it is needed.
        let next = tokio::time::Instant::now() + again.refresh;
        while tokio::time::Instant::now() < next {
            tokio::time::sleep_until(next.min(tokio::time::Instant::now() + KEEP_ALIVE)).await;
            super::link::within(QUICK, link.root_dse()).await??;
        }
    }
}

/// Lists everything. The cookie is for where the listing begins: what changes meanwhile must be told again from there.
pub(super) async fn everything(
    link: &mut Link,
    subject: &Subject,
    cookie: Option<Vec<u8>>,
    again: &mut Again,
    writer: &mut Writer,
) -> Result<(), End> {
    writer.begin_listing();
    let attributes = subject.attributes();
    let mut pages = Pages::new(subject.query(&attributes), None);
    let (mut batch, mut weight, mut anybody, mut hidden) = (Vec::new(), 0, false, false);
    // What is missing of these is asked for when nothing else is on its way.
    let mut unfinished = Vec::new();
    while let Some(object) = pages.next(link).await? {
        if !attributes.iter().all(|name| object.is_whole(name)) {
            if unfinished.len() == BATCH {
                return Err(Fault::TooMany.into());
            }
            unfinished.push(object);
            continue;
        }
        let recipients = subject.recipients(&object);
        anybody |= !recipients.is_empty();
        hidden |= !subject.is_shown(&object);
        weight += 1 + recipients.len();
        batch.push((id_of(&object), recipients));
        if weight >= BATCH {
            // However fast the server is, what waits here is little more than this.
            let _closed = link.gate.close();
            writer.list(take(&mut batch)).await?;
            weight = 0;
        }
    }
    writer.list(batch).await?;
    let rest = subject.read(link, unfinished).await?;
    anybody |= rest.iter().any(|(_, recipients)| !recipients.is_empty());
    writer.list(rest).await?;
    if !anybody {
        // Rights that hide all recipients look like a directory without any.
        return Err(Fault::Blind.into());
    }
    writer.end_listing(cookie).await?;
    again.listed(hidden);
    Ok(())
}

/// When everything is listed again, beside a feed of changes: none tells of all. Outlives connections.
#[derive(Debug)]
pub(super) struct Again {
    refresh: Duration,
    last: Instant,
    /// Changes were left out, for the next listing to tell what is true.
    owed: bool,
    /// Since then what the server tells is told from a cookie of an earlier connection. A server that was restored from a
    /// backup meanwhile takes the cookie, and never tells of what it has again.
    resumed: Option<Instant>,
    /// An entry was found, and whom it stands for may not be read.
    hidden: bool,
    /// The log was told that deletions are not seen.
    told: bool,
}

impl Again {
    pub(super) fn new(refresh: Duration) -> Self {
        Self { refresh, last: Instant::now(), owed: false, resumed: None, hidden: false, told: false }
    }

    /// Whether it is time. `misses`: the feed is known to miss something.
    pub(super) fn is_due(&self, misses: bool, writer: &Writer) -> bool {
        let soon = misses || self.owed || writer.holds_back();
        let after = if soon { self.refresh } else { self.refresh.saturating_mul(SELDOM) };
        self.last.elapsed() >= after || self.resumed.is_some_and(|since| since.elapsed() >= self.refresh)
    }

    /// Everything was listed just now; `hidden`: with entries that do not show whom they stand for.
    pub(super) fn listed(&mut self, hidden: bool) {
        self.hidden = hidden;
        self.last = Instant::now();
        self.owed = false;
        self.resumed = None;
    }

    /// A connection begins with a cookie of an earlier one.
    pub(super) fn resume(&mut self) {
        self.resumed.get_or_insert_with(Instant::now);
    }

    /// There is an entry that does not show whom it stands for.
    pub(super) fn hide(&mut self) {
        self.hidden = true;
    }

    /// Whether everything that the server has was told, on this connection, and could be read.
    pub(super) fn knows_all(&self) -> bool {
        self.resumed.is_none() && !self.hidden
    }

    /// Changes were left out: a listing is needed, and until then no cookie may go beyond them.
    pub(super) fn owe(&mut self) {
        self.owed = true;
    }

    /// The cookie, unless it goes beyond changes that were left out.
    pub(super) fn allow(&self, cookie: Vec<u8>) -> Option<Vec<u8>> {
        (!self.owed).then_some(cookie)
    }

    /// For the log, where the account may not see what was deleted; once.
    pub(super) fn tell_of_deletions(&mut self, context: &str) {
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!(
                context,
                "the account may not see deleted objects: whoever is deleted is known until the next full listing"
            );
        }
    }
}

/// Until the next poll; what it took is part of the time.
pub(super) async fn pause(began: Instant) {
    tokio::time::sleep(POLL.saturating_sub(began.elapsed())).await;
}

/// Servers and firewalls are known to cut connections after a few idle minutes.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Entries and addresses that are handed over together.
const BATCH: usize = 1000;
/// A feed that is told of all changes misses what rights and other objects do: in so many times the interval everything is
/// listed once (with 15 minutes, each day).
const SELDOM: u32 = 96;
