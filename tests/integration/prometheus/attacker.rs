//! The attack: bots at many addresses, each with a forged sender and invented recipients, through a real Postfix; and the site
//! that they attack.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::process::Command;

use backstop_harness::{Backstop, Postfix, PostfixBuilder, Reply, Smtp};

use crate::BACKSTOP;

/// What the clients were told, as they read it.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// How often which reason was in the reply; `ok` where there was none.
    pub(super) reasons: BTreeMap<String, f64>,
    /// Refusals of all kinds that the bots got.
    pub(super) by_bots: f64,
    /// Recipients that were said not to exist.
    pub(super) unknown: BTreeSet<String>,
    /// Bots that were blocked.
    pub(super) blocked: BTreeSet<String>,
}

impl Told {
    pub(super) fn note(&mut self, rcpt: &str, reply: &Reply) -> String {
        let tag = reply.text.rsplit_once('[').and_then(|(_, tag)| tag.strip_suffix(']'));
        let reason = if reply.ok() { "ok" } else { tag.unwrap_or_else(|| panic!("{rcpt}: {reply}")) };
        *self.reasons.entry(reason.to_owned()).or_default() += 1.0;
        if reason == "unknown-recipient" {
            assert_eq!((reply.code, reply.enhanced.as_deref()), (550, Some("5.1.1")), "{rcpt}: {reply}");
            assert!(self.unknown.insert(rcpt.to_owned()), "{rcpt}");
        }
        reason.to_owned()
    }

    pub(super) fn times(&self, reason: &str) -> f64 {
        self.reasons.get(reason).copied().unwrap_or_default()
    }

    /// Otherwise nothing would be shown by the rest.
    pub(super) fn is_an_attack(&self) {
        assert!(self.times("unknown-recipient") >= 500.0 && self.times("harvest") >= 10.0, "{self:?}");
        assert_eq!(self.times("greylisted"), f64::from(WAVES * BOTS), "{self:?}");
    }
}

/// Seventy bots, each with a forged sender and invented recipients, each at an address of its own; and wanted mail.
pub(super) fn wave(postfix: &Postfix, wave: u32, told: &mut Told) {
    for bot in wave * BOTS..(wave + 1) * BOTS {
        let client = Ipv4Addr::from(FIRST_BOT + bot).to_string();
        let mut smtp = from(postfix, &client);
        assert!(smtp.mail(&format!("<forged{bot}@victim.test>")).ok(), "{}", smtp.transcript());
        let guesses = (0..GUESSES).map(|guess| format!("<invented{bot}.{guess}@example.test>"));
        for rcpt in std::iter::once("<anna@example.test>".to_owned()).chain(guesses) {
            let reason = told.note(&rcpt, &smtp.rcpt(&rcpt));
            told.by_bots += 1.0;
            if reason == "harvest" {
                let _ = told.blocked.insert(client);
                break; // Postfix hangs up after 421
            }
        }
    }
    let mut insider = from(postfix, "192.0.2.1");
    assert!(insider.mail("<partner@elsewhere.test>").ok(), "{}", insider.transcript());
    // One more that the database has to be asked for.
    let nobody = format!("<nobody{wave}@shop.test>");
    for rcpt in ["<anna@example.test>", "<anna@shop.test>", "<anna@shop.test>", &nobody] {
        let reason = told.note(rcpt, &insider.rcpt(rcpt));
        assert_eq!(
            reason,
            if rcpt == nobody { "unknown-recipient" } else { "ok" },
            "{}",
            insider.transcript()
        );
    }
}

pub(super) fn from(postfix: &Postfix, client: &str) -> Smtp {
    let mut smtp = Smtp::connect(postfix.port());
    smtp.ehlo("bot.elsewhere.test");
    let reply = smtp.xclient(&format!("ADDR={client} NAME=[UNAVAILABLE]"));
    assert_eq!(reply.code, 220, "{}", smtp.transcript());
    smtp.ehlo("bot.elsewhere.test");
    smtp
}

/// With a directory of each kind that the dashboard tells apart: in memory, on another server, and one without content.
pub(super) fn site() -> Backstop {
    let builder = Backstop::builder(BACKSTOP)
        .file("addresses", "anna@example.test\nbob@example.test\n")
        .file("nothing", "");
    let table = "create table mailbox (address text primary key, suspended int);\n\
                 insert into mailbox values ('anna@shop.test', 0);";
    let mut sqlite = Command::new("sqlite3");
    let made = sqlite.arg(builder.path("mail.db")).arg(table).status();
    assert!(made.expect("tests/install installs sqlite3").success());
    builder.config(CONFIG).start()
}

/// The relay in front of it, which knows no recipients.
pub(super) fn relay(backstop: &Backstop) -> PostfixBuilder {
    Postfix::builder()
        .milter(&backstop.for_postfix())
        .main("relay_domains = example.test, shop.test, empty.test")
}

/// Rates need series that grow from one scrape to the next.
pub(super) const WAVES: u32 = 3;
const BOTS: u32 = 70;
const GUESSES: u32 = 8;
/// 203.0.113.1
const FIRST_BOT: u32 = 0xCB00_7101;

const CONFIG: &str = r#"
[domains]
detect = false
names = ["example.test", "shop.test", "empty.test"]

[directory.people]
domains = ["example.test"]
[directory.people.file]
path = "{dir}/addresses"

[directory.shop]
domains = ["shop.test"]
[directory.shop.sql]
url = "sqlite:{dir}/mail.db"
query = "select * from mailbox where address = ?1"

[directory.empty]
domains = ["empty.test"]
[directory.empty.file]
path = "{dir}/nothing"

[client]
trusted = ["192.0.2.0/24"]
[client.dynamic]
reverse_dns = false

[defence.greylist]
mode = "all"

# So that every refusal can be looked for.
[log]
refusals_per_second = 0
"#;
