//! A few connections to one database, kept for the next question.
//!
//! A connection is handed out by value and comes back only after a clean end: one whose question was given up, or that made
//! a mistake, is closed by being dropped, so that nobody ever reads an answer to another's question. A kept one that the
//! server has cut meanwhile costs one more attempt, on a fresh one, and nobody notices.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqlSafeStr};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{Error, kind::Kind, server::password};
use crate::{address::Address, policy::Attributes};

/// Connections to one database.
pub(super) struct Pool<D: Kind> {
    options: D::Options,
    password_file: Option<PathBuf>,
    query: Arc<str>,
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
    /// No connections yet, and `most` at most.
    pub(super) fn new(options: D::Options, password_file: Option<PathBuf>, query: &str, most: u32) -> Self {
        let permits = Semaphore::new(most.try_into().unwrap_or(Semaphore::MAX_PERMITS));
        Self { options, password_file, query: query.into(), permits, idle: Mutex::default() }
    }

    /// What the database knows of the address. Takes as long as the database does; half of the deadline at most to wait
    /// for others' questions to end.
    pub(super) async fn ask(
        &self,
        address: &Address,
        mark: Mark,
        deadline: Duration,
    ) -> Result<Option<Attributes>, Error> {
        let asked = Instant::now();
        let permit = tokio::time::timeout(deadline / 2, self.permits.acquire()).await;
        let Ok(Ok(permit)) = permit else { return Err(Error::Busy) };
        let rest = deadline.saturating_sub(asked.elapsed());
        let answer = tokio::time::timeout(rest, self.ask_now(address, mark, &permit)).await;
        answer.unwrap_or(Err(Error::TimedOut))
    }

    async fn ask_now(
        &self,
        address: &Address,
        mark: Mark,
        _: &SemaphorePermit<'_>,
    ) -> Result<Option<Attributes>, Error> {
        let query = || AssertSqlSafe(Arc::clone(&self.query)).into_sql_str();
        if let Some(mut kept) = self.take(mark).await {
            let answer = D::ask(&mut kept.connection, query(), address).await;
            match answer {
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
        let answer = D::ask(&mut fresh.connection, query(), address).await;
        if !answer.as_ref().is_err_and(Error::is_of_connection) {
            self.keep(fresh);
        }
        answer
    }

    /// A connection of its own, which does not count.
    pub(super) async fn connect(&self) -> Result<D::Connection, Error> {
        let mut options = self.options.clone();
        if let Some(path) = self.password_file.clone() {
            // Read each time: it may have been changed, here and there.
            let read = tokio::task::spawn_blocking(move || password(&path)).await;
            options = D::with_password(options, &read.expect("reading a file does not panic")?);
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
