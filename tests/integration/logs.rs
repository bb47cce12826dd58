//! The log under hostile input, under an attack, and where addresses are nobody's business: a real session, and what really
//! stands in standard error or in the journal afterwards.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command as Program;
use std::time::Duration;

use backstop_harness::{Backstop, CommandOutput, wait_until};
use milter_protocol::command::{CStrings, ClientAddress, Command, Connect, Mail, Rcpt};
use serde_json::Value;

use crate::mta::{Answer, Mta};
use crate::site;

/// In each format. The journal is a real one: systemd-journald in a mount namespace of its own.
#[test]
fn whatever_a_client_writes_is_one_line() {
    let builder = site::backstop().env("BACKSTOP__LOG__REFUSALS_PER_SECOND", "0");
    let journal = builder.path("journal");
    let backstop = builder.after(&JOURNALD.replace("{journal}", &journal.display().to_string())).start();
    let config = std::fs::read_to_string(backstop.path("backstop.toml")).expect("it was written");
    for format in ["text", "json", "journald"] {
        backstop.write("backstop.toml", &format!("{config}\n[log]\nformat = \"{format}\"\n"));
        assert_eq!(backstop.command(&["reload"]).status, 0);
        let begin = backstop.log().len();
        let refused = attack(&backstop);
        assert!(refused.len() >= HOSTILE.len() / 2, "{refused:?}");
        let mut recipients: Vec<String> = match format {
            "journald" => {
                let mut entries = Vec::new();
                wait_until(SOON, "the journal to have all", || {
                    entries = in_journal(&journal);
                    entries.len() >= refused.len()
                });
                entries
            }
            _ => {
                let log = backstop.log();
                log[begin..].lines().filter_map(|line| recipient(format, line)).collect()
            }
        };
        // The journal has them as they are shown.
        let mut expected: Vec<String> = match format {
            "json" => refused.clone(),
            _ => refused.iter().map(|text| shown(text, format)).collect(),
        };
        // Each is of another session, and the line of one may come behind that of the next, on another thread.
        recipients.sort();
        expected.sort();
        assert_eq!(recipients, expected, "{format}");
    }
    a_journal_that_hangs_holds_nobody_up(&backstop, &journal);
}

/// unix(7): a datagram for which there is no room would be waited with.
fn a_journal_that_hangs_holds_nobody_up(backstop: &Backstop, journal: &Path) {
    let pid = std::fs::read_to_string(journal.join("pid")).expect("it was written");
    let signal = |name: &str| {
        let output = CommandOutput::of(Program::new("kill").args([name, pid.trim()]));
        assert_eq!(output.status, 0, "{output:?}");
    };
    signal("-STOP");
    let mut mta = from(backstop, [203, 0, 113, 7]);
    for number in 0..2000 {
        assert!(matches!(mta.rcpt(&format!("<stopped{number}@example.test>")), Answer::Refused(_)));
    }
    signal("-CONT");
    wait_until(SOON, "the journal to be told what it missed", || {
        assert!(matches!(mta.rcpt("<again@example.test>"), Answer::Refused(_)));
        let mut program = Program::new("journalctl");
        let output = CommandOutput::of(
            program.arg("--directory").arg(journal).args(["-t", "backstop", "-p", "warning"]),
        );
        output.stdout.contains(" log lines were dropped: the journal did not take them")
    });
}

#[test]
fn under_an_attack_refusals_are_counted_and_others_keep_their_lines() {
    const SENT: u64 = 400;
    let backstop = site::backstop().env("BACKSTOP__LOG__REFUSALS_PER_SECOND", "10").start();
    let mut noisy = from(&backstop, [203, 0, 113, 7]);
    for number in 0..SENT {
        assert!(matches!(noisy.rcpt(&format!("<guess{number}@example.test>")), Answer::Refused(_)));
    }
    // That one client alone has no line left does not concern another.
    let mut other = from(&backstop, [198, 51, 100, 9]);
    assert!(matches!(other.rcpt("<typo@example.test>"), Answer::Refused(_)));
    backstop.wait_for_log("recipient=\"<typo@example.test>\"");
    assert_eq!(backstop.log().matches(" WARN many refusals: from now on").count(), 1);

    backstop.wait_for_log(" refusals were not logged in the last ");
    let metric = || backstop.metric("backstop_log_lines_left_out_total", &[]);
    let (mut told, mut lines) = (0, 0);
    wait_until(SOON, "all to be told", || {
        let log = backstop.log();
        told = log.lines().filter_map(left_out).sum();
        lines = log.lines().filter(|line| line.contains(" stage=\"rcpt\" ")).count() as u64;
        told as f64 == metric()
    });
    assert_eq!(told + lines, SENT + 1, "{}", backstop.log());
    assert!(lines < 60, "{lines}");
    let reasons = backstop.metric_by("backstop_log_lines_left_out_total", &[], "reason");
    let line = backstop.log().lines().find(|line| left_out(line).is_some()).expect("one").to_owned();
    assert!(
        reasons.iter().filter(|(_, times)| **times > 0.0).all(|(reason, _)| line.contains(reason.as_str())),
        "{line}"
    );

    // It is over, and the next one is told of again.
    let mut third = from(&backstop, [198, 51, 100, 10]);
    assert!(matches!(third.rcpt("<later@example.test>"), Answer::Refused(_)));
    backstop.wait_for_log("recipient=\"<later@example.test>\"");
}

#[test]
fn addresses_are_shown_as_the_configuration_says() {
    let backstop = site::backstop().start();
    let config = std::fs::read_to_string(backstop.path("backstop.toml")).expect("it was written");
    let log_of = |backstop: &Backstop, settings: &str| {
        backstop.write("backstop.toml", &format!("{config}\n[log]\nlevel = \"debug\"\n{settings}\n"));
        assert_eq!(backstop.command(&["reload"]).status, 0, "{}", backstop.log());
        let begin = backstop.log().len();
        let mut mta = from(backstop, [203, 0, 113, 7]);
        assert_eq!(mta.rcpt("<anna@example.test>"), Answer::Continue);
        assert!(matches!(mta.rcpt("<nobody@example.test>"), Answer::Refused(_)));
        let reason = "as carla@example.test asks";
        assert_eq!(backstop.command(&["suspend", "Somebody@example.test", "--reason", reason]).status, 0);
        assert_eq!(backstop.command(&["suspend", "@example.org"]).status, 0);
        assert_eq!(backstop.command(&["resume", "no such@thing@"]).status, 64);
        assert_eq!(backstop.command(&["resume", "somebody@example.test"]).status, 0);
        assert_eq!(backstop.command(&["resume", "@example.org"]).status, 0);
        let reason = "until dora@example.test is back";
        assert_eq!(backstop.command(&["disable", "--for", "1h", "--reason", reason]).status, 0);
        assert_eq!(backstop.command(&["enable"]).status, 0);
        backstop.log()[begin..].to_owned()
    };
    let names = ["anna", "nobody", "sender@", "omebody", "no such", "carla", "dora"];
    let plain = log_of(&backstop, "");
    assert!(names.iter().all(|name| plain.contains(name)), "{plain}");

    let masked = log_of(&backstop, "addresses = \"masked\"");
    for told in [
        r#"sender="s…@elsewhere.test" recipient="n…@example.test""#,
        r#"recipient="a…@example.test""#,
        r#"what="s…@example.test""#,
        r#"what="@example.org""#,
        r#"what="n…""#,
    ] {
        assert!(masked.contains(told), "{told}: {masked}");
    }
    assert!(!names.iter().any(|name| masked.contains(name)), "{masked}");

    let hashed = log_of(&backstop, "addresses = \"hashed\"");
    assert!(!names.iter().any(|name| hashed.contains(name)), "{hashed}");
    let hash = |log: &str| {
        let (_, rest) = log.split_once("recipient=\"#").unwrap_or_else(|| panic!("no hash: {log}"));
        rest.split_once("@example.test\"").map(|(digits, _)| digits.to_owned()).expect("the domain stays")
    };
    assert_eq!(hash(&hashed), hash(&log_of(&backstop, "addresses = \"hashed\"")), "it is the same each time");
    assert!(backstop.path("store/log.key").exists());

    // Two hosts with one secret.
    let secret = backstop.write("secret", "0f1e2d3c4b5a69788796a5b4c3d2e1f0\n");
    let shared = format!("addresses = \"hashed\"\nhash_key_file = \"{}\"", secret.display());
    let ours = log_of(&backstop, &shared);
    let other = site::backstop().start();
    let theirs = log_of(&other, &shared);
    assert_eq!(hash(&ours), hash(&theirs));
    assert_ne!(hash(&ours), hash(&hashed));
    backstop.write("secret", "short\n");
    let output = backstop.command(&["reload"]);
    assert!(output.status == 78 && output.stderr.contains("openssl rand -hex 32"), "{output:?}");
}

/// What clients have written to get something into a log (OWASP, "Log Injection"), into a terminal, or past a reader.
const HOSTILE: [&[u8]; 16] = [
    b"<a\nERROR owned@example.test>",
    b"<a\r\n2026-01-01T00:00:00Z ERROR owned=\"1\"@example.test>",
    b"<\x1b[2J\x1b]0;owned\x07@example.test>",
    b"<\x9b31m@example.test>",
    b"<a\" reason=\"ok\"@example.test>",
    b"<\",\"level\":\"ERROR\",\"x\":\"@example.test>",
    b"<a\\\"@example.test>",
    "<\u{202e}owned\u{2066}@example.test>".as_bytes(),
    "<a\u{2028}b\u{85}c\u{200b}@example.test>".as_bytes(),
    b"<\xff\xfe\x80@example.test>",
    b"<a\nMESSAGE=owned\nPRIORITY=0@example.test>",
    b"<MESSAGE\n\x05\x00@example.test>",
    b"<%s%n{}@example.test>",
    b"<a\tb\x08\x7f@example.test>",
    "<\u{e0041}\u{feff}@example.test>".as_bytes(),
    b"nobody@example.test",
];

/// Writes all of them wherever a client may write; gives the recipients that were refused, as text of at most the length that
/// is kept.
fn attack(backstop: &Backstop) -> Vec<String> {
    let mut refused = Vec::new();
    let long = [b"<".as_slice(), &b"\x1b\n".repeat(5000), b"@example.test>"].concat();
    for text in HOSTILE.iter().copied().chain([long.as_slice()]) {
        // Strings end with a NUL on the wire.
        let text: Vec<u8> = text.iter().copied().filter(|byte| *byte != 0).collect();
        let mut mta = Mta::connect(backstop.milter_port());
        let address = ClientAddress::Inet(Ipv4Addr::new(203, 0, 113, 7), 4711);
        let _ = mta.send(&Command::Connect(Connect { host: &text, address }));
        let _ = mta.send(&Command::Helo(&text));
        let none = CStrings::default();
        let _ = mta.send(&Command::Mail(Mail { address: &text, parameters: none }));
        let answer = mta.send(&Command::Rcpt(Rcpt { address: &text, parameters: CStrings::default() }));
        if matches!(answer, Answer::Refused(_)) {
            let cut = &text[..text.len().min(256)];
            let mark = if text.len() > 256 { "…" } else { "" };
            refused.push(format!("{}{mark}", String::from_utf8_lossy(cut)));
        }
    }
    refused
}

/// The recipient that a line of the log tells of; whatever it is, it is one line and shows all that is in it.
fn recipient(format: &str, line: &str) -> Option<String> {
    assert!(!line.chars().any(misleads), "{line:?}");
    if format == "json" {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        if entry["message"] == "reject" {
            for name in entry.as_object().expect("an object").keys() {
                let told =
                    DOCS.lines().any(|row| row.starts_with("| ") && row.contains(&format!("`{name}`")));
                assert!(told || ["timestamp", "level"].contains(&name.as_str()), "docs/logs.md: no {name}");
            }
        }
        return entry.get("recipient").map(|text| text.as_str().expect("a text").to_owned());
    }
    let (time, rest) = line.split_once("  ").unwrap_or_else(|| panic!("no line of the log: {line:?}"));
    assert!(time.parse::<jiff::Timestamp>().is_ok(), "{line:?}");
    assert!(rest.starts_with("INFO "), "{line:?}");
    let (_, rest) = rest.split_once(" recipient=\"")?;
    // Quotes within are escaped, so this is the end.
    let end = rest.match_indices('"').find(|(at, _)| {
        let slashes = rest[..*at].bytes().rev().take_while(|byte| *byte == b'\\').count();
        slashes % 2 == 0
    });
    Some(rest[..end.unwrap_or_else(|| panic!("no end: {line:?}")).0].to_owned())
}

/// As a line shows it.
fn shown(text: &str, format: &str) -> String {
    if format == "text" {
        let quoted = format!("{text:?}");
        return quoted[1..quoted.len() - 1].chars().fold(String::new(), |mut shown, c| {
            match misleads(c) {
                true => write!(shown, "{}", c.escape_default()).expect("a string takes all"),
                false => shown.push(c),
            }
            shown
        });
    }
    let visible = |c: char| if misleads(c) { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(visible).collect()
}

/// The recipients of refusals in the journal; each entry of ours is checked.
fn in_journal(journal: &Path) -> Vec<String> {
    let mut program = Program::new("journalctl");
    let output = CommandOutput::of(
        program.arg("--directory").arg(journal).args(["-o", "json", "--all", "-t", "backstop"]),
    );
    let mut recipients = Vec::new();
    for line in output.stdout.lines() {
        let entry: Value = serde_json::from_str(line).expect("journalctl writes JSON");
        let text = |name: &str| {
            entry.get(name).map(|value| value.as_str().unwrap_or_else(|| panic!("{name}: {line}")))
        };
        let message = text("MESSAGE").expect("each entry has one");
        assert!(!message.chars().any(misleads) && message != "owned", "{message:?}");
        assert_ne!(text("PRIORITY"), Some("0"));
        let ours: BTreeSet<&String> = entry
            .as_object()
            .expect("an object")
            .keys()
            .filter(|name| name.starts_with("BACKSTOP_"))
            .collect();
        if let Some(recipient) = text("BACKSTOP_RECIPIENT") {
            assert!(
                message.starts_with("reject session=") || message.starts_with("defer session="),
                "{message}"
            );
            assert_eq!(text("BACKSTOP_CLIENT"), Some("203.0.113.7"));
            assert!((8..=9).contains(&ours.len()), "{ours:?}");
            recipients.push(recipient.to_owned());
        }
    }
    recipients
}

/// How many refusals a line says were left out.
fn left_out(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once(" left_out=")?;
    rest.split(' ').next()?.parse().ok()
}

fn from(backstop: &Backstop, client: [u8; 4]) -> Mta<std::net::TcpStream> {
    let mut mta = Mta::connect(backstop.milter_port());
    let address = ClientAddress::Inet(client.into(), 4711);
    let _ = mta.send(&Command::Connect(Connect { host: b"mail.elsewhere.test", address }));
    mta.mail();
    mta
}

/// Control characters, and those that change the reading direction or can't be seen (UAX #9).
fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// systemd-journald needs no other part of systemd; where it looks for all is its own here.
const JOURNALD: &str = r#"exec unshare --mount bash -ec '
mount --make-rprivate /
mkdir -p "{journal}"
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal /run/log/journal
mount --bind "{journal}" /run/log/journal
[ -s /etc/machine-id ] || systemd-machine-id-setup
setpriv --pdeathsig TERM /lib/systemd/systemd-journald >/dev/null 2>&1 &
echo $! >"{journal}/pid"
until [ -S /run/systemd/journal/socket ]; do sleep 0.05; done
exec "$@"' bash "$@""#;

const DOCS: &str = include_str!("../../docs/logs.md");

const SOON: Duration = Duration::from_secs(30);
