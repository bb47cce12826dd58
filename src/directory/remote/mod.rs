//! What all directories on other servers share: one question per address at a time, however many sessions ask; what
//! was answered is remembered for a while; what they knew last is believed while they are down.
//!
//! It never says Absent on its own: only a server's clear answer, not older than the negative time, is one. A server that
//! fails, hangs or makes a mistake costs no more than the deadline and is Unknown.

mod cache;
mod flight;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

#[cfg(test)]
use futures_util::future::BoxFuture;
use futures_util::future::join_all;
use smallvec::SmallVec;
use tokio::sync::Notify;

pub(super) use cache::Times;
use cache::{Cache, Recalled};
use flight::Flights;

use super::{Answer, Metrics, State, Why, ldap, smtp, sql};
use crate::{
    address::{Address, Candidate, Form},
    clock,
    policy::Attributes,
    telemetry::log::without,
};

/// A directory that has to be asked.
#[derive(Debug)]
pub struct Remote {
    name: Arc<str>,
    backend: Backend,
    deadline: Duration,
    cache: Cache,
    flights: Flights,
    known: Mutex<Known>,
    is_replicated: bool,
    answered: Notify,
    metrics: Metrics,
}

/// Whom to ask.
#[derive(Debug)]
pub(super) enum Backend {
    Ldap(Box<ldap::Client>),
    Sql(sql::Client),
    Smtp(smtp::Client),
    #[cfg(test)]
    Told(Told),
}

/// Answers as a test says.
#[cfg(test)]
pub(super) struct Told(Box<Script>);

#[cfg(test)]
type Script = dyn Fn(&Address) -> BoxFuture<'static, Result<Option<Attributes>, Failure>> + Send + Sync;

#[cfg(test)]
impl Told {
    pub(super) fn at_once(
        script: impl Fn(&Address) -> Result<Option<Attributes>, Failure> + Send + Sync + 'static,
    ) -> Self {
        Self(Box::new(move |address| Box::pin(std::future::ready(script(address)))))
    }

    /// After so long.
    pub(super) fn later(
        script: impl Fn(&Address) -> (Duration, Result<Option<Attributes>, Failure>) + Send + Sync + 'static,
    ) -> Self {
        Self(Box::new(move |address| {
            let (time, answer) = script(address);
            Box::pin(async move {
                tokio::time::sleep(time).await;
                answer
            })
        }))
    }
}

#[cfg(test)]
impl std::fmt::Debug for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Told")
    }
}

/// A question without an answer.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub(super) struct Failure {
    /// For whoever needs to decide.
    pub(super) why: Why,
    /// For the admin.
    pub(super) error: Box<dyn std::error::Error + Send + Sync>,
}

/// How it has answered.
#[derive(Debug, Default)]
struct Known {
    /// What is wrong, and whom it was asked for last when it was.
    trouble: Option<(Trouble, Address)>,
    /// The last question without an answer, and why.
    failure: Option<(Address, String)>,
    has_answered: bool,
}

/// What has been wrong since when.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    pub(super) since: Instant,
    pub(super) text: String,
}

impl Failure {
    pub(super) fn new(why: Why, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { why, error: error.into() }
    }
}

impl Backend {
    async fn look_up(&self, address: &Address) -> Result<Option<Attributes>, Failure> {
        match self {
            Self::Ldap(client) => client.look_up(address).await,
            Self::Sql(client) => client.look_up(address).await,
            Self::Smtp(client) => client.look_up(address).await,
            #[cfg(test)]
            Self::Told(told) => told.0(address).await,
        }
    }

    /// Whether it is asked for this form of an address. A next hop sees the recipient as it was written: what it makes
    /// of a sub-address is its own business, and a user whom it knows only without one would bounce.
    fn takes(&self, form: Form) -> bool {
        !matches!((self, form), (Self::Smtp(_), Form::Stripped))
    }

    /// Whether it may know more of a recipient than that he exists.
    fn has_attributes(&self) -> bool {
        !matches!(self, Self::Smtp(_))
    }

    /// Whether every server that was asked lately answers. A directory with several of them may fail for one domain only.
    fn is_well(&self) -> bool {
        !matches!(self, Self::Smtp(client) if !client.is_well())
    }

    /// What an admin should know besides.
    fn notices(&self) -> Vec<String> {
        match self {
            Self::Smtp(client) => client.notices(),
            Self::Ldap(_) | Self::Sql(_) => Vec::new(),
            #[cfg(test)]
            Self::Told(_) => Vec::new(),
        }
    }

    /// The word for it in `status`.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Ldap(_) => "ldap",
            Self::Sql(_) => "sql",
            Self::Smtp(_) => "smtp",
            #[cfg(test)]
            Self::Told(_) => "told",
        }
    }
}

impl Remote {
    pub(super) fn new(
        name: &str,
        backend: Backend,
        deadline: Duration,
        times: &Times,
        is_replicated: bool,
        metrics: &Metrics,
    ) -> Self {
        if !is_replicated {
            metrics.up(name, State::Unasked.is_up());
        }
        Self {
            name: name.into(),
            backend,
            deadline,
            cache: Cache::new(times),
            flights: Flights::default(),
            known: Mutex::default(),
            is_replicated,
            answered: Notify::new(),
            metrics: metrics.clone(),
        }
    }

    /// What is remembered of all forms, if that is enough: somebody who exists.
    pub(super) fn recall(&self, candidates: &[Candidate<'_>]) -> Option<Answer> {
        let mut answers: SmallVec<[Answer; 2]> = SmallVec::new();
        for candidate in candidates.iter().filter(|candidate| self.backend.takes(candidate.form)) {
            let Recalled::Fresh(answer) = self.cache.recall(&candidate.address) else { return None };
            answers.push(answer);
        }
        if answers.is_empty() {
            return None;
        }
        self.metrics.cached("hit");
        Some(Answer::of_forms(answers))
    }

    /// The answer for all forms of one address, from memory or from the server.
    pub(super) async fn ask(self: &Arc<Self>, candidates: &[Candidate<'_>]) -> Answer {
        let forms = candidates.iter().filter(|candidate| self.backend.takes(candidate.form));
        let answers = join_all(forms.map(|candidate| self.ask_one(&candidate.address))).await;
        Answer::of_forms(answers)
    }

    /// The server's answer now, whatever is remembered. Several that ask for the same address share one question.
    pub(super) async fn verify(self: &Arc<Self>, address: &Address) -> Answer {
        let (remote, asked) = (Arc::clone(self), address.clone());
        self.flights.board(address, async move { remote.fetch(&asked).await }).await
    }

    /// How old the oldest of the answers is that are remembered of these forms. For `check`.
    pub(super) fn age(&self, candidates: &[Candidate<'_>]) -> Option<Duration> {
        let takes = candidates.iter().filter(|candidate| self.backend.takes(candidate.form));
        takes.filter_map(|candidate| self.cache.age(&candidate.address)).max()
    }

    /// What is wrong; `None` while it answers.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.known().trouble.as_ref().map(|(trouble, _)| trouble.clone())
    }

    /// How it answers.
    pub(super) fn state(&self) -> State {
        let known = self.known();
        match (&known.trouble, known.has_answered) {
            (Some(_), _) => State::Down,
            (None, true) => State::Up,
            (None, false) => State::Unasked,
        }
    }

    /// A server answered, if only once.
    pub(super) fn has_answered(&self) -> bool {
        self.known().has_answered
    }

    /// Why there was no answer for one of these forms lately; or else, what is wrong with the directory. For `check`.
    pub(super) fn failure(&self, candidates: &[Candidate<'_>]) -> Option<String> {
        let known = self.known();
        let is_asked = |failed: &Address| candidates.iter().any(|candidate| *candidate.address == *failed);
        let failure = known.failure.as_ref().filter(|(failed, _)| is_asked(failed)).map(|(_, text)| text);
        failure.or(known.trouble.as_ref().map(|(trouble, _)| &trouble.text)).cloned()
    }

    /// While it is in trouble: asks once more for whom it failed to answer last, so that the trouble ends without mail.
    pub(super) async fn ask_again(self: Arc<Self>) {
        let failed = self.known().trouble.as_ref().map(|(_, address)| address.clone());
        if let Some(address) = failed {
            self.verify(&address).await;
        }
    }

    /// The client, where it is an LDAP directory.
    pub(super) fn ldap(&self) -> Option<&ldap::Client> {
        match &self.backend {
            Backend::Ldap(client) => Some(client),
            _ => None,
        }
    }

    /// Waits until a server answers the next time.
    pub(super) async fn answers(&self) {
        self.answered.notified().await;
    }

    /// What an admin should know besides.
    pub(super) fn notices(&self) -> Vec<String> {
        let mut notices = self.backend.notices();
        let known = self.known();
        // A server that puts everybody off answers, and is in no trouble that anything else would tell of.
        if let (None, Some((_, text)), []) = (&known.trouble, &known.failure, &*notices) {
            notices.push(format!("the last question had no answer: {text}"));
        }
        notices
    }

    /// Whether it may know more of a recipient than that he exists.
    pub(super) fn has_attributes(&self) -> bool {
        self.backend.has_attributes()
    }

    /// The word for it in `status`.
    pub(super) fn kind(&self) -> &'static str {
        self.backend.kind()
    }

    async fn ask_one(self: &Arc<Self>, address: &Address) -> Answer {
        let stale = match self.cache.recall(address) {
            Recalled::Fresh(answer) => {
                self.metrics.cached("hit");
                return answer;
            }
            Recalled::Stale(attributes) => Some(attributes),
            Recalled::Nothing => None,
        };
        let answer = self.verify(address).await;
        match (answer, stale) {
            (Answer::Unknown(_), Some(attributes)) => {
                self.metrics.cached("stale");
                // Who was caught may be somebody by now.
                let unsure = attributes.unsure || attributes.may_refuse() || attributes.catch_all;
                Answer::Exists(Attributes { unsure, ..attributes })
            }
            _ => {
                self.metrics.cached("miss");
                answer
            }
        }
    }

    /// Asks the server and remembers what it says.
    async fn fetch(&self, address: &Address) -> Answer {
        let question = self.backend.look_up(address);
        // Each backend keeps the deadline itself; this is for the one that does not.
        let asked = tokio::time::timeout(self.deadline + GRACE, question).await;
        let result = asked.unwrap_or_else(|elapsed| Err(Failure::new(Why::TimedOut, elapsed)));
        self.note(address, result.as_ref().err());
        let answer = match result {
            Ok(Some(attributes)) => Answer::Exists(attributes),
            Ok(None) => Answer::Absent,
            Err(failure) => return Answer::Unknown(failure.why),
        };
        self.cache.remember(address, answer);
        answer
    }

    /// Keeps what is wrong for `status`; the log has a line when that begins and when it ends.
    fn note(&self, address: &Address, failure: Option<&Failure>) {
        if failure.is_none() {
            self.answered.notify_waiters();
        }
        let mut known = self.known();
        known.failure = failure.map(|failure| (address.clone(), failure.to_string()));
        match failure {
            Some(failure) if failure.why.is_trouble() => {
                let text = failure.to_string();
                match &mut known.trouble {
                    Some((trouble, asked)) => {
                        trouble.text = text;
                        asked.clone_from(address);
                    }
                    none => {
                        let asked = address.to_string();
                        let error = &*without(&text, &asked);
                        tracing::warn!(directory = %self.name, error, "the directory does not answer");
                        *none = Some((Trouble { since: clock::now(), text }, address.clone()));
                    }
                }
            }
            Some(failure) if !failure.why.is_answer() => return,
            _ => {
                known.has_answered = true;
                if self.backend.is_well()
                    && let Some((over, _)) = known.trouble.take()
                {
                    let seconds = clock::since(over.since).as_secs();
                    tracing::info!(directory = %self.name, seconds, "the directory answers again");
                }
            }
        }
        drop(known);
        if !self.is_replicated {
            self.metrics.up(&self.name, self.state().is_up());
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// On top of a backend's own deadline.
const GRACE: Duration = Duration::from_millis(100);
