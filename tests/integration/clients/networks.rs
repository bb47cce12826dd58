//! Clients that really have other addresses, in a network of their own.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use backstop_harness::{
    Backstop, Dns, Fault, Netns, Postfix, Reply, SASL_PASSWORD, SASL_USER, Smtp, wait_until,
};

use super::{backstop, ip, is_refused};
use crate::site;

const PBL: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 10);

#[test]
fn addresses_that_clients_really_have() {
    let (server, client) = Netns::pair();
    let (dns, backstop, _postfix) = server.enter(|| {
        let dns = Dns::start();
        describe(&dns);
        let builder = backstop(&dns).file("dynamic.cidr", "203.0.113.9\n");
        let networks = builder.path("dynamic.cidr");
        let backstop = builder
            .env("BACKSTOP__CLIENT__DYNAMIC__DNSBL", r#"["bl.example=127.0.0.10"]"#)
            .env("BACKSTOP__CLIENT__DYNAMIC__NETWORKS", &format!("[{:?}]", networks.display().to_string()))
            .env("BACKSTOP__CLIENT__DYNAMIC__EXCEPT", r#"["friend.example"]"#)
            .env("BACKSTOP__CLIENT__DNSWL", r#"["wl.example=127.0.0.0/16"]"#)
            .env("BACKSTOP__CLIENT__TRUSTED", r#"["198.51.100.0/24"]"#)
            .env("BACKSTOP__CLIENT__DENIED", r#"["203.0.113.240/28"]"#)
            .start();
        let postfix = Postfix::builder()
            .milter(&backstop.for_postfix())
            .main(&format!(
                "relay_domains = {}\ninet_interfaces = all\nsmtpd_peername_lookup = no",
                site::DOMAINS.join(" ")
            ))
            .master("198.18.0.25:2525 inet n - n - - smtpd\n[2001:db8:25::25]:2525 inet n - n - - smtpd")
            .start();
        (dns, backstop, postfix)
    });
    for (address, expected, class) in [
        ("203.0.113.1", false, "server"),
        ("203.0.113.2", true, "dynamic"),
        ("203.0.113.3", false, "unnamed"),
        // only says that it is somebody else
        ("203.0.113.4", false, "unnamed"),
        ("203.0.113.5", false, "unknown"),
        ("203.0.113.6", false, "unknown"),
        ("203.0.113.7", false, "server"),
        ("203.0.113.8", true, "dynamic"),
        ("203.0.113.9", true, "dynamic"),
        ("203.0.113.10", false, "server"),
        ("203.0.113.11", false, "generic"),
        ("2001:db8:1::5", true, "dynamic"),
        ("2001:db8:1::6", false, "unnamed"),
        ("10.9.1.2", false, "unknown"),
        ("198.51.100.7", false, "trusted"),
    ] {
        let count = || server.enter(|| backstop.metric("backstop_clients_total", &[("class", class)]));
        let before = count();
        let reply = client.enter(|| rcpt(address, false));
        assert_eq!(is_refused(&reply), expected, "{address}: {reply}");
        wait_until(Duration::from_secs(5), "the client to be counted", || count() > before);
        if expected {
            let reply = client.enter(|| rcpt(address, true));
            assert_eq!(reply.code, 250, "{address}, authenticated: {reply}");
        }
    }
    assert!(dns.asked("in-addr.arpa") > 0);

    let denied = |is_authenticated| client.enter(|| rcpt("203.0.113.241", is_authenticated));
    assert!(
        denied(false).text.ends_with("[denied-client]") && denied(true).text.ends_with("[denied-client]")
    );
    for address in ["203.0.113.2", "2001:db8:1::5"] {
        let refused = || client.enter(|| rcpt(address, false)).code;
        does(&backstop, "trust", address);
        assert_eq!(refused(), 250, "{address}, trusted for a time");
        does(&backstop, "release", address);
        assert_eq!(refused(), 550, "{address}");
    }
    for (address, neighbour) in [("203.0.113.1", "203.0.113.3"), ("2001:db8:1::6", "203.0.113.3")] {
        does(&backstop, "block", address);
        let told = |address, is_authenticated| client.enter(|| rcpt(address, is_authenticated)).code;
        assert_eq!((told(address, false), told(address, true), told(neighbour, false)), (421, 250, 250));
    }
}

fn describe(dns: &Dns) {
    let v4 = |last: u8| ip(&format!("203.0.113.{last}"));
    dns.host(v4(1), "mail.example.org");
    dns.host(v4(2), "203-0-113-2.dynamic.isp.example");
    dns.name_of(v4(4), "mail.example.org");
    dns.fault_of(v4(5), Some(Fault::ServFail));
    dns.fault_of(v4(6), Some(Fault::Silence));
    dns.host(v4(7), "203-0-113-7.dynamic.friend.example");
    dns.name_of(v4(8), "203-0-113-8.dynamic.friend.example");
    dns.host(v4(9), "nine.example.org");
    dns.host(v4(10), "ten.example.org");
    dns.list("bl.example", v4(10), PBL);
    dns.list("wl.example", v4(10), Ipv4Addr::new(127, 0, 5, 1));
    dns.host(v4(11), "203-0-113-11.town.isp.example");
    dns.list("bl.example", ip("2001:db8:1::5"), PBL);
    dns.host(ip("198.51.100.7"), "198-51-100-7.dynamic.isp.example");
}

/// What a client that has this address is told of a recipient, or of its sender where that is refused.
fn rcpt(address: &str, is_authenticated: bool) -> Reply {
    let from = ip(address);
    let to = if from.is_ipv4() { Netns::SERVER } else { ip("2001:db8:25::25") };
    let mut smtp = Smtp::connect_from(Some(from), SocketAddr::new(to, 2525));
    smtp.ehlo("client.test");
    if is_authenticated {
        let reply = smtp.auth_plain(SASL_USER, SASL_PASSWORD);
        assert!(matches!(reply.code, 235 | 554), "{}", smtp.transcript());
    }
    let reply = smtp.mail("<sender@elsewhere.test>");
    if reply.ok() { smtp.rcpt("<anna@example.test>") } else { reply }
}

fn does(backstop: &Backstop, command: &str, client: &str) {
    let output = backstop.command(&[command, client]);
    assert_eq!(output.status, 0, "{command} {client}: {output:?}");
}
