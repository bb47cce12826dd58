//! Clients that really have other addresses, in a network of their own.

use std::net::{IpAddr, SocketAddr};

use backstop_harness::{Dns, Netns, Postfix, Smtp};

use super::{backstop, ip, is_refused};
use crate::site;

#[test]
fn addresses_that_clients_really_have() {
    let (server, client) = Netns::pair();
    let (dns, backstop, _postfix) = server.enter(|| {
        let dns = Dns::start();
        dns.host(ip("203.0.113.1"), "mail.example.org");
        dns.host(ip("203.0.113.2"), "203-0-113-2.dynamic.isp.example");
        dns.list("bl.example", ip("2001:db8:1::5"), "127.0.0.10".parse().expect("an address"));
        dns.host(ip("198.51.100.7"), "198-51-100-7.dynamic.isp.example");
        let backstop = backstop(&dns)
            .env("BACKSTOP__CLIENT__DYNAMIC__DNSBL", r#"["bl.example=127.0.0.10"]"#)
            .env("BACKSTOP__CLIENT__TRUSTED", r#"["198.51.100.0/24"]"#)
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
    let v6: IpAddr = ip("2001:db8:25::25");
    for (address, expected, class) in [
        ("203.0.113.1", false, "server"),
        ("203.0.113.2", true, "dynamic"),
        ("203.0.113.3", false, "unnamed"),
        ("2001:db8:1::5", true, "dynamic"),
        ("2001:db8:1::6", false, "unnamed"),
        ("10.9.1.2", false, "unknown"),
        ("198.51.100.7", false, "trusted"),
    ] {
        let count = || server.enter(|| backstop.metric("backstop_clients_total", &[("class", class)]));
        let before = count();
        let from = ip(address);
        let to = SocketAddr::new(if from.is_ipv4() { Netns::SERVER } else { v6 }, 2525);
        let reply = client.enter(|| {
            let mut smtp = Smtp::connect_from(Some(from), to);
            smtp.ehlo("client.test");
            smtp.mail("<sender@elsewhere.test>");
            smtp.rcpt("<anna@example.test>")
        });
        assert_eq!(is_refused(&reply), expected, "{address}: {reply}");
        backstop_harness::wait_until(std::time::Duration::from_secs(5), "the client to be counted", || {
            count() > before
        });
    }
    assert!(dns.asked("in-addr.arpa") > 0);
}
