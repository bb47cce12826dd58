//! SQLite: a file, which may be locked, replaced or gone.

use super::*;

#[test]
fn answers() {
    let database = InSqlite::start();
    make_mailboxes(&database);
    finds_recipients(&database);
    asks_only(&database);
    calls_nobody_unknown_before_somebody_is_found(&database);
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
    // Nobody waits for somebody to write into a pipe.
    std::fs::remove_file(database.path()).unwrap();
    nix::unistd::mkfifo(&database.path(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    wait_for(Duration::from_secs(10), "another question", || {
        let failure = client.ask("joe@x").unwrap_err();
        failure.to_string().contains("not a file").then_some(())
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
