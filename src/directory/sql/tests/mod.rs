//! Against the real databases: each test starts the one it needs, and asks it as the program does.

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

const SUSPENDED: Attributes = Attributes { suspended: true, restricted: false, catch_all: false };
const RESTRICTED: Attributes = Attributes { suspended: false, restricted: true, catch_all: false };
const NEITHER: Attributes = Attributes { suspended: false, restricted: false, catch_all: false };
const BOTH: Attributes = Attributes { suspended: true, restricted: true, catch_all: false };

/// What goes for each of them: types and texts are told in the table of each database, as `(type, yes, no)`.
fn says_what_its_columns_say(database: &impl Database, kinds: &[(&str, &str, &str)]) {
    let tables: Vec<String> = kinds
        .iter()
        .enumerate()
        .map(|(number, (kind, yes, no))| {
            format!(
                "create table kind{number} (a varchar(50), v {kind}); \
                 insert into kind{number} values ('yes@x', {yes}), ('no@x', {no}), ('null@x', null)"
            )
        })
        .collect();
    database.run(&tables.join("; "));
    for (number, (kind, ..)) in kinds.iter().enumerate() {
        let client = database.client(&format!("select a, v as Suspended from kind{number} where a = :1"));
        for (address, attributes) in [("yes@x", SUSPENDED), ("no@x", NEITHER), ("null@x", NEITHER)] {
            let found = client.ask(address).unwrap_or_else(|error| panic!("{kind} {address}: {error}"));
            assert_eq!(found, Some(attributes), "{kind} {address}");
        }
        assert_eq!(client.ask("nobody@x").unwrap(), None, "{kind}");
    }
}

/// Types that say neither yes nor no, as `(type, value, what the message names)`.
fn guesses_nothing(database: &impl Database, kinds: &[(&str, &str, &str)]) {
    let tables: Vec<String> = kinds
        .iter()
        .enumerate()
        .map(|(number, (kind, value, _))| {
            format!(
                "create table odd{number} (a varchar(50), v {kind}); \
                 insert into odd{number} values ('joe@x', {value})"
            )
        })
        .collect();
    database.run(&tables.join("; "));
    for (number, (kind, _, named)) in kinds.iter().enumerate() {
        let client = database.client(&format!("select v as restricted from odd{number} where a = :1"));
        for _ in 0..2 {
            client.fails("joe@x", Why::Failed, &["\"restricted\"", named, "neither yes nor no"]);
            assert!(!client.knows("nobody@x"), "{kind}: one row that makes no sense is not all of them");
        }
    }
}

fn make_mailboxes(database: &impl Database) {
    database.run(
        "create table mailbox (address varchar(190) primary key, suspended int, restricted int); \
         insert into mailbox values ('joe@x', 0, 0), ('unpaid@x', 1, 0), ('staff@x', null, 1), ('both@x', 1, 1), \
         ('o''neil@x', 0, 0)",
    );
}

const BY_ADDRESS: &str = "select * from mailbox where address = :1";

/// The query's meaning is the same everywhere.
fn finds_recipients(database: &impl Database) {
    let client = database.client(BY_ADDRESS);
    for (address, found) in [
        ("joe@x", Some(NEITHER)),
        ("JOE@X", Some(NEITHER)),
        ("unpaid@x", Some(SUSPENDED)),
        ("staff@x", Some(RESTRICTED)),
        ("both@x", Some(BOTH)),
        ("o'neil@x", Some(NEITHER)),
        ("nobody@x", None),
        ("joe@y", None),
    ] {
        assert_eq!(client.ask(address).unwrap(), found, "{address}");
    }

    // Parameters: the address, its local part, its domain, all as normalised.
    database.run("create table split (local varchar(50), domain varchar(50))");
    database.run("insert into split values ('joe', 'xn--mnchen-3ya.test'), ('j\u{f6}rg', 'x')");
    let client = database.client("select 1 from split where :1 <> '' and local = :2 and domain = :3");
    assert!(client.knows("Joe@M\u{fc}nchen.TEST."));
    assert!(client.knows("J\u{d6}RG@x"));
    assert!(!client.knows("joe@x"));
    let client = database.client("select 1 from split where :1 <> '' and local = :2");
    assert!(client.knows("joe@elsewhere"));

    // Several rows add up, whatever their order.
    let rows = "select 0 as suspended, 1 as restricted from mailbox where address = :1 \
                union all select suspended, 0 from mailbox where address = :1 \
                union all select null, null from mailbox where address = :1";
    let rows = rows.replace(":1", "joe").replace("= joe", "in ('joe@x', 'unpaid@x')");
    let client = database.client(&format!("select * from ({rows}) as found where :1 = 'joe@x'"));
    assert_eq!(client.ask("joe@x").unwrap(), Some(BOTH));

    // Columns that mean nothing to us may be of any type.
    let client = database
        .client("select current_timestamp as suspended_at, 'x' as kind from mailbox where address = :1");
    assert_eq!(client.ask("joe@x").unwrap(), Some(NEITHER));
    assert_eq!(client.ask("nobody@x").unwrap(), None);
}

/// Whatever a client invents is a value, and never a part of the query.
fn cannot_be_talked_into_anything(database: &impl Database) {
    let (client, x) = (database.client(BY_ADDRESS), Domain::parse("x").unwrap());
    for local in [
        "' or '1'='1",
        "'; drop table mailbox; --",
        "\" or \"\"=\"",
        "\\' or 1=1 -- ",
        "\\",
        "\\\\'",
        "%",
        "_oe",
        "jo%",
        "joe' --",
        "joe'/*",
        "joe\u{feff}",
        "$1",
        ":1",
        "?",
        "??",
        "{}",
        "joe\u{a0}",
        "\u{bf}\u{27} or 1=1",
        "'",
        "''",
        "joe@x' or 'a'='a",
        "\u{2019}",
        "`",
        "joe;",
        "null",
        "*",
        "\u{1f600}",
        "o''neil",
        "\u{ff07} or 1=1",
        "0",
        "1=1",
    ] {
        let address = Address::new(local, &x).unwrap();
        match client.ask_for(&address) {
            Ok(found) => assert_eq!(found, None, "{local:?}"),
            Err(failure) => panic!("{local:?}: {failure}"),
        }
    }
    // What PostgreSQL can't take in a text is in no address.
    assert!(Address::new("joe\0", &x).is_err());
    assert!(client.knows("joe@x"), "the table is still there");
}

/// A wrong query is told of, and is nobody's absence; it is right as soon as it is made right.
fn tells_what_is_wrong(database: &impl Database, missing: &str) {
    database.client("select from where :1").fails("joe@x", Why::Failed, &["syntax"]);
    database.client("select 1").fails("joe@x", Why::Failed, &["0 parameters", "from one to three"]);
    let four = "select 1 from mailbox where address in (:1, :2, :3, :4)";
    database.client(four).fails("joe@x", Why::Failed, &["4 parameters", "from one to three"]);
    let all = "select a.address from mailbox a, mailbox b, mailbox c, mailbox d, mailbox e where :1 <> ''";
    database.client(all).fails("joe@x", Why::Failed, &["more than 1000 rows"]);

    let client = database.client("select 1 from late where address = :1");
    for _ in 0..3 {
        client.fails("joe@x", Why::Failed, &[missing]);
    }
    database.run("create table late (address varchar(50))");
    assert!(!client.knows("joe@x"));
    database.run("insert into late values ('joe@x')");
    assert!(client.knows("joe@x"));

    // Tables change under a prepared query.
    let client = database.client("select * from late where address = :1");
    assert_eq!(client.ask("joe@x").unwrap(), Some(NEITHER));
    database.run("alter table late add column suspended int");
    database.run("update late set suspended = 1");
    assert!(client.knows("joe@x"), "nobody notices");
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

/// What goes down, and comes back.
fn goes_down<D: Database>(client: &Asker<'_>, database: &mut D, down: impl Fn(&mut D), up: impl Fn(&mut D)) {
    assert!(client.knows("joe@x"));
    down(database);
    client.fails("joe@x", Why::Down, &["can't connect"]);
    let begun = Instant::now();
    let mut spared = 0;
    for _ in 0..100 {
        let failure = client.ask("nobody@x").expect_err("it is down");
        assert_eq!(failure.why, Why::Down, "{failure}");
        assert!(failure.to_string().contains("can't connect"), "the reason is not lost: {failure}");
        spared += u32::from(failure.to_string().contains("tried again"));
    }
    assert!(spared > 90 && begun.elapsed() < Duration::from_secs(2), "{spared} {:?}", begun.elapsed());
    up(database);
    client.recovers();
}

/// What takes connections and questions, and answers none.
fn hangs<D: Database>(client: &Asker<'_>, database: &mut D, freeze: impl Fn(&mut D), thaw: impl Fn(&mut D)) {
    assert!(client.knows("joe@x"));
    freeze(database);
    let begun = Instant::now();
    client.fails("unpaid@x", Why::TimedOut, &["no answer in time"]);
    let taken = begun.elapsed();
    assert!(taken > Duration::from_millis(900) && taken < Duration::from_millis(1500), "{taken:?}");
    let begun = Instant::now();
    client.fails("joe@x", Why::Down, &["no answer in time"]);
    assert!(begun.elapsed() < Duration::from_millis(200), "the others wait for nothing");
    thaw(database);
    client.recovers();
    assert_eq!(client.ask("joe@x").unwrap(), Some(NEITHER), "nobody reads another's answer");
    assert_eq!(client.ask("unpaid@x").unwrap(), Some(SUSPENDED));
}

/// One question runs into the deadline; others, before and after, don't.
fn one_is_slow(client: &Asker<'_>, runtime: &Runtime) {
    assert!(client.knows("joe@x"));
    let slow = Address::parse("slow@x").unwrap();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| runtime.block_on(client.client.look_up(&slow)));
        let mut answered = 0;
        while !asked.is_finished() {
            assert!(client.knows("joe@x"));
            assert!(!client.knows("nobody@x"));
            answered += 1;
        }
        assert!(answered > 5, "{answered}");
        assert_eq!(asked.join().unwrap().unwrap_err().why, Why::TimedOut);
    });
    for _ in 0..10 {
        assert!(client.knows("joe@x"), "the database is well");
        assert!(!client.knows("nobody@x"), "nobody reads another's answer");
    }
}

/// The password comes from its file, and is read again.
fn secrets(database: &impl Database) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("password");
    std::fs::write(&path, "wrong\n").unwrap();
    let url = database.keys().lines().next().unwrap().to_owned();
    let client = database.client_with(&format!("{url}\npassword_file = '{}'", path.display()), BY_ADDRESS);
    let failure = client.ask("joe@x").unwrap_err();
    assert_eq!(failure.why, Why::Failed, "{failure}");
    let text = failure.to_string();
    assert!(text.contains("password") && !text.contains("wrong\n"), "{text}");
    std::fs::write(&path, format!("{}\n", Postgres::PASSWORD)).unwrap();
    client.recovers();
    std::fs::remove_file(&path).unwrap();
    assert!(client.knows("joe@x"), "a connection that is open needs no password");
}

/// The query tells whether the connection is encrypted.
fn encryption(database: &impl Database, query: &str, ca: &Path, off: &str, any: &str, full: &str) {
    let ask = |mode: &str, ca: Option<&Path>| {
        let mode = if mode.is_empty() { String::new() } else { format!("/mail?sslmode={mode}") };
        let mut keys = database.keys();
        if !mode.is_empty() {
            keys = keys.replace("/mail", &mode);
        }
        if let Some(ca) = ca {
            keys = format!("{keys}\nca_file = '{}'", ca.display());
        }
        database.client_with(&keys, query).ask("joe@x")
    };
    assert_eq!(ask("", None).unwrap(), Some(SUSPENDED), "it is used where it is offered");
    assert_eq!(ask(off, None).unwrap(), Some(NEITHER));
    assert_eq!(ask(any, None).unwrap(), Some(SUSPENDED));
    assert_eq!(ask("", Some(ca)).unwrap(), Some(SUSPENDED));
    assert_eq!(ask(full, Some(ca)).unwrap(), Some(SUSPENDED));
    let failure = ask(full, None).unwrap_err();
    assert!(failure.why == Why::Failed && failure.to_string().contains("certificate"), "{failure}");
}
