//! Keeps a replica current by listing everything again: at an interval, and with SQLite as soon as something is written.
//!
//! A listing is read row by row and told in pages, so that it takes little memory however long it is. One that fails, or
//! stops coming, is no listing: what it did not get to is not gone.

use std::{
    collections::HashMap,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{FutureExt, TryStreamExt};
use sqlx::{AssertSqlSafe, ColumnIndex, Either, Executor, IntoArguments, SqlSafeStr, Statement};

use super::{
    BuildError, Config, Connections, Error,
    kind::Kind,
    pool::{Mark, Pool},
    value,
};
use crate::{
    directory::{
        Entry,
        remote::Failure,
        replica::{Lost, ObjectId, Recipient, Writer},
    },
    policy::Attributes,
    telemetry::log::shown,
};

/// Keeps a replica current.
#[derive(Debug)]
pub(in crate::directory) struct Follower {
    /// For the log.
    name: String,
    database: Box<Connections>,
    listing: Arc<str>,
    refresh: Duration,
    /// Rows that name no recipient, the last time: the log has a line when that changes.
    unreadable: u64,
}

impl Follower {
    /// Connects nowhere yet. `key` is `directory.NAME`; everything is listed anew after `refresh`.
    ///
    /// # Errors
    /// What can't be used, with its place in the configuration.
    pub(in crate::directory) fn build(
        key: &str,
        config: &Config,
        refresh: Duration,
    ) -> Result<Self, BuildError> {
        Ok(Self {
            name: key.trim_start_matches("directory.").to_owned(),
            database: Box::new(Connections::new(key, config)?),
            listing: config.listing.as_deref().unwrap_or_default().into(),
            refresh,
            unreadable: 0,
        })
    }

    /// Returns only when it fails.
    pub(in crate::directory) async fn run(&mut self, writer: &mut Writer) -> Failure {
        loop {
            if let Err(failure) = self.once(writer).await {
                return failure;
            }
        }
    }

    /// One listing, and the wait for the next.
    pub(super) async fn once(&mut self, writer: &mut Writer) -> Result<(), Failure> {
        let Self { name, database, listing, refresh, unreadable } = self;
        let mut work = Work { name, listing, refresh: *refresh, unreadable, writer };
        // Boxed as in `Client::look_up`.
        let done = match &**database {
            Connections::Postgres(pool) => work.round(pool, None).boxed().await,
            Connections::MySql(pool) => work.round(pool, None).boxed().await,
            Connections::Sqlite(pool, path) => work.round(pool, Some(path)).boxed().await,
        };
        done.map_err(|stop| match stop {
            Stop::Failed(error) => Failure::new(error.why(), error),
            Stop::Lost(lost) => lost.into(),
        })
    }
}

/// Why it does not go on.
enum Stop {
    Failed(Error),
    Lost(Lost),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Lost> for Stop {
    fn from(lost: Lost) -> Self {
        Self::Lost(lost)
    }
}

/// What a run has at hand.
struct Work<'f> {
    name: &'f str,
    listing: &'f Arc<str>,
    refresh: Duration,
    unreadable: &'f mut u64,
    writer: &'f mut Writer,
}

impl Work<'_> {
    /// One listing, and the wait for the next.
    async fn round<D: Kind>(&mut self, pool: &Pool<D>, path: Option<&Path>) -> Result<(), Stop>
    where
        for<'c> &'c mut D::Connection: Executor<'c, Database = D>,
        D::Arguments: IntoArguments<D>,
        usize: ColumnIndex<D::Row>,
    {
        let begun = Instant::now();
        let file = mark(path).await?;
        let connected = tokio::time::timeout(LONGEST_SILENCE, pool.connect()).await;
        let mut connection = connected.unwrap_or(Err(Error::TimedOut))?;
        let version = D::version(&mut connection).await?;
        D::begin(&mut connection).await?;
        self.list::<D>(&mut connection).await?;
        self.writer.current(begun, false);

        if version.is_none() {
            drop(connection);
            tokio::time::sleep(self.refresh).await;
            return Ok(());
        }
        let (listed, rest) = (Instant::now(), begun.elapsed() * REST);
        while listed.elapsed() < self.refresh {
            tokio::time::sleep(LOOK.min(self.refresh)).await;
            let changed = mark(path).await? != file || D::version(&mut connection).await? != version;
            if changed && listed.elapsed() >= rest {
                break;
            }
        }
        Ok(())
    }

    async fn list<D: Kind>(&mut self, connection: &mut D::Connection) -> Result<(), Stop>
    where
        for<'c> &'c mut D::Connection: Executor<'c, Database = D>,
        D::Arguments: IntoArguments<D>,
        usize: ColumnIndex<D::Row>,
    {
        let query = AssertSqlSafe(Arc::clone(self.listing)).into_sql_str();
        let prepared = tokio::time::timeout(LONGEST_SILENCE, connection.prepare(query)).await;
        let statement = prepared.map_err(|_| Error::TimedOut)?.map_err(Error::Query)?;
        match statement.parameters() {
            Some(Either::Left([])) | Some(Either::Right(0)) | None => {}
            Some(Either::Left(types)) => return Err(Error::ListingParameters(types.len()).into()),
            Some(Either::Right(count)) => return Err(Error::ListingParameters(count).into()),
        }
        self.writer.begin_listing();
        let (mut page, mut complete) = (Page::default(), false);
        let mut steps = connection.fetch_many(statement.query());
        loop {
            let step = tokio::time::timeout(LONGEST_SILENCE, steps.try_next()).await;
            let row = match step.map_err(|_| Error::TimedOut)?.map_err(Error::Query)? {
                Some(Either::Right(row)) => row,
                Some(Either::Left(_)) => {
                    complete = true;
                    continue;
                }
                None => break,
            };
            page.add(value::address::<D>(&row)?, value::attributes::<D>(&row)?);
            if page.objects.len() >= PAGE {
                self.writer.list(page.turn()).await?;
            }
        }
        drop(steps);
        if !complete {
            return Err(Error::Incomplete.into());
        }
        self.writer.list(page.turn()).await?;
        self.writer.end_listing(None).await?;
        if page.unreadable != *self.unreadable {
            *self.unreadable = page.unreadable;
            let (rows, example) = (page.unreadable, page.example.as_deref().unwrap_or_default());
            let example = &*shown(example.as_bytes());
            tracing::warn!(directory = self.name, rows, example, "rows that name no recipient are skipped");
        }
        Ok(())
    }
}

/// A part of a listing.
#[derive(Default)]
struct Page {
    objects: HashMap<ObjectId, Recipient>,
    /// Whom anything goes for, in the whole listing: a further row of the same address adds to it.
    special: HashMap<ObjectId, Attributes>,
    unreadable: u64,
    /// The first of them.
    example: Option<String>,
}

impl Page {
    fn add(&mut self, address: Option<String>, attributes: Attributes) {
        let text = address.unwrap_or_default();
        let text = text.trim();
        // As the query is asked: without the quotes that an envelope needs.
        let Ok(entry) = Entry::from_name(text) else {
            self.unreadable += 1;
            self.example.get_or_insert_with(|| text.chars().take(80).collect());
            return;
        };
        let id = ObjectId::from(text.as_bytes());
        let known = self.special.get(&id).copied().unwrap_or_default();
        let attributes = known.merge(attributes);
        if attributes != Attributes::default() {
            self.special.insert(id.clone(), attributes);
        }
        self.objects.insert(id, Recipient { entry, attributes });
    }

    /// What it holds, and it is empty then.
    fn turn(&mut self) -> Vec<(ObjectId, Vec<Recipient>)> {
        self.objects.drain().map(|(id, recipient)| (id, vec![recipient])).collect()
    }
}

async fn mark(path: Option<&Path>) -> Result<Option<Mark>, Error> {
    let Some(path) = path else { return Ok(None) };
    let found = super::file(path).await;
    found.map(Some).map_err(|error| Error::File { path: path.to_owned(), error })
}

/// Rows a page.
const PAGE: usize = 1000;
/// A database that says nothing for so long will say nothing more.
const LONGEST_SILENCE: Duration = Duration::from_secs(60);
/// How often to look whether anything was written.
const LOOK: Duration = Duration::from_secs(1);
/// However often somebody writes, listings take no more than this part of the time.
const REST: u32 = 10;
