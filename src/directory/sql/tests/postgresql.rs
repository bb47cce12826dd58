//! PostgreSQL: every type of a column, every way to be away.

use super::*;

#[test]
fn answers() {
    let database = InPostgres(Postgres::start(), Runtime::new().unwrap(), Way::Socket);
    database.0.admin(&["create extension citext"]);
    make_mailboxes(&database);
    finds_recipients(&database);
    asks_only(&database);
    calls_nobody_unknown_before_somebody_is_found(&database);
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
    // What is prepared outlives no transaction, or a pooler would mix it up with others'.
    let client = database.client(
        "select exists (select from pg_prepared_statements where prepare_time < now()) as suspended, \
         current_setting('transaction_read_only') as restricted where :1 <> ''",
    );
    for _ in 0..3 {
        assert_eq!(client.ask("joe@x").unwrap(), Some(RESTRICTED));
    }
    // A number that an address is not.
    database.run("create table ids (id integer)");
    let client = database.client("select 1 from ids where :1::text::integer = id");
    for _ in 0..3 {
        client.fails("joe@x", Why::PutOff, &["invalid input syntax", "(22P02)"]);
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
        database.0.admin(&["select count(*) from pg_stat_activity where usename = 'backstop'"]).trim() != "0"
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
    // The same where the server gives it up first.
    database.0.admin(&["alter role backstop set statement_timeout = '600ms'"]);
    one_is_slow(&at(database.client_with(&keys, slow), &runtime), &other);
    database.0.admin(&["alter role backstop reset statement_timeout"]);

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
