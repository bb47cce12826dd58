//! A directory that can't tell is never a reason for a 5xx: "try again later", or what the admin chose.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use backstop_harness::{Backstop, BackstopBuilder, Postfix, Reply, Sendmail, Smtp};

use crate::site;

#[test]
fn on_postfix() {
    with_postfix(&undecided().start(), outsiders_wait);
}

#[test]
fn on_sendmail() {
    let backstop = undecided().start();
    let relayed = "RELAY_DOMAIN(`catchall.test virtual.test')dnl";
    let sendmail = Sendmail::builder().milter(&backstop.for_sendmail()).mc(relayed).start();
    outsiders_wait(&backstop, sendmail.ipv4());
}

#[test]
fn the_admin_lets_mail_in_meanwhile() {
    let backstop = undecided().env("BACKSTOP__DIRECTORY__PEOPLE__ON_UNAVAILABLE", "continue").start();
    with_postfix(&backstop, |_, mta| {
        assert_eq!(rcpt(mta, 9, "<anna@example.test>").code, 250);
        assert_eq!(rcpt(mta, 9, "<unpaid@example.test>").code, 550, "who is suspended is known all the same");
    });
}

fn outsiders_wait(backstop: &Backstop, mta: SocketAddr) {
    for recipient in
        ["<anna@example.test>", "<nobody@example.test>", "<anna+x@example.test>", "<unpaid+x@example.test>"]
    {
        let reply = rcpt(mta, 9, recipient);
        assert_eq!(
            (reply.code, reply.enhanced.as_deref()),
            (451, Some("4.4.3")),
            "{recipient}: {}",
            reply.text
        );
        assert!(reply.text.ends_with("[directory-unavailable]"), "{}", reply.text);
    }
    assert_eq!(rcpt(mta, 1, "<anna@example.test>").code, 250, "a trusted client is not held up");
    assert_eq!(
        rcpt(mta, 9, "<anna@catchall.test>").code,
        250,
        "the catch-all takes whom nobody can vouch for"
    );
    assert_eq!(
        rcpt(mta, 9, "<nobody@virtual.test>").code,
        250,
        "another directory answers for its own domain"
    );
    assert_eq!(rcpt(mta, 9, "<unpaid@example.test>").code, 550, "who is suspended is known all the same");
    let (ready, page) = backstop.http("/ready");
    assert!(ready == 503 && page.contains("directory people"), "{ready} {page}");
}

fn with_postfix(backstop: &Backstop, test: impl FnOnce(&Backstop, SocketAddr)) {
    let relayed = "relay_domains = example.test, catchall.test, virtual.test";
    let postfix = Postfix::builder().milter(&backstop.for_postfix()).main(relayed).start();
    test(backstop, (Ipv4Addr::LOCALHOST, postfix.port()).into());
}

fn rcpt(mta: SocketAddr, last: u8, recipient: &str) -> Reply {
    let mut smtp = Smtp::connect_from(Some(IpAddr::from(Ipv4Addr::new(127, 0, 0, last))), mta);
    smtp.ehlo("client.example.org");
    smtp.mail("<sender@elsewhere.test>");
    smtp.rcpt(recipient)
}

/// The list of people is empty from the start: nobody knows who exists.
fn undecided() -> BackstopBuilder {
    site::backstop().file("addresses", "")
}
