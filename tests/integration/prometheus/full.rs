//! The dashboard's picture in docs/dashboard.md, drawn from what its queries find while a site is attacked for some minutes. To
//! make it again: `BACKSTOP_PICTURES=docs/images cargo nextest run --profile full -E 'test(the_dashboard_is_drawn)'`.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use backstop_harness::{
    Alertmanager, Backstop, CommandOutput, Dns, Postfix, Prometheus, Smtp, free_port, wait_until,
};

use crate::BACKSTOP;
use crate::mta::Mta;

use super::attacker::{from, relay};
use super::{DASHBOARD, RULES, path, read};

#[test]
fn the_dashboard_is_drawn() {
    let dns = names();
    let backstop = site(&dns);
    let postfix = relay(&backstop).start();
    let nobody = Alertmanager::start(free_port());
    let prometheus = Prometheus::start(backstop.http_port(), &read(RULES), &nobody);
    wait_until(Duration::from_secs(60), "the first scrape", || prometheus.sum("backstop_enabled") == 1.0);
    let start = now();
    play(&backstop, &postfix);
    let end = now();

    let directory = std::env::var_os("BACKSTOP_PICTURES").map_or_else(|| path("target"), PathBuf::from);
    let picture = directory.join("dashboard.png");
    let _ = fs::remove_file(&picture);
    let output = CommandOutput::of(
        Command::new(path("target/harness/python/bin/python"))
            .arg(path("tests/integration/prometheus/picture.py"))
            .arg(path(DASHBOARD))
            .args([prometheus.url(), start.to_string(), end.to_string()])
            .args(["10s", "mx1.example.test:9890"])
            .arg(&picture),
    );
    assert_eq!((output.status, output.stderr.as_str()), (0, ""), "{output:?}");
    let size = fs::metadata(&picture).expect("it is drawn").len();
    assert!((50_000..250_000).contains(&size), "{size} bytes");
}

/// Partners write all the time; in the second minute bots come; meanwhile a list of customers is cut short, and mended.
fn play(backstop: &Backstop, postfix: &Postfix) {
    let begun = Instant::now();
    let goes_on = |until: u64| begun.elapsed() < Duration::from_secs(until);
    let (letters, bots) = (AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while goes_on(END) {
                    letter(postfix, letters.fetch_add(1, Ordering::Relaxed));
                    thread::sleep(Duration::from_millis(200));
                }
            });
        }
        for _ in 0..12 {
            scope.spawn(|| {
                while goes_on(END) {
                    if !goes_on(ATTACK.0) && goes_on(ATTACK.1) {
                        bot(postfix, bots.fetch_add(1, Ordering::Relaxed));
                    }
                    thread::sleep(Duration::from_millis(100));
                }
            });
        }
        scope.spawn(|| {
            for (at, event) in EVENTS {
                while goes_on(at) {
                    thread::sleep(Duration::from_millis(100));
                }
                event(backstop);
            }
        });
    });
}

/// Wanted mail, now and then for somebody who has left.
fn letter(postfix: &Postfix, number: u32) {
    let partner = number % PARTNERS;
    let mut smtp = from(postfix, &Ipv4Addr::from(FIRST_PARTNER + partner).to_string());
    smtp.mail(&format!("<office@partner{partner}.example>"));
    let rcpt = match number % 23 {
        0 if number.is_multiple_of(3) => format!("<left{number}@example.test>"),
        1..6 => format!("<buyer{}@shop.test>", number % if number.is_multiple_of(2) { 10 } else { BUYERS }),
        // Each writes to some people again and again.
        _ => format!("<user{}@example.test>", partner * 8 + number / PARTNERS % 8),
    };
    end(smtp, &rcpt);
}

fn bot(postfix: &Postfix, number: u32) {
    let bot = number % BOTS;
    let mut smtp = from(postfix, &Ipv4Addr::from(FIRST_BOT + bot).to_string());
    smtp.mail(&format!("<forged{number}@victim.test>"));
    for guess in 0..8 {
        if smtp.rcpt(&format!("<invented{number}.{guess}@example.test>")).code == 421 {
            return;
        }
    }
    end(smtp, "<user1@example.test>");
}

/// A port scanner, say.
fn no_milter(backstop: &Backstop) {
    let mut broken = Mta::connect(backstop.milter_port());
    broken.write(&[0; 4]);
    broken.is_closed();
}

fn end(mut smtp: Smtp, rcpt: &str) {
    if smtp.rcpt(rcpt).code != 421 {
        let _ = smtp.quit();
    }
}

fn names() -> Dns {
    let dns = Dns::start();
    for partner in 0..PARTNERS {
        dns.host(address(FIRST_PARTNER + partner), &format!("mail.partner{partner}.example"));
    }
    for bot in (0..BOTS).filter(|bot| bot % 4 != 0) {
        let ip = address(FIRST_BOT + bot);
        dns.host(ip, &format!("{}.dynamic.isp.example", ip.to_string().replace('.', "-")));
    }
    dns
}

fn site(dns: &Dns) -> Backstop {
    let users: String = (0..1200).map(|number| format!("user{number}@example.test\n")).collect();
    let builder = Backstop::builder(BACKSTOP).file("users", &users).file("customers", &customers(1000));
    let mut table = "create table mailbox (address text primary key, suspended int);\n".to_owned();
    let buyers: Vec<String> = (0..BUYERS).map(|buyer| format!("('buyer{buyer}@shop.test', 0)")).collect();
    table += &format!("insert into mailbox values {};", buyers.join(", "));
    let made = Command::new("sqlite3").arg(builder.path("mail.db")).arg(table).status();
    assert!(made.expect("tests/install installs sqlite3").success());
    builder.config(CONFIG).env("BACKSTOP__CLIENT__RESOLVER", &dns.address().to_string()).start()
}

fn customers(count: u32) -> String {
    (0..count).map(|number| format!("customer{number}@customers.test\n")).collect()
}

fn address(number: u32) -> IpAddr {
    Ipv4Addr::from(number).into()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs()
}

/// After so many seconds, this.
type Event = (u64, fn(&Backstop));

/// What happens besides.
const EVENTS: [Event; 5] = [
    (90, |backstop| _ = backstop.write("customers", &customers(400))),
    (100, no_milter),
    (104, no_milter),
    (108, no_milter),
    (150, |backstop| _ = backstop.write("customers", &customers(1010))),
];
const END: u64 = 220;
const ATTACK: (u64, u64) = (60, 160);
const PARTNERS: u32 = 40;
const BUYERS: u32 = 1500;
/// 198.51.100.1
const FIRST_PARTNER: u32 = 0xC633_6401;
const BOTS: u32 = 240;
/// 203.0.113.1
const FIRST_BOT: u32 = 0xCB00_7101;

const CONFIG: &str = r#"
[domains]
detect = false
names = ["example.test", "customers.test", "shop.test"]

[directory.staff]
domains = ["example.test"]
[directory.staff.file]
path = "{dir}/users"

[directory.customers]
domains = ["customers.test"]
[directory.customers.file]
path = "{dir}/customers"

[directory.shop]
domains = ["shop.test"]
[directory.shop.sql]
url = "sqlite:{dir}/mail.db"
query = "select * from mailbox where address = ?1"

[limits]
sessions = 32

[defence.tarpit]
enabled = true
max = "400ms"

[defence.greylist]
mode = "all"
delay = "5s"
"#;
