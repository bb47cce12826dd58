//! Directories in SQL databases, behind a real Postfix: PostgreSQL, MariaDB, SQLite.

mod documented;
mod outage;
mod replica;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use backstop_harness::{Backstop, BackstopBuilder, MariaDb, Postfix, Postgres, Smtp, TempDir, wait_until};

use crate::BACKSTOP;

/// A database that is asked.
trait Database {
    /// `url` and what else is needed to get to it.
    fn keys(&self) -> String;
    /// How it writes the address that is asked for.
    fn parameter(&self) -> &'static str;
    /// Runs statements with `;` between them.
    fn run(&self, statements: &str);
    /// Nobody can ask it any more.
    fn go_down(&mut self);
    /// It is there again.
    fn come_back(&mut self);

    /// The users of `example.test`.
    fn fill(&self) {
        self.run(
            "create table mailbox (address varchar(190) primary key, suspended int, restricted int); \
             insert into mailbox values ('anna@example.test', 0, 0), ('bob@example.test', 0, 0), \
             ('unpaid@example.test', 1, 0), ('staff@example.test', null, 1), ('o''neil@example.test', 0, 0)",
        );
    }

    /// `[directory.shop.sql]` that asks for them, with more lines.
    fn table(&self, more: &str) -> String {
        let (keys, parameter) = (self.keys(), self.parameter());
        format!(
            "{keys}\nquery = \"select * from mailbox where address = {parameter}\"\ndeadline = \"1s\"\n{more}"
        )
    }
}

impl Database for Postgres {
    fn keys(&self) -> String {
        format!("url = {:?}\npassword_file = {:?}", self.url(""), self.password_file())
    }
    fn parameter(&self) -> &'static str {
        "$1"
    }
    fn run(&self, statements: &str) {
        self.sql(&[statements]);
    }
    fn go_down(&mut self) {
        self.kill();
    }
    fn come_back(&mut self) {
        self.resume();
    }
}

impl Database for MariaDb {
    fn keys(&self) -> String {
        format!("url = {:?}\npassword_file = {:?}", self.url(""), self.password_file())
    }
    fn parameter(&self) -> &'static str {
        "?"
    }
    fn run(&self, statements: &str) {
        self.sql(statements);
    }
    fn go_down(&mut self) {
        self.kill();
    }
    fn come_back(&mut self) {
        self.resume();
    }
}

/// A file, which may be away.
struct Sqlite(TempDir);

impl Sqlite {
    fn start() -> Self {
        Self(TempDir::new("sqlite"))
    }
}

impl Database for Sqlite {
    fn keys(&self) -> String {
        format!("url = \"sqlite:{}\"", self.0.join("mail.db").display())
    }
    fn parameter(&self) -> &'static str {
        "?1"
    }
    fn run(&self, statements: &str) {
        let mut command = Command::new("sqlite3");
        // It does not wait by itself for who reads just now.
        let output =
            command.args(["-cmd", ".timeout 10000"]).arg(self.0.join("mail.db")).arg(statements).output();
        let output = output.expect("sqlite3 is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    fn go_down(&mut self) {
        rename(&self.0.join("mail.db"), &self.0.join("away.db"));
    }
    fn come_back(&mut self) {
        rename(&self.0.join("away.db"), &self.0.join("mail.db"));
    }
}

fn rename(from: &Path, to: &Path) {
    std::fs::rename(from, to).expect("the file is there");
}

/// Backstop with the directory `shop` in charge of `example.test`.
fn backstop(sql: &str) -> BackstopBuilder {
    Backstop::builder(BACKSTOP).config(&CONFIG.replace("{sql}", sql))
}

/// A Postfix that asks it, and relays for the domain without knowing its users.
fn postfix(backstop: &Backstop) -> Postfix {
    Postfix::builder().milter(&backstop.for_postfix()).start()
}

/// A session with Postfix after `EHLO`, from a client whom nobody trusts.
fn session(postfix: &Postfix) -> Smtp {
    let mut smtp = Smtp::connect(postfix.port());
    smtp.ehlo("client.elsewhere.test");
    smtp
}

/// What is said to this local part (or address) in a transaction of its own: `250`, or the code and the reason, `550
/// unknown-recipient`.
#[track_caller]
fn decision(smtp: &mut Smtp, local: &str) -> String {
    assert_eq!(smtp.mail("<sender@elsewhere.test>").code, 250, "{}", smtp.transcript());
    let domain = if local.contains('@') { "" } else { "@example.test" };
    let reply = smtp.rcpt(&format!("<{local}{domain}>"));
    assert_eq!(smtp.rset().code, 250, "{}", smtp.transcript());
    match reply.text.rsplit_once('[').and_then(|(_, reason)| reason.strip_suffix(']')) {
        Some(reason) if !reply.ok() => format!("{} {reason}", reply.code),
        _ => reply.code.to_string(),
    }
}

/// Every local part gets its decision; all that is wrong is told at once.
#[track_caller]
fn decides(smtp: &mut Smtp, what: &str, table: &[(&str, &str)]) {
    let said = table.iter().map(|(local, expected)| (local, expected, decision(smtp, local)));
    let wrong: Vec<_> = said.filter(|(_, expected, said)| said != *expected).collect();
    assert!(wrong.is_empty(), "{what}: {wrong:?}");
}

/// Waits until a local part gets its decision.
#[track_caller]
fn wait_for_decision(smtp: &mut Smtp, local: &str, expected: &str) {
    wait_until(Duration::from_secs(15), &format!("{expected} for {local}"), || {
        decision(smtp, local) == expected
    });
}

const CONFIG: &str = r#"
[domains]
detect = false

[client]
trusted = ["192.0.2.1"]

[store]
url = "embedded:{dir}/store"

[directory.shop]
domains = ["example.test"]
[directory.shop.sql]
{sql}
"#;

const OK: &str = "250";
const UNKNOWN: &str = "550 unknown-recipient";
const SUSPENDED: &str = "550 suspended-recipient";
const RESTRICTED: &str = "550 restricted-recipient";
const UNAVAILABLE: &str = "451 directory-unavailable";
