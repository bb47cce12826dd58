//! What is no command line.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use backstop_harness::CommandOutput;

use super::{all, backstop, each, is_told, words};

const USAGE: i32 = 64;

#[test]
fn what_no_command_takes() {
    each(all(), |args| {
        for (what, more) in [("unknown option", "--nonsense"), ("surplus argument", "surplus")] {
            if words(args) == ["replay"] || words(args) == ["man"] && more == "surplus" {
                continue; // they take any number of files, and a directory
            }
            let args = [args, &[more]].concat();
            let told = if more == "surplus" { "unexpected argument 'surplus'" } else { more };
            is_told(what, &args, &CommandOutput::of(&mut backstop(&args)), USAGE, told);
        }
    });
    let needing =
        ["check", "trust", "block", "release", "suspend", "resume", "replay", "probe", "completions"];
    each(needing, |command| {
        let output = CommandOutput::of(&mut backstop(&[command]));
        is_told("missing argument", &[command], &output, USAGE, "required arguments were not provided");
    });
    let output = CommandOutput::of(&mut backstop(&["chekc", "anna@example.test"]));
    is_told("unknown command", &["chekc"], &output, USAGE, "'check'");
}

/// Nobody is asked before the arguments make sense: there is no server here.
#[test]
fn values_that_are_none() {
    const IP: &str = "an IP address is needed, such as 192.0.2.1";
    const DURATION: &str = "a duration is written like 90s, 30m, 1h 30m or 2d";
    const MOMENT: &str = "a time is written like 2026-12-31";
    const PROBE: [&str; 4] = ["probe", "mx.example.test", "--domain", "example.test"];
    let long = "x".repeat(130_000);
    let rows: Vec<(Vec<&str>, &str)> = [
        (&["check", "a@example.test", "--client", "192.0.2.256"][..], "--client"),
        (&["check", "a@example.test", "--client", "mx.example.test"], "--client"),
        (&["check", ""], "the address is empty"),
        (&["trust", "300.0.0.1"], "'300.0.0.1'"),
        (&["trust", ""], "IP"),
        (&["trust", "192.0.2.1", "--for", "soon"], DURATION),
        (&["trust", "192.0.2.1", "--for", "0s"], "a second is the least"),
        (&["block", "mail.example.org"], IP),
        (&["block", "192.0.2.0/24"], "whole networks belong into client.denied"),
        (&["block", "fe80::1%eth0"], IP),
        (&["block", "192.0.2.1", "--for", "-5m"], "'-5' found"),
        (&["block", "192.0.2.1", "--for", "99999999999999999999s"], DURATION),
        (&["release", "192.0.2"], IP),
        (&["disable", "--for", "1 month"], DURATION),
        (&["disable", "--for"], "--for"),
        (&["suspend", "a@example.test", "--until", "tomorrow"], MOMENT),
        (&["suspend", "a@example.test", "--until", "2026-13-01"], MOMENT),
        (&["suspend", "a@example.test", "--until", "2030-01-01", "--for", "1h"], "cannot be used with"),
        (&["report", "--since", "yesterday"], DURATION),
        (&["report", "--top", "many"], "--top"),
        (&["report", "--top", "-1"], "'-1' found"),
        (&["replay", "--top", "1.5", "/dev/null"], "--top"),
        (&["replay", "--top", "99999999999999999999999", "/dev/null"], "--top"),
        (&["completions", "cmd.exe"], "possible values: bash"),
        (&["config"], "requires a subcommand"),
        (&["config", "chekc"], "'check'"),
        (&["probe", "a b", "--domain", "example.test"], "write HOST, HOST:PORT or [IPv6]:PORT"),
        (&["probe", "mx.example.test:smtp", "--domain", "example.test"], "the port is no number"),
        (&["probe", "mx.example.test"], "--domain"),
        (&["probe", "mx.example.test", "--domain", "exa mple"], "--domain"),
        // nothing that somebody else wrote steers the terminal, or fills it
        (&["trust", "a\u{1b}]0;x\u{7}b\u{202e}"], r"b\u{202e}"),
        (&["block", "1\r\n2"], r"1\r"),
        (&["block", &long], IP),
        (&["nonsense\u{1b}[2J"], "nonsense"),
    ]
    .into_iter()
    .map(|(args, told)| (args.to_vec(), told))
    .chain([
        ([&PROBE[..], &["--rate", "0"]].concat(), "--rate"),
        ([&PROBE[..], &["--guesses", "1000"]].concat(), "--guesses"),
        ([&PROBE[..], &["--sink", "25"]].concat(), "--sink"),
        ([&PROBE[..], &["--source", "mx"]].concat(), "--source"),
        ([&PROBE[..], &["--known", "nobody"]].concat(), "--known"),
        ([&PROBE[..], &["--wait", "long"]].concat(), DURATION),
    ])
    .collect();
    each(rows, |(args, told)| {
        is_told("value", &args, &CommandOutput::of(&mut backstop(&args)), USAGE, told);
    });
}

#[test]
fn arguments_that_are_no_text() {
    each(
        all().filter(|args| args.len() > 1 && !["config", "replay", "completions"].contains(&args[0])),
        |args| {
            let mut command = backstop(&words(args));
            command.arg(OsStr::from_bytes(b"a\xff\x1b@example.test"));
            is_told("not UTF-8", args, &CommandOutput::of(&mut command), USAGE, "invalid UTF-8");
        },
    );
    // A name of a file may be any bytes.
    let mut command = backstop(&["replay", "--config", "/dev/null"]);
    command.arg(OsStr::from_bytes(b"/nowhere/\xff\x1b"));
    is_told(
        "a file",
        &["replay"],
        &CommandOutput::of(&mut command),
        66,
        "/nowhere/\u{fffd}\\u{1b}: No such file",
    );
}
