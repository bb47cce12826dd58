//! The way to the servers that Backstop asks is slow, loses bytes, or cuts connections within an answer: whoever exists is
//! never refused for good, nobody passes who does not, no answer takes longer than 8 s, and it ends when the way is clear.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use backstop_harness::{Backstop, Postgres, Proxy, Redis, Slapd, Way, wait_until};

use super::{fill_postgres, fill_slapd, ldap_directory, message, said, sql_directory};
use crate::BACKSTOP;

#[test]
fn a_bad_way_to_directories_and_store_refuses_nobody_for_good() {
    let (slapd, postgres, redis) = (Slapd::start(), Postgres::start(), Redis::start());
    fill_slapd(&slapd, 1);
    fill_postgres(&postgres, 1);
    let port = |url: &str| -> u16 {
        let digits: String =
            url.rsplit(':').next().unwrap_or_default().chars().take_while(char::is_ascii_digit).collect();
        digits.parse().expect("a URL with a port")
    };
    let ldap_port = port(&slapd.url());
    let proxies = [ldap_port, postgres.port(), redis.port()].map(Proxy::to);
    let through = |url: String, from: u16, proxy: &Proxy| {
        url.replace(&format!(":{from}"), &format!(":{}", proxy.port()))
    };
    let sql = through(postgres.url(""), postgres.port(), &proxies[1]);
    let ldap = through(slapd.url(), ldap_port, &proxies[0]);
    let config = [
        CONFIG.to_owned(),
        ldap_directory(
            &slapd,
            ldap,
            &format!("source = \"live\"\ndeadline = \"500ms\"\n[directory.corp.cache]\n{SHORT}"),
        ),
        sql_directory(&postgres, &sql, &format!("deadline = \"500ms\"\n[directory.shop.cache]\n{SHORT}")),
    ]
    .concat();
    let store = through(redis.url(), redis.port(), &proxies[2]);
    let backstop = Backstop::builder(BACKSTOP).config(&config).env("BACKSTOP__STORE__URL", &store).start();
    wait_until(SOON, "the first answers", || put_off(&backstop, "before") == 0);

    let (slow, slower) = (Way::Slow(Duration::from_millis(30)), Way::Slow(Duration::from_millis(700)));
    let cuts = [0, 1, 5, 14, 40].map(Way::Cut);
    let mut times = 0;
    for (number, way) in [slow, slower, Way::Lost, Way::Closed].into_iter().chain(cuts).enumerate() {
        for proxy in &proxies {
            proxy.set(way);
        }
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(1500) {
            times += put_off(&backstop, &format!("{way:?}"));
        }
        for proxy in &proxies {
            proxy.set(Way::Clear);
        }
        wait_until(SOON, &format!("the end of {way:?}, number {number}"), || {
            put_off(&backstop, "clear again") == 0
        });
    }
    assert!(times > 10, "the ways were not bad: {times}");
    // Which had a bad way as well, and is found again.
    backstop.wait_for_log("the list of suspensions is current again");
    assert_eq!(backstop.metric("backstop_session_panics_total", &[]), 0.0);
}

/// Asks for everybody once, each time for others who do not exist; gives how many were put off.
fn put_off(backstop: &Backstop, when: &str) -> u64 {
    let mut mta = message(backstop.milter_port(), [203, 0, 113, 7]);
    let mut put_off = 0;
    for domain in ["ldap.test", "sql.test"] {
        for (kind, right) in [("known0", "continue"), ("gone0", "550 5.2.1"), ("nobody", "550 5.1.1")] {
            let local = if kind == "nobody" {
                format!("nobody{}", INVENTED.fetch_add(1, Ordering::Relaxed))
            } else {
                kind.to_owned()
            };
            let asked = Instant::now();
            let answer = said(&mut mta, &format!("{local}@{domain}"));
            assert!(asked.elapsed() < LONGEST, "{when}: {local}@{domain} took {:?}", asked.elapsed());
            let is_put_off = answer.starts_with("451 4.4.3");
            assert!(is_put_off || answer.starts_with(right), "{when}: {local}@{domain}: {answer}");
            put_off += u64::from(is_put_off);
        }
    }
    put_off
}

static INVENTED: AtomicU64 = AtomicU64::new(0);
const SOON: Duration = Duration::from_secs(20);
/// 8 s, and what this machine takes.
const LONGEST: Duration = Duration::from_secs(9);

/// Hardly anything is remembered.
const SHORT: &str = "positive = \"1ms\"\nnegative = \"1ms\"\n";

const CONFIG: &str = r#"
[domains]
detect = false
names = ["ldap.test", "sql.test"]

[defence.harvest]
enabled = false
"#;
