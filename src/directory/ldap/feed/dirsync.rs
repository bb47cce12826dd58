//! Changes of Active Directory by the DirSync control (MS-ADTS §3.1.1.3.4.1.3), asked for every second.
//!
//! It sees a naming context as a whole if the account has the right "Replicating Directory Changes" there, else what the
//! account may read. Where it does not see what was deleted, a listing at an interval finds that. Its cookies are good at
//! any server of the domain.

use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

use ldap3::Scope;

use super::{
    End,
    changes::{Changes, is_deleted, sees_deleted},
    controls::{DIRSYNC, dirsync, dirsync_request},
    cookie::{Kind, Mark},
    link::{ANYTHING, BULK, Link, MOST_ENTRIES, Query, RootDse},
    listing::{Again, everything, pause},
    subject::Subject,
};
use crate::directory::{
    ldap::{
        fault::{Code, Fault},
        object::Object,
    },
    replica::Writer,
};

/// Follows from where the writer's cookie says.
pub(super) async fn follow(
    link: &mut Link,
    server: &RootDse,
    subject: &Subject,
    again: &mut Again,
    writer: &mut Writer,
) -> Result<Infallible, End> {
    if !server.supports(DIRSYNC) {
        return Err(End::Refused(Code::new(UNAVAILABLE, "no DirSync control")));
    }
    let Some(context) = subject.context(server) else {
        return Err(End::Refused(Code::new(
            NO_SUCH_OBJECT,
            "the base is in no naming context of this server",
        )));
    };
    let mark = subject.mark(Kind::DirSync, b"");
    // With the right to replicate some servers show what is deleted, and some want another right for that.
    let sees_deleted = sees_deleted(link, &context).await?;
    let mut view = View { subject, context: &context, as_reader: false, sees_deleted, mark };
    let mut cookie = match view.begin(link, again, writer).await {
        Err(End::Refused(code)) if code.number() == INSUFFICIENT_ACCESS => {
            view = View { as_reader: true, mark: subject.mark(Kind::DirSyncAsReader, b""), ..view };
            view.begin(link, again, writer).await?
        }
        begun => begun?,
    };
    if !view.sees_deleted {
        again.tell_of_deletions(&context);
    }
    loop {
        let began = Instant::now();
        let relist = again.is_due(!view.sees_deleted || subject.drifts, writer)
            || !view.poll(link, SOON, &mut cookie, again, writer).await?;
        if relist {
            everything(link, subject, Some(view.mark.put_on(&cookie)), again, writer).await?;
        } else {
            link.look_elsewhere_again(subject).await?;
            link.confirm(subject, again, writer, began);
        }
        pause(began).await;
    }
}

/// How the directory is looked at.
struct View<'a> {
    subject: &'a Subject,
    context: &'a str,
    as_reader: bool,
    /// Deletions are told: the server has shown deleted objects.
    sees_deleted: bool,
    mark: Mark,
}

impl View<'_> {
    /// The cookie to go on from: the writer's, if it is this view's and the server takes it; else a new one, and
    /// everything was listed.
    async fn begin(
        &mut self,
        link: &mut Link,
        again: &mut Again,
        writer: &mut Writer,
    ) -> Result<Box<[u8]>, End> {
        if let Some(mut cookie) = writer.cookie().and_then(|cookie| self.mark.take_off(&cookie)) {
            match self.poll(link, BULK, &mut cookie, again, writer).await.map_err(|end| end.or_refused(true))
            {
                Ok(true) => return Ok(cookie),
                // It does not know the cookie any more, or a part of the tree moved.
                Ok(false) => {}
                Err(End::Refused(code)) if code.number() != INSUFFICIENT_ACCESS => {}
                Err(end) => return Err(end),
            }
        }
        let mut cookie = Box::default();
        // What is shown here is listed below, by the filter; only where that begins is wanted.
        while self.ask(link, BULK, &mut cookie, None).await.map_err(|end| end.or_refused(false))? {}
        everything(link, self.subject, Some(self.mark.put_on(&cookie)), again, writer).await?;
        Ok(cookie)
    }

    /// Tells the writer what changed; `false`: everything must be listed.
    async fn poll(
        &mut self,
        link: &mut Link,
        limit: Duration,
        cookie: &mut Box<[u8]>,
        again: &mut Again,
        writer: &mut Writer,
    ) -> Result<bool, End> {
        loop {
            let mut changes = Changes::default();
            let more = self.ask(link, limit, cookie, Some(&mut changes)).await?;
            if !changes.is_empty() {
                let Some(changes) = changes.read(link, self.subject, self.context, again).await? else {
                    while self.ask(link, BULK, cookie, None).await? {}
                    return Ok(false);
                };
                writer.apply(changes, again.allow(self.mark.put_on(cookie))).await?;
            }
            if !more {
                return Ok(true);
            }
        }
    }

    /// One answer, and whether there is more.
    async fn ask(
        &mut self,
        link: &mut Link,
        limit: Duration,
        cookie: &mut Box<[u8]>,
        mut changes: Option<&mut Changes>,
    ) -> Result<bool, End> {
        let attributes = self.subject.watched();
        let attributes: Vec<_> = attributes.iter().map(String::as_str).collect();
        let query =
            Query { base: self.context, scope: Scope::Subtree, filter: ANYTHING, attributes: &attributes };
        let controls = vec![dirsync_request(self.as_reader, cookie)];
        let sees_deleted = &mut self.sees_deleted;
        let note = |entry: Object| {
            *sees_deleted |= is_deleted(&entry);
            if let Some(changes) = &mut changes {
                // Whatever moves gets its name anew; whatever is new has a class besides.
                let moved = entry.text("name").is_some() && entry.text("objectClass").is_none();
                changes.note(entry, moved);
            }
        };
        let page = link.each(&query, controls, limit, MOST_ENTRIES, note).await?;
        let state = dirsync(&page.controls)?.ok_or(Fault::Malformed)?;
        if state.more && state.cookie == *cookie {
            // It would tell the same for ever.
            return Err(Fault::Malformed.into());
        }
        *cookie = state.cookie;
        Ok(state.more)
    }
}

/// A second's changes are there soon, or the server hangs. Where there are more, the next try has more time.
const SOON: Duration = Duration::from_secs(10);

/// RFC 4511 §4.1.9
const UNAVAILABLE: u32 = 12;
const NO_SUCH_OBJECT: u32 = 32;
const INSUFFICIENT_ACCESS: u32 = 50;
