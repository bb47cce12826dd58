//! The way to the servers that Backstop asks is slow, loses bytes, or cuts connections within an answer: whoever exists is
//! never refused for good, nobody passes who does not, no answer takes longer than 8 s, and it ends when the way is clear.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use backstop_harness::{Backstop, Netns, Postgres, Proxy, Redis, Slapd, Way, wait_until};

use super::{fill_postgres, fill_slapd, ldap_directory, message, said, sql_directory};
use crate::BACKSTOP;

#[test]
fn a_bad_way_to_directories_and_store_refuses_nobody_for_good() {
    let servers = Servers::start();
    let proxies = servers.ports().map(Proxy::to);
    let backstop = servers.asked_at(proxies.each_ref().map(Proxy::address));
    wait_until(SOON, "the first answers", || put_off(&backstop, "before") == 0);

    let (slow, slower) = (Way::Slow(Duration::from_millis(30)), Way::Slow(Duration::from_millis(700)));
    let cuts = [0, 1, 5, 14, 40].map(Way::Cut);
    let mut times = 0;
    for way in [slow, slower, Way::Lost, Way::Closed].into_iter().chain(cuts) {
        let set = |way| proxies.iter().for_each(|proxy| proxy.set(way));
        times += fails(&backstop, &format!("{way:?}"), || set(way), || set(Way::Clear));
    }
    assert!(times > 10, "the ways were not bad: {times}");
    is_as_before(&backstop);
}

/// Between two networks: nothing arrives, and nobody says so.
#[test]
fn a_partition_refuses_nobody_for_good() {
    let (here, there) = Netns::pair();
    let (servers, proxies) = there.enter(|| {
        let servers = Servers::start();
        let proxies = servers.ports().map(|port| Proxy::at(Netns::CLIENT, port));
        (servers, proxies)
    });
    here.enter(|| {
        let backstop = servers.asked_at(proxies.each_ref().map(Proxy::address));
        wait_until(SOON, "the first answers", || put_off(&backstop, "before") == 0);
        let silence = format!("blackhole {}/32", Netns::SERVER);
        let mut times = 0;
        for (cut, mend) in [
            ("link set wire down".to_owned(), "link set wire up".to_owned()),
            (format!("route add {silence}"), format!("route del {silence}")),
        ] {
            times += fails(&backstop, &cut, || there.ip(&cut), || there.ip(&mend));
        }
        assert!(times > 4, "nothing was cut: {times}");
        is_as_before(&backstop);
    });
}

/// slapd, PostgreSQL and Redis.
struct Servers(Slapd, Postgres, Redis);

impl Servers {
    fn start() -> Self {
        let (slapd, postgres) = (Slapd::start(), Postgres::start());
        fill_slapd(&slapd, 1);
        fill_postgres(&postgres, 1);
        Self(slapd, postgres, Redis::start())
    }

    fn ports(&self) -> [u16; 3] {
        [self.0.port(), self.1.port(), self.2.port()]
    }

    /// A Backstop that finds them there.
    fn asked_at(&self, [ldap, sql, store]: [SocketAddr; 3]) -> Backstop {
        let Self(slapd, postgres, redis) = self;
        let at = |url: String, port: u16, address: SocketAddr| {
            url.replace(&format!("127.0.0.1:{port}"), &address.to_string())
        };
        let config = [
            CONFIG.to_owned(),
            ldap_directory(
                slapd,
                at(slapd.url(), slapd.port(), ldap),
                &format!("source = \"live\"\ndeadline = \"500ms\"\n[directory.corp.cache]\n{SHORT}"),
            ),
            sql_directory(
                postgres,
                &at(postgres.url("?sslmode=disable"), postgres.port(), sql),
                &format!("deadline = \"500ms\"\n[directory.shop.cache]\n{SHORT}"),
            ),
        ]
        .concat();
        let store = at(redis.url(), redis.port(), store);
        Backstop::builder(BACKSTOP).config(&config).env("BACKSTOP__STORE__URL", &store).start()
    }
}

/// Asks while it lasts, and until it is over; gives how many were put off meanwhile.
fn fails(backstop: &Backstop, what: &str, begin: impl FnOnce(), end: impl FnOnce()) -> u64 {
    let (begun, mut times) = (Instant::now(), 0);
    begin();
    while begun.elapsed() < Duration::from_millis(1500) {
        times += put_off(backstop, what);
    }
    end();
    wait_until(SOON, &format!("the end of {what}"), || put_off(backstop, "clear again") == 0);
    times
}

fn is_as_before(backstop: &Backstop) {
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
