//! POP before SMTP: who has read mail from a real Dovecot may send it through a real Postfix, for a while, though his address
//! is one that is refused otherwise.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use backstop_harness::{Backstop, Dovecot, Postfix, Signal, wait_until};

use crate::BACKSTOP;
use crate::site;
use crate::standing::answer;

const USER: &str = "anna@example.test";
const PASSWORD: &str = "secret";

#[test]
fn a_log_in_makes_the_client_an_insider_until_it_is_over() {
    let (backstop, dovecot) = start("4s");
    let postfix = Postfix::builder().milter(&backstop.for_postfix()).start();
    let client = "203.0.113.9";
    assert_eq!(backstop.command(&["block", client]).status, 0);
    assert_eq!(answer(&postfix, client, "<bob@example.test>"), 421);

    assert!(!pop3(&dovecot, Some(client), "wrong"), "a wrong password");
    assert_eq!(answer(&postfix, client, "<bob@example.test>"), 421);
    assert!(pop3(&dovecot, Some(client), PASSWORD));
    assert_eq!(answer(&postfix, client, "<bob@example.test>"), 250);
    assert_eq!(answer(&postfix, "203.0.113.8", "<bob@example.test>"), 250);
    wait_until(Duration::from_secs(20), "the end of the trust", || {
        answer(&postfix, client, "<bob@example.test>") == 421
    });
    // The next log-in, over IMAP.
    assert!(imap(&dovecot, Some(client)));
    assert_eq!(answer(&postfix, client, "<bob@example.test>"), 250);
}

#[test]
fn the_address_is_the_clients_own_and_never_this_host() {
    let (backstop, dovecot) = start("30m");
    assert!(imap(&dovecot, None) && pop3(&dovecot, None, PASSWORD));
    assert_eq!(backstop.command(&["trusted"]).stdout, "", "webmail on this host trusts nobody");
    assert!(imap(&dovecot, Some("2001:db8::9")));
    assert!(pop3(&dovecot, Some("192.168.1.20"), PASSWORD));
    let trusted = backstop.command(&["trusted"]).stdout;
    let clients: Vec<&str> = trusted.lines().filter_map(|line| line.split("  ").next()).collect();
    assert_eq!(clients, ["192.168.1.20", "2001:db8::9"]);
    assert!(!dovecot.log().contains("rror"), "{}", dovecot.log());
}

/// Mail can be read, whatever has become of Backstop.
#[test]
fn without_backstop_users_log_in_all_the_same() {
    let (mut backstop, dovecot) = start("30m");
    backstop.signal(Signal::TERM);
    assert_eq!(backstop.wait_exit().code(), Some(0));
    assert!(pop3(&dovecot, Some("203.0.113.9"), PASSWORD) && imap(&dovecot, Some("203.0.113.9")));
}

/// Backstop, with the socket for log-in hooks open to Dovecot's user, and Dovecot with the script.
fn start(duration: &str) -> (Backstop, Dovecot) {
    let builder = site::backstop();
    // Others may not enter the directory that the program is built in.
    let program = builder.path("program");
    fs::copy(BACKSTOP, &program).expect("there is room");
    let backstop = builder.env("BACKSTOP__CONTROL__TRUST_GROUP", "dovecot").start();
    let dovecot = Dovecot::start_with_trust(&[USER], &program, &backstop.path("trust.sock"), duration);
    (backstop, dovecot)
}

/// Logs in over POP3 (RFC 1939) from the address that is claimed; gives whether it worked.
fn pop3(dovecot: &Dovecot, client: Option<&str>, password: &str) -> bool {
    let mut session = Session::connect(dovecot.pop3_port());
    assert!(session.line().starts_with("+OK"));
    if let Some(client) = client {
        assert!(session.command(&format!("XCLIENT ADDR={client}")).starts_with("+OK"));
    }
    assert!(session.command(&format!("USER {USER}")).starts_with("+OK"));
    let is_in = session.command(&format!("PASS {password}")).starts_with("+OK");
    if is_in {
        assert!(session.command("STAT").starts_with("+OK 0 0"), "there is a mailbox");
        assert!(session.command("QUIT").starts_with("+OK"));
    }
    is_in
}

/// The same over IMAP (RFC 3501).
fn imap(dovecot: &Dovecot, client: Option<&str>) -> bool {
    let mut session = Session::connect(dovecot.imap_port());
    assert!(session.line().starts_with("* OK"));
    if let Some(client) = client {
        session.tagged(&format!("ID (\"x-originating-ip\" \"{client}\" \"x-originating-port\" \"4711\")"));
    }
    let is_in = session.tagged(&format!("LOGIN {USER} {PASSWORD}")).starts_with("a OK");
    if is_in {
        assert!(session.tagged("SELECT INBOX").starts_with("a OK"), "there is a mailbox");
    }
    is_in
}

struct Session(BufReader<TcpStream>);

impl Session {
    fn connect(port: u16) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("Dovecot listens");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("it is open");
        Self(BufReader::new(stream))
    }

    fn command(&mut self, line: &str) -> String {
        self.0.get_ref().write_all(format!("{line}\r\n").as_bytes()).expect("Dovecot reads");
        self.line()
    }

    fn tagged(&mut self, command: &str) -> String {
        let mut line = self.command(&format!("a {command}"));
        while !line.starts_with("a ") {
            line = self.line();
        }
        line
    }

    #[track_caller]
    fn line(&mut self) -> String {
        let mut line = String::new();
        let length = self.0.read_line(&mut line).expect("Dovecot answers");
        assert!(length > 0, "Dovecot closed the connection");
        line
    }
}
