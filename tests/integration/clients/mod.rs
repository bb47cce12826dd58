//! Clients on dynamic addresses are refused, and nobody else is.

mod classes;
mod files;
mod lists;
mod networks;
mod overrides;
mod sendmail;

use std::net::IpAddr;

use backstop_harness::{Backstop, BackstopBuilder, Dns, Postfix, Reply, Smtp};

use crate::site;

/// Backstop, which refuses clients on dynamic addresses and asks this DNS server about them.
fn backstop(dns: &Dns) -> BackstopBuilder {
    site::backstop()
        .env("BACKSTOP__CLIENT__RESOLVER", &dns.address().to_string())
        .env("BACKSTOP__CLIENT__DYNAMIC__ENFORCE", "rcpt")
        .env("BACKSTOP__CLIENT__DYNAMIC__DEADLINE", "1s")
}

fn postfix(backstop: &Backstop) -> Postfix {
    let domains = format!("relay_domains = {}", site::DOMAINS.join(" "));
    Postfix::builder().milter(&backstop.for_postfix()).main(&domains).start()
}

/// What a client at this address is told of a recipient.
fn rcpt(postfix: &Postfix, client: &str, to: &str) -> Reply {
    from(postfix, client, "", "there.is.no.such.example").rcpt(to)
}

/// A client at this address, behind MAIL.
fn from(postfix: &Postfix, client: &str, attributes: &str, helo: &str) -> Smtp {
    let mut smtp = Smtp::connect(postfix.port());
    smtp.ehlo("proxy.test");
    let address: IpAddr = client.parse().expect("an address");
    let kind = if address.is_ipv6() { "IPV6:" } else { "" };
    let reply = smtp.xclient(format!("ADDR={kind}{client} {attributes}").trim_end());
    assert_eq!(reply.code, 220, "{}", smtp.transcript());
    smtp.ehlo(helo);
    assert!(smtp.mail("<sender@elsewhere.test>").ok(), "{}", smtp.transcript());
    smtp
}

fn is_refused(reply: &Reply) -> bool {
    let is_refused = reply.code == 550 && reply.text.ends_with("[dynamic-client]");
    assert!(is_refused || reply.code == 250, "{reply}");
    is_refused
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}
