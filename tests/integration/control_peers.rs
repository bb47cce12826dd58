//! The control socket where the other side is not as expected: gone, only just starting, or of another version.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::Duration;

use backstop_harness::{Backstop, CommandOutput, Signal, TempDir, wait_until};

use crate::BACKSTOP;
use crate::mta::Mta;
use crate::site;

/// After a kill -9 the socket's file is still there: commands say that nobody answers, and the next start takes its place.
#[test]
fn a_socket_that_was_left_behind_is_in_nobodys_way() {
    let dir = TempDir::new("left");
    let path = dir.join("control.sock");
    let start = || site::backstop().env("BACKSTOP__CONTROL__SOCKET", &path.display().to_string()).start();
    let mut backstop = start();
    backstop.signal(Signal::KILL);
    let _ = backstop.wait_exit();
    assert!(path.exists(), "kill -9 leaves it there");
    let output = backstop.command(&["status"]);
    assert_eq!(output.status, UNAVAILABLE, "{output:?}");
    for part in [&format!("no server answers at {}", path.display()), "Connection refused", "start it"] {
        assert!(output.stderr.contains(part), "{part}: {output:?}");
    }
    let next = start();
    let status = next.command(&["status"]).stdout;
    assert!(status.contains(&format!("process {}, ", next.pid())), "{status}");
    assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
    assert_eq!(next.command(&["reload"]).stdout, "applied\n");
}

/// It reads a long list yet: a signal and a command that come meanwhile are carried out when it can.
#[test]
fn a_reload_right_at_the_start_is_not_lost() {
    let many: String = (0..50_000).map(|number| format!("user{number}@example.test\n")).collect();
    let builder = site::backstop().file("addresses", &format!("anna@example.test\n{many}"));
    let backstop = builder
        .after(
            "( until grep -q 'backstop starts' log; do :; done; kill -HUP $$; kill -HUP $$\n\
               until [ -S control.sock ]; do :; done; \"$1\" reload --config backstop.toml > reloaded 2>&1 ) &",
        )
        .start();
    let reloaded = || fs::read_to_string(backstop.path("reloaded")).unwrap_or_default();
    wait_until(SOON, "the command to end", || reloaded() == "applied\n");
    // Signals of one kind that wait are one (signal(7)).
    wait_until(SOON, "the signal's reload", || {
        backstop.metric("backstop_reloads_total", &[("outcome", "applied")]) >= 2.0
    });
    let mut mta = Mta::connect(backstop.milter_port());
    mta.greet();
    mta.decides();
}

/// After an update the old server runs on, or an old command is still about.
#[test]
fn another_version_says_so_and_what_to_do() {
    let here = env!("CARGO_PKG_VERSION");
    let dir = TempDir::new("other");
    for (name, greeting, told) in [
        (
            "newer",
            r#"{"backstop":"9.8.7","protocol":2}"#,
            &[
                "version 9.8.7 and speaks protocol 2",
                here,
                "restart the server, or use the command that came",
            ][..],
        ),
        ("richer", r#"{"backstop":"9.8.7","protocol":2,"more":["x"]}"#, &["version 9.8.7"]),
        ("stranger", "220 mx.example.test ESMTP", &["is not a backstop that this command can talk to"]),
    ] {
        let path = dir.join(name);
        let listener = UnixListener::bind(&path).expect("a new path");
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a command comes");
            writeln!(stream, "{greeting}").expect("it reads");
            let mut asked = String::new();
            let _ = BufReader::new(stream).read_line(&mut asked);
            asked
        });
        let mut command = std::process::Command::new(BACKSTOP);
        command.args(["disable", "--for", "1h"]).env("BACKSTOP__CONTROL__SOCKET", &path);
        let output = CommandOutput::of(&mut command);
        assert_eq!(output.status, UNAVAILABLE, "{name}: {output:?}");
        for part in told {
            assert!(output.stderr.contains(part), "{name}: {part}: {output:?}");
        }
        assert_eq!(output.stderr.matches("restart the server").count(), 1, "{output:?}");
        assert_eq!(server.join().expect("it ends"), "", "{name}: who is not understood is given no order");
    }
}

/// The same protocol, and a command or an option that the server does not know yet.
#[test]
fn an_order_of_a_later_version_is_refused_with_what_to_do() {
    let backstop = site::backstop().start();
    for request in [r#"{"command":"vanish"}"#, r#"{"command":"reload","accept":false,"quickly":true}"#] {
        let told = ask(&backstop, request);
        assert!(told.contains("not a request: unknown "), "{told}");
        let advice = "if the command is of another version, restart the server";
        assert!(told.contains(env!("CARGO_PKG_VERSION")) && told.contains(advice), "{told}");
    }
    assert_eq!(backstop.metric("backstop_reloads_total", &[("outcome", "applied")]), 0.0);
}

fn ask(backstop: &Backstop, request: &str) -> String {
    let stream = UnixStream::connect(backstop.path("control.sock")).expect("it listens");
    stream.set_read_timeout(Some(SOON)).expect("it is open");
    let mut connection = BufReader::new(stream);
    let mut line = String::new();
    connection.read_line(&mut line).expect("it greets");
    connection.get_mut().write_all(format!("{request}\n").as_bytes()).expect("it reads");
    line.clear();
    connection.read_line(&mut line).expect("it answers");
    line
}

/// EX_UNAVAILABLE of sysexits.h.
const UNAVAILABLE: i32 = 69;
const SOON: Duration = Duration::from_secs(30);
