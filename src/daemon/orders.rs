//! What an admin, or a log-in hook, orders about single clients and recipients. Each order is logged with who gave it.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nix::unistd::{Uid, User};
use tracing::{debug, info};

use crate::{
    control::message::{
        Client, Clients, Named, Response, Standing, Suspend, SuspendedEntry, Suspension, Suspensions,
    },
    defence::{self, Listed, Released, standing_name},
    policy::{DomainFact, RecipientFact},
    server::Snapshot,
    store::{Store, StoreError},
    suspension::{self, Record, Subject},
};

/// Carries orders out.
pub(super) struct Orders<'s> {
    pub(super) snapshot: &'s Snapshot,
    pub(super) store: &'s Store,
    /// Who gives them.
    pub(super) uid: Option<u32>,
}

impl Orders<'_> {
    pub(super) async fn trust(&self, client: IpAddr, seconds: u64) -> Response {
        let trust = match self.snapshot.defences.standings.trust(client, Duration::from_secs(seconds)).await {
            Ok(trust) => trust,
            Err(error) => return refused(&error),
        };
        let (uid, seconds) = (self.uid, trust.left.as_secs());
        // Those who read their mail all day come back every few minutes.
        if trust.before {
            debug!(uid, %client, seconds, "trusted for a time, once more");
        } else {
            info!(uid, %client, seconds, "trusted for a time");
        }
        let mut notes = Vec::new();
        if self.snapshot.clients.is_trusted(Some(client)) {
            notes.push("it is in a trusted network anyway".to_owned());
        } else if self.snapshot.clients.is_denied(Some(client)) {
            notes.push("client.denied refuses it all the same, when it connects".to_owned());
        }
        notes.extend(self.unkept());
        let client = standing_name(client, false);
        Response::Standing(Standing { client, seconds: Some(seconds), before: trust.before, notes })
    }

    pub(super) async fn block(&self, client: IpAddr, seconds: u64, reason: Option<String>) -> Response {
        let why = reason.unwrap_or_default();
        let standings = &self.snapshot.defences.standings;
        let before = match standings.block(client, &why, Duration::from_secs(seconds)).await {
            Ok(before) => before,
            Err(error) => return refused(&error),
        };
        let name = standing_name(client, true);
        info!(uid = self.uid, client = name, seconds, why, "blocked by command");
        let mut notes = Vec::new();
        if self.snapshot.clients.is_trusted(Some(client)) {
            notes.push("it is in a trusted network: that counts for more".to_owned());
        } else if standings.find(client).await.trusted {
            notes.push("it is trusted for a time: that counts for more; `backstop release` first".to_owned());
        }
        notes.extend(self.unkept());
        Response::Standing(Standing { client: name, seconds: Some(seconds), before, notes })
    }

    pub(super) async fn release(&self, client: IpAddr) -> Response {
        match self.snapshot.defences.standings.release(client).await {
            Ok(Released { before, wider }) => {
                let client = standing_name(client, true);
                info!(
                    uid = self.uid,
                    client, wider, before, "neither trusted nor blocked any longer, by command"
                );
                let notes = wider.map(|wider| format!("nor is all of {wider}, which was blocked as well"));
                let notes = notes.into_iter().collect();
                Response::Standing(Standing { client, before, seconds: None, notes })
            }
            Err(error) => failed(&error),
        }
    }

    pub(super) async fn trusted(&self) -> Response {
        clients(self.snapshot.defences.standings.trusted().await)
    }

    pub(super) async fn blocked(&self) -> Response {
        clients(self.snapshot.defences.standings.blocked().await)
    }

    pub(super) async fn suspend(&self, suspend: Suspend) -> Response {
        let Suspend { what, until, reason, text } = suspend;
        let subject = match Subject::parse(&what) {
            Ok(subject) => subject,
            Err(error) => return Response::Refused { message: error.to_string() },
        };
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let by = self.user().await;
        let record = Record { what: String::new(), since, until, reason: reason.clone(), text, by };
        match self.snapshot.suspensions.commanded().suspend(&subject, record).await {
            Ok(before) => {
                let until = until.map(time);
                info!(uid = self.uid, what = subject.key(), until, reason, "suspended by command");
                let notes = self.doubts(&subject).await;
                Response::Suspension(Suspension { what: subject.key(), before, notes })
            }
            Err(error) => suspension_refused(&error),
        }
    }

    pub(super) async fn resume(&self, what: &str) -> Response {
        let subject = match Subject::parse(what) {
            Ok(subject) => subject,
            Err(error) => return Response::Refused { message: error.to_string() },
        };
        match self.snapshot.suspensions.commanded().resume(&subject).await {
            Ok(before) => {
                info!(uid = self.uid, what = subject.key(), before, "no longer suspended, by command");
                let notes = self.still_suspended(&subject);
                Response::Suspension(Suspension { what: subject.key(), before, notes })
            }
            Err(error) => suspension_refused(&error),
        }
    }

    pub(super) fn suspended(&self) -> Response {
        let commanded = self.snapshot.suspensions.commanded();
        let all = commanded.all();
        let total = u64::try_from(all.len()).unwrap_or(u64::MAX);
        let entry = |record: &Record| {
            let Record { what, since, until, reason, text, by } = record.clone();
            SuspendedEntry { what, since, until, reason, text, by }
        };
        let suspensions = all.iter().take(MOST_LISTED).map(|record| entry(record)).collect();
        let notes = commanded.notice().into_iter().collect();
        Response::Suspensions(Suspensions { total, suspensions, notes })
    }

    /// That an order will not outlive this process.
    fn unkept(&self) -> Option<String> {
        self.store.unkept().map(|why| format!("it is in force, but not written down: {why}"))
    }

    /// What speaks against the effect of a suspension.
    async fn doubts(&self, subject: &Subject) -> Vec<String> {
        let directories = &self.snapshot.directories;
        let mut doubts = Vec::from_iter(self.unkept());
        let (domain, local) = match subject {
            Subject::Address(address) => (address.domain(), Some(address.local())),
            Subject::Domain(domain) => (domain, None),
        };
        if directories.domain(domain) == DomainFact::Foreign {
            doubts.push(format!("{domain} is not local: mail for it is none of our business"));
        } else if local.is_some_and(|local| self.snapshot.rules.is_never_refused(local)) {
            doubts.push("it is never refused".to_owned());
        } else if let Subject::Address(address) = subject {
            let found = directories.find_within(self.snapshot.lookup, address, false).await;
            if found.fact == RecipientFact::Absent {
                doubts.push("no directory knows it".to_owned());
            }
        }
        doubts
    }

    /// A recipient may be suspended more than once.
    fn still_suspended(&self, subject: &Subject) -> Vec<String> {
        let Subject::Address(address) = subject else { return Vec::new() };
        let found = self.snapshot.suspensions.check(address);
        found.map(|found| format!("mail for it is refused all the same: {found}")).into_iter().collect()
    }

    /// The name of who gives the order. The system may ask another server for it.
    async fn user(&self) -> Option<String> {
        let uid = self.uid?;
        let asked = tokio::task::spawn_blocking(move || User::from_uid(Uid::from_raw(uid)));
        let found = tokio::time::timeout(NAME_SERVICE, asked).await;
        let name = found.ok().and_then(Result::ok).and_then(Result::ok).flatten().map(|user| user.name);
        Some(name.unwrap_or_else(|| format!("user {uid}")))
    }
}

/// How many are named, where the store tells in time.
pub(super) async fn named(snapshot: &Snapshot) -> Option<Named> {
    tokio::time::timeout(COUNTING, count_named(snapshot)).await.ok().flatten()
}

async fn count_named(snapshot: &Snapshot) -> Option<Named> {
    let standings = &snapshot.defences.standings;
    let count = |clients: Vec<Listed>| u64::try_from(clients.len()).unwrap_or(u64::MAX);
    Some(Named {
        trusted: count(standings.trusted().await.ok()?),
        blocked: count(standings.blocked().await.ok()?),
        suspended: u64::try_from(snapshot.suspensions.commanded().all().len()).unwrap_or(u64::MAX),
    })
}

fn clients(listed: Result<Vec<Listed>, StoreError>) -> Response {
    let listed = match listed {
        Ok(listed) => listed,
        Err(error) => return failed(&error),
    };
    let total = u64::try_from(listed.len()).unwrap_or(u64::MAX);
    let client = |listed: Listed| Client {
        client: listed.client,
        reason: listed.reason,
        seconds_left: listed.left.as_secs(),
    };
    Response::Clients(Clients { total, clients: listed.into_iter().take(MOST_LISTED).map(client).collect() })
}

fn refused(error: &defence::Refused) -> Response {
    match error {
        defence::Refused::Store(error) => failed(error),
        wrong => Response::Refused { message: wrong.to_string() },
    }
}

fn suspension_refused(error: &suspension::Refused) -> Response {
    match error {
        suspension::Refused::Store(error) => failed(error),
        wrong => Response::Refused { message: wrong.to_string() },
    }
}

/// RFC 3339, as the log's own times.
fn time(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "never".to_owned(), |time| time.to_string())
}

fn failed(error: &StoreError) -> Response {
    Response::Error { message: error.to_string() }
}

/// An answer is one line in memory, on both sides.
const MOST_LISTED: usize = 5000;
/// Who asks how the server is has not asked for a search of a large store.
const COUNTING: Duration = Duration::from_secs(1);
/// Who waits for a command waits no longer for a name.
const NAME_SERVICE: Duration = Duration::from_secs(2);
