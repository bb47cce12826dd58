//! Changes of Active Directory by `uSNChanged` (MS-ADTS §3.1.1.1.9), asked for every second: takes no right but to read.
//!
//! The numbers are one server's own, and of one life of its database (`invocationId`): at another one everything is listed.
//! Deleted objects are seen if the account may read them; else a listing at an interval finds who is gone.

use std::{collections::HashMap, convert::Infallible, time::Instant};

use ldap3::Scope;

use super::{
    End,
    changes::{Changes, sees_deleted},
    controls::{SHOW_DELETED, show_deleted},
    cookie::{Kind, Mark},
    link::{Link, Pages, Query, RootDse, guid_of},
    listing::{Again, everything, pause},
    names::Guid,
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
    let Some(context) = subject.context(server) else {
        return Err(End::Refused(Code::new(
            NO_SUCH_OBJECT,
            "the base is in no naming context of this server",
        )));
    };
    let Some(invocation) = invocation(link, server).await? else {
        return Err(End::Refused(Code::new(NO_SUCH_OBJECT, "the server does not tell its invocationId")));
    };
    let sees_deleted = server.supports(SHOW_DELETED) && sees_deleted(link, &context).await?;
    if !sees_deleted {
        again.tell_of_deletions(&context);
    }
    let mark = subject.mark(Kind::Usn, &invocation);
    let kept = writer.cookie().and_then(|cookie| mark.take_off(&cookie));
    let mut window = match kept.and_then(|cookie| number(str::from_utf8(&cookie).ok()?)) {
        Some(usn) => Window::new(usn),
        None => list(link, subject, &mark, again, writer).await?,
    };
    loop {
        let began = Instant::now();
        if !again.is_due(!sees_deleted || subject.drifts, writer)
            && let Some(changes) = window.poll(link, &context, sees_deleted).await?
            && let Some(changes) = changes.read(link, subject, &context, again).await?
        {
            if !changes.is_empty() {
                let cookie = mark.put_on(window.lower.to_string().as_bytes());
                writer.apply(changes, again.allow(cookie)).await?;
            }
            link.look_elsewhere_again(subject).await?;
            link.confirm(subject, again, writer, began);
        } else {
            window = list(link, subject, &mark, again, writer).await?;
        }
        pause(began).await;
    }
}

/// Lists everything; the window begins before that.
async fn list(
    link: &mut Link,
    subject: &Subject,
    mark: &Mark,
    again: &mut Again,
    writer: &mut Writer,
) -> Result<Window, End> {
    let usn = highest(link).await?;
    everything(link, subject, Some(mark.put_on(usn.to_string().as_bytes())), again, writer).await?;
    Ok(Window::new(usn))
}

/// Numbers are given out before changes are complete, so a lower one may show up after a higher one: each is looked for
/// twice.
#[derive(Debug)]
struct Window {
    /// All up to this one were seen.
    lower: u64,
    /// Up to this one they were looked for once.
    upper: u64,
    /// What was seen above `lower`.
    seen: HashMap<Guid, u64>,
}

impl Window {
    fn new(usn: u64) -> Self {
        Self { lower: usn, upper: usn, seen: HashMap::new() }
    }

    /// What changed; `None`: everything must be listed.
    async fn poll(&mut self, link: &mut Link, context: &str, deleted: bool) -> Result<Option<Changes>, End> {
        let highest = highest(link).await?;
        if highest < self.upper {
            // The database went back in time.
            return Ok(None);
        }
        self.look(link, context, highest, deleted).await.map(Some)
    }

    /// What changed since, and was not told before.
    async fn look(
        &mut self,
        link: &mut Link,
        context: &str,
        highest: u64,
        deleted: bool,
    ) -> Result<Changes, End> {
        let mut changes = Changes::default();
        if highest == self.lower {
            return Ok(changes);
        }
        let filter = format!("(uSNChanged>={})", self.lower.saturating_add(1));
        let query = Query {
            base: context,
            scope: Scope::Subtree,
            filter: &filter,
            attributes: &["objectGUID", "uSNChanged", "isDeleted", "objectClass"],
        };
        let mut pages = Pages::new(query, deleted.then(show_deleted));
        let mut seen = HashMap::new();
        while let Some(entry) = pages.next(link).await? {
            let usn = entry.text("uSNChanged").and_then(number);
            let (Some(guid), Some(usn)) = (guid_of(&entry), usn) else { continue };
            if self.seen.get(&guid) != Some(&usn) {
                let moved = is_container(&entry);
                changes.note(entry, moved);
            }
            if changes.are_too_many() {
                // On this connection comes more, and the listing waits until it has come.
                continue;
            }
            if usn > self.upper {
                seen.insert(guid, usn);
            }
        }
        (self.lower, self.upper, self.seen) = (self.upper, highest, seen);
        Ok(changes)
    }
}

/// The highest number that was given out.
async fn highest(link: &mut Link) -> Result<u64, End> {
    let server = link.root_dse().await?;
    let highest = server.first("highestCommittedUSN").and_then(number);
    Ok(highest.ok_or(Fault::Malformed)?)
}

/// Which life of which server's database this is.
async fn invocation(link: &mut Link, server: &RootDse) -> Result<Option<Box<[u8]>>, End> {
    let Some(service) = server.first("dsServiceName") else { return Ok(None) };
    let entry = link.read(service, &["invocationId"]).await?;
    Ok(entry.and_then(|entry| entry.values("invocationId").next().map(Box::from)))
}

/// Whether it may have moved with all that is in it; users and computers have things below them, too, but no recipients.
fn is_container(entry: &Object) -> bool {
    let is_one = |class: &[u8]| {
        [&b"organizationalUnit"[..], b"container"].iter().any(|own| class.eq_ignore_ascii_case(own))
    };
    entry.values("objectClass").any(is_one)
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok()
}

/// RFC 4511 §4.1.9
const NO_SUCH_OBJECT: u32 = 32;
