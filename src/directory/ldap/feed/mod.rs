//! How a replica of an LDAP directory learns of changes: the best way that the server offers.
//!
//! Each way has a file: [`syncrepl`] (RFC 4533), [`dirsync`] and [`usn`] (Active Directory), [`listing`] (everything again at
//! an interval). Whatever goes wrong (no answer in time, a message that makes no sense, a list that was cut short) ends the
//! feed with a failure, and never counts as a deletion. The replica keeps what it has, and runs the feed again.

mod changes;
mod controls;
mod cookie;
mod dirsync;
mod link;
mod listing;
mod names;
mod subject;
mod syncrepl;
mod usn;

use std::{convert::Infallible, time::Duration};

use ldap3::LdapError;

pub(super) use self::controls::fuzz_control;
use self::{controls::Malformed, link::Link, listing::Again, subject::Subject};
use super::{
    Config, Feed,
    connection::Servers,
    fault::{Code, Fault},
    schema::Shape,
};
use crate::directory::{
    Why,
    remote::Failure,
    replica::{Lost, Writer},
};

/// Keeps a replica current.
#[derive(Debug)]
pub(in crate::directory) struct Follower {
    /// The directory's, for the log.
    name: String,
    servers: Servers,
    subject: Subject,
    feed: Feed,
    page_size: u32,
    again: Again,
    /// The way that the log was told of last.
    told: Option<Way>,
}

/// A way to learn of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Syncrepl,
    DirSync,
    Usn,
    Listing,
}

/// Why a feed ended.
#[derive(Debug)]
enum End {
    /// The server does not do this, or not for this account.
    Refused(Code),
    Fault(Fault),
    Malformed(Malformed),
    Schema(WrongSchema),
    Lost(Lost),
}

/// The attributes that are looked at are not those of Active Directory, where `mail` is one address of many: whoever has
/// others would be called absent.
#[derive(Debug, thiserror::Error)]
#[error("the server is Active Directory: set schema = \"active-directory\"")]
struct WrongSchema;

impl Follower {
    /// Connects nowhere yet. `refresh` is for where the servers tell no changes.
    pub(super) fn new(
        name: &str,
        servers: Servers,
        shape: Shape,
        config: &Config,
        refresh: Duration,
    ) -> Self {
        Self {
            name: name.to_owned(),
            servers,
            subject: Subject::new(config, shape),
            feed: config.feed,
            page_size: config.page_size,
            again: Again::new(refresh),
            told: None,
        }
    }

    /// Returns only when it fails.
    pub(in crate::directory) async fn run(&mut self, writer: &mut Writer) -> Failure {
        let (server, ldap) = match self.servers.connect(CONNECT).await {
            Ok(connected) => connected,
            Err(failure) => return failure,
        };
        self.servers.worked(server);
        let Err(end) = self.follow(Link::new(ldap, self.servers.gate().clone()), writer).await;
        match end {
            End::Fault(fault) => self.servers.failed(server, fault),
            End::Refused(code) => self.servers.failed(server, Fault::Search(code)),
            End::Malformed(malformed) => Failure::new(Why::Failed, malformed),
            End::Schema(wrong) => Failure::new(Why::Failed, wrong),
            End::Lost(lost) => lost.into(),
        }
    }

    async fn follow(&mut self, mut link: Link, writer: &mut Writer) -> Result<Infallible, End> {
        if writer.cookie().is_some() {
            self.again.resume();
        }
        let server = link.root_dse().await?;
        if server.is_active_directory() && !self.subject.fits_active_directory {
            return Err(End::Schema(WrongSchema));
        }
        link.has_attributes(&self.subject).await?;
        link.page_size = server.page_size(self.page_size);
        link.active_directory = server.is_active_directory();
        link.look_elsewhere(&self.subject).await?;
        let ways = ways(self.feed, server.is_active_directory(), server.supports(controls::SYNC_REQUEST));
        let (&last, others) = ways.split_last().expect("there is always a way");
        for &way in others {
            match self.go(way, &mut link, &server, writer).await {
                Err(End::Refused(code)) => {
                    if self.told == Some(way) {
                        tracing::warn!(directory = self.name, feed = way.as_str(), %code, "the server refuses this feed");
                    }
                }
                ended => return ended,
            }
        }
        self.go(last, &mut link, &server, writer).await
    }

    async fn go(
        &mut self,
        way: Way,
        link: &mut Link,
        server: &link::RootDse,
        writer: &mut Writer,
    ) -> Result<Infallible, End> {
        if self.told != Some(way) {
            let chosen = if self.feed == Feed::Auto { "what the server offers" } else { "the configuration" };
            tracing::info!(
                directory = self.name,
                feed = way.as_str(),
                chosen,
                "following the directory's changes"
            );
            self.told = Some(way);
        }
        let (subject, again) = (&self.subject, &mut self.again);
        match way {
            Way::Syncrepl => syncrepl::follow(link, server, subject, again, writer).await,
            Way::DirSync => dirsync::follow(link, server, subject, again, writer).await,
            Way::Usn => usn::follow(link, server, subject, again, writer).await,
            Way::Listing => listing::follow(link, subject, again, writer).await,
        }
    }
}

impl Way {
    /// The word for it, as in the configuration.
    fn as_str(self) -> &'static str {
        match self {
            Self::Syncrepl => "syncrepl",
            Self::DirSync => "dirsync",
            Self::Usn => "usn",
            Self::Listing => "paged",
        }
    }
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<LdapError> for End {
    fn from(error: LdapError) -> Self {
        Self::Fault(error.into())
    }
}

impl From<Malformed> for End {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl From<Lost> for End {
    fn from(lost: Lost) -> Self {
        Self::Lost(lost)
    }
}

impl End {
    /// The same, but as a refusal where the code says that the server won't do this at all, or not for this account; or
    /// whatever the code, if there is something else to ask.
    fn or_refused(self, any: bool) -> Self {
        match self {
            Self::Fault(Fault::Search(code)) if any || REFUSALS.contains(&code.number()) => {
                Self::Refused(code)
            }
            other => other,
        }
    }
}

/// The ways to try, the best first.
fn ways(feed: Feed, active_directory: bool, syncrepl: bool) -> &'static [Way] {
    match feed {
        Feed::Syncrepl => &[Way::Syncrepl],
        Feed::Dirsync => &[Way::DirSync],
        Feed::Usn => &[Way::Usn],
        Feed::Paged => &[Way::Listing],
        Feed::Auto if active_directory => &[Way::DirSync, Way::Usn, Way::Listing],
        Feed::Auto if syncrepl => &[Way::Syncrepl, Way::Listing],
        Feed::Auto => &[Way::Listing],
    }
}

/// operationsError, protocolError, sizeLimitExceeded (a listing of that size is not for this account),
/// adminLimitExceeded, unavailableCriticalExtension, inappropriateMatching, insufficientAccessRights, unwillingToPerform
/// (RFC 4511 §4.1.9).
const REFUSALS: [u32; 8] = [1, 2, 4, 11, 12, 18, 50, 53];

/// For a connection, all servers together.
const CONNECT: Duration = Duration::from_secs(10);

/// How often a server is asked whether there is something new, or whether it is still there.
const POLL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
