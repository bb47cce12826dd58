//! Each class, and each way out of it, as a client behind Postfix sees it.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use backstop_harness::{Dns, Fault};

use super::{backstop, from, ip, is_refused, postfix, rcpt};

const PBL: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 10);
const ANNA: &str = "<anna@example.test>";

#[test]
fn who_is_refused_and_who_is_not() {
    let dns = Dns::start();
    let line = |last: u8| format!("203-0-113-{last}.dynamic.isp.example");
    let v4 = |last: u8| ip(&format!("203.0.113.{last}"));
    dns.host(v4(1), "mail.example.org");
    dns.host(v4(2), &line(2));
    dns.name_of(v4(3), &line(3));
    dns.name_of(v4(4), "mail.example.org");
    // 5 has no name.
    dns.fault_of(v4(6), Some(Fault::ServFail));
    dns.fault_of(v4(7), Some(Fault::Silence));
    dns.host(v4(8), "eight.example.org");
    dns.list("pbl.example", v4(8), PBL);
    dns.host(v4(9), "nine.example.org");
    dns.list("pbl.example", v4(9), Ipv4Addr::new(127, 0, 0, 4));
    dns.host(v4(10), "ten.example.org");
    dns.list("pbl.example", v4(10), PBL);
    dns.list("wl.example", v4(10), Ipv4Addr::new(127, 0, 5, 1));
    dns.host(v4(11), &line(11));
    dns.list("wl.example", v4(11), Ipv4Addr::new(127, 0, 5, 2));
    dns.host(v4(12), "twelve.example.org");
    dns.host(v4(13), "thirteen.example.org");
    dns.host(v4(14), "203-0-113-14.dynamic.friend.example");
    dns.name_of(v4(15), "203-0-113-15.dynamic.friend.example");
    dns.host(v4(16), &line(16));
    dns.address_of("mx.firm.example", v4(16));
    dns.host(v4(17), &line(17));
    dns.host(v4(17), "mail.seventeen.example");
    dns.host(v4(18), "eighteen.example.org");
    dns.list("pbl.example", v4(18), PBL);
    dns.fault("18.113.0.203.pbl.example", Some(Fault::Truncation));
    dns.list("pbl.example", ip("2001:db8:1::5"), PBL);
    dns.host(ip("2001:db8:1::6"), "six.example.org");
    dns.host(ip("192.0.2.77"), "192-0-2-77.dynamic.isp.example");
    let builder = backstop(&dns).file("dynamic.cidr", "203.0.113.12/31\n10.0.0.0/8\n2001:db8:2::/48\n");
    let networks = builder.path("dynamic.cidr");
    let backstop = builder
        .env("BACKSTOP__CLIENT__DYNAMIC__DNSBL", r#"["pbl.example=127.0.0.10,127.0.0.11"]"#)
        .env("BACKSTOP__CLIENT__DNSWL", r#"["wl.example=127.0.0.0/16"]"#)
        .env("BACKSTOP__CLIENT__DYNAMIC__NETWORKS", &format!("[{:?}]", networks.display().to_string()))
        .env("BACKSTOP__CLIENT__DYNAMIC__EXCEPT", r#"["203.0.113.13", "friend.example"]"#)
        .start();
    let postfix = postfix(&backstop);
    for (client, expected, class) in [
        ("203.0.113.1", false, "server"),
        ("203.0.113.2", true, "dynamic"),
        ("203.0.113.3", true, "dynamic"),
        ("203.0.113.4", false, "unnamed"),
        ("203.0.113.5", false, "unnamed"),
        ("203.0.113.6", false, "unknown"),
        ("203.0.113.7", false, "unknown"),
        ("203.0.113.8", true, "dynamic"),
        ("203.0.113.9", false, "server"),
        ("203.0.113.10", false, "server"),
        ("203.0.113.11", false, "server"),
        ("203.0.113.12", true, "dynamic"),
        ("203.0.113.13", false, "server"),
        ("203.0.113.14", false, "server"),
        ("203.0.113.15", true, "dynamic"),
        ("203.0.113.16", true, "dynamic"),
        ("203.0.113.17", false, "server"),
        ("203.0.113.18", true, "dynamic"),
        ("2001:db8:1::5", true, "dynamic"),
        ("2001:db8:1::6", false, "server"),
        ("2001:db8:2::1", true, "dynamic"),
        // Private, though a list has it; trusted, though its name speaks against it.
        ("10.9.1.2", false, "unknown"),
        ("192.0.2.77", false, "trusted"),
    ] {
        let count = || backstop.metric("backstop_clients_total", &[("class", class)]);
        let before = count();
        let begun = Instant::now();
        let reply = rcpt(&postfix, client, ANNA);
        assert_eq!(is_refused(&reply), expected, "{client}: {reply}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{client}: {:?}", begun.elapsed());
        backstop_harness::wait_until(Duration::from_secs(5), "the client to be counted", || count() > before);
    }

    // Whoever authenticates may come from anywhere, and these are there for everybody.
    let mut smtp = from(&postfix, "203.0.113.2", "LOGIN=alice", "laptop.test");
    assert!(smtp.rcpt(ANNA).ok(), "{}", smtp.transcript());
    assert!(rcpt(&postfix, "203.0.113.2", "<postmaster@example.test>").ok());
    let abuse = rcpt(&postfix, "203.0.113.2", "<abuse@example.test>");
    assert!(abuse.text.ends_with("[unknown-recipient]"), "{abuse}");

    // What it calls itself speaks for it where the DNS says so, and only against its name.
    for (client, helo, expected) in [
        ("203.0.113.16", "mx.firm.example", false),
        ("203.0.113.16", "mail.example.org", true),
        ("203.0.113.16", "203-0-113-16.dynamic.isp.example", true),
        ("203.0.113.8", "eight.example.org", true),
    ] {
        let mut smtp = from(&postfix, client, "", helo);
        assert_eq!(is_refused(&smtp.rcpt(ANNA)), expected, "{helo}: {}", smtp.transcript());
    }
    let reverse = backstop.metric_by("backstop_reverse_dns_total", &[], "outcome");
    for outcome in ["confirmed", "unconfirmed", "unnamed", "unknown"] {
        assert!(reverse.get(outcome).is_some_and(|count| *count > 0.0), "{outcome}: {reverse:?}");
    }
}

#[test]
fn check_shows_the_class_and_the_rule() {
    let dns = Dns::start();
    dns.list("pbl.example", ip("203.0.113.8"), PBL);
    dns.address_of("mx.firm.example", ip("203.0.113.9"));
    let lists = r#"["pbl.example=127.0.0.10"]"#;
    for enforce in ["off", "rcpt"] {
        let backstop = backstop(&dns)
            .env("BACKSTOP__CLIENT__DYNAMIC__ENFORCE", enforce)
            .env("BACKSTOP__CLIENT__DYNAMIC__DNSBL", lists)
            .start();
        for (args, class, evidence) in [
            (&["203.0.113.9"][..], "unnamed", "its address has no name"),
            (&["203.0.113.9", "--name", "mail.example.org"], "server", "mail.example.org leads back"),
            (&["203.0.113.9", "--name", "203-0-113-9.dynamic.isp.example"], "dynamic", "isp.example"),
            (
                &["203.0.113.9", "--name", "203-0-113-9.dynamic.isp.example", "--helo", "mx.firm.example"],
                "server",
                "it is mx.firm.example, as it says",
            ),
            (&["203.0.113.8", "--name", "mail.example.org"], "dynamic", "pbl.example: listed (127.0.0.10)"),
            (&["10.0.0.1", "--name", "mail.example.org"], "unknown", "a private address"),
        ] {
            for offline in [&[][..], &["--offline"]] {
                let command = [&["check", "anna@example.test", "--client"][..], args, offline].concat();
                let output = backstop.command(&command);
                let is_refused = class == "dynamic" && enforce == "rcpt";
                assert_eq!(output.status, i32::from(is_refused), "{command:?}: {output:?}");
                let line = output.stdout.lines().find(|line| line.contains("client-class"));
                assert!(line.is_some_and(|line| line.contains(class)), "{command:?}: {}", output.stdout);
                assert!(output.stdout.contains(evidence), "{command:?}: {}", output.stdout);
            }
        }
    }
}

/// A port where nobody authenticates.
#[test]
fn at_connect() {
    let dns = Dns::start();
    dns.host(ip("203.0.113.2"), "203-0-113-2.dynamic.isp.example");
    dns.host(ip("203.0.113.1"), "mail.example.org");
    let backstop = backstop(&dns).env("BACKSTOP__CLIENT__DYNAMIC__ENFORCE", "connect").start();
    let postfix = postfix(&backstop);
    assert!(rcpt(&postfix, "203.0.113.1", ANNA).ok());
    let mut smtp = backstop_harness::Smtp::connect(postfix.port());
    smtp.ehlo("proxy.test");
    smtp.xclient("ADDR=203.0.113.2");
    smtp.ehlo("client.test");
    smtp.mail("<sender@elsewhere.test>");
    let reply = smtp.rcpt(ANNA);
    assert!(!reply.ok(), "{}", smtp.transcript());
    let refused = [("stage", "connect"), ("reason", "dynamic-client")];
    assert_eq!(backstop.metric("backstop_decisions_total", &refused), 1.0, "{}", smtp.transcript());
}
