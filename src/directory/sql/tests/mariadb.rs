//! MariaDB: the same.

use super::*;

#[test]
fn answers() {
    let database = InMariaDb(MariaDb::start(), Runtime::new().unwrap());
    make_mailboxes(&database);
    finds_recipients(&database);
    asks_only(&database);
    calls_nobody_unknown_before_somebody_is_found(&database);
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
