//! Sendmail, which knows no XCLIENT: the clients really have other addresses, in a network of their own.

use std::net::SocketAddr;

use backstop_harness::{Dns, Fault, Netns, SASL_PASSWORD, SASL_USER, Sendmail, Smtp};

use super::{backstop, ip, is_refused};

#[test]
fn who_is_refused_and_who_is_not() {
    let (server, clients) = Netns::pair();
    let (_dns, _backstop, _sendmail) = server.enter(|| {
        let dns = Dns::start();
        describe(&dns);
        let backstop = backstop(&dns)
            .env("BACKSTOP__CLIENT__DYNAMIC__DNSBL", r#"["bl.example=127.0.0.10"]"#)
            .env("BACKSTOP__CLIENT__DYNAMIC__EXCEPT", r#"["friend.example"]"#)
            .start();
        let sendmail = Sendmail::builder()
            .milter(&backstop.for_sendmail())
            .mc("DAEMON_OPTIONS(`Name=NET, Family=inet, Addr=198.18.0.25, Port=2525')dnl")
            .start();
        (dns, backstop, sendmail)
    });
    let connect = |client: &str, helo: &str| {
        let mut smtp = Smtp::connect_from(Some(ip(client)), SocketAddr::new(Netns::SERVER, 2525));
        smtp.ehlo(helo);
        smtp
    };
    clients.enter(|| {
        for (client, helo, expected) in [
            ("203.0.113.1", "client.elsewhere.test", false),
            ("203.0.113.2", "client.elsewhere.test", true),
            ("203.0.113.3", "client.elsewhere.test", false),
            ("203.0.113.4", "client.elsewhere.test", false),
            ("203.0.113.5", "client.elsewhere.test", false),
            // What it calls itself speaks for it where that leads back to it, and only against its name.
            ("203.0.113.6", "mx.firm.example", false),
            ("203.0.113.6", "mail.example.org", true),
            ("203.0.113.6", "203-0-113-6.dynamic.isp.example", true),
            ("203.0.113.7", "seven.example.org", true),
        ] {
            let mut smtp = connect(client, helo);
            assert!(smtp.mail("<sender@elsewhere.test>").ok(), "{}", smtp.transcript());
            let reply = smtp.rcpt("<anna@example.test>");
            assert_eq!(is_refused(&reply), expected, "{client} {helo}: {}", smtp.transcript());
        }
        let mut smtp = connect("203.0.113.2", "laptop.test");
        assert!(smtp.auth_plain(SASL_USER, SASL_PASSWORD).ok(), "{}", smtp.transcript());
        assert!(smtp.mail("<sender@elsewhere.test>").ok(), "{}", smtp.transcript());
        assert!(smtp.rcpt("<anna@example.test>").ok(), "{}", smtp.transcript());
    });
}

fn describe(dns: &Dns) {
    let v4 = |last: u8| ip(&format!("203.0.113.{last}"));
    dns.host(v4(1), "mail.example.org");
    dns.host(v4(2), "203-0-113-2.dynamic.isp.example");
    // 3 has no name.
    dns.host(v4(4), "203-0-113-4.dynamic.isp.example");
    dns.fault_of(v4(4), Some(Fault::ServFail));
    dns.host(v4(5), "203-0-113-5.dynamic.friend.example");
    dns.host(v4(6), "203-0-113-6.dynamic.isp.example");
    dns.address_of("mx.firm.example", v4(6));
    dns.host(v4(7), "seven.example.org");
    dns.list("bl.example", v4(7), [127, 0, 0, 10].into());
}
