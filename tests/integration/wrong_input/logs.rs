//! `replay` over what is no log, or not a whole one.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};
use std::thread;

use backstop_harness::{CommandOutput, TempDir};

use super::{as_nobody, backstop, each, is_told};
use crate::BACKSTOP;

pub(super) const DATA: i32 = 65;
const NO_INPUT: i32 = 66;
pub(super) const NO_LOG: &str = "no line of Postfix or Sendmail: is it the mail log?";

pub(super) const LINES: &str = "\
2026-11-22T07:27:57+00:00 mx postfix/smtpd[7]: 4bQ1xk0001z: client=unknown[203.0.113.9]
2026-11-22T07:27:58+00:00 mx postfix/local[7]: 4bQ1xk0001z: to=<a@example.test>, relay=local, dsn=2.0.0, status=sent (x)
";

#[test]
fn files_that_are_none() {
    let dir = TempDir::new("wrong");
    dir.write("empty", "");
    dir.write("half", "2026-11-22T07:27:57+00:00 mx postfix/sm");
    dir.write("other", "2026-11-22T07:27:57+00:00 mx kernel: hello\n");
    dir.write("binary", (0..=255_u8).cycle().take(1_000_000).collect::<Vec<u8>>());
    dir.write("long", vec![b'x'; 50_000_000]);
    dir.write("lines", vec![b'\n'; 200_000]);
    dir.write("log", LINES);
    let whole = gzip(LINES.as_bytes());
    dir.write("cut.gz", &whole[..whole.len() - 10]);
    dir.write("header.gz", &whole[..5]);
    dir.write("rubbish.gz", gzip(&(0..=255_u8).cycle().take(1_000_000).collect::<Vec<u8>>()));
    dir.write("broken.gz", [&whole[..15], &[0xff; 100]].concat());
    dir.write("trailer.gz", [&whole[..], b"more"].concat());
    dir.write("bomb.gz", gzip(&vec![0; 100_000_000]));
    dir.write("journal", "__CURSOR=x\nMESSAGE\n\u{ff}\u{ff}");
    symlink(dir.join("loop"), dir.join("loop")).expect("it is made");
    symlink(dir.join("nothing"), dir.join("dangling")).expect("it is made");
    let rows = [
        ("missing", NO_INPUT, "missing: No such file"),
        ("dangling", NO_INPUT, "dangling: No such file"),
        (".", NO_INPUT, "is a directory"),
        ("log/x", NO_INPUT, "Not a directory"),
        ("loop", NO_INPUT, "Too many levels of symbolic links"),
        ("/dev/zero", NO_INPUT, "it is a device, not a log"),
        ("/dev/null", NO_INPUT, "it is a device, not a log"),
        ("empty", DATA, NO_LOG),
        ("half", DATA, NO_LOG),
        ("other", DATA, NO_LOG),
        ("binary", DATA, NO_LOG),
        ("long", DATA, NO_LOG),
        ("lines", DATA, NO_LOG),
        ("rubbish.gz", DATA, NO_LOG),
        ("bomb.gz", DATA, NO_LOG),
        ("cut.gz", DATA, "it is damaged or cut short"),
        ("header.gz", DATA, "it is damaged or cut short"),
        ("broken.gz", DATA, "it is damaged or cut short"),
        ("trailer.gz", DATA, "it is damaged or cut short"),
        ("journal", DATA, "it is damaged or cut short"),
    ];
    each(rows, |(name, status, told)| {
        let path = dir.join(name).display().to_string();
        let args = ["replay", "--config", "/dev/null", &path];
        is_told(name, &args, &CommandOutput::of(&mut backstop(&args)), status, told);
    });
    // One of several is enough, and is told before the others are read.
    let (log, none) = (dir.join("log").display().to_string(), dir.join("none").display().to_string());
    let args = ["replay", "--config", "/dev/null", "-", &log, &none];
    let mut command = backstop(&args);
    let (_waits, input) = std::io::pipe().map(|(reader, writer)| (writer, reader)).expect("a pipe");
    is_told("the last", &args, &CommandOutput::of(command.stdin(input)), NO_INPUT, "none: No such file");
}

/// What is whole counts, and what is not is told of.
#[test]
fn half_lines_and_other_rubbish_between_lines() {
    let long = "x".repeat(1_000_000);
    let (first, second) = LINES.trim_end().split_once('\n').expect("two lines");
    for (log, strange, delivered) in [
        (LINES.to_owned(), 0, 1),
        (format!("alf a line\n{LINES}"), 1, 1),
        (format!("{LINES}2026-11-22T07:27:59+00:00 mx postfix/sm"), 1, 1),
        (format!("{first}\n{long}\n{second}\n"), 1, 1),
        (format!("{first}\n\0\u{1b}\n{}\n\n{second}\n", long.replace('x', "\0")), 3, 1),
        (format!("{first}\n{}", &second[..100]), 0, 0),
        (LINES.replace('\n', "\r\n"), 0, 1),
        (format!("{first} {long}\n{second}, {long}\n"), 0, 1),
    ] {
        let (status, stdout) = piped(&["replay", "--json", "--config", "/dev/null", "-"], log.as_bytes());
        let found: serde_json::Value = serde_json::from_str(&stdout).expect("JSON");
        // Where nothing was delivered, it is not known whom the directories lack.
        let expected = if delivered == 0 { 2 } else { 0 };
        assert_eq!(
            (status, &found["strange"], &found["delivered"]),
            (expected, &strange.into(), &delivered.into()),
            "{log:.200}"
        );
    }
}

#[test]
fn pipes_and_standard_input() {
    let dir = TempDir::new("wrong");
    let fifo = dir.join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("coreutils").success());
    let path = fifo.display().to_string();
    let writer = thread::spawn(move || File::options().write(true).open(fifo)?.write_all(LINES.as_bytes()));
    let output = CommandOutput::of(&mut backstop(&["replay", "--config", "/dev/null", &path]));
    writer.join().expect("it ended").expect("it was read");
    assert!(output.status == 0 && output.stdout.contains("\ndelivered: 1\n"), "{output:?}");
    // Closed, and nothing in it.
    for script in ["exec \"$@\" <&-", "exec \"$@\" </dev/null", "true | \"$@\""] {
        let args = ["replay", "--config", "/dev/null", "-"];
        let mut command = Command::new("bash");
        command.args(["-c", script, "bash", BACKSTOP]).args(args);
        is_told(script, &args, &CommandOutput::of(&mut command), DATA, NO_LOG);
    }
}

#[test]
fn a_log_of_root_s() {
    let dir = TempDir::new("wrong");
    let log = dir.write("mail.log", LINES);
    fs::set_permissions(&log, fs::Permissions::from_mode(0o600)).expect("root may");
    let program = dir.join("program");
    fs::copy(BACKSTOP, &program).expect("there is room");
    let log = log.display().to_string();
    let args = ["replay", "--config", "/dev/null", &log];
    let output = CommandOutput::of(&mut as_nobody(&program, &args));
    is_told("log", &args, &output, 77, "mail.log: Permission denied");
}

/// As gzip(1) makes it.
pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new("gzip").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("gzip");
    let mut stdin = child.stdin.take().expect("it is piped");
    thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(bytes).expect("it reads"));
        child.wait_with_output().expect("it ends").stdout
    })
}

fn piped(args: &[&str], input: &[u8]) -> (i32, String) {
    let mut command = backstop(args);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn();
    let mut child = child.expect("it starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).expect("it reads"));
        let output = child.wait_with_output().expect("it ends");
        (output.status.code().expect("no signal"), String::from_utf8_lossy(&output.stdout).into_owned())
    })
}
