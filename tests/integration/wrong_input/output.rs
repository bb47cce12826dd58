//! Nowhere to write to, and servers to probe that are none.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Stdio};
use std::thread;

use backstop_harness::{CommandOutput, TempDir, free_port};

use super::{ASKING, OTHERS, READING, backstop, each, is_told, logs::LINES};
use crate::{BACKSTOP, site};

const IO: i32 = 74;

/// The full disk: nothing was printed, so nothing went well. What was ordered is done all the same.
#[test]
fn standard_output_that_takes_nothing() {
    let backstop = site::backstop().start();
    let log = backstop.write("log", &LINES.replace("<a@", "<anna@")).display().to_string();
    let config = backstop.path("backstop.toml").display().to_string();
    let sockets = [
        ("BACKSTOP__CONTROL__SOCKET", backstop.path("control.sock")),
        ("BACKSTOP__CONTROL__TRUST_SOCKET", backstop.path("trust.sock")),
    ];
    for args in [["trust", "203.0.113.20"], ["block", "203.0.113.21"], ["suspend", "carl@example.test"]] {
        assert_eq!(backstop.command(&args).status, 0, "there is something to list");
    }
    let run = |args: &[&str], redirect: &str| {
        let args: Vec<&str> = args.iter().map(|arg| if *arg == "/dev/stdin" { &log } else { *arg }).collect();
        let mut command = Command::new("bash");
        command.args(["-c", &format!("exec \"$@\" {redirect}"), "bash", BACKSTOP]).args(&args);
        command.envs(sockets.iter().map(|(name, value)| (*name, value)));
        if !OTHERS.iter().any(|others| others[0] == args[0]) {
            command.args(["--config", &config]);
        }
        CommandOutput::of(&mut command)
    };
    for args in
        ASKING.iter().chain(&READING).chain(&OTHERS).filter(|args| !["serve", "probe"].contains(&args[0]))
    {
        let told = "standard output can't be written: No space left on device";
        is_told("full", args, &run(args, ">/dev/full"), IO, told);
        let json = [args, &["--json"][..]].concat();
        if !["config check", "completions bash", "man"].contains(&args.join(" ").as_str()) {
            is_told("full", &json, &run(&json, ">/dev/full"), IO, told);
        }
        // Where nobody listens nothing has to be said.
        let usual = if ["detect", "enable", "resume", "release"].contains(&args[0]) { 0..=1 } else { 0..=0 };
        for redirect in [">/dev/null", ">&-", ">&- 2>&-", "> >(head -c1 >/dev/null)"] {
            assert!(usual.contains(&run(args, redirect).status), "{args:?} {redirect}");
        }
        // Nor is a failure another one because it can't be told.
        for redirect in ["2>/dev/full", "2>&-", ">/dev/full 2>/dev/full"] {
            let wrong = [args, &["--nonsense"][..]].concat();
            assert_eq!(run(&wrong, redirect).status, 64, "{args:?} {redirect}");
        }
    }
    is_told("full", &["status", "--help"], &run(&["status", "--help"], ">/dev/full"), IO, "standard output");
    let output = run(&["check", "nobody@example.test"], ">/dev/full");
    assert_eq!(output.status, IO, "not the answer that nobody could read");
    let plan = run(&OTHERS[2].iter().copied().chain(["--yes"]).collect::<Vec<_>>(), "2>/dev/full");
    assert_eq!(plan.status, 69, "nothing listens there: {plan:?}");
}

/// Manual pages are the files that a command writes by itself.
#[test]
fn a_directory_that_takes_nothing() {
    let dir = TempDir::new("wrong");
    dir.write("file", "");
    for (name, told) in
        [("missing", "No such file"), ("file", "Not a directory"), ("/proc", "/proc/backstop.1: ")]
    {
        let path = dir.join(name).display().to_string();
        is_told(name, &["man"], &CommandOutput::of(&mut backstop(&["man", &path])), IO, told);
    }
    let script = "mount -t tmpfs -o size=8k none \"$1\" && exec \"$2\" man \"$1\"";
    let mut command = Command::new("unshare");
    command.args(["-m", "bash", "-c", script, "bash"]).arg(dir.mkdir("small")).arg(BACKSTOP);
    is_told("full", &["man"], &CommandOutput::of(&mut command), IO, ".1: No space left on device");
}

/// An order that can't be kept is none: the disk that the store is on is full.
#[test]
fn a_store_that_takes_nothing() {
    let script = "set -- unshare -m bash -ec 'mkdir state; mount -t tmpfs -o size=4m none state; exec \"$@\"' bash \"$@\"";
    let backstop = site::backstop().after(script);
    let path = backstop.path("state");
    let backstop = backstop.env("BACKSTOP__STORE__URL", &format!("embedded:{}", path.display())).start();
    assert_eq!(backstop.command(&["suspend", "anna@example.test"]).status, 0);
    let mut command = Command::new("nsenter");
    let fill = format!("cat /dev/zero >{}/rubbish", path.display());
    command.args(["-m", "-t", &backstop.pid().to_string(), "sh", "-c", &fill]);
    assert!(CommandOutput::of(&mut command).stderr.contains("No space left"));
    let failed = (0..1000).find_map(|number| {
        let args = ["suspend", &format!("user{number}@example.test")];
        let output = backstop.command(&args);
        (output.status != 0).then_some(output)
    });
    let output = failed.expect("no disk takes everything");
    is_told("full", &["suspend"], &output, 69, "No space left on device");
    // It goes on.
    assert_eq!(backstop.command(&["status"]).status, 0);
    assert_eq!(backstop.command(&["check", "anna@example.test"]).status, 1);
    assert_eq!(backstop.command(&["check", "bob@example.test"]).status, 0);
}

/// Those that say something, and not SMTP, are in probe.rs.
#[test]
fn a_server_to_probe_that_is_none() {
    let base = [
        "--domain",
        "example.test",
        "--yes",
        "--rate",
        "6000",
        "--only",
        "reverse-ndr",
        "--only",
        "starttls",
    ];
    let refuses = format!("127.0.0.1:{}", free_port());
    for (host, told) in [("host.invalid", "host.invalid"), (&refuses, "Connection refused")] {
        let args = [&["probe", host], &base[..]].concat();
        is_told("probe", &args, &CommandOutput::of(&mut backstop(&args)), 69, told);
    }
    // Without an end, and what is no TLS.
    let hello = "220 mx\r\n250-mx\r\n250 STARTTLS\r\n220 go\r\n";
    let rows = [
        (String::new(), true, "a line of more than"),
        ("220".to_owned(), true, "a line of more than"),
        (format!("{hello}HTTP/1.1 400 Bad Request\r\n"), false, "says more than it was asked for"),
        ("220 mx\r\n".to_owned(), false, "closed the connection"),
    ];
    each(rows, |(said, is_endless, told)| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let host = format!("127.0.0.1:{}", listener.local_addr().expect("it is bound").port());
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.write_all(said.as_bytes());
                while is_endless && stream.write_all(&[b'2'; 4096]).is_ok() {}
                let _ = stream.read(&mut [0; 1000]);
            }
        });
        let args = [&["probe", &host], &base[..]].concat();
        let output = CommandOutput::of(backstop(&args).stdin(Stdio::null()));
        assert_eq!(output.status, 2, "{told}: {output:?}");
        assert!(
            output.stdout.contains(told) && output.stdout.ends_with("could not find out\n"),
            "{output:?}"
        );
    });
}
