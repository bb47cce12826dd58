//! The permission to trust clients, and no other: what a log-in hook has.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use backstop_harness::{Backstop, CommandOutput, wait_until};

use crate::BACKSTOP;
use crate::mta::Mta;
use crate::site;

/// A group that every Debian has, and that the tests' own user (root) is not in.
const GROUP: &str = "mail";
/// nobody
const UID: &str = "65534";

#[test]
fn a_hook_can_trust_and_nothing_else() {
    let (backstop, program) = with_group();
    let socket = socket(&backstop);
    let found = fs::metadata(&socket).expect("it is there");
    assert_eq!((found.permissions().mode() & 0o777, found.gid()), (0o660, gid(GROUP)));

    let path = socket.to_str().expect("UTF-8");
    let output = as_hook(&program, GROUP, &["trust", "203.0.113.9", "--for", "30m", "--socket", path]);
    assert_eq!(
        (output.status, output.stdout.as_str()),
        (0, "203.0.113.9 is trusted for 30m\n"),
        "{output:?}"
    );
    assert!(backstop.command(&["trusted"]).stdout.starts_with("203.0.113.9  for "));
    assert!(backstop.log().contains("uid=65534"), "who asked is logged: {}", backstop.log());

    // The other socket is closed to it.
    let control = backstop.path("control.sock").display().to_string();
    for command in ["status", "reload", "blocked", "disable", "enable"] {
        let output = as_hook_with(&program, GROUP, &[command], &[("BACKSTOP__CONTROL__SOCKET", &control)]);
        assert_eq!(output.status, 77, "{command}: {output:?}");
        assert!(output.stderr.contains("only root, the user that backstop runs as"), "{output:?}");
    }
    // And this one takes nothing else, whatever is written into it.
    for request in [
        r#"{"command":"status"}"#,
        r#"{"command":"reload","accept":true}"#,
        r#"{"command":"block","client":"203.0.113.9","seconds":60}"#,
        r#"{"command":"release","client":"203.0.113.9"}"#,
        r#"{"command":"suspend","what":"anna@example.test"}"#,
        r#"{"command":"trusted"}"#,
        r#"{"command":"disable"}"#,
        r#"{"command":"enable"}"#,
        r#"{"command":"check","address":"anna@example.test"}"#,
    ] {
        let answer = ask(&socket, request);
        assert_eq!(
            answer.trim_end(),
            r#"{"refused":{"message":"nothing but `trust` is taken at this socket"}}"#
        );
    }
    assert_eq!(backstop.metric("backstop_enabled", &[]), 1.0);
    let trail = "order command=\"disable\" uid=0 user=\"root\" pid=";
    assert!(backstop.log().contains(trail), "what was tried is logged: {}", backstop.log());
    assert!(
        ask(&socket, r#"{"command":"trust","client":"127.0.0.1","seconds":60}"#).contains("this host itself")
    );
    assert!(backstop.command(&["trusted"]).stdout.starts_with("203.0.113.9  for "), "it was not released");
}

/// A hook that was taken over tries whatever it likes, as often as it likes.
#[test]
fn what_a_hook_may_not_fills_no_log() {
    let (backstop, _) = with_group();
    let socket = socket(&backstop);
    let began = Instant::now();
    for number in 0..200 {
        let request = if number % 2 == 0 { r#"{"command":"disable"}"# } else { r#"{"command":"status"}"# };
        assert!(ask(&socket, request).contains("nothing but `trust`"));
        // Nobody reads what is said to it.
        drop(UnixStream::connect(&socket).expect("it listens"));
    }
    let lines = || {
        let log = backstop.log();
        let is_one = |line: &&str| {
            [" order ", "more than to trust", "connection ended"].iter().any(|it| line.contains(it))
        };
        log.lines().filter(is_one).count() as u64
    };
    let most = 21 + began.elapsed().as_secs();
    assert!((20..=most).contains(&lines()), "{}, not {most}", lines());
    wait_until(Duration::from_secs(30), "a line that tells of the rest", || {
        ask(&socket, r#"{"command":"disable"}"#);
        backstop.log().lines().any(|line| line.contains(" order ") && line.contains("left_out="))
    });
}

#[test]
fn whoever_is_not_in_the_group_is_told() {
    let (backstop, program) = with_group();
    let socket = socket(&backstop).display().to_string();
    let output = as_hook(&program, "nogroup", &["trust", "203.0.113.9", "--socket", &socket]);
    assert_eq!(output.status, 77, "{output:?}");
    assert!(output.stderr.contains("the group of control.trust_group may trust clients"), "{output:?}");
    assert_eq!(backstop.command(&["trusted"]).stdout, "");
}

/// The configuration may be where the server's passwords are: a hook need not be able to read it.
#[test]
fn a_hook_needs_no_configuration() {
    let (backstop, program) = with_group();
    let config = backstop.path("backstop.toml");
    fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).expect("root may");
    let config = config.display().to_string();
    let socket = socket(&backstop).display().to_string();
    let output = as_hook(&program, GROUP, &["trust", "203.0.113.9", "--config", &config]);
    assert!(output.status == 77 && output.stderr.contains("Permission denied"), "{output:?}");
    let output =
        as_hook(&program, GROUP, &["trust", "203.0.113.9", "--config", &config, "--socket", &socket]);
    assert_eq!(output.status, 0, "{output:?}");
    let output = as_hook(&program, GROUP, &["trust", "203.0.113.9", "--socket", "/nonexistent/trust.sock"]);
    assert!(output.status == 69 && output.stderr.contains("control.trust_socket"), "{output:?}");
}

#[test]
fn without_a_group_it_is_its_owners_alone_and_it_may_be_left_out() {
    let backstop = site::backstop().start();
    let found = fs::metadata(socket(&backstop)).expect("it is there");
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    assert_eq!(backstop.command(&["trust", "203.0.113.9"]).status, 0);

    let backstop = site::backstop().env("BACKSTOP__CONTROL__TRUST_SOCKET", "").start();
    assert!(!socket(&backstop).exists());
    assert_eq!(backstop.command(&["trust", "203.0.113.9"]).status, 0, "by control.socket");
    assert!(backstop.command(&["trusted"]).stdout.starts_with("203.0.113.9  for "));
}

#[test]
fn a_group_that_is_not_there_is_told() {
    let dir = backstop_harness::TempDir::new("trust");
    let mut command = Command::new("timeout");
    command
        .args(["20", BACKSTOP, "serve", "--config", "/dev/null"])
        .env("BACKSTOP__LISTEN", "[\"inet:127.0.0.1:0\"]")
        .env("BACKSTOP__HTTP__LISTEN", "")
        .env("BACKSTOP__DOMAINS__DETECT", "false")
        .env("BACKSTOP__CONTROL__SOCKET", dir.join("control.sock"))
        .env("BACKSTOP__CONTROL__TRUST_SOCKET", dir.join("trust.sock"))
        .env("BACKSTOP__CONTROL__TRUST_GROUP", "no-such-group");
    let output = CommandOutput::of(&mut command);
    assert_eq!(output.status, 78, "{output:?}");
    assert!(output.stderr.contains("there is no group `no-such-group`"), "{output:?}");
}

/// Lines are bounded, silent clients are cut, and mail goes on.
#[test]
fn a_hook_gone_mad_harms_nothing() {
    let backstop = site::backstop().start();
    let socket = socket(&backstop);
    for garbage in ["garbage", "{}", "\u{0}", &"x".repeat(100_000)] {
        assert!(
            ask(&socket, garbage).starts_with(r#"{"error":{"message":"not a request: "#),
            "{garbage:.20}"
        );
    }
    let silent: Vec<UnixStream> =
        (0..100).map(|_| UnixStream::connect(&socket).expect("the kernel queues it")).collect();
    let mut mta = Mta::connect(backstop.milter_port());
    mta.greet();
    mta.decides();
    assert_eq!(backstop.command(&["status"]).status, 0, "the other socket has places of its own");
    drop(silent);
    wait_until(Duration::from_secs(30), "a place", || {
        backstop.command(&["trust", "203.0.113.9"]).status == 0
    });
    assert!(!backstop.log().contains("panic"), "{}", backstop.log());
}

/// A Backstop whose trust socket is open to [`GROUP`], and its program at a place where others may run it.
fn with_group() -> (Backstop, PathBuf) {
    let builder = site::backstop();
    let program = builder.path("program");
    fs::copy(BACKSTOP, &program).expect("there is room");
    (builder.env("BACKSTOP__CONTROL__TRUST_GROUP", GROUP).start(), program)
}

fn as_hook(program: &Path, group: &str, args: &[&str]) -> CommandOutput {
    as_hook_with(program, group, args, &[])
}

fn as_hook_with(program: &Path, group: &str, args: &[&str], env: &[(&str, &str)]) -> CommandOutput {
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={UID}")).arg(format!("--regid={}", gid(group))).arg("--clear-groups");
    command.arg(program).args(args).envs(env.iter().copied());
    CommandOutput::of(&mut command)
}

/// group(5)
pub(crate) fn gid(group: &str) -> u32 {
    let groups = fs::read_to_string("/etc/group").expect("there are groups");
    let line = groups.lines().find(|line| line.split(':').next() == Some(group)).expect("Debian has it");
    line.split(':').nth(2).and_then(|id| id.parse().ok()).expect("a number")
}

fn socket(backstop: &Backstop) -> PathBuf {
    backstop.path("trust.sock")
}

/// The answer to a line, after the greeting.
fn ask(socket: &Path, line: &str) -> String {
    let stream = UnixStream::connect(socket).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("it is open");
    let mut reader = BufReader::new(&stream);
    let mut greeting = String::new();
    reader.read_line(&mut greeting).expect("it greets");
    // What is too long may be cut before it was taken whole.
    let _ = (&stream).write_all(format!("{line}\n").as_bytes());
    let mut answer = String::new();
    let _ = reader.read_line(&mut answer);
    answer
}
