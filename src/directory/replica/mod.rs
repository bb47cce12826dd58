//! A directory's whole address list, held in memory and on disk, and kept current by the directory's own feed.
//!
//! Whoever is in it exists, without a question. Who is not is asked for live before anybody calls him absent, unless the
//! feed is known to be current. While neither is possible the answer is Unknown.

mod budget;
mod change;
mod config;
mod content;
mod copy;
mod fold;
mod follow;
mod held;
mod journal;
mod ledger;
mod memory;
mod place;
mod rehearsal;
mod store;
mod sum;
mod writer;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::future::join_all;

pub(super) use change::{Change, ObjectId, Recipient};
pub(super) use config::Config;
#[doc(hidden)]
pub use rehearsal::Rehearsal;
pub(super) use writer::{Lost, Writer};

use super::{
    Answer, BuildError, Metrics, Remote, State, Why, ldap,
    remote::{Failure, Trouble},
    sql,
};
use crate::{
    address::{Candidate, Domain},
    clock, directory, files,
    policy::Attributes,
};
use budget::Budget;
use content::Content;
use held::{Held, Limits};

/// A directory whose list is kept here.
#[derive(Debug)]
pub struct Replica {
    name: Arc<str>,
    remote: Arc<Remote>,
    content: Arc<Content>,
    /// The name of its file.
    stem: String,
    config: directory::Config,
    feed: Mutex<Option<Feed>>,
    limits: Limits,
    /// None: whoever asks limits himself.
    budget: Option<Budget>,
    opened: Instant,
    metrics: Metrics,
}

/// What keeps a replica current.
#[derive(Debug)]
pub(super) enum Feed {
    Ldap(Box<ldap::Follower>),
    Sql(sql::Follower),
    #[cfg(test)]
    Scripted(tests::Script),
}

impl Feed {
    /// The feed of a directory that can have one.
    fn build(name: &str, config: &directory::Config, remote: &Remote) -> Result<Self, BuildError> {
        let key = format!("directory.{name}");
        let refresh = config.replica.refresh;
        match (config, remote.ldap()) {
            (directory::Config { ldap: Some(ldap), .. }, Some(client)) => {
                Ok(Self::Ldap(Box::new(client.follower(name, ldap, refresh))))
            }
            (directory::Config { sql: Some(sql), .. }, _) => {
                Ok(Self::Sql(sql::Follower::build(&key, sql, refresh)?))
            }
            _ => Err(BuildError::Kind { key }),
        }
    }

    /// Follows the directory and tells the writer, from where the writer's cookie says. Returns only when that fails: it
    /// is run again after a pause, with a new writer. It may be dropped at any await, and it may panic.
    ///
    /// A feed that only lists waits `refresh` between two listings, but looks at whatever it can tell changes by in
    /// between.
    async fn run(&mut self, writer: &mut Writer) -> Failure {
        match self {
            Self::Ldap(follower) => follower.run(writer).await,
            Self::Sql(follower) => follower.run(writer).await,
            #[cfg(test)]
            Self::Scripted(script) => script.run(writer).await,
        }
    }
}

impl From<Lost> for Failure {
    fn from(lost: Lost) -> Self {
        Self::new(Why::NoContent, lost)
    }
}

/// Whether the configuration asks for a replica.
pub(super) fn is_wanted(config: &directory::Config) -> bool {
    config.ldap.as_ref().is_some_and(|ldap| ldap.source == ldap::Mode::Replica)
        || config.sql.as_ref().is_some_and(|sql| sql.source == sql::Mode::Replica)
}

/// What a directory with this configuration knows, to be shared by all with the same.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) stem: String,
    content: Arc<Content>,
}

/// The same, for whoever does not keep it.
#[derive(Debug)]
pub(super) struct Kept {
    stem: String,
    content: std::sync::Weak<Content>,
}

impl Shared {
    /// The content of the directory: among what is `kept`, or new and empty.
    pub(super) fn open(name: &str, config: &directory::Config, kept: &mut Vec<Kept>) -> Self {
        let stem = place::stem(name, config);
        kept.retain(|kept| kept.content.strong_count() > 0);
        let same = kept.iter().find(|kept| kept.stem == stem);
        if let Some(content) = same.and_then(|kept| kept.content.upgrade()) {
            return Self { stem, content };
        }
        let content = Content::new(name);
        kept.push(Kept { stem: stem.clone(), content: Arc::downgrade(&content) });
        Self { stem, content }
    }
}

impl Replica {
    /// Knows nobody, and asks live, until it is followed.
    pub(super) fn new(
        name: &str,
        config: &directory::Config,
        remote: Arc<Remote>,
        shared: Shared,
        metrics: &Metrics,
    ) -> Result<Self, BuildError> {
        let feed = Feed::build(name, config, &remote)?;
        Ok(Self {
            name: name.into(),
            remote,
            content: shared.content,
            stem: shared.stem,
            config: config.clone(),
            feed: Mutex::new(Some(feed)),
            limits: Limits {
                max_shrink: config.replica.max_shrink,
                confirmed_after: config.replica.refresh.min(CONFIRMED_AFTER),
            },
            budget: Some(Budget::new(clock::now())),
            opened: clock::now(),
            metrics: metrics.clone(),
        })
    }

    /// The same, which asks as often as it is asked.
    pub(super) fn unlimited(self) -> Self {
        Self { budget: None, ..self }
    }

    /// The answer for all forms of one address, if that needs no question: one of them is known, or the list is known to
    /// be current. Nobody is refused for what a list says that is not current, not complete, or was not compared with its
    /// file yet.
    pub(super) fn recall(&self, candidates: &[Candidate<'_>]) -> Option<Answer> {
        // Looked at first: what came in since only makes it know more, and surer.
        let (is_current, is_sure) = (self.content.is_current(), self.content.is_sure());
        let found = self.find_forms(candidates);
        match found {
            Answer::Exists(found) if found.may_refuse() => {
                (is_sure && is_current).then_some(Answer::Exists(found))
            }
            Answer::Exists(found) if found.catch_all => {
                is_sure.then_some(Answer::Exists(Attributes { unsure: !is_current, ..found }))
            }
            Answer::Exists(_) => Some(found),
            _ => is_current.then_some(found),
        }
    }

    /// The answer for all forms of one address. Asks the directory itself about whom the list does not have.
    pub(super) async fn ask(&self, candidates: &[Candidate<'_>]) -> Answer {
        if let Some(answer) = self.recall(candidates) {
            return answer;
        }
        // Looked at before what it knows.
        let is_sure = self.content.is_sure();
        let answer = self.verify(candidates).await;
        match (answer, self.find_forms(candidates)) {
            // What it says against him may be over by now.
            (Answer::Unknown(_), Answer::Exists(known)) if !known.catch_all => {
                Answer::Exists(Attributes { unsure: true, ..known })
            }
            (Answer::Absent, Answer::Exists(known)) => {
                self.recall(candidates).unwrap_or(Answer::Exists(Attributes { unsure: true, ..known }))
            }
            // The list may have an entry for the whole domain, which no question about one address finds.
            (Answer::Absent, _) if !is_sure && self.lists_domains() => Answer::Unknown(Why::NoContent),
            _ => answer,
        }
    }

    /// The directory's own answer, as far as it may be asked so often.
    async fn verify(&self, candidates: &[Candidate<'_>]) -> Answer {
        if self.budget.as_ref().is_some_and(|budget| !budget.take(candidates.len(), clock::now())) {
            self.metrics.not_verified(&self.name);
            return Answer::Unknown(Why::Busy);
        }
        let forms = candidates.iter().map(|candidate| self.remote.verify(&candidate.address));
        Answer::of_forms(join_all(forms).await)
    }

    /// Keys that are near, while `each` wants more.
    pub(super) fn search(&self, near: &directory::similar::Near, each: &mut dyn FnMut(&[u8], u8) -> bool) {
        self.content.memory.search(near, each);
    }

    /// Whether everything that is sent to the domain exists.
    pub(super) fn catches_all(&self, domain: &Domain) -> bool {
        self.content.memory.catches_all(domain)
    }

    /// The number of its present list; `None`: it is being changed just now.
    pub(super) fn turn(&self) -> Option<u64> {
        self.content.memory.turn()
    }

    /// Whether it may know more of somebody whom it did not recall.
    pub(super) fn has_attributes(&self) -> bool {
        !self.content.is_sure()
    }

    /// Both have the same content, and the same file.
    pub(super) fn shares(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.content, &other.content)
    }

    /// The directory's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The word for it in `status`.
    pub(super) fn kind(&self) -> &'static str {
        match self.config.ldap {
            Some(_) => "ldap replica",
            None => "sql replica",
        }
    }

    /// A listing was complete once, now or before the last start.
    pub(super) fn is_complete(&self) -> bool {
        self.content.is_complete()
    }

    /// Its first listing has come to an end, good or bad.
    pub(super) fn is_settled(&self) -> bool {
        self.is_complete() || self.content.trouble().is_some() || self.content.held().is_some()
    }

    /// How it answers.
    pub(super) fn state(&self) -> State {
        let content = &self.content;
        let has_trouble = content.trouble().is_some();
        // While the directory tells of changes by itself nobody has to be asked for.
        let is_unheard = !content.is_current() && self.remote.trouble().is_some();
        match content.is_complete() {
            false if has_trouble || is_unheard => State::Down,
            false => State::Empty,
            true if has_trouble || is_unheard || content.held().is_some() => State::Stale,
            true => State::Up,
        }
    }

    /// Whom it asks for those that it does not know.
    pub(super) fn remote(&self) -> &Arc<Remote> {
        &self.remote
    }

    /// Known addresses.
    pub(super) fn addresses(&self) -> u64 {
        self.content.memory.len()
    }

    /// How long ago the list was what the directory says; `None`: never.
    pub(super) fn age(&self) -> Option<Duration> {
        self.content.age()
    }

    /// What is held back, and why.
    pub(super) fn held(&self) -> Option<files::Held> {
        self.content.held().map(Held::reason)
    }

    /// What an admin should look at.
    pub(super) fn notices(&self) -> Vec<String> {
        let name = &self.name;
        let trouble = |what: &str, trouble: Trouble| {
            format!(
                "directory {name}: {what} for {} s: {}",
                clock::since(trouble.since).as_secs(),
                trouble.text
            )
        };
        let held = self.held().map(|held| {
            format!("directory {name}: {held}; the old content stays until it is listed again, or `backstop reload --accept`")
        });
        let disk = self.content.disk.error();
        [
            held,
            self.content.trouble().map(|why| trouble("not kept current", why)),
            self.remote.trouble().map(|why| trouble("no answer", why)),
            disk.map(|error| format!("directory {name}: the replica's file can't be written: {error}")),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Brings the metrics up to date.
    pub(super) fn report(&self) {
        let unsaved = self.content.disk.error().is_some();
        let age = self.age().unwrap_or_else(|| clock::since(self.opened));
        let up = self.state().is_up();
        self.metrics.replica(&self.name, up, self.addresses(), age, self.held().is_some(), unsaved);
    }

    /// Takes what is held back, if `accept` says so. Blocks. Gives what still is.
    pub(super) fn reload(&self, accept: bool) -> files::Outcome {
        if accept && self.content.held().is_some() {
            let accepted = self.content.work(None, |ledger| ledger.accept(&self.content));
            if let Err(error) = accepted {
                tracing::error!(directory = %self.name, %error, "what is held back could not be accepted");
            }
        }
        self.held().map_or_else(|| files::Outcome::Taken(self.addresses()), files::Outcome::Held)
    }

    fn find_forms(&self, candidates: &[Candidate<'_>]) -> Answer {
        let find = |candidate: &Candidate<'_>| self.content.memory.find(&candidate.address);
        let answer = |candidate| find(candidate).map_or(Answer::Absent, Answer::Exists);
        Answer::of_forms(candidates.iter().map(answer))
    }

    fn lists_domains(&self) -> bool {
        self.config.sql.is_some()
    }
}

/// A listing that says the same as one that was held back is believed so long after that one.
const CONFIRMED_AFTER: Duration = Duration::from_secs(5 * 60);

#[cfg(test)]
mod tests;
