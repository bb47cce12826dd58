//! SIGTERM: what is running ends in peace, nothing new begins, the exit status is 0.

use std::time::Duration;

use backstop_harness::{Postfix, Signal, Sink, Smtp, is_listening, wait_until};

use crate::site;

#[test]
fn a_transaction_is_finished_after_sigterm() {
    let mut backstop = site::backstop().start();
    let sink = Sink::start();
    let postfix = Postfix::builder().milter(&backstop.for_postfix()).next_hop(sink.port()).start();
    let port = backstop.milter_port();

    let mut smtp = Smtp::connect(postfix.port());
    smtp.ehlo("mail.elsewhere.test");
    smtp.mail("<sender@elsewhere.test>");
    assert_eq!(smtp.rcpt("<anna@example.test>").code, 250, "{}", smtp.transcript());

    backstop.signal(Signal::TERM);
    wait_until(Duration::from_secs(10), "backstop to stop listening", || !is_listening(port));
    assert!(backstop.exited().is_none(), "the session is still open");

    // the transaction goes on as if nothing had happened
    assert_eq!(smtp.rcpt("<nobody@example.test>").code, 550, "{}", smtp.transcript());
    assert_eq!(smtp.rcpt("<bob@example.test>").code, 250, "{}", smtp.transcript());
    // a new connection is put off by Postfix (milter_default_action = tempfail)
    let mut late = Smtp::connect(postfix.port());
    late.ehlo("mail.elsewhere.test");
    assert_eq!(late.mail("<sender@elsewhere.test>").code, 451, "{}", late.transcript());

    assert_eq!(smtp.data("Subject: drained\n\nHello.\n").code, 250, "{}", smtp.transcript());
    smtp.quit();
    assert_eq!(sink.wait_for("Subject: drained").rcpts, ["anna@example.test", "bob@example.test"]);
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
    let mut smtp = Smtp::connect(postfix.port());
    smtp.ehlo("mail.elsewhere.test"); // and says nothing more
    backstop.signal(Signal::TERM);
    let status = backstop.wait_exit();
    assert_eq!(status.code(), Some(0), "{status}");
    // Postfix notices when it has something to ask, and puts the recipient off
    smtp.mail("<sender@elsewhere.test>");
    assert_eq!(smtp.rcpt("<anna@example.test>").code, 451, "{}", smtp.transcript());
}
