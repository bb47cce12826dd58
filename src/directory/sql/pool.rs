//! A few connections to one database, kept for the next question.
//!
//! A connection is handed out by value and comes back only after a clean end: one whose question was given up, or that made
//! a mistake, is closed by being dropped, so that nobody ever reads an answer to another's question. A kept one that the
//! server has cut meanwhile costs one more attempt, on a fresh one, and nobody notices.
//!
//! A row for `@example.com` makes everything in that domain exist. Nobody is called absent unless somebody else can be seen.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqlSafeStr};
use tokio::sync::Semaphore;

use super::{
    Config, Error,
    kind::{Kind, Parameters},
    sight::Sight,
};
use crate::{address::Address, net::Password, policy::Attributes};

/// Connections to one database.
pub(super) struct Pool<D: Kind> {
    options: D::Options,
    password: Option<Password>,
    query: Arc<str>,
    listing: Option<Arc<str>>,
    sight: Sight,
    permits: Semaphore,
    idle: Mutex<Vec<Kept<D>>>,
}

/// What a connection leads to: one with another mark is not used any more.
pub(super) type Mark = (u64, u64);

/// A connection between two questions.
struct Kept<D: Kind> {
    connection: D::Connection,
    opened: Instant,
    since: Instant,
    mark: Mark,
}

impl<D: Kind> Pool<D> {
    /// No connections yet.
    pub(super) fn new(options: D::Options, password: Option<Password>, config: &Config) -> Self {
        Self {
            options,
            password,
            query: config.query.as_str().into(),
            listing: config.listing.as_deref().map(Arc::from),
            sight: Sight::default(),
            permits: Semaphore::new(config.connections.try_into().unwrap_or(Semaphore::MAX_PERMITS)),
            idle: Mutex::default(),
        }
    }

    /// What the database knows of the address. Takes as long as the database does; half of the deadline at most to wait
    /// for others' questions to end.
    pub(super) async fn ask(
        &self,
        address: &Address,
        mark: Mark,
        deadline: Duration,
    ) -> Result<Option<Attributes>, Error> {
        let (asked, until) = (Instant::now(), tokio::time::Instant::now() + deadline);
        let permit = tokio::time::timeout(deadline / 2, self.permits.acquire()).await;
        let Ok(Ok(_permit)) = permit else { return Err(Error::Busy) };
        let found = tokio::time::timeout_at(until, self.find(address, mark)).await;
        let Ok(found) = found else {
            // What lies between may have forgotten the others as well, and tell nobody.
            self.lock().retain(|kept| kept.since > asked);
            return Err(Error::TimedOut);
        };
        let found = found?;
        match found {
            Some(known) if !known.catch_all => self.sight.saw(Some(address), asked),
            Some(_) => {}
            None => {
                let looked = tokio::time::timeout_at(until, self.look_around(mark)).await;
                looked.unwrap_or(Err(Error::Unsure))?;
            }
        }
        Ok(found)
    }

    /// Asks for the address, and then for all of its domain.
    async fn find(&self, address: &Address, mark: Mark) -> Result<Option<Attributes>, Error> {
        let domain = address.domain().as_str();
        let all = [format!("@{domain}"), String::new(), domain.to_owned()];
        let found = self.first_of(&[parameters(address), all], mark).await?;
        Ok(found.map(|(at, row)| match at {
            0 => row,
            _ => Attributes { suspended: false, catch_all: true, ..row },
        }))
    }

    /// Whether anybody can be seen, now that somebody was not. Those who ask at the same time look once.
    async fn look_around(&self, mark: Mark) -> Result<(), Error> {
        let asked = Instant::now();
        let mut looking = self.sight.looking.lock().await;
        if self.sight.has_seen_since(asked) {
            return Ok(());
        }
        let known = self.sight.known();
        let nobody = || match &self.listing {
            _ if !known.is_empty() => Error::Gone,
            Some(_) => Error::Nobody,
            None => Error::Unseen,
        };
        if looking.is_some_and(|began| began >= asked) {
            return Err(nobody());
        }
        let began = Instant::now();
        let questions: Vec<_> = known.iter().map(parameters).collect();
        if let Some((at, _)) = self.first_of(&questions, mark).await? {
            self.sight.saw(known.get(at), began);
            return Ok(());
        }
        let are_deleted = known.is_empty() || self.sight.are_gone_for_good(began);
        if let Some(listing) = self.listing.as_ref().filter(|_| are_deleted) {
            let mut connection = match self.take(mark).await {
                Some(kept) => kept.connection,
                None => self.connect().await?,
            };
            D::begin(&mut connection).await?;
            let listing = AssertSqlSafe(Arc::clone(listing)).into_sql_str();
            if let Some(text) = D::first(connection, listing).await? {
                // It is known from now on, so that the next look costs one question.
                let address = text.and_then(|text| Address::parse(text.trim()).ok());
                self.sight.saw(address.as_ref(), began);
                return Ok(());
            }
        }
        *looking = Some(began);
        Err(nobody())
    }

    /// The first of these questions that gives a row, and what that says.
    async fn first_of(
        &self,
        questions: &[Parameters],
        mark: Mark,
    ) -> Result<Option<(usize, Attributes)>, Error> {
        if questions.is_empty() {
            return Ok(None);
        }
        if let Some(mut kept) = self.take(mark).await {
            match self.first_on(&mut kept.connection, questions).await {
                // The others are as old, and most likely gone as well.
                Err(error) if error.is_of_connection() => self.lock().clear(),
                answer => {
                    self.keep(kept);
                    return answer;
                }
            }
        }
        let connection = self.connect().await?;
        let now = Instant::now();
        let mut fresh = Kept { connection, opened: now, since: now, mark };
        let answer = self.first_on(&mut fresh.connection, questions).await;
        if !answer.as_ref().is_err_and(Error::is_of_connection) {
            self.keep(fresh);
        }
        answer
    }

    async fn first_on(
        &self,
        connection: &mut D::Connection,
        questions: &[Parameters],
    ) -> Result<Option<(usize, Attributes)>, Error> {
        D::begin(connection).await?;
        let answer = self.first_within(connection, questions).await;
        if !answer.as_ref().is_err_and(Error::is_of_connection) {
            D::end(connection).await?;
        }
        answer
    }

    async fn first_within(
        &self,
        connection: &mut D::Connection,
        questions: &[Parameters],
    ) -> Result<Option<(usize, Attributes)>, Error> {
        for (at, parameters) in questions.iter().enumerate() {
            let query = AssertSqlSafe(Arc::clone(&self.query)).into_sql_str();
            if let Some(row) = D::ask(connection, query, parameters).await? {
                return Ok(Some((at, row)));
            }
        }
        Ok(None)
    }

    /// A connection of its own, which does not count.
    pub(super) async fn connect(&self) -> Result<D::Connection, Error> {
        let mut options = self.options.clone();
        if let Some(password) = &self.password {
            options = D::with_password(options, &password.current().await);
        }
        options.connect().await.map_err(Error::Connect)
    }

    /// The connection that was used last, if it is still fit. Those that are not are closed.
    async fn take(&self, mark: Mark) -> Option<Kept<D>> {
        let (fit, unfit) = {
            let mut idle = self.lock();
            let (mut fit, unfit): (Vec<_>, Vec<_>) = idle.drain(..).partition(|kept| kept.is_fit(mark));
            let taken = fit.pop();
            *idle = fit;
            (taken, unfit)
        };
        for kept in unfit {
            // A server notes who goes without a word.
            let _ = tokio::time::timeout(FAREWELL, kept.connection.close()).await;
        }
        fit
    }

    fn keep(&self, mut kept: Kept<D>) {
        kept.since = Instant::now();
        self.lock().push(kept);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Kept<D>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D: Kind> Kept<D> {
    fn is_fit(&self, mark: Mark) -> bool {
        self.mark == mark && self.since.elapsed() < LONGEST_IDLE && self.opened.elapsed() < LONGEST_LIFE
    }
}

fn parameters(address: &Address) -> Parameters {
    [address.key_str(), address.local(), address.domain().as_str()].map(str::to_owned)
}

impl<D: Kind> fmt::Debug for Pool<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("idle", &self.lock().len()).finish_non_exhaustive()
    }
}

/// What lies between may forget a connection that is silent for longer, and tell nobody.
const LONGEST_IDLE: Duration = Duration::from_secs(60);
/// A name may lead elsewhere by then, and a table may have got a column.
const LONGEST_LIFE: Duration = Duration::from_secs(600);
const FAREWELL: Duration = Duration::from_millis(50);
