//! What Postfix and Sendmail do, with our snippets, when Backstop is away, dies, or does not answer: they say "try again
//! later", and all is well with the next session after it is back. docs/mta-behaviour.md says so to administrators.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use backstop_harness::{Backstop, Postfix, Sendmail, Signal, Smtp, free_port, wait_until};

use crate::site;

#[test]
fn postfix_with_the_milter_stopped() {
    let port = free_port();
    let postfix = impatient_postfix(port);
    stopped((Ipv4Addr::LOCALHOST, postfix.port()).into(), port);
}

#[test]
fn sendmail_with_the_milter_stopped() {
    let port = free_port();
    let sendmail = impatient_sendmail(port);
    stopped(sendmail.ipv4(), port);
}

#[test]
fn postfix_with_the_milter_killed_mid_session() {
    let port = free_port();
    let postfix = impatient_postfix(port);
    killed((Ipv4Addr::LOCALHOST, postfix.port()).into(), port);
}

#[test]
fn sendmail_with_the_milter_killed_mid_session() {
    let port = free_port();
    let sendmail = impatient_sendmail(port);
    killed(sendmail.ipv4(), port);
}

#[test]
fn postfix_with_the_milter_hanging() {
    let port = free_port();
    let postfix = impatient_postfix(port);
    hanging((Ipv4Addr::LOCALHOST, postfix.port()).into(), port);
}

#[test]
fn sendmail_with_the_milter_hanging() {
    let port = free_port();
    let sendmail = impatient_sendmail(port);
    hanging(sendmail.ipv4(), port);
}

/// Over `limits.sessions` a new session is closed at once, and the MTA puts it off; the others are served on.
#[test]
fn postfix_with_too_many_sessions() {
    let backstop = site::backstop().env("BACKSTOP__LIMITS__SESSIONS", "1").start();
    let postfix = Postfix::builder().milter(&backstop.for_postfix()).start();
    let mta = (Ipv4Addr::LOCALHOST, postfix.port()).into();
    let mut first = open(mta);
    decides(&mut first);
    puts_off(&mut open(mta));
    decides(&mut first);
    first.quit();
    wait_until(Duration::from_secs(10), "the session's end", || {
        backstop.metric("backstop_sessions_open", &[]) == 0.0
    });
    decides(&mut open(mta));
}

/// Nothing listens: the recipient is put off, and taken in the first session after the start.
fn stopped(mta: SocketAddr, port: u16) {
    puts_off(&mut open(mta));
    let _backstop = backstop(port);
    decides(&mut open(mta));
}

/// It dies between MAIL and RCPT: the session is put off to its end, a new one is not.
fn killed(mta: SocketAddr, port: u16) {
    let mut backstop_ = backstop(port);
    let mut smtp = open(mta);
    decides(&mut smtp);
    smtp.mail("<sender@elsewhere.test>");
    backstop_.signal(Signal::KILL);
    backstop_.wait_exit();
    assert_eq!(smtp.rcpt("<anna@example.test>").code, 451, "{}", smtp.transcript());
    smtp.rset();

    let _backstop = backstop(port);
    // neither MTA connects again within a session
    puts_off(&mut smtp);
    decides(&mut open(mta));
}

/// It does not answer any more: after the time-out, as if it were dead. It goes on: the next session is served.
fn hanging(mta: SocketAddr, port: u16) {
    let mut backstop = backstop(port);
    let mut smtp = open(mta);
    decides(&mut smtp);
    smtp.mail("<sender@elsewhere.test>");
    backstop.signal(Signal::STOP);
    let start = Instant::now();
    assert_eq!(smtp.rcpt("<anna@example.test>").code, 451, "{}", smtp.transcript());
    let waited = start.elapsed();
    assert!((TIMEOUT..TIMEOUT * 10).contains(&waited), "{waited:?}");

    // a session that begins now waits for the negotiation
    let start = Instant::now();
    puts_off(&mut open(mta));
    let waited = start.elapsed();
    assert!((TIMEOUT..TIMEOUT * 10).contains(&waited), "{waited:?}");

    backstop.signal(Signal::CONT);
    decides(&mut open(mta));
    assert_eq!(backstop.metric("backstop_session_panics_total", &[]), 0.0);
}

/// Both MTAs put a message off at MAIL when they know already that the milter is away (Postfix: 4.7.1, Sendmail: 4.3.2).
fn puts_off(smtp: &mut Smtp) {
    assert_eq!(smtp.mail("<sender@elsewhere.test>").code, 451, "{}", smtp.transcript());
}

fn decides(smtp: &mut Smtp) {
    smtp.mail("<sender@elsewhere.test>");
    assert_eq!(smtp.rcpt("<nobody@example.test>").code, 550, "{}", smtp.transcript());
    assert_eq!(smtp.rcpt("<anna@example.test>").code, 250, "{}", smtp.transcript());
    smtp.rset();
}

fn open(mta: SocketAddr) -> Smtp {
    let mut smtp = Smtp::connect_from(Some(IpAddr::from(Ipv4Addr::new(127, 0, 0, 9))), mta);
    smtp.ehlo("mail.elsewhere.test");
    smtp
}

fn backstop(port: u16) -> Backstop {
    site::backstop().listen(&format!("inet:127.0.0.1:{port}")).start()
}

/// The snippet, with shorter time-outs.
fn impatient_postfix(milter_port: u16) -> Postfix {
    let seconds = TIMEOUT.as_secs();
    Postfix::builder()
        .milter(&format!("inet:127.0.0.1:{milter_port}"))
        .main(&format!("milter_connect_timeout = {seconds}s\nmilter_command_timeout = {seconds}s"))
        .start()
}

/// The snippet, with shorter time-outs.
fn impatient_sendmail(milter_port: u16) -> Sendmail {
    let seconds = TIMEOUT.as_secs();
    Sendmail::builder()
        .milter(&format!("inet:{milter_port}@127.0.0.1"))
        .milter_timeouts(&format!("C:{seconds}s;S:{seconds}s;R:{seconds}s;E:{seconds}s"))
        .start()
}

const TIMEOUT: Duration = Duration::from_secs(2);
