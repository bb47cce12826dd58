//! Against the real databases: each test starts the one it needs, and asks it as the program does.

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
    let none = database.client("select 1 from mailbox where address = '\\:1' or address = '\\:1'");
    none.fails("joe@x", Why::Failed, &["0 parameters", "from one to three"]);
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

/// A row for `@example.com` takes all of the domain, and what it says of suspension is nobody's.
fn catches_all(database: &impl Database) {
    database.run(
        "create table caught (address varchar(50), suspended int, restricted int); \
         insert into caught values ('@all.test', 1, 1), ('joe@all.test', 1, 0)",
    );
    let client = database.client("select suspended, restricted from caught where address = :1");
    for (address, found) in [
        ("whoever@all.test", Some(Attributes { suspended: false, restricted: true, catch_all: true })),
        ("joe@all.test", Some(SUSPENDED)),
        ("whoever@other.test", None),
    ] {
        assert_eq!(client.ask(address).unwrap(), found, "{address}");
    }
    let parts = database.client("select 1 from caught where address = :1 and :2 = '' and :3 = 'all.test'");
    assert!(parts.knows("whoever@all.test") && !parts.knows("whoever@other.test"));
}

/// A table that is emptied to be filled anew makes nobody absent.
fn is_not_believed_while_nobody_can_be_seen(database: &impl Database) {
    let fill = "insert into site values ('joe@x'), ('ann@x')";
    database.run("create table site (address varchar(50))");
    let query = "select 1 from site where address = :1";
    let keys = format!("{}\nlisting = 'select address from site'", database.keys());
    let (bare, listed) = (database.client(query), database.client_with(&keys, query));
    assert!(!bare.knows("joe@x"), "nobody knows whether there ever was anybody");
    listed.fails("joe@x", Why::Failed, &["the listing gives nobody"]);
    database.run(fill);
    for client in [&bare, &listed] {
        assert!(client.knows("joe@x") && !client.knows("nobody@x"));
    }
    database.run("delete from site where address = 'ann@x'");
    assert!(!bare.knows("ann@x"), "joe can be seen");
    database.run("delete from site");
    for client in [&bare, &listed] {
        wait_until(Duration::from_secs(10), "the empty table to be noticed", || client.ask("ann@x").is_err());
        for address in ["joe@x", "ann@x", "nobody@x"] {
            client.fails(address, Why::Failed, &["none of the recipients that were known is there any more"]);
        }
    }
    database.run("insert into site values ('ann@x')");
    assert!(!listed.knows("joe@x"), "the listing gives somebody");
    bare.fails("joe@x", Why::Failed, &["none of the recipients"]);
    assert!(bare.knows("ann@x") && !bare.knows("joe@x"));
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

/// PostgreSQL: every type of a column, every way to be away.
mod postgresql {
    use super::*;

    #[test]
    fn answers() {
        let database = InPostgres(Postgres::start(), Runtime::new().unwrap(), Way::Socket);
        database.0.admin(&["create extension citext"]);
        make_mailboxes(&database);
        finds_recipients(&database);
        cannot_be_talked_into_anything(&database);
        catches_all(&database);
        is_not_believed_while_nobody_can_be_seen(&database);
        tells_what_is_wrong(&database, "relation \"late\" does not exist");

        database.run("create type state as enum ('y', 'n')");
        database.run("create domain flag as boolean");
        says_what_its_columns_say(
            &database,
            &[
                ("boolean", "true", "false"),
                ("flag", "true", "false"),
                ("smallint", "1", "0"),
                ("integer", "-1", "0"),
                ("bigint", "4294967296", "0"),
                ("real", "0.5", "0"),
                ("double precision", "'Infinity'", "-0.0"),
                ("numeric", "0.001", "0.000"),
                ("numeric(20)", "100000000000000", "0"),
                ("text", "'yes'", "'no'"),
                ("varchar(5)", "'TRUE'", "'FALSE'"),
                ("char(5)", "'t'", "'f'"),
                ("\"char\"", "'Y'", "'N'"),
                ("name", "'on'", "'off'"),
                ("citext", "'Yes'", "'No'"),
                ("state", "'y'", "'n'"),
                ("bit(1)", "B'1'", "B'0'"),
                ("bit varying", "B'0001'", "B'0000'"),
            ],
        );
        guesses_nothing(
            &database,
            &[
                ("text", "'unpaid'", "\"unpaid\""),
                ("timestamptz", "now()", "TIMESTAMPTZ"),
                ("date", "now()", "DATE"),
                ("bytea", "'\\x01'", "BYTEA"),
                ("jsonb", "'true'", "JSONB"),
                ("uuid", "gen_random_uuid()", "UUID"),
                ("inet", "'192.0.2.1'", "INET"),
                ("boolean[]", "'{t}'", "BOOL[]"),
                ("numeric", "'NaN'", "NUMERIC"),
                ("real", "'NaN'", "FLOAT4"),
                ("int4range", "'[1,2)'", "INT4RANGE"),
                ("mailbox", "row('a',1,1)", "mailbox"),
            ],
        );

        // The column decides how it is compared: citext without case.
        database.run("create table names (address citext)");
        database.run("insert into names values ('Ann@X')");
        assert!(database.client("select 1 from names where address = :1").knows("ann@x"));
        // A number that an address is not.
        database.run("create table ids (id integer)");
        let client = database.client("select 1 from ids where :1::text::integer = id");
        for _ in 0..3 {
            client.fails("joe@x", Why::PutOff, &["invalid input syntax"]);
        }
        let client = database.client("select 1 where :1 = :2 || '@x' and :3::integer > 0");
        client.fails("joe@x", Why::Failed, &[]);
    }

    #[test]
    fn outages() {
        let mut database = InPostgres(Postgres::start(), Runtime::new().unwrap(), Way::Password);
        make_mailboxes(&database);
        let keys = format!("{}\ndeadline = '1s'", database.keys());
        let (runtime, other) = (Runtime::new().unwrap(), Runtime::new().unwrap());
        let at = |client: Asker<'_>, runtime| Asker { client: client.client, runtime };
        let client = at(database.client_with(&keys, BY_ADDRESS), &runtime);

        // The server cuts idle connections.
        database.0.admin(&["alter role backstop set idle_session_timeout = '200ms'"]);
        let open = |database: &InPostgres| {
            database.0.admin(&["select count(*) from pg_stat_activity where usename = 'backstop'"]).trim()
                != "0"
        };
        assert!(client.knows("joe@x"));
        assert!(open(&database), "the connection is kept");
        wait_until(Duration::from_secs(10), "the cut", || !open(&database));
        assert!(client.knows("joe@x"), "nobody notices");
        database.0.admin(&["alter role backstop reset idle_session_timeout"]);
        wait_until(Duration::from_secs(10), "the cut", || !open(&database));

        // An administrator ends all connections; the server is started anew.
        for restart in [false, true, false, true] {
            assert!(client.knows("joe@x"));
            if restart {
                database.0.kill();
                database.0.resume();
            } else {
                database.0.admin(&[
                    "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'backstop'",
                ]);
                wait_until(Duration::from_secs(10), "the end of the connections", || !open(&database));
            }
            assert!(client.knows("joe@x"), "nobody notices");
            assert!(!client.knows("nobody@x"));
        }

        goes_down(&client, &mut database, |database| database.0.kill(), |database| database.0.resume());
        hangs(&client, &mut database, |database| database.0.freeze(), |database| database.0.thaw());

        // One question takes too long, and costs nobody else anything.
        let slow = "select 1 from mailbox where address = :1 or (:1 = 'slow@x' and pg_sleep(5) is null)";
        let client = at(database.client_with(&keys, slow), &runtime);
        one_is_slow(&client, &other);

        // Too many connections, and room again.
        database.0.admin(&["alter role backstop connection limit 0"]);
        let client = at(database.client_with(&keys, BY_ADDRESS), &runtime);
        client.fails("joe@x", Why::Down, &["too many connections"]);
        database.0.admin(&["alter role backstop connection limit -1"]);
        client.recovers();

        secrets(&database);
        let ipv6 = database.keys().replace("127.0.0.1", "[::1]");
        assert!(database.client_with(&ipv6, BY_ADDRESS).knows("joe@x"));
        let unknown = database.keys().replace("/mail", "/none");
        let client = database.client_with(&unknown, BY_ADDRESS);
        client.fails("joe@x", Why::Failed, &["database \"none\" does not exist"]);

        let ssl = "select ssl as suspended from pg_stat_ssl where pid = pg_backend_pid() and :1 <> ''";
        encryption(&database, ssl, &database.0.ca_file(), "disable", "require", "verify-full");
        database.0.admin(&["alter system set ssl = off", "select pg_reload_conf()"]);
        let keys = database.keys();
        wait_until(Duration::from_secs(10), "the end of TLS", || {
            database.client_with(&keys, ssl).ask("joe@x").unwrap() == Some(NEITHER)
        });
        let keys = keys.replace("/mail", "/mail?sslmode=require");
        database.client_with(&keys, ssl).fails("joe@x", Why::Failed, &["does not support TLS"]);
    }
}

/// MariaDB: the same.
mod mariadb {
    use super::*;

    #[test]
    fn answers() {
        let database = InMariaDb(MariaDb::start(), Runtime::new().unwrap());
        make_mailboxes(&database);
        finds_recipients(&database);
        cannot_be_talked_into_anything(&database);
        catches_all(&database);
        is_not_believed_while_nobody_can_be_seen(&database);
        tells_what_is_wrong(&database, "Table 'mail.late' doesn't exist");

        says_what_its_columns_say(
            &database,
            &[
                ("boolean", "true", "false"),
                ("tinyint(1)", "-1", "0"),
                ("tinyint(1) unsigned", "255", "0"),
                ("tinyint unsigned", "255", "0"),
                ("smallint", "256", "0"),
                ("mediumint", "65536", "0"),
                ("int unsigned", "4294967295", "0"),
                ("bigint", "4294967296", "0"),
                ("bigint unsigned", "18446744073709551615", "0"),
                ("bit(1)", "b'1'", "b'0'"),
                ("bit(12)", "b'100000000000'", "b'0'"),
                ("float", "0.5", "0"),
                ("double", "1e-300", "-0.0"),
                ("decimal(10,3)", "0.001", "0"),
                ("char(5)", "'yes'", "'no'"),
                ("varchar(5)", "'TRUE'", "'FALSE'"),
                ("text", "'on'", "'off'"),
                ("longtext", "'1'", "''"),
                ("binary(1)", "'Y'", "'N'"),
                ("varbinary(3)", "'t'", "'f'"),
                ("blob", "'1'", "'0'"),
                ("enum('y','n')", "'y'", "'n'"),
                ("set('1','x')", "'1'", "''"),
                ("varchar(5) character set latin1", "'yes'", "'no'"),
            ],
        );
        guesses_nothing(
            &database,
            &[
                ("varchar(9)", "'unpaid'", "\"unpaid\""),
                ("datetime", "now()", "DATETIME"),
                ("timestamp", "now()", "TIMESTAMP"),
                ("date", "now()", "DATE"),
                ("time", "'01:00:00'", "TIME"),
                ("year", "2024", "YEAR"),
                ("blob", "x'ff'", "BLOB"),
            ],
        );

        // A column that can't hold what is asked for holds it not, or the server says that it can't tell.
        database.run("create table old (address varchar(50) character set latin1 collate latin1_swedish_ci)");
        database.run("insert into old values ('joe@x')");
        let client = database.client("select 1 from old where address = :1");
        assert!(client.knows("joe@x"));
        for local in ["\u{1f600}", "\u{436}", "\u{436}oe", "jo\u{1f600}"] {
            let address = Address::new(local, &Domain::parse("x").unwrap()).unwrap();
            match client.ask_for(&address) {
                Ok(found) => assert_eq!(found, None, "{local}"),
                Err(failure) => assert_eq!(failure.why, Why::PutOff, "{local}: {failure}"),
            }
        }
    }

    #[test]
    fn outages() {
        let mut database = InMariaDb(MariaDb::start(), Runtime::new().unwrap());
        make_mailboxes(&database);
        let keys = format!("{}\ndeadline = '1s'", database.keys());
        let (runtime, other) = (Runtime::new().unwrap(), Runtime::new().unwrap());
        let at = |client: Asker<'_>, runtime| Asker { client: client.client, runtime };
        let client = at(database.client_with(&keys, BY_ADDRESS), &runtime);
        let open = |database: &InMariaDb| {
            let count = "select count(*) from information_schema.processlist where user = 'backstop'";
            database.0.admin(count).trim() != "0"
        };

        database.0.admin("set global wait_timeout = 1");
        assert!(client.knows("joe@x"));
        assert!(open(&database), "the connection is kept");
        wait_until(Duration::from_secs(10), "the cut", || !open(&database));
        assert!(client.knows("joe@x"), "nobody notices");
        database.0.admin("set global wait_timeout = 28800");
        wait_until(Duration::from_secs(10), "the cut", || !open(&database));

        for restart in [false, true, false, true] {
            assert!(client.knows("joe@x"));
            if restart {
                database.0.kill();
                database.0.resume();
            } else {
                database.0.admin("kill user backstop");
                wait_until(Duration::from_secs(10), "the end of the connections", || !open(&database));
            }
            assert!(client.knows("joe@x"), "nobody notices");
            assert!(!client.knows("nobody@x"));
        }

        goes_down(&client, &mut database, |database| database.0.kill(), |database| database.0.resume());
        hangs(&client, &mut database, |database| database.0.freeze(), |database| database.0.thaw());

        let slow = "select 1 from mailbox cross join (select :1 as asked) as q \
                where address = asked or sleep(if(asked = 'slow@x', 5, 0)) = 1";
        let client = at(database.client_with(&keys, slow), &runtime);
        one_is_slow(&client, &other);

        secrets(&database);
        let socket = format!(
            "url = 'mysql://backstop@localhost/mail?socket={}'\npassword_file = '{}'",
            database.0.socket().display(),
            database.0.password_file().display()
        );
        assert!(database.client_with(&socket, BY_ADDRESS).knows("joe@x"));
        let unknown = database.keys().replace("/mail", "/none");
        database.client_with(&unknown, BY_ADDRESS).fails("joe@x", Why::Failed, &["none"]);

        let ssl = "select variable_value <> '' as suspended from information_schema.session_status \
               where variable_name = 'Ssl_cipher' and :1 <> ''";
        encryption(&database, ssl, &database.0.ca_file(), "disabled", "required", "verify_identity");
    }
}

/// SQLite: a file, which may be locked, replaced or gone.
mod sqlite {
    use super::*;

    #[test]
    fn answers() {
        let database = InSqlite::start();
        make_mailboxes(&database);
        finds_recipients(&database);
        cannot_be_talked_into_anything(&database);
        catches_all(&database);
        is_not_believed_while_nobody_can_be_seen(&database);
        tells_what_is_wrong(&database, "no such table: late");
        says_what_its_columns_say(
            &database,
            &[
                ("boolean", "true", "false"),
                ("integer", "-1", "0"),
                ("real", "0.5", "-0.0"),
                ("numeric", "0.001", "0.0"),
                ("text", "'yes'", "'no'"),
                ("varchar(5)", "'TRUE'", "'FALSE'"),
                ("", "9223372036854775807", "0"),
                ("bool", "'t'", "'f'"),
            ],
        );
        guesses_nothing(
            &database,
            &[
                ("text", "'unpaid'", "\"unpaid\""),
                ("blob", "x'01'", "BLOB"),
                ("date", "'2024-01-01'", "\"2024-01-01\""),
            ],
        );
        let client = database.client("select 1 from mailbox where address = @address");
        client.fails("joe@x", Why::Failed, &[]);
        let client = database.client("select 1 from mailbox where address = ? and ? = 'joe' and ? = 'x'");
        assert!(client.knows("joe@x"));
    }

    #[test]
    fn nothing_is_written() {
        let database = InSqlite::start();
        make_mailboxes(&database);
        database.client("delete from mailbox where address = :1 returning 1").fails(
            "joe@x",
            Why::Failed,
            &["readonly"],
        );
        assert!(database.client(BY_ADDRESS).knows("joe@x"));
    }

    #[test]
    fn a_file_that_takes_anothers_place_is_read() {
        let database = InSqlite::start();
        make_mailboxes(&database);
        let client = database.client(BY_ADDRESS);
        assert!(client.knows("joe@x") && !client.knows("ann@x"));
        let new = InSqlite::start();
        make_mailboxes(&new);
        new.run("insert into mailbox values ('ann@x', 0, 0)");
        std::fs::rename(new.path(), database.path()).unwrap();
        assert!(client.knows("ann@x"));

        std::fs::remove_file(database.path()).unwrap();
        client.fails("joe@x", Why::Failed, &["mail.db", "No such file"]);
        std::fs::write(database.path(), "no database, but long enough to be looked at".repeat(100)).unwrap();
        wait_for(Duration::from_secs(10), "another question", || {
            let failure = client.ask("joe@x").unwrap_err();
            failure.to_string().contains("not a database").then_some(())
        });
        let again = InSqlite::start();
        make_mailboxes(&again);
        std::fs::rename(again.path(), database.path()).unwrap();
        client.recovers();
    }

    #[test]
    fn who_writes_holds_nobody_up_for_longer_than_the_deadline() {
        let database = InSqlite::start();
        make_mailboxes(&database);
        let client = database.client_with(&format!("{}\ndeadline = '400ms'", database.keys()), BY_ADDRESS);
        assert!(client.knows("joe@x"));
        let mut writer = database.1.block_on(write(&database.path()));
        database.1.block_on(execute(&mut writer, "begin exclusive; update mailbox set suspended = 1"));
        let begun = Instant::now();
        client.fails("joe@x", Why::TimedOut, &["locked"]);
        assert!(begun.elapsed() < Duration::from_millis(600), "{:?}", begun.elapsed());
        database.1.block_on(execute(&mut writer, "commit"));
        client.recovers();
        assert_eq!(client.ask("joe@x").unwrap(), Some(SUSPENDED));

        // With a write-ahead log, nobody waits.
        database.1.block_on(execute(&mut writer, "pragma journal_mode = wal"));
        database.1.block_on(execute(&mut writer, "begin immediate; update mailbox set suspended = 0"));
        assert_eq!(client.ask("joe@x").unwrap(), Some(SUSPENDED), "what was committed counts");
        database.1.block_on(execute(&mut writer, "commit"));
        assert_eq!(client.ask("joe@x").unwrap(), Some(NEITHER));
        database.1.block_on(writer.close()).unwrap();
        assert!(database.client(BY_ADDRESS).knows("joe@x"), "the log's files are gone, and made again");
    }
}

/// The listing of a replica, on each database.
mod listing {
    use super::*;
    use crate::directory::{replica::Writer, sql::Follower};

    /// Lists everything once.
    fn list(database: &impl Database, listing: &str, writer: &mut Writer) -> Result<(), Failure> {
        let mut follower = follower(database, listing, Duration::from_millis(1));
        database.runtime().block_on(follower.once(writer))
    }

    fn follower(database: &impl Database, listing: &str, refresh: Duration) -> Follower {
        let query = format!("select 1 where {} = 1", database.parameter(1));
        let text =
            format!("{}\nsource = 'replica'\nquery = '{query}'\nlisting = '''{listing}'''", database.keys());
        let config: Config = Figment::from(Toml::string(&text)).extract().unwrap();
        assert_eq!(config.source, Mode::Replica);
        Follower::build("directory.x", &config, refresh).unwrap()
    }

    fn find(writer: &Writer, address: &str) -> Option<Attributes> {
        writer.find(&Address::parse(address).unwrap())
    }

    /// What is the same on each of them.
    fn lists(database: &impl Database) {
        let mut writer = Writer::in_memory();
        database.run(
            "create table person (id int, Address varchar(190), suspended int, restricted int); \
         insert into person values (1, 'Joe@X', 0, 0), (2, 'unpaid@x', 1, 0), (3, 'john doe@x', null, 1), \
         (4, 'ann', 0, 0), (5, '@catchall.test', 0, 0), (6, null, 0, 0), (7, '', 0, 0), (8, 'a@b@', 0, 0), \
         (9, ' spaced@x ', 0, 0), (10, 'a@m\u{fc}nchen.test', 0, 0), (11, 'new\nline@x', 0, 0)",
        );
        let all = "select * from person order by id";
        list(database, all, &mut writer).unwrap();
        assert_eq!(find(&writer, "joe@x"), Some(NEITHER));
        assert_eq!(find(&writer, "unpaid@x"), Some(SUSPENDED));
        assert_eq!(find(&writer, "\"john doe\"@x"), Some(RESTRICTED), "quotes belong to the envelope");
        assert_eq!(find(&writer, "spaced@x"), Some(NEITHER));
        assert_eq!(find(&writer, "a@xn--mnchen-3ya.test"), Some(NEITHER));
        assert_eq!(writer.addresses(), 7, "rows without an address are skipped");

        // Who is gone is gone, and what goes for somebody may change.
        database.run("delete from person where id = 1; update person set suspended = 0 where id = 2");
        list(database, all, &mut writer).unwrap();
        assert_eq!((find(&writer, "joe@x"), find(&writer, "unpaid@x")), (None, Some(NEITHER)));
        assert_eq!(writer.addresses(), 6);

        // The first column holds the addresses where none is named so.
        database.run("update person set suspended = 1 where id = 2");
        let mut writer = Writer::in_memory();
        list(database, "select Address as email, suspended from person where id = 2", &mut writer).unwrap();
        assert_eq!((writer.addresses(), find(&writer, "unpaid@x")), (1, Some(SUSPENDED)));

        // What is no listing changes nothing.
        for (listing, parts) in [
            ("select address from nothing", &["nothing"][..]),
            ("select id from person", &["\"id\"", "no addresses"]),
            ("select address, address as suspended from person where id = 3", &["\"suspended\"", "john doe"]),
            ("select address from person where id = :1", &["1 parameters", "none"]),
            ("selec", &["syntax"]),
        ] {
            let listing = listing.replace(":1", &database.parameter(1));
            let failure = list(database, &listing, &mut writer).unwrap_err();
            let text = failure.to_string();
            for part in parts {
                assert!(text.contains(part), "{listing}: {text}");
            }
            assert_eq!((writer.addresses(), find(&writer, "unpaid@x")), (1, Some(SUSPENDED)), "{listing}");
        }
    }

    /// Longer than a page, and each address thrice: what any row says of it counts, however far apart they are.
    fn lists_many(database: &impl Database, numbers: &str) {
        let mut writer = Writer::in_memory();
        let rows = |suspended: &str, restricted: &str| {
            format!(
                "select address, {suspended} as suspended, {restricted} as restricted from ({numbers}) as n"
            )
        };
        let listing = [rows("odd", "0"), rows("0", "0"), rows("0", "odd")].join(" union all ");
        list(database, &listing, &mut writer).unwrap();
        assert_eq!(writer.addresses(), 3000);
        assert_eq!(find(&writer, "u1@x"), Some(BOTH));
        assert_eq!(find(&writer, "u3000@x"), Some(NEITHER));
    }

    #[test]
    fn in_postgresql() {
        let mut database = InPostgres(Postgres::start(), Runtime::new().unwrap(), Way::Socket);
        lists(&database);
        let numbers = "select 'u' || i || '@x' as address, i % 2 as odd from generate_series(1, 3000) as i";
        lists_many(&database, numbers);

        // One that breaks in the middle is none.
        let mut writer = Writer::in_memory();
        list(&database, "select 'joe@x'", &mut writer).unwrap();
        let broken = "select 'u' || i || '@x' as address, 1 / (1500 - i) from generate_series(1, 2900) as i";
        assert!(list(&database, broken, &mut writer).unwrap_err().to_string().contains("division by zero"));
        assert_eq!(find(&writer, "joe@x"), Some(NEITHER));
        assert_eq!(find(&writer, "u1@x"), Some(NEITHER), "who was listed is there at once");
        database.0.kill();
        assert_eq!(list(&database, "select 'joe@x'", &mut writer).unwrap_err().why, Why::Down);
        assert_eq!(find(&writer, "joe@x"), Some(NEITHER));
        database.0.resume();
        let whole = broken.replace("1500", "9500");
        list(&database, &whole, &mut writer).unwrap();
        assert_eq!((writer.addresses(), find(&writer, "joe@x")), (2900, None));
    }

    #[test]
    fn in_mariadb() {
        let database = InMariaDb(MariaDb::start(), Runtime::new().unwrap());
        lists(&database);
        let numbers = "select concat('u', seq, '@x') as address, seq % 2 as odd from seq_1_to_3000";
        lists_many(&database, numbers);
    }

    #[test]
    fn in_sqlite() {
        let database = InSqlite::start();
        lists(&database);
        let numbers = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 3000) \
                   select 'u' || i || '@x' as address, i % 2 as odd from n";
        lists_many(&database, numbers);
    }

    /// What is written is seen long before the next listing is due, and so is a file that takes the place of another.
    #[test]
    fn sqlite_tells_that_something_was_written() {
        const LISTING: &str = "select address from mailbox";
        let (database, other) = (InSqlite::start(), InSqlite::start());
        make_mailboxes(&database);
        make_mailboxes(&other);
        let mut follower = follower(&database, LISTING, Duration::from_secs(3600));
        let mut writer = Writer::in_memory();
        let changes: [&(dyn Fn() + Sync); 2] =
            [&|| database.run("insert into mailbox values ('new@x', 0, 0)"), &|| {
                std::fs::rename(other.path(), database.path()).unwrap();
            }];
        for change in changes {
            let runtime = Runtime::new().unwrap();
            std::thread::scope(|scope| {
                let changed = scope.spawn(|| {
                    // By then it waits for changes; if it should not yet, the change is seen all the same.
                    std::thread::sleep(Duration::from_millis(300));
                    change();
                    Instant::now()
                });
                let once =
                    async { tokio::time::timeout(Duration::from_secs(20), follower.once(&mut writer)).await };
                runtime.block_on(once).expect("it is noticed").unwrap();
                let noticed = Instant::now();
                assert!(noticed > changed.join().unwrap(), "nothing was written yet");
            });
            list(&database, LISTING, &mut writer).unwrap();
            let new = std::fs::exists(other.path()).unwrap().then_some(NEITHER);
            assert_eq!(find(&writer, "new@x"), new, "the other file has nobody new");
        }
    }
}
