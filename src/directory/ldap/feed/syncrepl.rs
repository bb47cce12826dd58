//! Content synchronization (RFC 4533): the server tells what changed since the cookie, and then what changes.
//!
//! Deletions are told one by one, or by who is still there; which of the two the server chooses. A cookie counts only with
//! all that it stands for: at the end of a refresh, and with a change. That a server falls silent is noticed by questions
//! on the same connection. Where persisting is refused, the server is asked for changes every second.

use std::{convert::Infallible, future::pending, mem::take, pin::Pin, time::Instant};

use futures_util::FutureExt;
use ldap3::{LdapError, ResultEntry, Scope, SearchStream};
use tokio::time::{MissedTickBehavior, interval};

use super::{
    End, POLL,
    controls::{EntryState, SyncInfo, SyncMode, sync_done, sync_info, sync_request, sync_state},
    cookie::{Kind, Mark},
    link::{BULK, Link, MOST_ENTRIES, QUICK, RootDse, is_entry, succeeded, within},
    listing::{Again, pause},
    subject::Subject,
};
use crate::directory::{
    ldap::{fault::Fault, object::Object},
    replica::{Change, ObjectId, Recipient, Writer},
};

/// Follows from where the writer's cookie says.
pub(super) async fn follow(
    link: &mut Link,
    server: &RootDse,
    subject: &Subject,
    again: &mut Again,
    writer: &mut Writer,
) -> Result<Infallible, End> {
    let context = subject.context(server);
    let moves = context.is_none_or(|context| subject.is_part_of(&context));
    let mut consumer = Consumer { subject, mark: subject.mark(Kind::Syncrepl, b""), again, moves };
    let mut mode = SyncMode::RefreshAndPersist;
    let mut anew = false;
    loop {
        // While the server persists, this is asked there.
        let from_start = take(&mut anew) || consumer.is_due(writer);
        let kept = writer.cookie().and_then(|cookie| consumer.mark.take_off(&cookie));
        let cookie = kept.filter(|_| !from_start);
        let began = Instant::now();
        match consumer.run(link, mode, cookie.as_deref(), writer).await {
            Ok(Ended::Refreshed) => {
                link.look_elsewhere_again(subject).await?;
                link.confirm(subject, consumer.again, writer, began);
                pause(began).await;
            }
            Ok(Ended::Anew) => {
                anew = true;
                // From here on nobody is absent without a question.
                writer.begin_listing();
                // Whatever moves, and whatever the server wants: everything is listed once in a second at most.
                pause(began).await;
            }
            // e-syncRefreshRequired; or it has gone back in time, or knows nothing of this cookie. What it says to a
            // consumer without one is what counts.
            Err(End::Refused(_)) if cookie.is_some() => anew = true,
            Err(End::Refused(code)) if mode == SyncMode::RefreshAndPersist && code.number() != SIZE_LIMIT => {
                mode = SyncMode::RefreshOnly;
            }
            Err(end) => return Err(end),
        }
    }
}

/// How a synchronization ended.
enum Ended {
    /// All was told, and the server waits to be asked again.
    Refreshed,
    /// Everything has to be listed.
    Anew,
}

struct Consumer<'a> {
    subject: &'a Subject,
    mark: Mark,
    again: &'a mut Again,
    /// Parts of the tree can move below the base, or away, as a whole; nobody tells of what is in them.
    moves: bool,
}

/// Whether the server is still there, asked at that time, and what it has of the directory.
type Question<'a> = Pin<Box<dyn Future<Output = Result<(Instant, Link), End>> + Send + 'a>>;

type Stream = SearchStream<'static, String, Vec<String>>;

impl Consumer<'_> {
    fn is_due(&self, writer: &Writer) -> bool {
        self.again.is_due(self.subject.drifts, writer)
    }

    /// One search with the Sync Request Control, to its end.
    async fn run(
        &mut self,
        link: &mut Link,
        mode: SyncMode,
        cookie: Option<&[u8]>,
        writer: &mut Writer,
    ) -> Result<Ended, End> {
        let began = Instant::now();
        let mut stream = self.start(link, mode, cookie).await?;
        let ended = self.listen(link, &mut stream, mode, cookie, began, writer).await;
        if let Ok(Ended::Anew) = ended {
            let search = stream.ldap_handle().last_id();
            within(QUICK, link.ldap.abandon(search)).await??;
        }
        ended
    }

    async fn listen(
        &mut self,
        link: &mut Link,
        stream: &mut Stream,
        mode: SyncMode,
        cookie: Option<&[u8]>,
        began: Instant,
        writer: &mut Writer,
    ) -> Result<Ended, End> {
        let refreshed = self.refresh(stream, link, cookie, writer).await;
        if refreshed.map_err(|end| end.or_refused(cookie.is_some()))? {
            return Ok(Ended::Anew);
        }
        if mode == SyncMode::RefreshOnly {
            return Ok(Ended::Refreshed);
        }
        link.confirm(self.subject, self.again, writer, began);
        self.persist(stream, link, began, writer).await
    }

    async fn start(&self, link: &mut Link, mode: SyncMode, cookie: Option<&[u8]>) -> Result<Stream, End> {
        let mut attributes =
            self.subject.attributes().iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut filter = self.subject.filter.clone();
        if self.moves {
            filter = format!("(|{filter}{CONTAINERS})");
            attributes.push("objectClass".to_owned());
        }
        let search = link.ldap.with_controls(sync_request(mode, cookie)).streaming_search(
            &self.subject.base,
            Scope::Subtree,
            &filter,
            attributes,
        );
        Ok(within(QUICK, search).await??)
    }

    /// The refresh stage (RFC 4533 §3.3.1, §3.4.1). `true`: everything must be listed.
    async fn refresh(
        &mut self,
        stream: &mut Stream,
        link: &mut Link,
        cookie: Option<&[u8]>,
        writer: &mut Writer,
    ) -> Result<bool, End> {
        let mut refresh = Refresh { listing: cookie.is_none(), ..Refresh::default() };
        let anew = refresh.listing;
        if anew {
            writer.begin_listing();
        }
        // What is in something that moved is told of by nobody; what else is known is not even that something moved.
        let mut moved = false;
        let (told, present) = loop {
            let Some(message) = within(BULK, stream.next()).await?? else {
                let result = succeeded(stream.finish().await, &self.subject.base)?;
                // What says no more than this ended without a word of what is gone.
                let done = sync_done(&result.ctrls)?.ok_or(Fault::Malformed)?;
                break (done.cookie, !done.refresh_deletes);
            };
            refresh.messages += 1;
            if refresh.messages > MOST_ENTRIES {
                return Err(Fault::TooMany.into());
            }
            match self.understand(message, link).await? {
                Told::Hidden(id) => {
                    refresh.hidden = true;
                    self.again.hide();
                    refresh.put(id, Vec::new());
                }
                Told::Put(id, recipients, container) => {
                    if let (Some(name), Some(_)) = (container, cookie) {
                        moved |= link.has_children(&name).await?;
                    }
                    refresh.put(id, recipients);
                }
                Told::Remove(id, container) => {
                    moved |= container;
                    refresh.remove(vec![id]);
                }
                Told::Present(ids) => {
                    refresh.begin_listing(writer).await?;
                    refresh.anybody |= !ids.is_empty();
                    writer.keep(ids).await?;
                }
                Told::Gone(ids) => {
                    moved |= self.moves && !ids.is_empty();
                    refresh.remove(ids);
                }
                Told::Refreshed { cookie, present, done } => {
                    if present {
                        refresh.begin_listing(writer).await?;
                    }
                    if done {
                        break (cookie, present);
                    }
                }
                Told::Cookie(_) | Told::Nothing => {}
            }
            if refresh.is_large() {
                return Ok(true);
            }
            if refresh.batch.changes.len() >= BATCH {
                // However fast the server is, what waits here is little more than this.
                let _closed = link.gate.close();
                refresh.batch.write(writer, None, refresh.listing).await?;
            }
        };
        if present {
            refresh.begin_listing(writer).await?;
        }
        let told = told.filter(|cookie| !cookie.is_empty());
        let cookie = told.as_deref().or(cookie).map(|cookie| self.mark.put_on(cookie));
        if refresh.listing {
            refresh.batch.write(writer, None, true).await?;
            if !refresh.anybody {
                return Err(Fault::Blind.into());
            }
            writer.end_listing(cookie).await?;
            if anew {
                self.again.listed(refresh.hidden);
            }
        } else {
            refresh.batch.write(writer, cookie, false).await?;
        }
        Ok(moved)
    }

    /// The persist stage (RFC 4533 §3.4.2). Ends only when it fails, or when everything has to be listed.
    async fn persist(
        &mut self,
        stream: &mut Stream,
        link: &mut Link,
        began: Instant,
        writer: &mut Writer,
    ) -> Result<Ended, End> {
        let subject = self.subject;
        let mut ticks = interval(POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut question: Option<Question<'_>> = None;
        let mut before = began;
        let mut batch = Batch::default();
        loop {
            let idle = question.is_none();
            let answer = async {
                match &mut question {
                    Some(question) => question.await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                message = stream.next() => {
                    let mut message = Some(message);
                    let mut cookie = None;
                    let mut anew = false;
                    // What came together is told together.
                    while let Some(next) = message.take() {
                        let Some(next) = next? else {
                            let result = stream.finish().await;
                            if result.rc == REFRESH_REQUIRED {
                                return Ok(Ended::Anew);
                            }
                            succeeded(result, &self.subject.base)?;
                            // A search that persists does not end by itself.
                            return Err(LdapError::EndOfStream.into());
                        };
                        anew |= self.told(next, link, &mut batch, &mut cookie).await?;
                        if batch.changes.len() < BATCH {
                            message = stream.next().now_or_never();
                        }
                    }
                    let cookie = cookie.map(|cookie| self.mark.put_on(&cookie));
                    if !self.again.knows_all() {
                        // At once, and not with the next answer.
                        link.confirm(subject, self.again, writer, before);
                    }
                    // Only who floods is held back: an answer to the question may wait behind this.
                    let _closed = (batch.changes.len() >= BATCH).then(|| link.gate.close());
                    batch.write(writer, cookie, false).await?;
                    if anew {
                        return Ok(Ended::Anew);
                    }
                }
                asked = answer => {
                    // The server may tell of changes a moment after it answered: what was before the question before is
                    // certain.
                    let (asked, asker) = asked?;
                    link.found_as(asker);
                    link.confirm(subject, self.again, writer, before);
                    before = asked;
                    question = None;
                }
                _ = ticks.tick(), if idle => {
                    if self.is_due(writer) {
                        return Ok(Ended::Anew);
                    }
                    let mut asker = link.clone();
                    question = Some(Box::pin(async move {
                        let asked = Instant::now();
                        let search = asker.ldap.search("", Scope::Base, super::link::ANYTHING, ["1.1"]);
                        // Whatever the answer is, the server is there.
                        within(QUICK, search).await??;
                        asker.look_elsewhere_again(subject).await?;
                        Ok((asked, asker))
                    }));
                }
            }
        }
    }

    /// Takes down a message of the persist stage; `true`: everything must be listed.
    async fn told(
        &mut self,
        message: ResultEntry,
        link: &mut Link,
        batch: &mut Batch,
        cookie: &mut Option<Box<[u8]>>,
    ) -> Result<bool, End> {
        let mut anew = false;
        let state = match is_entry(&message) {
            true => sync_state(&message.1)?,
            false => None,
        };
        let told = self.understand(message, link).await?;
        let mut newer = state.and_then(|state| state.cookie);
        match told {
            Told::Put(id, recipients, container) => {
                if let Some(name) = container {
                    anew = link.has_children(&name).await?;
                }
                batch.changes.push(Change::Put(id, recipients));
            }
            Told::Hidden(id) => {
                self.again.hide();
                batch.changes.push(Change::Put(id, Vec::new()));
            }
            Told::Remove(id, container) => {
                anew = container;
                batch.changes.push(Change::Remove(id));
            }
            Told::Gone(ids) => batch.changes.extend(ids.into_iter().map(Change::Remove)),
            Told::Cookie(cookie) => newer = Some(cookie),
            // RFC 4533 §3.4.2 has none of these here.
            Told::Present(_) | Told::Refreshed { .. } => return Err(Fault::Malformed.into()),
            Told::Nothing => {}
        }
        *cookie = newer.filter(|cookie| !cookie.is_empty()).or(cookie.take());
        Ok(anew)
    }

    /// What a message says.
    async fn understand(&self, message: ResultEntry, link: &mut Link) -> Result<Told, End> {
        if message.is_intermediate() {
            return Ok(match sync_info(&message.0)? {
                None => Told::Nothing,
                Some(SyncInfo::NewCookie(cookie)) => Told::Cookie(cookie),
                Some(SyncInfo::RefreshDelete { cookie, done }) => {
                    Told::Refreshed { cookie, present: false, done }
                }
                Some(SyncInfo::RefreshPresent { cookie, done }) => {
                    Told::Refreshed { cookie, present: true, done }
                }
                Some(SyncInfo::IdSet { deletes, uuids, .. }) => {
                    let ids = uuids.into_iter().map(ObjectId::from).collect();
                    if deletes { Told::Gone(ids) } else { Told::Present(ids) }
                }
            });
        }
        if !is_entry(&message) {
            return Ok(Told::Nothing);
        }
        let state = sync_state(&message.1)?.ok_or(Fault::Malformed)?;
        let id = ObjectId::from(state.uuid);
        Ok(match state.state {
            EntryState::Present => Told::Present(vec![id]),
            EntryState::Delete => {
                let object = Object::read(message).ok_or(Fault::Malformed)?;
                Told::Remove(id, self.moves && is_named_as_container(&object.dn))
            }
            EntryState::Add | EntryState::Modify => {
                let mut object = Object::read(message).ok_or(Fault::Malformed)?;
                within(BULK, super::super::object::complete(&mut link.ldap, &mut object)).await??;
                let container = (self.moves && is_container(&object)).then(|| object.dn.clone());
                if container.is_none() && !self.subject.is_shown(&object) {
                    return Ok(Told::Hidden(id));
                }
                Told::Put(id, self.subject.recipients(&object), container)
            }
        })
    }
}

/// What a message says, whatever its form.
enum Told {
    /// With its name, if it is something that others are in.
    Put(ObjectId, Vec<Recipient>, Option<String>),
    /// It does not show whom it stands for.
    Hidden(ObjectId),
    /// Whether it may be something that others are in.
    Remove(ObjectId, bool),
    Present(Vec<ObjectId>),
    Gone(Vec<ObjectId>),
    Refreshed {
        cookie: Option<Box<[u8]>>,
        present: bool,
        done: bool,
    },
    Cookie(Box<[u8]>),
    Nothing,
}

/// A refresh that is under way.
#[derive(Default)]
struct Refresh {
    /// Who is not mentioned is gone.
    listing: bool,
    messages: usize,
    /// Those mentioned while it was not known whether this is a listing.
    mentioned: Vec<ObjectId>,
    /// Objects that are gone, as was told one by one.
    gone: usize,
    /// Somebody is there: rights that hide all look like an empty directory.
    anybody: bool,
    /// There are entries that do not show whom they stand for.
    hidden: bool,
    batch: Batch,
}

impl Refresh {
    fn put(&mut self, id: ObjectId, recipients: Vec<Recipient>) {
        self.anybody |= !recipients.is_empty();
        if !self.listing {
            self.mentioned.push(id.clone());
        }
        self.batch.changes.push(Change::Put(id, recipients));
    }

    fn remove(&mut self, ids: Vec<ObjectId>) {
        self.gone += ids.len();
        self.batch.changes.extend(ids.into_iter().map(Change::Remove));
    }

    /// So much is said to be gone that a listing has to tell (which is held back if it takes away too much), or so much
    /// changed that a listing takes less.
    fn is_large(&self) -> bool {
        !self.listing && (self.gone > MOST_GONE || self.mentioned.len() > MOST_MENTIONED)
    }

    /// It is a listing after all.
    async fn begin_listing(&mut self, writer: &mut Writer) -> Result<(), End> {
        if !self.listing {
            self.batch.write(writer, None, false).await?;
            self.listing = true;
            writer.begin_listing();
            writer.keep(take(&mut self.mentioned)).await?;
        }
        Ok(())
    }
}

/// Changes on their way.
#[derive(Default)]
struct Batch {
    changes: Vec<Change>,
}

impl Batch {
    async fn write(
        &mut self,
        writer: &mut Writer,
        cookie: Option<Vec<u8>>,
        listing: bool,
    ) -> Result<(), End> {
        let changes = take(&mut self.changes);
        if changes.is_empty() && cookie.is_none() {
            return Ok(());
        }
        let is_put = |change: &Change| matches!(change, Change::Put(..));
        if listing && changes.iter().all(is_put) {
            let page = changes.into_iter().filter_map(|change| match change {
                Change::Put(id, recipients) => Some((id, recipients)),
                Change::Remove(_) => None,
            });
            writer.list(page.collect()).await?;
        } else {
            writer.apply(changes, cookie).await?;
        }
        Ok(())
    }
}

fn is_container(object: &Object) -> bool {
    object.values("objectClass").any(|class| CLASSES.iter().any(|own| class.eq_ignore_ascii_case(own)))
}

/// Of an object that is gone only the name is told.
fn is_named_as_container(name: &str) -> bool {
    let kind = name.split('=').next().unwrap_or_default().trim();
    ["ou", "o", "dc", "l", "c", "st"].iter().any(|own| kind.eq_ignore_ascii_case(own))
}

/// What moves with all that is below it.
const CONTAINERS: &str = "(objectClass=organizationalUnit)(objectClass=organization)(objectClass=container)(objectClass=dcObject)(objectClass=country)(objectClass=locality)";
const CLASSES: [&[u8]; 6] =
    [b"organizationalUnit", b"organization", b"container", b"dcObject", b"country", b"locality"];

/// Changes told to the replica together, at most.
const BATCH: usize = 1000;
/// Deletions that are believed without a listing, of those while nobody listened.
const MOST_GONE: usize = 100;
/// Of 16 octets each.
const MOST_MENTIONED: usize = 100_000;
/// `e-syncRefreshRequired` (RFC 4533 §2.6)
const REFRESH_REQUIRED: u32 = 4096;
/// RFC 4511 §4.1.9: another way of asking would not help.
const SIZE_LIMIT: u32 = 4;
