//! What a reload changes is seen in the answers: each row asks before, changes one key, reloads, and asks again.
//! (That every key is in force or named is shown beside the code: src/daemon/reload/tests.rs.)

use std::fs;
use std::net::Ipv4Addr;

use backstop_harness::{Backstop, Postfix};
use milter_protocol::command::{CStrings, ClientAddress, Command, Connect, Mail, Rcpt};

use crate::mta::{Answer, Mta};
use crate::site;

type Setting = (&'static str, &'static str);

/// What is set before and after, the change, whom a client of 203.0.113.7 writes to, and how the answers begin or end.
const ROWS: &[(&[Setting], Setting, &str, &str, &str)] = &[
    (&[], ("mode", "\"monitor\""), NOBODY, UNKNOWN, PASSES),
    (&[], ("monitor.domains", "[\"example.test\"]"), NOBODY, UNKNOWN, PASSES),
    (&[], ("monitor.reasons", "[\"unknown-recipient\"]"), NOBODY, UNKNOWN, PASSES),
    (&[], ("recipients.delimiters", "\"-\""), "anna-lists@example.test", UNKNOWN, PASSES),
    (&[], ("recipients.delimiters", "\"-\""), "anna+lists@example.test", PASSES, UNKNOWN),
    (
        &[("defence.greylist.mode", "\"all\"")],
        ("recipients.exempt", "[\"anna\"]"),
        ANNA,
        "[greylisted]",
        PASSES,
    ),
    (&[], ("recipients.catch_all", "[\"example.test\"]"), NOBODY, UNKNOWN, PASSES),
    (
        &[],
        ("directory.people.domains", "[\"example.test\", \"more.test\"]"),
        "nobody@more.test",
        PASSES,
        UNKNOWN,
    ),
    (&[], ("directory.people.file.path", "\"{dir}/others\""), "zoe@example.test", UNKNOWN, PASSES),
    (&[], ("suspensions.files", "[\"{dir}/bad\"]"), "bob@example.test", PASSES, "[suspended-recipient]"),
    (&[], ("suspensions.files", "[]"), "unpaid@example.test", "[suspended-recipient]", PASSES),
    (&[], ("client.denied", "[\"203.0.113.0/24\"]"), ANNA, PASSES, "[denied-client]"),
    (
        &[("client.denied", "[\"203.0.113.0/24\"]")],
        ("client.trusted", "[\"203.0.113.7\"]"),
        ANNA,
        "[denied-client]",
        PASSES,
    ),
    (&[], ("defence.greylist.mode", "\"all\""), ANNA, PASSES, "[greylisted]"),
    (
        &[],
        ("replies.unknown-recipient.text", "\"Gone away\""),
        NOBODY,
        UNKNOWN,
        "Gone away [unknown-recipient]",
    ),
    (&[], ("replies.unknown-recipient.code", "\"550 5.1.10\""), NOBODY, "550 5.1.1 ", "550 5.1.10 "),
];

#[test]
fn the_answers_change_with_the_keys_and_back() {
    let backstop =
        site::backstop().file("others", "zoe@example.test\n").file("bad", "bob@example.test\n").start();
    let text = fs::read_to_string(backstop.path("backstop.toml")).expect("it has one");
    for (given, changed, recipient, before, after) in ROWS {
        for (settings, expected) in
            [(given.to_vec(), before), ([given, &[*changed][..]].concat(), after), (given.to_vec(), before)]
        {
            reload(&backstop, &text, &settings);
            let told = ask(&backstop, recipient);
            assert!(
                told.starts_with(expected) || told.ends_with(expected),
                "{changed:?} {settings:?}: {recipient}: {told}"
            );
        }
    }
}

/// Detection begins and ends with a reload: the domains of a real Postfix come and go, and so do the refusals.
#[test]
fn detection_is_switched_on_and_off() {
    let postfix = Postfix::builder()
        .main("mydestination = local.test\nlocal_recipient_maps = $alias_maps\nalias_maps = hash:$config_directory/aliases\nsmtpd_reject_unlisted_recipient = yes")
        .map("hash", "aliases", "list root\n")
        .start();
    let backstop =
        site::backstop().env("MAIL_CONFIG", &postfix.config_directory().display().to_string()).start();
    let text = fs::read_to_string(backstop.path("backstop.toml")).expect("it has one");
    let domains = || backstop.command(&["status"]).stdout.contains("domain: local.test (mydestination)");
    for (is_on, value) in [(false, "false"), (true, "true"), (false, "false"), (true, "true")] {
        reload(&backstop, &text, &[("domains.detect", value)]);
        assert_eq!(domains(), is_on, "{}", backstop.command(&["status"]).stdout);
        assert_eq!(ask(&backstop, "list@local.test"), PASSES);
        let check = backstop.command(&["check", "nobody-such@local.test", "--client", "203.0.113.7"]).stdout;
        assert_eq!(!check.ends_with("reason: not-local\n"), is_on, "{check}");
        // What is not detected stays as it was.
        assert!(ask(&backstop, NOBODY).ends_with(UNKNOWN));
    }
}

/// Puts the text with these settings in force.
#[track_caller]
fn reload(backstop: &Backstop, text: &str, settings: &[Setting]) {
    let mut document: toml_edit::DocumentMut = text.parse().expect("TOML");
    for (key, value) in settings {
        let dir = backstop.path("").display().to_string();
        let value = value.replace("{dir}", dir.trim_end_matches('/'));
        let value: toml_edit::Value = value.parse().expect("a value");
        let (tables, last) = key.rsplit_once('.').unwrap_or(("", key));
        let mut table = document.as_table_mut() as &mut dyn toml_edit::TableLike;
        for name in tables.split('.').filter(|name| !name.is_empty()) {
            let below = table.entry(name).or_insert(toml_edit::table());
            table = below.as_table_like_mut().expect("a table");
        }
        table.insert(last, toml_edit::value(value));
    }
    backstop.write("backstop.toml", &document.to_string());
    let output = backstop.command(&["reload", "--accept"]);
    assert_eq!((output.status, output.stdout.as_str()), (0, "applied\n"), "{settings:?}: {output:?}");
}

/// The reply to a recipient in a session of its own, or the refusal that came before; [`PASSES`] if none.
fn ask(backstop: &Backstop, recipient: &str) -> String {
    let mut mta = Mta::connect(backstop.milter_port());
    let address = ClientAddress::Inet(Ipv4Addr::new(203, 0, 113, 7), 4711);
    let (none, rcpt) = (CStrings::default, format!("<{recipient}>"));
    for command in [
        Command::Connect(Connect { host: b"mail.elsewhere.test", address }),
        Command::Helo(b"mail.elsewhere.test"),
        Command::Mail(Mail { address: b"<sender@elsewhere.test>", parameters: none() }),
        Command::Rcpt(Rcpt { address: rcpt.as_bytes(), parameters: none() }),
    ] {
        if let Answer::Refused(reply) = mta.send(&command) {
            return reply;
        }
    }
    PASSES.to_owned()
}

const ANNA: &str = "anna@example.test";
const NOBODY: &str = "nobody@example.test";
const UNKNOWN: &str = "[unknown-recipient]";
const PASSES: &str = "no objection";
