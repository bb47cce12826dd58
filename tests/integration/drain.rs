//! SIGTERM: what is running ends in peace, nothing new begins, the exit status is 0.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use backstop_harness::{Backstop, Postfix, Sendmail, Signal, Sink, Smtp, is_listening, wait_until};

use crate::site;

#[test]
fn a_transaction_on_postfix_is_finished() {
    let backstop = site::backstop().start();
    let sink = Sink::start();
    let postfix = Postfix::builder().milter(&backstop.for_postfix()).next_hop(sink.port()).start();
    finishes(backstop, &sink, (Ipv4Addr::LOCALHOST, postfix.port()).into());
}

#[test]
fn a_transaction_on_sendmail_is_finished() {
    let backstop = site::backstop().start();
    let sink = Sink::start();
    let sendmail = Sendmail::builder().milter(&backstop.for_sendmail()).next_hop(sink.port()).start();
    finishes(backstop, &sink, sendmail.ipv4());
}

fn finishes(mut backstop: Backstop, sink: &Sink, mta: SocketAddr) {
    let port = backstop.milter_port();
    let mut smtp = open(mta);
    smtp.mail("<sender@elsewhere.test>");
    assert_eq!(smtp.rcpt("<anna@example.test>").code, 250, "{}", smtp.transcript());

    backstop.signal(Signal::TERM);
    wait_until(Duration::from_secs(10), "backstop to stop listening", || !is_listening(port));
    assert!(backstop.exited().is_none(), "the transaction is still open");

    // it goes on as if nothing had happened
    assert_eq!(smtp.rcpt("<nobody@example.test>").code, 550, "{}", smtp.transcript());
    assert_eq!(smtp.rcpt("<bob@example.test>").code, 250, "{}", smtp.transcript());
    // a new session is put off by the MTA, as our snippets tell it
    let mut late = open(mta);
    assert_eq!(late.mail("<sender@elsewhere.test>").code, 451, "{}", late.transcript());

    assert_eq!(smtp.data("Subject: drained\n\nHello.\n").code, 250, "{}", smtp.transcript());
    smtp.quit();
    let mut arrived = sink.wait_for("Subject: drained").rcpts;
    arrived.sort();
    assert_eq!(arrived, ["anna@example.test", "bob@example.test"]);
    let status = backstop.wait_exit();
    assert_eq!(status.code(), Some(0), "{status}");
}

#[test]
fn an_idle_backstop_stops_at_once() {
    let mut backstop = site::backstop().start();
    backstop.signal(Signal::TERM);
    let status = backstop.wait_exit();
    assert_eq!(status.code(), Some(0), "{status}");
}

#[test]
fn an_idle_smtp_session_does_not_hold_the_end_up() {
    let mut backstop = site::backstop().start();
    let postfix = Postfix::builder().milter(&backstop.for_postfix()).start();
    let mut smtp = open((Ipv4Addr::LOCALHOST, postfix.port()).into()); // and says nothing more
    backstop.signal(Signal::TERM);
    let status = backstop.wait_exit();
    assert_eq!(status.code(), Some(0), "{status}");
    // Postfix notices when it has something to ask, and puts the recipient off
    smtp.mail("<sender@elsewhere.test>");
    assert_eq!(smtp.rcpt("<anna@example.test>").code, 451, "{}", smtp.transcript());
}

fn open(mta: SocketAddr) -> Smtp {
    let mut smtp = Smtp::connect_from(Some(IpAddr::from(Ipv4Addr::new(127, 0, 0, 9))), mta);
    smtp.ehlo("mail.elsewhere.test");
    smtp
}
