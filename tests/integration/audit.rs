//! Who may order something over the control socket, and the line that each order leaves in the log.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use backstop_harness::{Backstop, CommandOutput};

use crate::BACKSTOP;
use crate::site;
use crate::trust_socket::gid;

/// Debian's: in no group of its own that matters here.
const GROUP: &str = "mail";
const NOBODY: &str = "65534";

/// One line of one shape, in the order in which docs/operations.md lists the fields.
#[test]
fn every_order_is_one_line() {
    let backstop = site::backstop().start();
    let orders: &[(&[&str], i32, &str)] = &[
        (
            &["trust", "198.51.100.7", "--for", "30m"],
            0,
            r#"command="trust" uid=0 user="root" pid=P what="198.51.100.7" until="T" outcome="done""#,
        ),
        (
            &["block", "2001:db8::9", "--reason", "it \"guesses\""],
            0,
            r#"command="block" uid=0 user="root" pid=P what="2001:db8::/64" until="T" reason="it \"guesses\"" outcome="done""#,
        ),
        (
            &["release", "2001:db8::9"],
            0,
            r#"command="release" uid=0 user="root" pid=P what="2001:db8::/64" outcome="done""#,
        ),
        (
            &["release", "192.0.2.77"],
            1,
            r#"command="release" uid=0 user="root" pid=P what="192.0.2.77" outcome="nothing-to-end""#,
        ),
        (
            &["suspend", "Anna@Example.Test", "--until", "2100-01-01T00:00Z", "--reason", "unpaid"],
            0,
            r#"command="suspend" uid=0 user="root" pid=P what="anna@example.test" until="T" reason="unpaid" outcome="done""#,
        ),
        (
            &["suspend", "nonsense\n@@"],
            64,
            r#"command="suspend" uid=0 user="root" pid=P what="nonsense\n@@" outcome="refused" error="#,
        ),
        (
            &["resume", "anna@example.test"],
            0,
            r#"command="resume" uid=0 user="root" pid=P what="anna@example.test" outcome="done""#,
        ),
        (
            &["disable", "--for", "1h", "--across-restarts", "--reason", "moving"],
            0,
            r#"command="disable" uid=0 user="root" pid=P what="across restarts" until="T" reason="moving" outcome="done""#,
        ),
        (&["enable"], 0, r#"command="enable" uid=0 user="root" pid=P outcome="done""#),
        (&["enable"], 1, r#"command="enable" uid=0 user="root" pid=P outcome="nothing-to-end""#),
        (&["disable"], 0, r#"command="disable" uid=0 user="root" pid=P outcome="done""#),
        (&["reload"], 0, r#"command="reload" uid=0 user="root" pid=P outcome="done""#),
        (
            &["reload", "--accept"],
            0,
            r#"command="reload" uid=0 user="root" pid=P what="accept" outcome="done""#,
        ),
    ];
    for (number, (args, status, expected)) in orders.iter().enumerate() {
        let output = backstop.command(args);
        assert_eq!(output.status, *status, "{args:?}: {output:?}");
        let lines = orders_in(&backstop);
        assert_eq!(lines.len(), number + 1, "{args:?}: {lines:#?}");
        let line = lines.last().expect("there is one");
        assert!(
            line == expected || expected.ends_with('=') && line.starts_with(expected),
            "{line}\n{expected}"
        );
    }
    for args in [&["status"][..], &["check", "anna@example.test"], &["trusted"], &["blocked"], &["suspended"]]
    {
        let _ = backstop.command(args);
    }
    assert_eq!(orders_in(&backstop).len(), orders.len(), "who only asks leaves no line");
}

#[test]
fn a_group_may_be_given_the_control_socket() {
    let (backstop, program) = with(&[("GROUP", GROUP)]);
    let socket = fs::metadata(backstop.path("control.sock")).expect("it is there");
    assert_eq!((socket.permissions().mode() & 0o777, socket.gid()), (0o660, gid(GROUP)));
    let output = as_nobody(&backstop, &program, GROUP, &["disable", "--for", "1h"]);
    assert_eq!(output.status, 0, "{output:?}");
    assert!(backstop.command(&["status"]).stdout.contains(", by nobody\n"));
    let line = orders_in(&backstop).pop().expect("it was ordered");
    assert!(line.starts_with(r#"command="disable" uid=65534 user="nobody" pid=P until="T""#), "{line}");

    let output = as_nobody(&backstop, &program, "nogroup", &["enable"]);
    assert_eq!(output.status, 77, "{output:?}");
    assert!(output.stderr.contains("the group of control.group may talk to it"), "{output:?}");
    // The other socket is none of that group's business.
    let output = as_nobody(&backstop, &program, GROUP, &["trust", "203.0.113.9"]);
    assert_eq!(output.status, 77, "{output:?}");
    assert_eq!(orders_in(&backstop).len(), 1);
}

/// unix(7): who may not write can't connect.
#[test]
fn the_mode_of_the_control_socket_may_be_chosen() {
    let (backstop, program) = with(&[("GROUP", GROUP), ("MODE", "\"0620\"")]);
    let socket = fs::metadata(backstop.path("control.sock")).expect("it is there");
    assert_eq!(socket.permissions().mode() & 0o777, 0o620);
    assert_eq!(as_nobody(&backstop, &program, GROUP, &["status"]).status, 0);

    let (backstop, _) = with(&[("MODE", "\"0600\"")]);
    let socket = fs::metadata(backstop.path("control.sock")).expect("it is there");
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
}

/// A Backstop with these keys of `[control]`, and its program at a place where others may run it.
fn with(keys: &[(&str, &str)]) -> (Backstop, PathBuf) {
    let mut builder = site::backstop();
    let program = builder.path("program");
    fs::copy(BACKSTOP, &program).expect("there is room");
    for (key, value) in keys {
        builder = builder.env(&format!("BACKSTOP__CONTROL__{key}"), value);
    }
    (builder.start(), program)
}

fn as_nobody(backstop: &Backstop, program: &Path, group: &str, args: &[&str]) -> CommandOutput {
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={NOBODY}")).arg(format!("--regid={}", gid(group))).arg("--clear-groups");
    command
        .arg(program)
        .args(args)
        .env("BACKSTOP__CONTROL__SOCKET", backstop.path("control.sock"))
        .env("BACKSTOP__CONTROL__TRUST_SOCKET", backstop.path("trust.sock"));
    CommandOutput::of(&mut command)
}

/// What the lines of all orders say, without times and the numbers of processes.
fn orders_in(backstop: &Backstop) -> Vec<String> {
    let log = backstop.log();
    let lines = log.lines().filter_map(|line| line.split_once(" INFO order ").map(|(_, fields)| fields));
    lines
        .map(|fields| {
            let pid = after(fields, "pid=", " ");
            assert!(pid.parse::<u32>().is_ok_and(|pid| pid > 1), "{fields}");
            let fields = fields.replacen(&format!("pid={pid}"), "pid=P", 1);
            if !fields.contains("until=\"") {
                return fields;
            }
            let until = after(&fields, "until=\"", "\"").to_owned();
            assert!(until.parse::<jiff::Timestamp>().is_ok(), "{fields}");
            fields.replacen(&format!("until=\"{until}\""), "until=\"T\"", 1)
        })
        .collect()
}

fn after<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(begin).unwrap_or_else(|| panic!("no {begin} in {text}"));
    rest.split_once(end).map_or(rest, |(value, _)| value)
}
