//! The whole list, kept in memory and on disk.

use backstop_harness::{Backstop, MariaDb, Postgres, TempDir};

use super::{Database, OK, SUSPENDED, Sqlite, UNAVAILABLE, UNKNOWN, decides, wait_for_decision};

/// `[directory.shop.sql]` and `[directory.shop.replica]`.
fn table(database: &impl Database, refresh: &str) -> String {
    let listing = "source = \"replica\"\nlisting = \"select * from mailbox\"";
    format!("{}\n[directory.shop.replica]\nrefresh = \"{refresh}\"", database.table(listing))
}

fn wait_for_addresses(backstop: &Backstop, count: f64) {
    backstop_harness::wait_until(std::time::Duration::from_secs(20), &format!("{count} addresses"), || {
        backstop.metric("backstop_directory_addresses", &[("directory", "shop")]) == count
    });
}

#[test]
fn of_postgresql() {
    outlives_a_restart(Postgres::start());
}

#[test]
fn of_mariadb() {
    outlives_a_restart(MariaDb::start());
}

#[test]
fn of_sqlite() {
    outlives_a_restart(Sqlite::start());
}

fn outlives_a_restart(mut database: impl Database) {
    database.fill();
    let dir = TempDir::new("store");
    let store = format!("embedded:{}", dir.join("store").display());
    let table = table(&database, "1s");
    let start = || super::backstop(&table).env("BACKSTOP__STORE__URL", &store).start();

    let backstop = start();
    wait_for_addresses(&backstop, 5.0);
    backstop.wait_for_log("everything is listed, for the first time directory=shop addresses=5");
    drop(backstop); // kill -9

    // SQLite's file has to be there for the start: without it the configuration is wrong.
    let backstop = if database.parameter() == "?1" {
        let backstop = start();
        database.go_down();
        backstop
    } else {
        database.go_down();
        start()
    };
    let postfix = super::postfix(&backstop);
    let mut smtp = super::session(&postfix);
    let down = [("anna", OK), ("bob+x", OK), ("unpaid", SUSPENDED), ("nobody", UNAVAILABLE)];
    decides(&mut smtp, "the database is away", &down);

    database.come_back();
    wait_for_decision(&mut smtp, "nobody", UNKNOWN);
    database.run("insert into mailbox values ('new@example.test', 0, 0)");
    decides(&mut smtp, "who is new is asked for once more", &[("new", OK)]);
    wait_for_addresses(&backstop, 6.0);
    database.run("update mailbox set suspended = 1 - suspended where address in ('anna@example.test', 'unpaid@example.test')");
    wait_for_decision(&mut smtp, "anna", SUSPENDED);
    wait_for_decision(&mut smtp, "unpaid", OK);
}
