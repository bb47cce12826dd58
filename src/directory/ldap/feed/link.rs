//! The connection that a feed has for itself, and searches on it that end in time.
//!
//! Nothing here waits longer than it says. A connection on which a search did not end is given up by whoever sees that:
//! what was asked before could still be answered into the next question's place.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use ldap3::{
    Ldap, LdapResult, ResultEntry, Scope, SearchStream,
    controls::{Control, RawControl},
};
use tokio::time::timeout;

use super::{
    End,
    controls::{PAGED_RESULTS, next_page, page_request},
    listing::Again,
    names::{Guid, filter_of_guids, uuid_from_text},
    subject::Subject,
};
use crate::directory::{
    ldap::{
        fault::{Code, Fault},
        object::Object,
        transport::Gate,
        vocabulary,
    },
    replica::{ObjectId, Writer},
};

/// A bound connection to one server.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) ldap: Ldap,
    /// Holds the server's answers back.
    pub(super) gate: Gate,
    /// Entries a page; `None`, if the server has no pages (RFC 2696).
    pub(super) page_size: Option<u32>,
    /// The server is one.
    pub(super) active_directory: bool,
    /// A part of what is below the base is on another server, and nothing of it comes here: whom the replica does not
    /// know may be there.
    pub(super) elsewhere: bool,
    /// When that was found out, and how long it took.
    looked: Option<(Instant, Duration)>,
}

/// What to search for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Query<'a> {
    pub(super) base: &'a str,
    pub(super) scope: Scope,
    pub(super) filter: &'a str,
    pub(super) attributes: &'a [&'a str],
}

/// A part of what was found.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) entries: Vec<Object>,
    /// URLs of other servers that may know more.
    references: Vec<String>,
    /// What came with the result.
    pub(super) controls: Vec<Control>,
}

/// What is found, one by one.
pub(super) struct Results {
    stream: SearchStream<'static, String, Vec<String>>,
    base: String,
    /// So much more may come.
    left: usize,
    references: Vec<String>,
}

/// Goes through the pages of a search.
pub(super) struct Pages<'a> {
    query: Query<'a>,
    control: Option<RawControl>,
    /// The one that is being read.
    page: Option<Results>,
    /// The cookie for the next one; `None` after the last one.
    next: Option<Box<[u8]>>,
    /// Entries that may come yet, on all pages.
    left: usize,
    /// Pages since the last entry.
    empty: u32,
}

/// What a server says of itself (RFC 4512 §5.1; MS-ADTS §3.1.1.3.2).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RootDse(Object);

impl Link {
    /// On which nothing was asked yet.
    pub(super) fn new(ldap: Ldap, gate: Gate) -> Self {
        Self { ldap, gate, page_size: None, active_directory: false, elsewhere: false, looked: None }
    }

    /// All that is found at once, which is little: more than anybody would ask for in this way is a fault.
    pub(super) async fn search(
        &mut self,
        query: &Query<'_>,
        controls: Vec<RawControl>,
        limit: Duration,
    ) -> Result<Page, End> {
        let mut entries = Vec::new();
        let found = self.each(query, controls, limit, MOST_AT_ONCE, |entry| entries.push(entry));
        let page = found.await?;
        Ok(Page { entries, ..page })
    }

    /// Hands over what is found as it comes, and keeps no entry.
    pub(super) async fn each(
        &mut self,
        query: &Query<'_>,
        controls: Vec<RawControl>,
        limit: Duration,
        most: usize,
        mut take: impl FnMut(Object),
    ) -> Result<Page, End> {
        within(limit, async {
            let mut results = self.start(query, controls, most).await?;
            while let Some(entry) = results.next().await? {
                take(entry);
            }
            results.finish().await
        })
        .await?
    }

    async fn start(
        &mut self,
        query: &Query<'_>,
        controls: Vec<RawControl>,
        most: usize,
    ) -> Result<Results, End> {
        let Query { base, scope, filter, attributes } = *query;
        let attributes = attributes.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let search = self.ldap.with_controls(controls).streaming_search(base, scope, filter, attributes);
        Ok(Results { stream: search.await?, base: base.to_owned(), left: most, references: Vec::new() })
    }

    /// Whether the server has the attributes that the administrator names.
    pub(super) async fn has_attributes(&mut self, subject: &Subject) -> Result<(), End> {
        Ok(within(BULK, vocabulary::check(&mut self.ldap, subject.named())).await??)
    }

    /// Finds out whether a part of the directory is on another server: a search tells, whatever it looks for.
    pub(super) async fn look_elsewhere(&mut self, subject: &Subject) -> Result<(), End> {
        // Both have an index there, and find nothing.
        let filter = if self.active_directory {
            filter_of_guids(ANYTHING, &[[0; 16]])
        } else {
            "(objectClass=referral)".into()
        };
        let query =
            Query { base: &subject.base, scope: Scope::Subtree, filter: &filter, attributes: &["1.1"] };
        let limit = self.looked.map_or(BULK, |(_, took)| QUICK + took * 4);
        let began = Instant::now();
        let page = self.search(&query, Vec::new(), limit).await?;
        self.elsewhere = page.references.iter().any(|reference| subject.may_be_at(reference));
        self.looked = Some((Instant::now(), began.elapsed()));
        Ok(())
    }

    /// The same once more, from time to time: seldom enough where it costs the server something.
    pub(super) async fn look_elsewhere_again(&mut self, subject: &Subject) -> Result<(), End> {
        if self.looked.is_some_and(|(at, took)| at.elapsed() < LOOK.max(took * 20)) {
            return Ok(());
        }
        self.look_elsewhere(subject).await
    }

    /// What another one found on the same connection.
    pub(super) fn found_as(&mut self, other: Self) {
        (self.elsewhere, self.looked) = (other.elsewhere, other.looked);
    }

    /// Tells the writer that it is current. Live only if it can know everybody.
    pub(super) fn confirm(&self, subject: &Subject, again: &Again, writer: &mut Writer, as_of: Instant) {
        writer.current(as_of, !self.elsewhere && !subject.is_filtered && again.knows_all());
    }

    /// The entry at a name; `None` if it is not there, or may not be seen.
    pub(super) async fn read(&mut self, name: &str, attributes: &[&str]) -> Result<Option<Object>, End> {
        let query = Query { base: name, scope: Scope::Base, filter: ANYTHING, attributes };
        match self.search(&query, Vec::new(), QUICK).await {
            Ok(mut page) => Ok(page.entries.pop()),
            Err(End::Fault(Fault::Base(..))) => Ok(None),
            Err(end) => Err(end),
        }
    }

    /// What the server says of itself.
    pub(super) async fn root_dse(&mut self) -> Result<RootDse, End> {
        Ok(RootDse(self.read("", ROOT_DSE).await?.unwrap_or_default()))
    }

    /// Whether something is below the entry.
    pub(super) async fn has_children(&mut self, name: &str) -> Result<bool, End> {
        self.finds(
            &Query { base: name, scope: Scope::OneLevel, filter: ANYTHING, attributes: &["1.1"] },
            QUICK,
        )
        .await
    }

    /// Whether at least one recipient can be seen: rights that hide all look like a directory without any.
    pub(super) async fn sees_anybody(&mut self, subject: &Subject) -> Result<bool, End> {
        self.finds(&subject.query(&["1.1"]), BULK).await
    }

    /// Whether there is at least one.
    async fn finds(&mut self, query: &Query<'_>, limit: Duration) -> Result<bool, End> {
        self.ldap.with_search_options(ldap3::SearchOptions::new().sizelimit(1));
        let first = within(limit, async {
            let mut results = self.start(query, Vec::new(), MOST_AT_ONCE).await?;
            if results.next().await?.is_none() {
                return results.finish().await.map(|_| false);
            }
            // Samba sends all that it has, whatever limit it is told.
            let search = results.stream.ldap_handle().last_id();
            self.ldap.abandon(search).await?;
            Ok(true)
        });
        match first.await? {
            Err(End::Fault(Fault::Search(code))) if code.number() == SIZE_LIMIT_EXCEEDED => Ok(true),
            Err(End::Fault(Fault::Base(..))) => Ok(false),
            found => found,
        }
    }
}

impl Results {
    /// The next entry; `None` after the last one.
    async fn next(&mut self) -> Result<Option<Object>, End> {
        while let Some(entry) = self.stream.next().await? {
            self.left = self.left.checked_sub(1).ok_or(Fault::TooMany)?;
            if is_entry(&entry) {
                return Ok(Some(Object::read(entry).ok_or(Fault::Malformed)?));
            }
            if self.references.len() < MOST_REFERENCES {
                self.references.extend(reference(entry));
            }
        }
        Ok(None)
    }

    /// What came besides the entries, if it was all.
    async fn finish(mut self) -> Result<Page, End> {
        let controls = succeeded(self.stream.finish().await, &self.base)?.ctrls;
        Ok(Page { entries: Vec::new(), references: self.references, controls })
    }
}

impl<'a> Pages<'a> {
    /// A search, with a control for each of its pages.
    pub(super) fn new(query: Query<'a>, control: Option<RawControl>) -> Self {
        Self { query, control, page: None, next: Some(Box::default()), left: MOST_ENTRIES, empty: 0 }
    }

    /// The next entry; `None` after the last one of the last page.
    pub(super) async fn next(&mut self, link: &mut Link) -> Result<Option<Object>, End> {
        loop {
            let Some(page) = &mut self.page else {
                let Some(cookie) = self.next.take() else { return Ok(None) };
                let mut controls: Vec<_> = self.control.clone().into_iter().collect();
                controls.extend(link.page_size.map(|size| page_request(size, &cookie)));
                let most = link.page_size.map_or(MOST_ENTRIES, |size| size as usize * 2 + MOST_REFERENCES);
                let started = within(QUICK, link.start(&self.query, controls, most)).await??;
                self.page = Some(started);
                continue;
            };
            if let Some(entry) = within(BULK, page.next()).await?? {
                self.left = self.left.checked_sub(1).ok_or(Fault::TooMany)?;
                self.empty = 0;
                return Ok(Some(entry));
            }
            self.empty += 1;
            if self.empty > MOST_EMPTY {
                return Err(Fault::TooMany.into());
            }
            if let Some(page) = self.page.take() {
                self.next = next_page(&within(QUICK, page.finish()).await??.controls)?;
            }
        }
    }
}

impl RootDse {
    /// The first value of an attribute.
    pub(super) fn first(&self, attribute: &str) -> Option<&str> {
        self.0.text(attribute)
    }

    /// All values of an attribute that are text.
    pub(super) fn all(&self, attribute: &str) -> impl Iterator<Item = &str> {
        self.0.values(attribute).filter_map(|value| str::from_utf8(value).ok())
    }

    /// Whether the server has the control.
    pub(super) fn supports(&self, control: &str) -> bool {
        self.all("supportedControl").any(|own| own == control)
    }

    /// Whether it is an Active Directory (MS-ADTS §3.1.1.3.4.3.1).
    pub(super) fn is_active_directory(&self) -> bool {
        self.all("supportedCapabilities").any(|own| own == ACTIVE_DIRECTORY)
    }

    /// Entries a page, if the server has pages.
    pub(super) fn page_size(&self, wanted: u32) -> Option<u32> {
        self.supports(PAGED_RESULTS).then_some(wanted)
    }
}

/// What comes of it, unless it takes longer.
pub(super) async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, End> {
    timeout(limit, work).await.map_err(|_| End::Fault(Fault::TimedOut))
}

/// The result, if it is not an error.
pub(super) fn succeeded(result: LdapResult, base: &str) -> Result<LdapResult, Fault> {
    match result.rc {
        0 => Ok(result),
        NO_SUCH_OBJECT => Err(Fault::Base(base.to_owned(), Code::of(&result))),
        _ => Err(Fault::Search(Code::of(&result))),
    }
}

/// An entry, and no reference to another server.
pub(super) fn is_entry(entry: &ResultEntry) -> bool {
    !entry.is_ref() && !entry.is_intermediate()
}

/// `SearchResultReference ::= [APPLICATION 19] SEQUENCE SIZE (1..MAX) OF uri URI`: of several that are as good as each
/// other, the first.
fn reference(message: ResultEntry) -> Option<String> {
    let uri = message.0.match_id(19)?.expect_constructed()?.into_iter().next()?.expect_primitive()?;
    Some(String::from_utf8_lossy(&uri).into_owned())
}

/// `objectGUID`
pub(super) fn guid_of(entry: &Object) -> Option<Guid> {
    entry.values("objectGUID").next()?.try_into().ok()
}

/// What the directory itself calls the object: `entryUUID` (RFC 4530), `objectGUID`, or where it has neither its name.
pub(super) fn id_of(entry: &Object) -> ObjectId {
    if let Some(uuid) = entry.values("entryUUID").next().and_then(uuid_from_text) {
        return uuid.into();
    }
    match guid_of(entry) {
        Some(guid) => guid.into(),
        None => entry.dn.to_lowercase().into_bytes().into(),
    }
}

/// The filter that everything matches.
pub(super) const ANYTHING: &str = "(objectClass=*)";

/// A small question to a server that works.
pub(super) const QUICK: Duration = Duration::from_secs(5);
/// A page, or a message of many: a server may have to go through everything for the first one.
pub(super) const BULK: Duration = Duration::from_secs(60);

/// How often to look for parts of the directory that are elsewhere.
const LOOK: Duration = Duration::from_secs(5);

/// Entries and references that are taken together. The largest answer that is asked for has some hundred.
const MOST_AT_ONCE: usize = 10_000;
/// References that are kept.
const MOST_REFERENCES: usize = 1000;
/// Entries of one listing: a server that sends more does not know when to end.
pub(super) const MOST_ENTRIES: usize = 10_000_000;

/// Pages without an entry, one after another. Active Directory sends some where it takes long to find the next entry; a
/// cookie may be the same for all pages, and tells nothing.
const MOST_EMPTY: u32 = 1000;

const ROOT_DSE: &[&str] = &[
    "supportedControl",
    "supportedCapabilities",
    "namingContexts",
    "defaultNamingContext",
    "dsServiceName",
    "highestCommittedUSN",
];
const ACTIVE_DIRECTORY: &str = "1.2.840.113556.1.4.800";

const SIZE_LIMIT_EXCEEDED: u32 = 4;
const NO_SUCH_OBJECT: u32 = 32;
