//! Against the real databases: each test starts the one it needs, and asks it as the program does.

mod every;
mod listing;
mod mariadb;
mod postgresql;
mod sqlite;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use backstop_harness::{MariaDb, Postgres, wait_for, wait_until};
use figment::{
    Figment,
    providers::{Format, Toml},
};
use sqlx::{ConnectOptions, Connection, SqliteConnection, raw_sql, sqlite::SqliteConnectOptions};
use tokio::runtime::Runtime;

use super::*;
use crate::{address::Domain, directory::Why};
use every::*;

/// One of the three databases with the user's tables, and a runtime to ask in.
trait Database {
    /// How it writes a parameter.
    fn parameter(&self, number: usize) -> String;
    /// The keys that lead to it.
    fn keys(&self) -> String;
    /// Runs statements with `;` between them.
    fn run(&self, statements: &str);
    fn runtime(&self) -> &Runtime;

    fn client(&self, query: &str) -> Asker<'_> {
        self.client_with(&self.keys(), query)
    }

    fn client_with(&self, keys: &str, query: &str) -> Asker<'_> {
        let mut query = query.to_owned();
        for number in 1..=4 {
            query = query.replace(&format!(":{number}"), &self.parameter(number));
        }
        let text = format!("{keys}\nquery = '''{query}'''");
        let config: Config = Figment::from(Toml::string(&text)).extract().unwrap();
        let mut wrong = Vec::new();
        config.check(&mut |key, message| wrong.push(format!("{key}: {message}")));
        assert!(wrong.is_empty(), "{text}: {wrong:?}");
        Asker { client: Client::build("directory.x", &config).unwrap(), runtime: self.runtime() }
    }
}

/// A client that waits for its answers.
struct Asker<'d> {
    client: Client,
    runtime: &'d Runtime,
}

impl Asker<'_> {
    #[track_caller]
    fn ask(&self, address: &str) -> Result<Option<Attributes>, Failure> {
        self.ask_for(&Address::parse(address).unwrap())
    }

    fn ask_for(&self, address: &Address) -> Result<Option<Attributes>, Failure> {
        self.runtime.block_on(self.client.look_up(address))
    }

    #[track_caller]
    fn knows(&self, address: &str) -> bool {
        self.ask(address).unwrap_or_else(|error| panic!("{address}: {error}")).is_some()
    }

    #[track_caller]
    fn fails(&self, address: &str, why: Why, parts: &[&str]) {
        let failure = self.ask(address).expect_err(address);
        let text = failure.to_string();
        assert_eq!(failure.why, why, "{text}");
        for part in parts {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
    }

    /// It answers again, without anybody's help.
    #[track_caller]
    fn recovers(&self) {
        wait_until(Duration::from_secs(15), "the database to be asked again", || {
            self.ask("joe@x").is_ok_and(|found| found.is_some())
        });
        assert!(!self.knows("nobody@x"));
    }
}

struct InPostgres(Postgres, Runtime, Way);

enum Way {
    /// The host vouches for who asks: that is quick.
    Socket,
    Password,
}

impl Database for InPostgres {
    fn parameter(&self, number: usize) -> String {
        format!("${number}")
    }
    fn keys(&self) -> String {
        match self.2 {
            Way::Socket => {
                let directory = self.0.socket_directory().display();
                format!("url = 'postgres://backstop@db:{}/mail?host={directory}'", self.0.port())
            }
            Way::Password => {
                format!("url = '{}'\npassword_file = '{}'", self.0.url(""), self.0.password_file().display())
            }
        }
    }
    fn run(&self, statements: &str) {
        self.0.sql(&[statements]);
    }
    fn runtime(&self) -> &Runtime {
        &self.1
    }
}

struct InMariaDb(MariaDb, Runtime);

impl Database for InMariaDb {
    fn parameter(&self, _: usize) -> String {
        "?".to_owned()
    }
    fn keys(&self) -> String {
        format!("url = '{}'\npassword_file = '{}'", self.0.url(""), self.0.password_file().display())
    }
    fn run(&self, statement: &str) {
        self.0.sql(statement);
    }
    fn runtime(&self) -> &Runtime {
        &self.1
    }
}

struct InSqlite(tempfile::TempDir, Runtime);

impl InSqlite {
    fn start() -> Self {
        let (dir, runtime) = (tempfile::tempdir().unwrap(), Runtime::new().unwrap());
        let made = Self(dir, runtime);
        made.runtime().block_on(write(&made.path()));
        made
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("mail.db")
    }
}

impl Database for InSqlite {
    fn parameter(&self, number: usize) -> String {
        format!("?{number}")
    }
    fn keys(&self) -> String {
        format!("url = 'sqlite:{}'", self.path().display())
    }
    fn run(&self, statement: &str) {
        self.1.block_on(async {
            let mut connection = write(&self.path()).await;
            execute(&mut connection, statement).await;
            connection.close().await.unwrap();
        });
    }
    fn runtime(&self) -> &Runtime {
        &self.1
    }
}

async fn write(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).create_if_missing(true).connect().await.unwrap()
}

async fn execute(connection: &mut SqliteConnection, statement: &str) {
    raw_sql(sqlx::AssertSqlSafe(statement)).execute(connection).await.unwrap();
}
