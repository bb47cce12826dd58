//! Sendmail, which knows no XCLIENT: the clients are other addresses of this host, and judged though they are private.

use backstop_harness::{Dns, Fault, SASL_PASSWORD, SASL_USER, Sendmail, Smtp};

use super::{backstop, ip, is_refused};

#[test]
fn who_is_refused_and_who_is_not() {
    let dns = Dns::start();
    dns.host(ip("127.0.0.21"), "mail.example.org");
    dns.host(ip("127.0.0.22"), "127-0-0-22.dynamic.isp.example");
    // 23 has no name.
    dns.fault_of(ip("127.0.0.24"), Some(Fault::ServFail));
    dns.host(ip("127.0.0.25"), "127-0-0-25.dynamic.friend.example");
    dns.host(ip("127.0.0.26"), "127-0-0-26.dynamic.isp.example");
    dns.address_of("mx.firm.example", ip("127.0.0.26"));
    dns.host(ip("127.0.0.27"), "seven.example.org");
    dns.list("bl.example", ip("127.0.0.27"), [127, 0, 0, 10].into());
    let backstop = backstop(&dns)
        .env("BACKSTOP__CLIENT__DYNAMIC__PRIVATE", "true")
        .env("BACKSTOP__CLIENT__DYNAMIC__DNSBL", r#"["bl.example=127.0.0.10"]"#)
        .env("BACKSTOP__CLIENT__DYNAMIC__EXCEPT", r#"["friend.example"]"#)
        .start();
    let sendmail = Sendmail::builder().milter(&backstop.for_sendmail()).start();
    let connect = |client: &str, helo: &str| {
        let mut smtp = Smtp::connect_from(Some(ip(client)), sendmail.ipv4());
        smtp.ehlo(helo);
        smtp
    };
    for (client, helo, expected) in [
        ("127.0.0.21", "client.elsewhere.test", false),
        ("127.0.0.22", "client.elsewhere.test", true),
        ("127.0.0.23", "client.elsewhere.test", false),
        ("127.0.0.24", "client.elsewhere.test", false),
        ("127.0.0.25", "client.elsewhere.test", false),
        // What it calls itself speaks for it where that leads back to it, and only against its name.
        ("127.0.0.26", "mx.firm.example", false),
        ("127.0.0.26", "mail.example.org", true),
        ("127.0.0.26", "127-0-0-26.dynamic.isp.example", true),
        ("127.0.0.27", "seven.example.org", true),
    ] {
        let mut smtp = connect(client, helo);
        assert!(smtp.mail("<sender@elsewhere.test>").ok(), "{}", smtp.transcript());
        let reply = smtp.rcpt("<anna@example.test>");
        assert_eq!(is_refused(&reply), expected, "{client} {helo}: {}", smtp.transcript());
    }
    let mut smtp = connect("127.0.0.22", "laptop.test");
    assert!(smtp.auth_plain(SASL_USER, SASL_PASSWORD).ok(), "{}", smtp.transcript());
    assert!(smtp.mail("<sender@elsewhere.test>").ok(), "{}", smtp.transcript());
    assert!(smtp.rcpt("<anna@example.test>").ok(), "{}", smtp.transcript());
}
