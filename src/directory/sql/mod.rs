//! Recipients in an SQL database: PostgreSQL, MySQL or MariaDB, SQLite.
//!
//! A recipient exists if the admin's query gives a row, and is absent if it gives none while others can be seen.
//! Whatever else happens (no connection, a mistake in the query, a column that says neither yes nor no, no answer in time) is a
//! [`Failure`]. It changes nothing in the database and never writes an address into a query's text.

mod config;
mod error;
mod follower;
mod kind;
mod pool;
mod server;
mod sight;
mod value;

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use sqlx::{MySql, Postgres, Sqlite};

pub(super) use config::{Config, Mode};
use error::Error;
pub(super) use follower::Follower;
use pool::{Mark, Pool};
use server::Server;

use super::{BuildError, remote::Failure};
use crate::{address::Address, net::Failover, policy::Attributes};

/// Asks one database.
#[derive(Debug)]
pub(super) struct Client {
    database: Box<Connections>,
    deadline: Duration,
    breaker: Failover,
    last: Mutex<Last>,
}

/// What happened last.
#[derive(Debug, Default)]
struct Last {
    answered: Option<Instant>,
    /// Why it was found down.
    down: String,
}

#[derive(Debug)]
enum Connections {
    Postgres(Pool<Postgres>),
    MySql(Pool<MySql>),
    Sqlite(Pool<Sqlite>, PathBuf),
}

impl Connections {
    fn new(key: &str, config: &Config) -> Result<Self, BuildError> {
        let (server, password) = Server::new(config).map_err(|error| BuildError::Setting {
            key: format!("{key}.sql.{}", error.key()),
            error: error.into(),
        })?;
        Ok(match server {
            Server::Postgres(options) => Self::Postgres(Pool::new(options, password, config)),
            Server::MySql(options) => Self::MySql(Pool::new(options, password, config)),
            Server::Sqlite(options) => {
                let path = options.get_filename().to_owned();
                Self::Sqlite(Pool::new(options, password, config), path)
            }
        })
    }
}

impl Client {
    /// Connects nowhere yet. `key` is `directory.NAME`.
    ///
    /// # Errors
    /// What can't be used, with its place in the configuration.
    pub(super) fn build(key: &str, config: &Config) -> Result<Self, BuildError> {
        let database = Box::new(Connections::new(key, config)?);
        Ok(Self { database, deadline: config.deadline, breaker: Failover::new(1), last: Mutex::default() })
    }

    /// What the database knows of the address; `None`: nothing. Takes no longer than the deadline.
    pub(super) async fn look_up(&self, address: &Address) -> Result<Option<Attributes>, Failure> {
        // Boxed, so that the drivers' types end here: the compiler gives up where they go on through a whole session.
        let answer = self.ask(address).boxed().await;
        answer.map_err(|error| Failure::new(error.why(), error))
    }

    async fn ask(&self, address: &Address) -> Result<Option<Attributes>, Error> {
        let asked = Instant::now();
        if self.breaker.candidates(asked).is_empty() {
            return Err(Error::Spared(self.last().down.clone()));
        }
        let answer = match &*self.database {
            Connections::Postgres(pool) => pool.ask(address, SERVER, self.deadline).await,
            Connections::MySql(pool) => pool.ask(address, SERVER, self.deadline).await,
            Connections::Sqlite(pool, path) => match file(path).await {
                Ok(file) => pool.ask(address, file, self.deadline).await,
                Err(error) => Err(Error::File { path: path.clone(), error }),
            },
        };
        match &answer {
            Err(Error::Busy) => {}
            // The database is well, but this address is hard to find. Anybody can invent one that is.
            Err(error)
                if error.is_slow() && self.last().answered.is_some_and(|answered| answered > asked) => {}
            Err(error) if error.is_down() => {
                self.last().down = error.to_string();
                self.breaker.failed(0, Instant::now());
            }
            _ => {
                self.last().answered = Some(Instant::now());
                self.breaker.worked(0);
            }
        }
        answer
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The file that has this name now: another one may have taken its place.
async fn file(path: &Path) -> std::io::Result<Mark> {
    let found = tokio::fs::metadata(path).await?;
    // To open a pipe would hold a thread of the driver's for ever.
    if !found.is_file() {
        return Err(std::io::Error::other("not a file"));
    }
    Ok((found.dev(), found.ino()))
}

/// All connections to a server are alike.
const SERVER: Mark = (0, 0);

#[cfg(test)]
mod tests;
