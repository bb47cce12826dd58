//! A database is asked for each recipient; while it is away nobody is called unknown, and when it is back nobody has to do
//! anything.

use backstop_harness::{MariaDb, Postgres};

use super::{Database, OK, RESTRICTED, SUSPENDED, Sqlite, UNAVAILABLE, UNKNOWN, decides, wait_for_decision};

#[test]
fn of_postgresql() {
    goes_and_comes(Postgres::start());
}

#[test]
fn of_mariadb() {
    goes_and_comes(MariaDb::start());
}

#[test]
fn of_sqlite() {
    goes_and_comes(Sqlite::start());
}

fn goes_and_comes(mut database: impl Database) {
    database.fill();
    let backstop = super::backstop(&database.table("")).start();
    let postfix = super::postfix(&backstop);
    let mut smtp = super::session(&postfix);
    let well = [
        ("anna", OK),
        ("Anna+tag", OK),
        ("o'neil", OK),
        ("unpaid", SUSPENDED),
        ("unpaid+tag", SUSPENDED),
        ("staff", RESTRICTED),
        ("nobody", UNKNOWN),
        ("\"' or '1'='1\"", UNKNOWN),
        ("\"'; drop table mailbox; --\"", UNKNOWN),
        ("\"\\\\' or 1=1 -- \"", UNKNOWN),
        ("postmaster", OK),
    ];
    decides(&mut smtp, "the database is there", &well);

    database.go_down();
    let away = [
        ("bob", UNAVAILABLE),
        ("somebody", UNAVAILABLE),
        ("anna", OK),
        ("unpaid", SUSPENDED),
        ("postmaster", OK),
    ];
    decides(&mut smtp, "the database is away; what it said counts for a while", &away);
    let (ready, page) = backstop.http("/ready");
    assert!(ready == 200 || page.contains("shop"), "{ready} {page}");
    assert_eq!(backstop.metric("backstop_directory_up", &[("directory", "shop")]), 0.0);
    let status = backstop.command(&["status"]);
    assert!(status.stdout.contains("directory shop: no answer for"), "{}", status.stdout);

    database.come_back();
    wait_for_decision(&mut smtp, "bob", OK);
    decides(&mut smtp, "the database is back", &[("somebody", UNKNOWN), ("bob+x", OK)]);
    assert_eq!(backstop.metric("backstop_directory_up", &[("directory", "shop")]), 1.0);
    assert!(backstop.log().contains("the directory answers again"));
}
