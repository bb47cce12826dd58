//! The DNS changes what it says, and breaks, while mail comes in: whose name is good is never refused, whose name is bad is as soon
//! as it is well again; no recipient is called unknown because the name of the next hop leads nowhere or elsewhere.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use backstop_harness::{Backstop, Dns, Fault, Random, wait_until};

use super::{message, said};
use crate::{BACKSTOP, next_hop};

#[test]
fn a_name_that_changes_or_fails_refuses_nobody_for_good() {
    // Where the system looks as well: it has no port to name.
    let [.., high, low] = std::process::id().to_be_bytes();
    let dns = Dns::start_at((Ipv4Addr::new(127, 53, high, low), 53).into());
    dns.remember_for(1);
    let inside = next_hop::knowing().start();
    for number in 0..CLIENTS + NEW {
        for kind in [Kind::Good, Kind::Bad] {
            dns.host(kind.address(number), &kind.name(number));
        }
    }
    dns.list("bad.list.example", Ipv4Addr::new(127, 0, 0, 2).into(), Ipv4Addr::new(127, 0, 0, 2));
    dns.address_of(NEXT_HOP, Ipv4Addr::LOCALHOST.into());
    let config = CONFIG.replace("{hop}", &format!("{NEXT_HOP}:{}", inside.port()));
    let system = format!("nameserver {}\noptions timeout:1 attempts:1\n", dns.address().ip());
    let backstop = Backstop::builder(BACKSTOP)
        .file("resolv.conf", &system)
        .config(&config)
        .env("BACKSTOP__CLIENT__RESOLVER", "system")
        .after("set -- unshare --mount sh -c 'mount --bind resolv.conf /etc/resolv.conf && exec \"$@\"' sh \"$@\"")
        .start();
    wait_until(SOON, "the next hop", || ask(&backstop, Kind::Good, 0, "anna") == "continue");
    wait_until(SOON, "the names", || ask(&backstop, Kind::Bad, 1, "anna").starts_with(DYNAMIC));
    wait_until(SOON, "the next hop to be known", || {
        ask(&backstop, Kind::Good, 0, "nobody").starts_with(UNKNOWN)
    });

    let (stop, answers, refused) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for number in 0..4 {
            let (backstop, stop, answers, refused) = (&backstop, &stop, &answers, &refused);
            scope.spawn(move || {
                let mut random = Random::new(number);
                while !stop.load(Ordering::SeqCst) {
                    let kind = [Kind::Good, Kind::Bad, Kind::Changing][random.below(3)];
                    let is_known = random.once_in(2);
                    let recipient =
                        if is_known { "anna".to_owned() } else { format!("nobody{}", random.below(1000)) };
                    let begun = Instant::now();
                    let answer = ask(backstop, kind, random.below(CLIENTS), &recipient);
                    assert!(begun.elapsed() < LONGEST, "{kind:?}: {answer} after {:?}", begun.elapsed());
                    let is_dynamic = answer.starts_with(DYNAMIC);
                    assert!(!is_dynamic || kind != Kind::Good, "a good name is refused: {answer}");
                    let is_right = if is_known { answer == "continue" } else { answer.starts_with(UNKNOWN) };
                    assert!(
                        is_dynamic || is_right || answer.starts_with("451 4.4.3"),
                        "{recipient}: {answer}"
                    );
                    answers.fetch_add(1, Ordering::Relaxed);
                    refused.fetch_add(u64::from(is_dynamic), Ordering::Relaxed);
                }
            });
        }
        let mut random = Random::new(77);
        let ends = Instant::now() + Duration::from_secs(8);
        while Instant::now() < ends {
            disturb(&dns, &mut random);
        }
        stop.store(true, Ordering::SeqCst);
    });
    let (answers, refused) = (answers.into_inner(), refused.into_inner());
    println!("{answers} answers, {refused} for a bad name");
    assert!(answers > 200 && refused > 20, "{answers} answers, {refused} for a bad name");

    // And all is as the names say, for those who come now; who was in doubt is asked for again after half a minute.
    for number in CLIENTS..CLIENTS + NEW {
        for (kind, who, said) in
            [(Kind::Bad, "anna", DYNAMIC), (Kind::Good, "anna", "continue"), (Kind::Good, "nobody", UNKNOWN)]
        {
            wait_until(SOON, &format!("the truth about {kind:?} {number} and {who}"), || {
                ask(&backstop, kind, number, who).starts_with(said)
            });
        }
    }
    assert_eq!(backstop.metric("backstop_session_panics_total", &[]), 0.0);
}

/// For a moment something is wrong, or for good something is different.
fn disturb(dns: &Dns, random: &mut Random) {
    let moment = Duration::from_millis(100 + random.below(400) as u64);
    match random.below(4) {
        0 => {
            for _ in 0..CLIENTS / 4 {
                let number = random.below(CLIENTS);
                let like = [Kind::Good, Kind::Bad][random.below(2)];
                dns.rename(Kind::Changing.address(number), &like.name(number));
            }
            thread::sleep(moment);
        }
        1 => {
            dns.remove(NEXT_HOP);
            // Where nobody listens, or nowhere.
            if random.once_in(2) {
                dns.address_of(NEXT_HOP, Ipv4Addr::new(127, 0, 0, 77).into());
            }
            thread::sleep(moment);
            dns.remove(NEXT_HOP);
            dns.address_of(NEXT_HOP, Ipv4Addr::LOCALHOST.into());
        }
        _ => {
            let zone =
                ["in-addr.arpa", "example.org", "isp.example", NEXT_HOP, "bad.list.example"][random.below(5)];
            let fault = [
                Fault::ServFail,
                Fault::Refused,
                Fault::Silence,
                Fault::Delay(Duration::from_millis(300)),
                Fault::Truncation,
                Fault::Garbage,
            ][random.below(6)];
            dns.fault(zone, Some(fault));
            thread::sleep(moment);
            dns.fault(zone, None);
        }
    }
}

/// What the recipient is answered where this client sends.
fn ask(backstop: &Backstop, kind: Kind, number: usize, recipient: &str) -> String {
    let IpAddr::V4(client) = kind.address(number) else { unreachable!("they are all of IPv4") };
    said(&mut message(backstop.milter_port(), client), &format!("{recipient}@example.test"))
}

/// What the name of a client looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Good,
    Bad,
    /// Now like this, now like that.
    Changing,
}

impl Kind {
    fn address(self, number: usize) -> IpAddr {
        let last = u8::try_from(number).expect("there are not so many");
        match self {
            Self::Good => [198, 51, 100, last],
            Self::Bad => [203, 0, 113, last],
            Self::Changing => [192, 0, 2, last],
        }
        .into()
    }

    fn name(self, number: usize) -> String {
        match self {
            Self::Bad => format!("203-0-113-{number}.dynamic.isp.example"),
            _ => format!("mail{number}.example.org"),
        }
    }
}

const CLIENTS: usize = 200;
const NEW: usize = 20;
const NEXT_HOP: &str = "inside.example";
const DYNAMIC: &str = "550 5.7.1";
const UNKNOWN: &str = "550 5.1.1";
const SOON: Duration = Duration::from_secs(20);
/// 8 s, and what this machine takes.
const LONGEST: Duration = Duration::from_secs(9);

const CONFIG: &str = r#"
[domains]
detect = false
names = ["example.test"]

[client.dynamic]
enforce = "rcpt"
deadline = "1s"
dnsbl = ["bad.list.example"]

[defence.harvest]
enabled = false

[directory.inside.smtp]
host = "{hop}"
[directory.inside.cache]
positive = "1ms"
negative = "1ms"
"#;
