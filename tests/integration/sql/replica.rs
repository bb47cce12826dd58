//! The whole list, kept in memory and on disk.

use backstop_harness::{Backstop, MariaDb, Postgres, TempDir};

use crate::replay;

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
    let down = [("anna", OK), ("bob+x", OK), ("unpaid", UNAVAILABLE), ("nobody", UNAVAILABLE)];
    // That the suspension is not over by now nobody can tell.
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

/// Without the server the list is had for the occasion: nobody could be called absent otherwise, and not fifty a second.
#[test]
fn yesterday_s_mail_is_judged_by_the_whole_list() {
    let database = Sqlite::start();
    database.fill();
    let invented = (0..80).map(|number| format!("invented{number}@example.test"));
    let recipients =
        ["anna", "dora"].map(|local| format!("{local}@example.test")).into_iter().chain(invented);
    let log = replay::log_of(&recipients.collect::<Vec<_>>(), &["anna@example.test", "dora@example.test"]);
    let backstop = super::backstop(&table(&database, "1h")).start();

    // One that is asked live calls nobody unknown until it has found somebody.
    let live = super::backstop(&database.table("")).start();
    assert_eq!(replay::sums(&replay::replay(&live, &[("maillog", &log)]).1, "bounced"), [80, 80]);

    let (status, found) = replay::replay(&backstop, &[("maillog", &log)]);
    assert_eq!((status, replay::sums(&found, "delivered")), (1, [2, 1]), "{found}");
    assert_eq!(replay::sums(&found, "bounced"), [80, 80], "{found}");
    assert_eq!(replay::rows(&found["delivered_refused"]), [("dora@example.test", 1)]);
    assert_eq!(found["notes"], serde_json::json!([]));
    let check = |address| backstop.command(&["check", "--offline", address]);
    let output = check("nobody@example.test");
    assert!(
        output.status == 1 && output.stdout.contains("shop: nobody@example.test is absent"),
        "{output:?}"
    );

    // Where it can't be had, that is told.
    wait_for_addresses(&backstop, 5.0);
    database.run("drop table mailbox");
    let (status, found) = replay::replay(&backstop, &[("maillog", &log)]);
    assert_eq!((status, &found["delivered_deferred"]["times"]), (2, &2.into()), "{found}");
    let told = found["notes"][0].as_str().unwrap_or_default();
    assert!(told.starts_with("directory shop: ") && told.contains("mailbox"), "{found}");
    let output = check("nobody@example.test");
    assert!(output.status == 2 && output.stdout.contains("note: directory shop: "), "{output:?}");
}
