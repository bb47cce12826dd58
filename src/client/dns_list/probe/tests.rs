//! Against a DNS server whose lists are right, given up, empty or broken.

use std::{net::Ipv6Addr, sync::Arc};

use backstop_harness::{Dns, Fault};

use super::*;
use crate::{
    client::{Metrics, dns_list::Asked},
    net::NameServer,
    telemetry::Registry,
};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));
const CLIENT_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 9));
const LISTED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 10);

fn resolver(dns: &Dns) -> Resolver {
    Resolver::asking(NameServer::At(dns.address()), Duration::from_secs(2))
}

/// What it says of a client, asked for the first time.
async fn says(dns: &Dns, list: &str, client: IpAddr) -> (Listing, Arc<Asked>) {
    let asked = Arc::new(Asked::new(list.parse().expect("a list")));
    let metrics = Metrics::register(&Registry::default());
    let deadline = Instant::now() + Duration::from_millis(400);
    (asked.ask(&resolver(dns), client, deadline, &metrics).await, asked)
}

/// RFC 5782 §5.
#[tokio::test]
async fn who_has_everybody_is_not_believed() {
    let dns = Dns::start();
    let never_v6 = "1.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0";
    for zone in ["good", "other", "v4", "v6", "wild", "parked", "refuses", "broken", "silent"] {
        for client in [CLIENT, CLIENT_V6] {
            dns.list(&format!("{zone}.example"), client, LISTED);
        }
    }
    dns.list("good.example", IpAddr::from(ALWAYS), Ipv4Addr::new(127, 0, 0, 2));
    dns.list("other.example", NEVER.into(), Ipv4Addr::new(127, 0, 0, 4));
    dns.list("v4.example", NEVER.into(), LISTED);
    dns.address_of(&format!("{never_v6}.v6.example"), LISTED.into());
    dns.address_of("*.wild.example", LISTED.into());
    dns.address_of("*.parked.example", Ipv4Addr::new(203, 0, 113, 80).into());
    dns.list("refuses.example", NEVER.into(), Ipv4Addr::new(127, 255, 255, 254));
    dns.fault("1.0.0.127.broken.example", Some(Fault::ServFail));
    dns.fault("1.0.0.127.silent.example", Some(Fault::Silence));
    let listed = Listing::Listed(LISTED);
    for (zone, v4, v6, notice) in [
        ("good.example", listed, listed, None),
        // 127.0.0.1 by an answer that counts for nothing.
        ("other.example=127.0.0.10", listed, listed, Some("does not have 127.0.0.2")),
        ("v4.example", Listing::Everybody, Listing::Everybody, Some("lists everybody")),
        ("v6.example", Listing::Everybody, Listing::Everybody, Some("lists everybody")),
        ("wild.example", Listing::Everybody, Listing::Everybody, Some("lists everybody")),
        ("parked.example", Listing::Untested, Listing::Untested, None),
        ("refuses.example", Listing::Untested, listed, Some("does not have 127.0.0.2")),
        ("broken.example", Listing::Untested, listed, Some("does not have 127.0.0.2")),
        // It is waited for, but not for longer than for the list itself.
        ("silent.example", Listing::Untested, Listing::Untested, None),
    ] {
        for (client, expected) in [(CLIENT, v4), (CLIENT_V6, v6)] {
            let (found, asked) = says(&dns, zone, client).await;
            assert_eq!(found, expected, "{zone} {client}");
            if let Some(notice) = notice {
                let notices = asked.notice().unwrap_or_default();
                assert!(notices.contains(notice), "{zone}: {notices}");
            } else {
                assert_eq!(asked.notice(), None, "{zone}");
            }
        }
    }
    // Whom it does not list, it need not prove.
    let (found, _) = says(&dns, "silent.example", Ipv4Addr::new(203, 0, 113, 10).into()).await;
    assert_eq!(found, Listing::Clear);
}

#[tokio::test]
async fn one_probe_serves_all() {
    let dns = Dns::start();
    dns.list("bl.example", CLIENT, LISTED);
    dns.text("1.0.0.127.bl.example", "no address, and no wildcard");
    dns.fault("1.0.0.127.bl.example", Some(Fault::Delay(Duration::from_millis(100))));
    let asked = Arc::new(Asked::new("bl.example".parse().expect("a list")));
    let metrics = Metrics::register(&Registry::default());
    let dns_client = resolver(&dns);
    for _ in 0..3 {
        let deadline = Instant::now() + Duration::from_secs(2);
        let all = (0..20).map(|_| asked.ask(&dns_client, CLIENT, deadline, &metrics));
        let all = futures_util::future::join_all(all).await;
        assert_eq!(all, [Listing::Listed(LISTED); 20], "all of them wait for it");
    }
    assert_eq!(dns.asked("1.0.0.127.bl.example"), 1);
    // What was said before does not count any more when it turns out that it has everybody.
    assert_eq!(asked.still(Listing::Listed(LISTED)), Listing::Listed(LISTED));
    dns.address_of("*.bl.example", LISTED.into());
    let answers = Answers::of(asked.list(), &dns_client).await;
    assert_eq!(answers.v4, Listing::Clear, "what was said of 127.0.0.1 is out of date");
    asked.learn(&answers, Instant::now());
    assert_eq!(asked.still(Listing::Listed(LISTED)), Listing::Everybody);
    assert_eq!(asked.still(Listing::Clear), Listing::Clear);
}

#[test]
fn when_it_is_probed_again() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let (good, failed, listed) = (Listing::Clear, Listing::Failed, Listing::Listed(LISTED));
    let probe = Probe::default();
    // When, the answers, what is told of them, and what is believed then of IPv4 and IPv6.
    use Proof::{Everybody, Sound, Untested};
    for (second, answers, told, v4, v6) in [
        (0, [failed, good, failed], None, Untested, Sound),
        (1, [good, failed, good], None, Sound, Sound),
        (3, [failed, good, good], None, Sound, Sound),
        (7, [good, good, good], None, Sound, Sound),
        (607, [failed, failed, good], None, Sound, Sound),
        (608, [good, good, listed], Some(true), Everybody, Everybody),
        (1208, [failed, failed, good], None, Everybody, Everybody),
        (1209, [good, failed, good], None, Sound, Everybody),
        (1211, [good, good, good], Some(false), Sound, Sound),
        (1811, [listed, good, good], Some(true), Everybody, Everybody),
        (2411, [good, listed, good], None, Everybody, Everybody),
        (3011, [good, good, good], Some(false), Sound, Sound),
    ] {
        if second > 0 {
            assert!(probe.begin(at(second) - Duration::from_millis(1)).is_none(), "{second}: too soon");
        }
        let running = probe.begin(at(second)).unwrap_or_else(|| panic!("{second}: it is due"));
        assert!(probe.begin(at(second + 10_000)).is_none(), "{second}: it is being done");
        let [in_v4, in_v6, made_up] = answers;
        let answers = Answers { v4: in_v4, v6: in_v6, made_up, is_empty: None };
        assert_eq!(probe.learn(&answers, at(second)), told, "{second}");
        drop(running);
        let state = probe.state();
        assert_eq!((state.v4, state.v6), (v4, v6), "{second}");
        drop(state);
        assert!(!probe.is_in_doubt(), "{second}: it was tried a few times only");
    }

    // One that is down is probed by whoever tries it next.
    let down = Answers { v4: failed, v6: failed, made_up: failed, is_empty: None };
    for round in 0..10 {
        probe.learn(&down, at(4000 + round));
        assert!(probe.begin(at(4000 + round) + Duration::from_millis(250)).is_some());
    }
    // One that never answers clearly is told of.
    let probe = Probe::default();
    let answers = Answers { v4: failed, v6: good, made_up: good, is_empty: None };
    let doubts: Vec<bool> = (0..4)
        .map(|number| {
            probe.learn(&answers, at(number));
            probe.is_in_doubt()
        })
        .collect();
    assert_eq!(doubts, [false, false, true, true]);
}
