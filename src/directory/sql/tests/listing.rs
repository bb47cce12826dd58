//! The listing of a replica, on each database.

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
        format!("select address, {suspended} as suspended, {restricted} as restricted from ({numbers}) as n")
    };
    let listing = [rows("odd", "0"), rows("0", "0"), rows("0", "odd")].join(" union all ");
    list(database, &listing, &mut writer).unwrap();
    assert_eq!(writer.addresses(), 3000);
    assert_eq!(find(&writer, "u1@x"), Some(BOTH));
    assert_eq!(find(&writer, "u3000@x"), Some(NEITHER));
}

/// A row that is not UTF-8 is no address, and does not keep the others from being listed.
fn skips_what_is_no_text(database: &impl Database, garbled: &str) {
    let mut writer = Writer::in_memory();
    let listing = format!("select {garbled} as address union all select 'joe@x'");
    list(database, &listing, &mut writer).unwrap();
    assert_eq!((writer.addresses(), find(&writer, "joe@x")), (1, Some(NEITHER)));
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
    skips_what_is_no_text(&database, "unhex('ff4078')");
}

#[test]
fn in_sqlite() {
    let database = InSqlite::start();
    lists(&database);
    let numbers = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 3000) \
               select 'u' || i || '@x' as address, i % 2 as odd from n";
    lists_many(&database, numbers);
    skips_what_is_no_text(&database, "cast(x'ff4078' as text)");
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
