//! A reverse-NDR attack on a real Backstop that a real Prometheus watches: every panel of the dashboard shows something, and
//! the alerts reach a real Alertmanager.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use backstop_harness::{Alertmanager, Backstop, Prometheus, wait_until};
use milter_protocol::command::{CStrings, ClientAddress, Command as Milter, Connect, Mail};

use crate::BACKSTOP;
use crate::mta::{Answer, Mta, is_unknown};

use super::{RULES, dashboard, read};

#[test]
fn it_is_seen_by_whoever_has_to_know() {
    let backstop = site();
    let alertmanager = Alertmanager::start();
    let prometheus = Prometheus::start(backstop.http_port(), &at_once(&read(RULES)), &alertmanager);
    let _open = connect(&backstop, Ipv4Addr::new(192, 0, 2, 2));
    // Rates need a series that grows from one scrape to the next.
    for number in 0..3 {
        wave(&backstop, number);
        wait_until(SOON, "Prometheus to see the wave", || {
            prometheus.sum(RECIPIENTS) >= recipients(&backstop)
        });
    }
    let prevented = backstop.metric("backstop_backscatter_prevented_total", &[]);
    assert!(prevented >= 500.0, "{prevented}");
    assert_eq!(prometheus.sum("backstop_backscatter_prevented_total"), prevented);

    let expected = [
        "BackstopReverseNdrAttack",
        "BackstopHarvest",
        "BackstopHarvestDistributed",
        "BackstopDirectoryDown",
    ];
    wait_for_alerts(&alertmanager, &expected);
    let alerts = alertmanager.alerts();
    let down = alerts.iter().find(|alert| alert["alertname"] == "BackstopDirectoryDown").expect("it fires");
    assert_eq!(down["directory"], "empty");
    // Nor does anything fire for which there is no reason.
    for name in [
        "BackstopDown",
        "BackstopDisabled",
        "BackstopReloadFailed",
        "BackstopStoreDown",
        "BackstopMailPutOff",
    ] {
        assert!(alerts.iter().all(|alert| alert["alertname"] != name), "{name}: {alerts:?}");
    }

    every_panel_has_data(&prometheus);

    let config = std::fs::read_to_string(backstop.path("backstop.toml")).expect("it is there");
    backstop.write("backstop.toml", "mode = \"enforced\"\n");
    assert_ne!(backstop.command(&["reload"]).status, 0);
    backstop.write("backstop.toml", &config);
    let disabled = backstop.command(&["disable", "--reason", "a test"]);
    assert_eq!(disabled.status, 0, "{disabled:?}");
    wait_for_alerts(&alertmanager, &["BackstopDisabled", "BackstopReloadFailed"]);
    assert_eq!(backstop.metric("backstop_reload_succeeded", &[]), 0.0);
    let _ = backstop.command(&["reload"]);
    assert_eq!(backstop.metric("backstop_reload_succeeded", &[]), 1.0, "and the alert ends");
}

/// Every query of the dashboard, and of its annotations.
fn every_panel_has_data(prometheus: &Prometheus) {
    let queries = dashboard::queries(prometheus);
    assert!(queries.len() > 30);
    let mut faults = Vec::new();
    for dashboard::Query { panel, query } in queries {
        match prometheus.query(&query) {
            Err(error) => faults.push(format!("{panel}: {query}: {error}")),
            Ok(series) => {
                let is_lively =
                    ALL_WELL.contains(&&panel[..]) || series.iter().any(|(_, value)| *value > 0.0);
                if !is_lively || !series.iter().any(|(_, value)| value.is_finite()) {
                    faults.push(format!("{panel}: {query}: {series:?}"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Seventy bots, each with forged senders and invented recipients; wanted mail; and somebody who speaks no milter protocol.
fn wave(backstop: &Backstop, wave: u32) {
    for bot in wave * BOTS..(wave + 1) * BOTS {
        let mut mta = connect(backstop, Ipv4Addr::from(FIRST_BOT + bot));
        let sender = format!("<forged{bot}@victim.test>");
        let _ = mta.send(&Milter::Mail(Mail { address: sender.as_bytes(), parameters: CStrings::default() }));
        let known = mta.rcpt("<anna@example.test>");
        assert!(matches!(known, Answer::Refused(text) if text.ends_with("[greylisted]")));
        for guess in 0..GUESSES {
            let answer = mta.rcpt(&format!("<invented{bot}.{guess}@example.test>"));
            let is_blocked = matches!(&answer, Answer::Refused(text) if text.ends_with("[harvest]"));
            assert!(is_unknown(&answer) || is_blocked, "{wave}, {guess}: {answer:?}");
        }
    }
    let mut insider = connect(backstop, Ipv4Addr::new(192, 0, 2, 1));
    insider.mail();
    for rcpt in ["<anna@example.test>", "<anna@shop.test>", "<anna@shop.test>"] {
        assert_eq!(insider.rcpt(rcpt), Answer::Continue, "{rcpt}");
    }
    // One more that the database has to be asked for.
    assert!(is_unknown(&insider.rcpt(&format!("<nobody{wave}@shop.test>"))));
    let mut broken = Mta::connect(backstop.milter_port());
    broken.write(&[0; 4]);
    broken.is_closed();
}

fn connect(backstop: &Backstop, client: Ipv4Addr) -> Mta<std::net::TcpStream> {
    let mut mta = Mta::connect(backstop.milter_port());
    let address = ClientAddress::Inet(client, 4711);
    let _ = mta.send(&Milter::Connect(Connect { host: b"bot.elsewhere.test", address }));
    let _ = mta.send(&Milter::Helo(b"bot.elsewhere.test"));
    mta
}

/// With a directory of each kind that the dashboard tells apart: in memory, on another server, and one without content.
fn site() -> Backstop {
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

/// The rules, but whatever is so fires at once: promtool's tests hold them to how long they wait.
fn at_once(rules: &str) -> String {
    let lines: Vec<&str> = rules.lines().filter(|line| !line.trim_start().starts_with("for: ")).collect();
    assert!(lines.len() + 10 < rules.lines().count(), "no rule waits");
    lines.join("\n")
}

#[track_caller]
fn wait_for_alerts(alertmanager: &Alertmanager, names: &[&str]) {
    wait_until(SOON, &format!("the alerts {names:?}"), || {
        let alerts = alertmanager.alerts();
        let firing: BTreeSet<&str> = alerts.iter().map(|alert| &alert["alertname"][..]).collect();
        names.iter().all(|name| firing.contains(name))
    });
}

fn recipients(backstop: &Backstop) -> f64 {
    backstop.metric("backstop_callbacks_total", &[("callback", "rcpt")])
}

const RECIPIENTS: &str = r#"backstop_callbacks_total{callback="rcpt"}"#;
const SOON: Duration = Duration::from_secs(60);
const BOTS: u32 = 70;
const GUESSES: u32 = 8;
/// 203.0.113.1
const FIRST_BOT: u32 = 0xCB00_7101;

/// Panels that may show nothing but zeros while all is well.
const ALL_WELL: [&str; 6] = [
    "Oldest truth",
    "Age of the truth",
    "Health",
    "Greylist and tarpit",
    "What went wrong",
    "Held back and unsaved",
];

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
"#;
