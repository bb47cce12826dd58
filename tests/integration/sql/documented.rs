//! The examples of docs/configuration.md and docs/panels.md, on databases that have the tables of which they speak.

use std::path::Path;

use backstop_harness::{Backstop, MariaDb, Postgres, wait_until};

use super::{Database, OK, SUSPENDED, UNKNOWN, decides};

#[test]
fn postgresql() {
    let database = Postgres::start();
    database.run("create table mailbox (address varchar(190) primary key, suspended boolean)");
    database.run("insert into mailbox values ('anna@example.test', false), ('unpaid@example.test', true)");
    check(
        &database,
        "shop",
        &[("anna", OK), ("unpaid", SUSPENDED), ("nobody", UNKNOWN)],
        &[],
        "select 1",
        &[],
    );
    database.run("drop table mailbox");
    fill_postfixadmin(&database, "boolean", "true", "false");
    check_postfixadmin(&database, "postfixadmin-postgres");
    database.run("drop table alias; drop table mailbox; drop table alias_domain");
    fill_modoboa(&database);
    check_panel(&database, "modoboa", &[("late", UNKNOWN)]);
}

#[test]
fn mariadb() {
    let database = MariaDb::start();
    fill_postfixadmin(&database, "tinyint(1)", "1", "0");
    check_postfixadmin(&database, "postfixadmin-mysql");
    database.run("drop table alias; drop table mailbox; drop table alias_domain");
    fill_ispconfig(&database);
    check_panel(
        &database,
        "ispconfig",
        &[("forwarded", OK), ("away", OK), ("relayed", OK), ("unrelayed", UNKNOWN)],
    );
    fill_mailcow(&database);
    check_panel(&database, "mailcow", &[("nologin", OK), ("temporary", OK), ("over", UNKNOWN)]);
    database.run("drop table alias; drop table mailbox; drop table alias_domain; drop table domain");
    fill_iredmail(&database);
    check_panel(&database, "iredmail", &[("team", OK), ("list", OK)]);
}

/// The columns of PostfixAdmin's tables that matter, with users, aliases, an alias domain and a catch-all.
fn fill_postfixadmin(database: &impl Database, flag: &str, on: &str, off: &str) {
    let statements = format!(
        "create table alias (address varchar(255) primary key, goto text, domain varchar(255), active {flag}); \
         create table mailbox (username varchar(255) primary key, domain varchar(255), active {flag}); \
         create table alias_domain (alias_domain varchar(255) primary key, target_domain varchar(255), active {flag}); \
         insert into mailbox values ('anna@example.test', 'example.test', {on}), \
           ('unpaid@example.test', 'example.test', {off}); \
         insert into alias values ('anna@example.test', 'anna@example.test', 'example.test', {on}), \
           ('unpaid@example.test', 'unpaid@example.test', 'example.test', {on}), \
           ('sales@example.test', 'anna@example.test', 'example.test', {on}), \
           ('old@example.test', 'anna@example.test', 'example.test', {off}), \
           ('@all.test', 'anna@example.test', 'all.test', {on}), ('@none.test', 'anna@example.test', 'none.test', {off}); \
         insert into alias_domain values ('alias.test', 'example.test', {on}), ('off.test', 'example.test', {off}), \
           ('allalias.test', 'all.test', {on})"
    );
    database.run(&statements);
}

/// The columns of ISPConfig's tables that matter.
fn fill_ispconfig(database: &impl Database) {
    database.run(
        "create table mail_user (email varchar(255), postfix enum('n','y'), disabledeliver enum('n','y')) charset utf8mb3; \
         create table mail_forwarding (source varchar(255), destination text, \
           type enum('alias','aliasdomain','forward','catchall'), active enum('n','y')) charset utf8mb3; \
         create table mail_relay_recipient (source varchar(255), active varchar(255)) charset utf8mb3; \
         insert into mail_user values ('anna@example.test', 'y', 'n'), ('unpaid@example.test', 'n', 'n'), \
           ('away@example.test', 'y', 'y'); \
         insert into mail_forwarding values ('sales@example.test', 'anna@example.test', 'alias', 'y'), \
           ('old@example.test', 'anna@example.test', 'alias', 'n'), \
           ('forwarded@example.test', 'x@elsewhere.test', 'forward', 'y'), \
           ('@alias.test', '@example.test', 'aliasdomain', 'y'), ('@off.test', '@example.test', 'aliasdomain', 'n'), \
           ('@all.test', 'anna@example.test', 'catchall', 'y'), ('@allalias.test', '@all.test', 'aliasdomain', 'y'); \
         insert into mail_relay_recipient values ('relayed@example.test', 'y'), ('unrelayed@example.test', 'n')",
    );
}

/// Those of mailcow's.
fn fill_mailcow(database: &impl Database) {
    database.run(
        "create table mailbox (username varchar(255), active tinyint(1)) charset utf8mb4; \
         create table alias (address varchar(255), active tinyint(1)) charset utf8mb4; \
         create table alias_domain (alias_domain varchar(255), target_domain varchar(255), active tinyint(1)) charset utf8mb4; \
         create table spamalias (address varchar(255), validity int) charset utf8mb4; \
         create table domain (domain varchar(255), relay_all_recipients tinyint(1), active tinyint(1)) charset utf8mb4; \
         insert into mailbox values ('anna@example.test', 1), ('unpaid@example.test', 0), ('nologin@example.test', 2); \
         insert into alias values ('anna@example.test', 1), ('unpaid@example.test', 0), ('nologin@example.test', 2), \
           ('sales@example.test', 1), ('old@example.test', 0); \
         insert into alias_domain values ('alias.test', 'example.test', 1), ('off.test', 'example.test', 0), \
           ('allalias.test', 'all.test', 1); \
         insert into alias values ('@all.test', 1); \
         insert into spamalias values ('temporary@example.test', unix_timestamp() + 3600), \
           ('over@example.test', unix_timestamp() - 3600); \
         insert into domain values ('example.test', 0, 1), ('late.test', 1, 0)",
    );
}

/// Those of iRedMail's.
fn fill_iredmail(database: &impl Database) {
    database.run(
        "create table mailbox (username varchar(255), active tinyint(1)); \
         create table alias (address varchar(255), active tinyint(1)); \
         create table alias_domain (alias_domain varchar(255), target_domain varchar(255), active tinyint(1)); \
         create table forwardings (address varchar(255), active tinyint(1)); \
         create table maillists (address varchar(255), active tinyint(1)); \
         insert into mailbox values ('anna@example.test', 1), ('unpaid@example.test', 0); \
         insert into forwardings values ('anna@example.test', 1), ('unpaid@example.test', 1), ('sales@example.test', 1), \
           ('old@example.test', 0), ('all.test', 1); \
         insert into alias values ('team@example.test', 1); \
         insert into maillists values ('list@example.test', 1); \
         insert into alias_domain values ('alias.test', 'example.test', 1), ('off.test', 'example.test', 0), \
           ('allalias.test', 'all.test', 1)",
    );
}

/// Those of Modoboa's.
fn fill_modoboa(database: &impl Database) {
    database.run(
        "create table admin_domain (id int primary key, name varchar(100), enabled boolean); \
         create table admin_domainalias (name varchar(100), enabled boolean, target_id int); \
         create table admin_mailbox (id int primary key, address varchar(252), domain_id int); \
         create table admin_alias (id serial primary key, address varchar(254), enabled boolean, expire_at timestamptz); \
         insert into admin_domain values (1, 'example.test', true), (2, 'all.test', true); \
         insert into admin_domainalias values ('alias.test', true, 1), ('off.test', false, 1), ('allalias.test', true, 2); \
         insert into admin_mailbox values (1, 'anna', 1), (2, 'unpaid', 1); \
         insert into admin_alias (address, enabled, expire_at) values ('anna@example.test', true, null), \
           ('unpaid@example.test', false, null), ('sales@example.test', true, null), ('old@example.test', false, null), \
           ('late@example.test', true, now() - interval '1 hour'), ('@all.test', true, null)",
    );
}

/// What docs/panels.md says of all of them.
fn check_panel(database: &impl Database, panel: &str, more: &[(&str, &str)]) {
    let own = [
        ("anna", OK),
        ("anna+x", OK),
        ("sales", OK),
        ("unpaid", SUSPENDED),
        ("old", UNKNOWN),
        ("nobody", UNKNOWN),
    ];
    let other = [
        ("anna@alias.test", OK),
        ("unpaid@alias.test", SUSPENDED),
        ("nobody@alias.test", UNKNOWN),
        ("anna@off.test", UNKNOWN),
        ("whoever@all.test", OK),
        ("whoever@allalias.test", OK),
    ];
    check(database, panel, &own, &other, "select 1", more);
}

fn check_postfixadmin(database: &impl Database, example: &str) {
    let own = [("anna", OK), ("sales+x", OK), ("unpaid", SUSPENDED), ("old", SUSPENDED), ("nobody", UNKNOWN)];
    let other = [
        ("anna@alias.test", OK),
        ("old@alias.test", SUSPENDED),
        ("unpaid@alias.test", SUSPENDED),
        ("whoever@allalias.test", OK),
        ("nobody@alias.test", UNKNOWN),
        ("anna@off.test", UNKNOWN),
        ("whoever@all.test", OK),
        ("whoever@none.test", UNKNOWN),
    ];
    let late = "insert into alias (address, goto, domain) values ('@late.test', 'anna@example.test', 'late.test'); \
                update alias set active = (select active from mailbox where username = 'anna@example.test') \
                 where address = '@late.test'";
    check(database, example, &own, &other, late, &[("whoever@late.test", OK)]);
}

/// The example of that name, as it stands there but for the way to the database and its domains. `late` is run when it has
/// answered, and then `more` is asked.
fn check(
    database: &impl Database,
    name: &str,
    own: &[(&str, &str)],
    other: &[(&str, &str)],
    late: &str,
    more: &[(&str, &str)],
) {
    let docs = ["docs/configuration.md", "docs/panels.md"].map(|page| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
        std::fs::read_to_string(path).expect("it is there")
    });
    let docs = docs.concat();
    let begin = format!("```toml\n[directory.{name}]\n");
    let (_, example) = docs.split_once(&begin).unwrap_or_else(|| panic!("no example {name}"));
    let (example, _) = example.split_once("```").expect("it ends");
    let domains = r#"domains = ["example.test", "alias.test", "off.test", "all.test", "none.test", "allalias.test", "late.test"]"#;
    let kept = example.lines().map(|line| match line.split_once(" = ") {
        Some(("domains", _)) => domains,
        Some(("url" | "password_file", _)) => "",
        _ => line,
    });
    let kept: Vec<&str> = kept.collect();
    let config = format!(
        "domains.detect = false\nclient.trusted = [\"192.0.2.1\"]\n[store]\nurl = \"embedded:{{dir}}/store\"\n\
         [directory.{name}]\n{}\n{}",
        kept.join("\n"),
        database.keys()
    );
    // The way to the database belongs to the last table.
    let config = config.replace("\"\"\"\n\n", "\"\"\"\n");
    let backstop = Backstop::builder(crate::BACKSTOP).config(&config).start();
    if config.contains("replica") {
        let label = [("directory", name)];
        wait_until(std::time::Duration::from_secs(20), "the listing", || {
            backstop.metric("backstop_directory_addresses", &label) > 0.0
        });
    }
    let relayed =
        "relay_domains = example.test, alias.test, off.test, all.test, none.test, allalias.test, late.test";
    let postfix = backstop_harness::Postfix::builder().milter(&backstop.for_postfix()).main(relayed).start();
    let mut smtp = super::session(&postfix);
    decides(&mut smtp, name, own);
    decides(&mut smtp, name, other);
    database.run(late);
    decides(&mut smtp, name, more);
}
