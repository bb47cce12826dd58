//! The other failure policies that an administrator may choose, as the tables of docs/mta-behaviour.md tell them: what
//! becomes of a client's recipient while the milter is down, and when it dies between MAIL and RCPT.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use backstop_harness::{Postfix, Sendmail, Signal, free_port};

use crate::site;

#[test]
fn of_postfix() {
    for (action, down, dies) in [
        ("tempfail", Fate(451, "MAIL"), Fate(451, "RCPT")),
        ("accept", TAKEN, TAKEN),
        ("reject", Fate(554, "banner"), Fate(550, "RCPT")),
        ("quarantine", TAKEN, TAKEN),
    ] {
        let port = free_port();
        let postfix = Postfix::builder()
            .milter(&format!("inet:127.0.0.1:{port}"))
            .main(&format!("milter_default_action = {action}\nmilter_command_timeout = 2s"))
            .start();
        expect(action, (Ipv4Addr::LOCALHOST, postfix.port()).into(), port, down, dies);
    }
}

#[test]
fn of_sendmail() {
    for (flag, down, dies) in [
        ("F=T, ", Fate(451, "MAIL"), Fate(451, "RCPT")),
        ("F=R, ", Fate(554, "banner"), Fate(550, "RCPT")),
        ("F=4, ", Fate(421, "banner"), Fate(421, "RCPT")),
        ("", TAKEN, TAKEN),
    ] {
        let port = free_port();
        let milter = format!("S=inet:{port}@127.0.0.1, {flag}T=C:2s;S:2s;R:2s;E:2s");
        let sendmail =
            Sendmail::builder().mc(&format!("INPUT_MAIL_FILTER(`backstop', `{milter}')dnl")).start();
        expect(flag, sendmail.ipv4(), port, down, dies);
    }
}

/// The code of the first refusal, and what was refused; or that of the recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fate(u16, &'static str);

const TAKEN: Fate = Fate(250, "RCPT");

#[track_caller]
fn expect(policy: &str, mta: SocketAddr, milter: u16, down: Fate, dies: Fate) {
    assert_eq!(fate(mta, || {}), down, "{policy}, the milter is down");
    let mut backstop = site::backstop().listen(&format!("inet:127.0.0.1:{milter}")).start();
    assert_eq!(fate(mta, || {}), Fate(550, "RCPT"), "{policy}, the milter is there");
    let seen = fate(mta, || {
        backstop.signal(Signal::KILL);
        backstop.wait_exit();
    });
    assert_eq!(seen, dies, "{policy}, the milter dies");
}

/// What a client sees that writes to an unknown user; `meanwhile` happens between MAIL and RCPT.
fn fate(mta: SocketAddr, meanwhile: impl FnOnce()) -> Fate {
    let stream = TcpStream::connect(mta).expect("connect to the MTA");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set a time-out");
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut reply = || {
        let mut line = String::new();
        loop {
            line.clear();
            reader.read_line(&mut line).expect("a reply");
            if line.as_bytes().get(3) != Some(&b'-') {
                return line.get(..3).and_then(|code| code.parse::<u16>().ok()).expect("a code");
            }
        }
    };
    let say = |line: &str| write!(&stream, "{line}\r\n").expect("send a command");
    let banner = reply();
    if banner >= 400 {
        return Fate(banner, "banner");
    }
    say("EHLO client.example.org");
    let hello = reply();
    if hello >= 400 {
        return Fate(hello, "EHLO");
    }
    say("MAIL FROM:<sender@elsewhere.test>");
    let mail = reply();
    if mail >= 400 {
        return Fate(mail, "MAIL");
    }
    meanwhile();
    say("RCPT TO:<nobody@example.test>");
    Fate(reply(), "RCPT")
}
