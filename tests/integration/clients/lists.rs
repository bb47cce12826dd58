//! Lists in the DNS: real ones, and broken ones.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use backstop_harness::{Dns, Fault, Rbldnsd, Unbound, wait_until};

use super::{backstop, ip, is_refused, postfix, rcpt};
use crate::site;

const ANNA: &str = "<anna@example.test>";

#[test]
fn a_broken_list_is_told_once_and_slows_nobody() {
    let dns = Dns::start();
    for last in 1..=60 {
        let client = ip(&format!("203.0.113.{last}"));
        dns.host(client, &format!("203-0-113-{last}.dynamic.isp.example"));
        dns.list("full.example", client, Ipv4Addr::new(127, 255, 255, 254));
    }
    for last in 1..=60 {
        dns.host(ip(&format!("198.51.100.{last}")), &format!("mail{last}.example.org"));
    }
    for (zone, fault) in
        [("dead", Fault::Silence), ("servfail", Fault::ServFail), ("refused", Fault::Refused)]
    {
        dns.fault(&format!("{zone}.example"), Some(fault));
    }
    let backstop = backstop(&dns)
        .env(
            "BACKSTOP__CLIENT__DYNAMIC__DNSBL",
            r#"["dead.example", "servfail.example", "refused.example", "full.example=127.0.0.0/8"]"#,
        )
        .start();
    let postfix = postfix(&backstop);
    let outcome = |list: &str, outcome: &str| {
        backstop.metric("backstop_dns_list_total", &[("list", list), ("outcome", outcome)])
    };
    let mut took = Vec::new();
    for last in 1..=10 {
        let begun = Instant::now();
        let reply = rcpt(&postfix, &format!("198.51.100.{last}"), ANNA);
        assert!(!is_refused(&reply), "a list that fails says nothing: {reply}");
        took.push(begun.elapsed());
        // The other sources go on.
        assert!(is_refused(&rcpt(&postfix, &format!("203.0.113.{last}"), ANNA)));
    }
    took.sort();
    assert!(took[took.len() / 2] < Duration::from_millis(700), "{took:?}");
    for list in ["dead.example", "servfail.example", "refused.example"] {
        assert!(outcome(list, "failed") >= 1.0 && outcome(list, "spared") >= 3.0, "{list}");
        let lines = |text: &str| backstop.log().lines().filter(|line| line.contains(text)).count();
        assert_eq!(lines(&format!("a DNS list does not answer, it counts as unknown list=\"{list}\"")), 1);
    }
    assert!(outcome("full.example", "refused") >= 10.0);
    let status = backstop.command(&["status"]);
    assert!(status.stdout.contains("the DNS list full.example: refuses to serve"), "{}", status.stdout);

    dns.fault("dead.example", None);
    dns.list("dead.example", ip("198.51.100.50"), Ipv4Addr::new(127, 0, 0, 2));
    let mut last = 11;
    wait_until(Duration::from_secs(30), "the list to be asked again", || {
        last = if last < 49 { last + 1 } else { 11 };
        rcpt(&postfix, &format!("198.51.100.{last}"), ANNA);
        outcome("dead.example", "clear") >= 1.0
    });
    backstop.wait_for_log("the DNS list answers again");
    assert!(is_refused(&rcpt(&postfix, "198.51.100.50", ANNA)));
}

/// A list that was given up: whoever has its domain now answers for every name below it.
#[test]
fn a_list_that_has_everybody_refuses_nobody() {
    let dns = Dns::start();
    dns.address_of("*.gone.example", ip("127.0.0.2"));
    dns.host(ip("203.0.113.1"), "mail.example.org");
    dns.host(ip("203.0.113.2"), "203-0-113-2.dynamic.isp.example");
    dns.list("bl.example", ip("203.0.113.3"), Ipv4Addr::new(127, 0, 0, 2));
    dns.host(ip("203.0.113.3"), "three.example.org");
    dns.list("bl.example", ip("127.0.0.2"), Ipv4Addr::new(127, 0, 0, 2));
    let backstop = backstop(&dns)
        .env("BACKSTOP__CLIENT__DYNAMIC__DNSBL", r#"["gone.example", "bl.example", "empty.example"]"#)
        .start();
    let postfix = postfix(&backstop);
    for (client, expected) in [
        ("203.0.113.1", false),
        // Its name, and a list that is right, count as always.
        ("203.0.113.2", true),
        ("203.0.113.3", true),
        ("2001:db8:1::7", false),
    ] {
        let reply = rcpt(&postfix, client, ANNA);
        assert_eq!(is_refused(&reply), expected, "{client}: {reply}");
    }
    let outcomes = |list| backstop.metric_by("backstop_dns_list_total", &[("list", list)], "outcome");
    let gone = outcomes("gone.example");
    assert!(gone.len() == 1 && gone.contains_key("everybody"), "{gone:?}");
    assert!(outcomes("bl.example").contains_key("listed"));
    let told = backstop.log().lines().filter(|line| line.contains("it has everybody")).count();
    assert_eq!(told, 1);
    let status = backstop.command(&["status"]).stdout;
    assert!(status.contains("the DNS list gone.example: lists everybody"), "{status}");
    assert!(status.contains("the DNS list empty.example: it does not have 127.0.0.2"), "{status}");
    assert!(!status.contains("the DNS list bl.example"), "{status}");
    let check = ["check", "anna@example.test", "--client", "203.0.113.1", "--offline"];
    let checked = backstop.command(&check);
    assert!(checked.status == 0 && checked.stdout.contains("gone.example: lists everybody"), "{checked:?}");
}

/// One that has every client as a good one switches nothing off for good: while it does, nobody is refused, and an admin is
/// told.
#[test]
fn a_list_of_good_clients_that_has_everybody_welcomes_nobody() {
    let dns = Dns::start();
    dns.address_of("*.wl.example", ip("127.0.3.2"));
    dns.host(ip("203.0.113.2"), "203-0-113-2.dynamic.isp.example");
    let backstop = backstop(&dns)
        .env("BACKSTOP__CLIENT__DNSWL", r#"["wl.example=127.0.0.0/16"]"#)
        .env("BACKSTOP__DEFENCE__GREYLIST__MODE", "all")
        .start();
    let reply = rcpt(&postfix(&backstop), "203.0.113.2", ANNA);
    assert!(reply.text.ends_with("[greylisted]"), "{reply}");
    let status = backstop.command(&["status"]).stdout;
    assert!(status.contains("the DNS list wl.example: lists everybody"), "{status}");
}

/// While nobody can tell whether a client is on the list of good ones, it is not refused.
#[test]
fn a_broken_list_of_good_clients_spares_everybody() {
    let dns = Dns::start();
    for last in 1..=30 {
        dns.host(ip(&format!("203.0.113.{last}")), &format!("203-0-113-{last}.dynamic.isp.example"));
    }
    dns.fault("wl.example", Some(Fault::ServFail));
    let backstop = backstop(&dns).env("BACKSTOP__CLIENT__DNSWL", r#"["wl.example"]"#).start();
    let postfix = postfix(&backstop);
    assert!(!is_refused(&rcpt(&postfix, "203.0.113.1", ANNA)));
    dns.fault("wl.example", None);
    let mut last = 1;
    wait_until(Duration::from_secs(30), "the list to be asked again", || {
        last += 1;
        assert!(last <= 30, "it stays broken");
        std::thread::sleep(Duration::from_millis(100));
        is_refused(&rcpt(&postfix, &format!("203.0.113.{last}"), ANNA))
    });
}

/// rbldnsd, which most lists are served with. It answers REFUSED for what is not its own.
#[test]
fn real_lists() {
    served(|rbldnsd| (rbldnsd.address(), ()));
}

/// The same behind a resolver, as it should be.
#[test]
fn behind_a_real_resolver() {
    let dns = Dns::start();
    dns.host(ip("203.0.113.200"), "203-0-113-200.dynamic.isp.example");
    dns.host(ip("203.0.113.201"), "203-0-113-201.dynamic.isp.example");
    dns.fault_of(ip("203.0.113.201"), Some(Fault::ServFail));
    dns.host(ip("2001:db8:2::1"), "mail.example.org");
    served(|rbldnsd| {
        let unbound = Unbound::start(dns.address(), &LISTS.map(|(zone, ..)| (zone, rbldnsd.address())));
        (unbound.address(), unbound)
    });
    assert!(dns.asked("200.113.0.203.in-addr.arpa") > 0);
}

/// Without it nobody is refused; with it again all is as before, and nobody has to do anything.
#[test]
fn a_real_resolver_is_killed_and_hangs() {
    let dns = Dns::start();
    for last in 1..=250 {
        dns.host(ip(&format!("203.0.113.{last}")), &format!("203-0-113-{last}.dynamic.isp.example"));
        dns.host(ip(&format!("198.51.100.{last}")), &format!("mail{last}.example.org"));
    }
    let mut unbound = Unbound::start(dns.address(), &[]);
    let backstop = backstop(&dns).env("BACKSTOP__CLIENT__RESOLVER", &unbound.address().to_string()).start();
    let postfix = postfix(&backstop);
    let mut last = 0;
    let mut is_dynamic_refused = || {
        last += 1;
        let begun = Instant::now();
        let refused = is_refused(&rcpt(&postfix, &format!("203.0.113.{last}"), ANNA));
        assert!(!is_refused(&rcpt(&postfix, &format!("198.51.100.{last}"), ANNA)), "a good name");
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
        refused
    };
    assert!(is_dynamic_refused());
    unbound.kill();
    assert!(!is_dynamic_refused(), "nobody knows its name");
    unbound.restart();
    wait_until(Duration::from_secs(20), "names again", &mut is_dynamic_refused);
    unbound.pause(true);
    assert!(!is_dynamic_refused(), "nobody says its name");
    unbound.pause(false);
    wait_until(Duration::from_secs(20), "names again", &mut is_dynamic_refused);
}

const LISTS: [(&str, &str, &str); 3] = [
    ("bl.test", "ip4set", ":127.0.0.10:dynamic\n127.0.0.2\n203.0.113.0/28\n198.51.100.7 :127.0.0.4:spam\n"),
    ("wl.test", "ip4set", ":127.0.3.2:good\n127.0.0.2\n203.0.113.5\n"),
    ("bl6.test", "ip6trie", ":127.0.0.10:dynamic\n::ffff:7f00:2\n2001:db8:1::/48\n"),
];

/// Whom the lists have refused, where Backstop asks the server that `resolver` gives.
fn served<R>(resolver: impl FnOnce(&Rbldnsd) -> (SocketAddr, R)) {
    let rbldnsd = Rbldnsd::start(&LISTS);
    let (resolver, _running) = resolver(&rbldnsd);
    let has_names = resolver != rbldnsd.address();
    let backstop = site::backstop()
        .env("BACKSTOP__CLIENT__RESOLVER", &resolver.to_string())
        .env("BACKSTOP__CLIENT__DYNAMIC__ENFORCE", "rcpt")
        .env("BACKSTOP__CLIENT__DYNAMIC__DNSBL", r#"["bl.test=127.0.0.10", "bl6.test=127.0.0.10"]"#)
        .env("BACKSTOP__CLIENT__DNSWL", r#"["wl.test=127.0.0.0/16"]"#)
        .start();
    let postfix = postfix(&backstop);
    for (client, expected) in [
        ("203.0.113.1", true),
        ("203.0.113.5", false),
        ("203.0.113.15", true),
        ("203.0.113.16", false),
        ("203.0.113.200", has_names),
        ("203.0.113.201", false),
        ("198.51.100.7", false),
        ("2001:db8:1::1", true),
        ("2001:db8:2::1", false),
    ] {
        let reply = rcpt(&postfix, client, ANNA);
        assert_eq!(is_refused(&reply), expected, "{client}: {reply}");
    }
    for (list, ..) in LISTS {
        for outcome in ["failed", "refused", "spared", "busy", "untested", "everybody"] {
            let labels = [("list", list), ("outcome", outcome)];
            assert_eq!(backstop.metric("backstop_dns_list_total", &labels), 0.0, "{list} {outcome}");
        }
    }
    let status = backstop.command(&["status"]).stdout;
    assert!(!status.contains("the DNS list"), "{status}");
}
