//! `backstop probe` against servers that are vulnerable, against safe ones, and against one that Backstop protects.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::thread;

use backstop_harness::{
    Authority, Backstop, CommandOutput, Postfix, PostfixBuilder, Sendmail, Sink, free_port,
};
use serde_json::Value;

use crate::{BACKSTOP, site};

/// A relay that knows no recipients, before a server that does.
#[test]
fn a_postfix_that_accepts_all_bounces() {
    let inside = Sink::knowing(&["anna@example.test"]);
    let sink = free_port();
    let postfix =
        local().next_hop(sink).main(&format!("relay_transport = smtp:[127.0.0.1]:{}", inside.port())).start();
    let (status, found) = probe(postfix.port(), &with_sink(sink));
    assert_eq!(status, 1, "{found:#}");
    let check = &test(&found, "reverse-ndr")["checks"][0];
    assert_eq!(
        (&check["verdict"], &check["message"]),
        (&"vulnerable".into(), &"bounced".into()),
        "{check:#}"
    );
    assert_eq!(check["note"], "accepted, and bounced to the sender");
    // No stranger's address is taken, in whatever way it is written; what hides one may still bounce.
    assert_eq!(messages(&found, "delivered"), 0, "{found:#}");
    assert_eq!(form(&found, "@foreign.test>")["verdict"], "safe", "{found:#}");
    assert_eq!(test(&found, "harvest")["verdict"], "safe", "there is nothing to guess");

    // Without a sink no message is sent, and "accepted" is all that can be said.
    let sent = inside.messages().len();
    let (status, found) = probe(postfix.port(), &["--only", "reverse-ndr"]);
    assert_eq!(status, 1, "{found:#}");
    let check = &test(&found, "reverse-ndr")["checks"][0];
    assert_eq!((&check["code"], &check["message"]), (&250.into(), &Value::Null), "{check:#}");
    postfix.wait_for_empty_queue();
    assert_eq!(inside.messages().len(), sent);
}

#[test]
fn a_postfix_that_relays_for_everybody_delivers() {
    let sink = free_port();
    let postfix = Postfix::builder().next_hop(sink).main("mynetworks = 0.0.0.0/0").start();
    is_open_relay(postfix.port(), sink, &[]);
}

#[test]
fn a_sendmail_that_relays_for_everybody_delivers() {
    let sink = free_port();
    let sendmail = Sendmail::builder().next_hop(sink).mc("FEATURE(`promiscuous_relay')dnl").start();
    is_open_relay(sendmail.port(), sink, &["--source", STRANGER]);
}

#[test]
fn a_sendmail_as_it_is_relays_for_nobody() {
    let sendmail = Sendmail::builder().start();
    let (status, found) = probe(sendmail.port(), &["--only", "relay", "--source", STRANGER]);
    let plain = form(&found, "@example.com>");
    assert_eq!((&plain["verdict"], &plain["code"]), (&"safe".into(), &550.into()), "{plain:#}");
    // It knows no recipients in its domain, so that somebody there may be anybody.
    assert_eq!(status, 2, "{found:#}");
    // It trusts its own host.
    let (status, found) = probe(sendmail.port(), &["--only", "relay"]);
    assert_eq!((status, &form(&found, "@example.com>")["verdict"]), (1, &"vulnerable".into()), "{found:#}");
}

#[test]
fn a_safe_postfix_is_safe() {
    let limits = "smtpd_error_sleep_time = 1s\nsmtpd_soft_error_limit = 10\nsmtpd_hard_error_limit = 20";
    let postfix = knowing().main(limits).start();
    let (status, found) = probe(postfix.port(), &["--guesses", "16"]);
    assert_eq!(status, 0, "{found:#}");
    for test_name in ["reverse-ndr", "relay", "harvest"] {
        assert_eq!(test(&found, test_name)["verdict"], "safe", "{found:#}");
    }
    assert!(summary(&found, "harvest").starts_with("slows down: from "), "{found:#}");
    let checks = test(&found, "relay")["checks"].as_array().expect("as written");
    assert!(checks.len() > 35, "{found:#}");
    assert!(checks.iter().all(|check| check["code"].as_u64() >= Some(400)), "{found:#}");

    // It says who exists to whoever asks, if nothing slows him down.
    let postfix = knowing().start();
    let (status, found) = probe(postfix.port(), &["--only", "harvest"]);
    assert_eq!(status, 1, "{found:#}");
    assert!(summary(&found, "harvest").starts_with("tells 30 guesses from somebody who exists"), "{found:#}");
}

#[test]
fn with_backstop_postfix_is_safe() {
    let backstop = protecting();
    let postfix = local().milter(&backstop.for_postfix()).start();
    is_protected(&backstop, postfix.port(), "127.0.0.1");
    // So it is with nobody known but the postmaster, for whom a blocked client may still write.
    assert_eq!(backstop.command(&["release", "127.0.0.1"]).status, 0);
    let (status, found) = probe_alone(postfix.port(), &["--only", "harvest"]);
    assert_eq!(status, 0, "{found:#}");
    assert!(
        summary(&found, "harvest").contains("stops after 20 guesses, on a new connection, too"),
        "{found:#}"
    );
}

#[test]
fn with_backstop_sendmail_is_safe() {
    let backstop = protecting();
    let sendmail = Sendmail::builder().milter(&backstop.for_sendmail()).start();
    is_protected(&backstop, sendmail.port(), STRANGER);
}

#[test]
fn tls_is_tested_and_used_where_it_is_offered() {
    let authority = Authority::new();
    let certificate = authority.certify("mx.example.test", "DNS:mx.example.test");
    let read = |path: &std::path::Path| std::fs::read_to_string(path).expect("openssl wrote it");
    let tls = "smtpd_tls_security_level = encrypt\nsmtpd_tls_loglevel = 1\n\
               smtpd_tls_cert_file = $config_directory/cert.pem\nsmtpd_tls_key_file = $config_directory/key.pem";
    let (cert, key) = (read(&certificate.file), read(&certificate.key));
    let postfix = knowing().file("cert.pem", &cert).file("key.pem", &key).main(tls).start();
    let (status, found) = probe(postfix.port(), &["--only", "starttls", "--only", "reverse-ndr"]);
    assert_eq!(status, 0, "{found:#}");
    assert_eq!((&found["tls"], &found["name"]), (&true.into(), &"mx.example.test".into()));
    assert_eq!(test(&found, "starttls")["verdict"], "safe");
    assert_eq!(test(&found, "reverse-ndr")["verdict"], "safe", "it takes no mail without TLS");
}

#[test]
fn nothing_is_sent_before_it_is_told_to() {
    let postfix = knowing().start();
    let host = format!("127.0.0.1:{}", postfix.port());
    let output = run(&["probe", &host, "--domain", "example.test"]);
    assert_eq!(output.status, 64, "{output:?}");
    assert_eq!(output.stderr, "backstop: nothing was sent; with --yes it is\n");
    for line in
        ["%example.com@example.test>", "No message is sent", "a minute:", "RCPT TO:<postmaster@example.test>"]
    {
        assert!(output.stdout.contains(line), "{line}: {output:?}");
    }
    assert!(!postfix.maillog().contains("connect from"), "{}", postfix.maillog());
    // What is sent then was told, and in words.
    let output = run(&[
        "probe",
        &host,
        "--domain",
        "example.test",
        "--yes",
        "--only",
        "reverse-ndr",
        "--rate",
        "6000",
    ]);
    assert!(output.stderr.contains("  RCPT TO:<backstopprobe"), "{output:?}");
    assert!(
        output.stdout.contains("safe: reverse-ndr: refuses a recipient who does not exist\n"),
        "{output:?}"
    );
    assert!(output.stdout.contains(": 550 5.1.1 "), "{output:?}");
    assert!(postfix.maillog().contains("connect from"));
}

#[test]
fn what_can_not_be_tested_is_told() {
    let free = format!("127.0.0.1:{}", free_port());
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let taken = taken.local_addr().expect("it is bound").to_string();
    let base = ["probe", &free, "--domain", "example.test", "--yes"];
    for (more, status, told) in [
        (&[][..], 69, "Connection refused"),
        (&["--sink", &taken, "--foreign", "x.test"], 71, "can't listen at"),
        (&["--sink", &taken], 64, "--foreign"),
        (&["--foreign", "example.test"], 64, "the tested one"),
        (&["--known", "anna@other.test"], 64, "the known recipient"),
        (&["--known", "anna"], 64, "--known"),
        (&["--only", "spam"], 64, "starttls, reverse-ndr, relay and harvest"),
        (&["--rate", "0"], 64, "--rate"),
    ] {
        let output = run(&[&base[..], more].concat());
        assert_eq!(output.status, status, "{more:?}: {output:?}");
        assert!(output.stderr.contains(told), "{more:?}: {output:?}");
    }
    for host in ["", "a b", "[::1", "mx:0", "http://mx"] {
        let output = run(&["probe", host, "--domain", "example.test", "--yes"]);
        assert_eq!(output.status, 64, "{host}: {output:?}");
    }
}

/// Whatever it is that listens there, it neither steers the terminal nor holds us.
#[test]
fn a_server_that_is_none() {
    for (said, told) in [
        ("HTTP/1.1 400 Bad Request\r\n", "makes no sense"),
        ("220 \u{1b}[2J\r\n250 \u{1b}]0;x\r\n250-\u{1b}[31m\r\n500 x\r\n", "makes no sense"),
        ("421 4.7.0 go away\r\n", "it wants no more: 421 4.7.0 go away"),
        ("554 no\r\n", "it refuses our greeting: 554 no"),
        ("", "closed the connection"),
    ] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("it connects");
                let _ = stream.write_all(said.as_bytes());
                if !said.is_empty() {
                    let _ = stream.read(&mut [0; 1000]);
                }
            }
        });
        let host = format!("127.0.0.1:{port}");
        let output = run(&["probe", &host, "--domain", "example.test", "--yes", "--rate", "6000"]);
        assert_eq!(output.status, 2, "{said:?}: {output:?}");
        assert!(output.stdout.contains(told), "{said:?}: {output:?}");
        assert!(output.stdout.ends_with("could not find out\n"), "{said:?}: {output:?}");
        assert!(!output.stdout.contains('\u{1b}'), "{said:?}: {output:?}");
    }
}

fn is_open_relay(port: u16, sink: u16, more: &[&str]) {
    let with_sink = with_sink(sink);
    let args: Vec<&str> = with_sink.iter().map(String::as_str).chain(more.iter().copied()).collect();
    let (status, found) = probe(port, &args);
    assert_eq!(status, 1, "{found:#}");
    let relay = test(&found, "relay");
    assert_eq!(relay["verdict"], "vulnerable");
    let plain = form(&found, "@foreign.test>");
    assert_eq!(
        (&plain["verdict"], &plain["message"]),
        (&"vulnerable".into(), &"delivered".into()),
        "{plain:#}"
    );
    assert!(messages(&found, "delivered") >= 15, "{relay:#}");
    // Each form says what became of it.
    for check in relay["checks"].as_array().expect("as written") {
        let delivered = check["message"] == "delivered";
        assert!(!delivered || check["verdict"] == "vulnerable", "{check:#}");
        assert!(check["reply"].as_str().is_some_and(|reply| reply.len() > 3), "{check:#}");
    }
}

fn is_protected(backstop: &Backstop, port: u16, source: &str) {
    let (status, found) = probe(port, &["--source", source]);
    assert_eq!(status, 0, "{found:#}");
    for name in ["reverse-ndr", "relay", "harvest"] {
        assert_eq!(test(&found, name)["verdict"], "safe", "{found:#}");
    }
    let reply = test(&found, "reverse-ndr")["checks"][0]["reply"].as_str().expect("as written");
    assert!(
        reply.starts_with("550 5.1.1 ") && reply.ends_with("No such user here [unknown-recipient]"),
        "{reply}"
    );
    assert!(
        summary(&found, "harvest").contains("known and unknown are answered alike: 421 4.7.0"),
        "{found:#}"
    );
    assert!(backstop.command(&["blocked"]).stdout.starts_with(&format!("{source}  for ")));
}

/// The probe comes from 127.0.0.1, which is nobody special here.
fn protecting() -> Backstop {
    site::backstop()
        .env("BACKSTOP__CLIENT__TRUSTED", "[]")
        .env("BACKSTOP__DEFENCE__HARVEST__PRIVATE", "true")
        .start()
}

/// A relay that knows its recipients.
fn knowing() -> PostfixBuilder {
    local().main("relay_recipient_maps = inline:{ anna@example.test=x, postmaster@example.test=x }")
}

/// It has local users, as everybody's: an address at its own address literal is one of them.
fn local() -> PostfixBuilder {
    Postfix::builder().main("local_recipient_maps = inline:{ anna=x, postmaster=x }")
}

fn with_sink(port: u16) -> [String; 6] {
    let sink = format!("127.0.0.1:{port}");
    ["--sink", &sink, "--foreign", "foreign.test", "--wait", "10s"].map(str::to_owned)
}

/// With somebody known.
fn probe(port: u16, args: &[impl AsRef<str>]) -> (i32, Value) {
    let known = ["--known", "anna@example.test"].into_iter();
    let args: Vec<&str> = known.chain(args.iter().map(AsRef::as_ref)).collect();
    probe_alone(port, &args)
}

fn probe_alone(port: u16, args: &[&str]) -> (i32, Value) {
    let host = format!("127.0.0.1:{port}");
    let base = [
        "probe",
        &host,
        "--domain",
        "example.test",
        "--helo",
        "probe.elsewhere.test",
        "--rate",
        "6000",
        "--yes",
        "--json",
    ];
    let CommandOutput { status, stdout, stderr } = run(&[&base[..], args].concat());
    (status, serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}")))
}

fn run(args: &[&str]) -> CommandOutput {
    CommandOutput::of(Command::new(BACKSTOP).args(args))
}

fn test<'a>(found: &'a Value, name: &str) -> &'a Value {
    let tests = found["tests"].as_array().expect("as written");
    tests.iter().find(|test| test["test"] == name).unwrap_or_else(|| panic!("{name}: {found:#}"))
}

fn summary<'a>(found: &'a Value, name: &str) -> &'a str {
    test(found, name)["summary"].as_str().expect("as written")
}

/// The first form with such a recipient.
fn form<'a>(found: &'a Value, end: &str) -> &'a Value {
    let checks = test(found, "relay")["checks"].as_array().expect("as written");
    let fits = |check: &&Value| check["recipient"].as_str().is_some_and(|recipient| recipient.ends_with(end));
    checks.iter().find(fits).unwrap_or_else(|| panic!("{end}: {found:#}"))
}

fn messages(found: &Value, fate: &str) -> usize {
    let checks = test(found, "relay")["checks"].as_array().expect("as written");
    checks.iter().filter(|check| check["message"] == fate).count()
}

/// Sendmail relays for 127.0.0.1, whatever is configured. This one is called client9.elsewhere.test.
const STRANGER: &str = "127.0.0.9";
