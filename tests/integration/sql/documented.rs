//! The examples of docs/configuration.md, on databases that have the tables of which they speak.

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
}

#[test]
fn mariadb() {
    let database = MariaDb::start();
    fill_postfixadmin(&database, "tinyint(1)", "1", "0");
    check_postfixadmin(&database, "postfixadmin-mysql");
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
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let docs = std::fs::read_to_string(path).expect("it is there");
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
