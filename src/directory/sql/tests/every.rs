//! What goes for each of the databases.

use super::*;

pub(super) const SUSPENDED: Attributes = Attributes { suspended: true, ..Attributes::PLAIN };
pub(super) const RESTRICTED: Attributes = Attributes { restricted: true, ..Attributes::PLAIN };
pub(super) const NEITHER: Attributes = Attributes::PLAIN;
pub(super) const BOTH: Attributes = Attributes { suspended: true, restricted: true, ..Attributes::PLAIN };

/// What goes for each of them: types and texts are told in the table of each database, as `(type, yes, no)`.
pub(super) fn says_what_its_columns_say(database: &impl Database, kinds: &[(&str, &str, &str)]) {
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
pub(super) fn guesses_nothing(database: &impl Database, kinds: &[(&str, &str, &str)]) {
    let tables: Vec<String> = kinds
        .iter()
        .enumerate()
        .map(|(number, (kind, value, _))| {
            format!(
                "create table odd{number} (a varchar(50), v {kind}); \
                 insert into odd{number} values ('joe@x', {value}), ('ann@x', null)"
            )
        })
        .collect();
    database.run(&tables.join("; "));
    for (number, (kind, _, named)) in kinds.iter().enumerate() {
        let client = database.client(&format!("select v as restricted from odd{number} where a = :1"));
        for _ in 0..2 {
            client.fails("joe@x", Why::Failed, &["\"restricted\"", named, "neither yes nor no"]);
            assert!(client.knows("ann@x"));
            assert!(!client.knows("nobody@x"), "{kind}: one row that makes no sense is not all of them");
        }
    }
}

pub(super) fn make_mailboxes(database: &impl Database) {
    database.run(
        "create table mailbox (address varchar(190) primary key, suspended int, restricted int); \
         insert into mailbox values ('joe@x', 0, 0), ('unpaid@x', 1, 0), ('staff@x', null, 1), ('both@x', 1, 1), \
         ('o''neil@x', 0, 0)",
    );
}

pub(super) const BY_ADDRESS: &str = "select * from mailbox where address = :1";

/// The query's meaning is the same everywhere.
pub(super) fn finds_recipients(database: &impl Database) {
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

/// A query that finds nobody makes nobody unknown: it is wrong, or the table is being written.
pub(super) fn calls_nobody_unknown_before_somebody_is_found(database: &impl Database) {
    let client = database.client("select 1 from mailbox where upper(address) = :1 and address like '%@x'");
    for address in ["joe@y", "nobody@y"] {
        client.fails(address, Why::PutOff, &["nobody was found yet"]);
    }
    let client = database.client(BY_ADDRESS);
    client.fails("nobody@x", Why::PutOff, &["nobody was found yet"]);
    assert!(client.knows("joe@x"));
    assert!(!client.knows("nobody@x"));
}

/// A question changes nothing.
pub(super) fn asks_only(database: &impl Database) {
    let client = database.client("delete from mailbox where address = :1");
    for _ in 0..2 {
        client.fails("joe@x", Why::Failed, &["`select`"]);
    }
    assert!(database.client(BY_ADDRESS).knows("joe@x"));
}

/// Whatever a client invents is a value, and never a part of the query.
pub(super) fn cannot_be_talked_into_anything(database: &impl Database) {
    let (client, x) = (database.client(BY_ADDRESS), Domain::parse("x").unwrap());
    assert!(client.knows("joe@x"));
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
pub(super) fn tells_what_is_wrong(database: &impl Database, missing: &str) {
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
    database.run("insert into late values ('ann@x')");
    assert!(client.knows("ann@x") && !client.knows("joe@x"));
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
pub(super) fn catches_all(database: &impl Database) {
    database.run(
        "create table caught (address varchar(50), suspended int, restricted int); \
         insert into caught values ('@all.test', 1, 1), ('joe@all.test', 1, 0)",
    );
    let client = database.client("select suspended, restricted from caught where address = :1");
    for (address, found) in [
        ("whoever@all.test", Some(Attributes { restricted: true, catch_all: true, ..Attributes::PLAIN })),
        ("joe@all.test", Some(SUSPENDED)),
        ("whoever@other.test", None),
    ] {
        assert_eq!(client.ask(address).unwrap(), found, "{address}");
    }
    let parts = ":2 in ('', 'joe') and :3 = 'all.test'";
    let parts = database.client(&format!("select 1 from caught where address = :1 and {parts}"));
    assert!(parts.knows("whoever@all.test") && parts.knows("joe@all.test"));
    assert!(!parts.knows("whoever@other.test"));
}

/// A table that is emptied to be filled anew makes nobody absent.
pub(super) fn is_not_believed_while_nobody_can_be_seen(database: &impl Database) {
    let fill = "insert into site values ('joe@x'), ('ann@x')";
    database.run("create table site (address varchar(50))");
    let query = "select 1 from site where address = :1";
    let keys = format!("{}\nlisting = 'select address from site'", database.keys());
    let (bare, listed) = (database.client(query), database.client_with(&keys, query));
    bare.fails("joe@x", Why::PutOff, &["nobody was found yet"]);
    listed.fails("joe@x", Why::Failed, &["the listing gives nobody"]);
    database.run(fill);
    for client in [&bare, &listed] {
        assert!(client.knows("joe@x") && !client.knows("nobody@x"));
    }
    database.run("delete from site where address = 'ann@x'");
    assert!(!bare.knows("ann@x"), "joe can be seen");
    for client in [&bare, &listed] {
        assert!(client.knows("joe@x") && !client.knows("nobody@x"));
    }
    database.run("delete from site");
    for client in [&bare, &listed] {
        // Though somebody was seen a moment ago.
        for address in ["joe@x", "ann@x", "nobody@x"] {
            client.fails(address, Why::Failed, &["none of the recipients that were known is there any more"]);
        }
    }
    database.run("insert into site values ('new@x')");
    for client in [&bare, &listed] {
        // Whoever fills it has begun, and not yet come to joe.
        client.fails("joe@x", Why::Failed, &["none of the recipients"]);
        assert!(client.knows("new@x") && !client.knows("joe@x"));
    }
}

/// What goes down, and comes back.
pub(super) fn goes_down<D: Database>(
    client: &Asker<'_>,
    database: &mut D,
    down: impl Fn(&mut D),
    up: impl Fn(&mut D),
) {
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
pub(super) fn hangs<D: Database>(
    client: &Asker<'_>,
    database: &mut D,
    freeze: impl Fn(&mut D),
    thaw: impl Fn(&mut D),
) {
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
pub(super) fn one_is_slow(client: &Asker<'_>, runtime: &Runtime) {
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
pub(super) fn secrets(database: &impl Database) {
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
pub(super) fn encryption(database: &impl Database, query: &str, ca: &Path, off: &str, any: &str, full: &str) {
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
