//! Everything, page by page: how a replica begins where the feed has no better way, and what finds deletions where the server
//! shows none.
//!
//! A listing counts only if the server says that it was complete. A page is handed over before the next one is asked for.

use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

use super::{
    End, POLL,
    link::{Link, Pages, QUICK},
    subject::Subject,
};
use crate::directory::{ldap::fault::Fault, replica::Writer};

/// Lists everything now and after each `refresh`.
pub(super) async fn follow(
    link: &mut Link,
    subject: &Subject,
    refresh: Duration,
    writer: &mut Writer,
) -> Result<Infallible, End> {
    loop {
        let began = Instant::now();
        everything(link, subject, None, writer).await?;
        writer.current(began, false);
        // A connection on which nothing moves is cut by some, and that should be seen before it is needed.
        let again = tokio::time::Instant::now() + refresh;
        while tokio::time::Instant::now() < again {
            tokio::time::sleep_until(again.min(tokio::time::Instant::now() + KEEP_ALIVE)).await;
            super::link::within(QUICK, link.root_dse()).await??;
        }
    }
}

/// Lists everything. The cookie is for where the listing begins: what changes meanwhile must be told again from there.
pub(super) async fn everything(
    link: &mut Link,
    subject: &Subject,
    cookie: Option<Vec<u8>>,
    writer: &mut Writer,
) -> Result<(), End> {
    writer.begin_listing();
    let attributes = subject.attributes();
    let mut pages = Pages::new(subject.query(&attributes), None);
    let mut anybody = false;
    while let Some(page) = pages.next(link).await? {
        let page = subject.read(link, page.entries).await?;
        anybody |= page.iter().any(|(_, recipients)| !recipients.is_empty());
        writer.list(page).await?;
    }
    if !anybody {
        // Rights that hide all recipients look like a directory without any.
        return Err(Fault::Blind.into());
    }
    writer.end_listing(cookie).await?;
    Ok(())
}

/// When everything is listed again beside a feed that can't tell all.
#[derive(Debug)]
pub(super) struct Again {
    refresh: Duration,
    /// The feed misses deletions.
    always: bool,
    /// What was listed last is held back until it is listed again.
    held: bool,
    due: Instant,
}

impl Again {
    /// `always`: the feed misses something. Else only what is held back is listed again.
    pub(super) fn new(refresh: Duration, always: bool, writer: &Writer) -> Self {
        Self { refresh, always, held: writer.holds_back(), due: Instant::now() + refresh }
    }

    /// Whether it is time.
    pub(super) fn is_due(&self) -> bool {
        (self.always || self.held) && self.due <= Instant::now()
    }

    /// Whether the feed misses something, as is known by now.
    pub(super) fn misses(&mut self, always: bool) {
        self.always = always;
    }

    /// Everything was listed just now.
    pub(super) fn listed(&mut self, writer: &Writer) {
        self.held = writer.holds_back();
        self.due = Instant::now() + self.refresh;
    }
}

/// Until the next poll; what it took is part of the time.
pub(super) async fn pause(began: Instant) {
    tokio::time::sleep(POLL.saturating_sub(began.elapsed())).await;
}

/// Servers and firewalls are known to cut connections after a few idle minutes.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
