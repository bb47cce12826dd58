//! No server, one that hangs, something else in its place, and one that must not be asked.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use backstop_harness::{CommandOutput, TempDir};
use socket2::{Domain, SockAddr, Socket, Type};

use super::{ASKING, as_nobody, backstop, each, is_told};
use crate::{BACKSTOP, site};

const UNAVAILABLE: i32 = 69;
const GREETING: &str = "{\"backstop\":\"0.1.0\",\"protocol\":1}\n";

#[test]
fn no_server() {
    let dir = TempDir::new("wrong");
    dir.write("file", "");
    dir.mkdir("directory");
    symlink(dir.join("loop"), dir.join("loop")).expect("it is made");
    symlink(dir.join("nothing"), dir.join("dangling")).expect("it is made");
    drop(UnixListener::bind(dir.join("left")).expect("it is bound"));
    let long = format!("{}/x", "x".repeat(120));
    let rows = [
        ("missing", "No such file"),
        ("file", "Connection refused"),
        ("directory", "Connection refused"),
        ("left", "Connection refused"),
        ("dangling", "No such file"),
        ("loop", "Too many levels of symbolic links"),
        ("file/x", "Not a directory"),
        (&long, "SUN_LEN"),
    ];
    each(rows, |(name, told)| {
        for args in ASKING {
            let output = ask(&dir.join(name), args);
            is_told(name, args, &output, UNAVAILABLE, told);
            assert!(output.stderr.contains("no server answers at "), "{output:?}");
        }
    });
}

/// One line is answered: `None`, the greeting is another; `Some`, the greeting is right.
#[test]
fn something_else_listens() {
    let dir = TempDir::new("wrong");
    let endless = "x".repeat(17 * 1024 * 1024);
    let rows: Vec<(&str, String, &str)> = [
        ("closes", "", "it closed the connection"),
        ("half", "{\"backstop\":\"0.1", "it closed the connection"),
        ("rubbish", "220 mx.example.test ESMTP\n", "not a backstop that this command can talk to"),
        ("binary", "\u{1b}\0\u{ff}\n", "not a backstop that this command can talk to"),
        ("list", "[[[[[[[[1]]]]]]]]\n", "not a backstop that this command can talk to"),
        ("version", "{\"backstop\":\"9\\u001b[2J\",\"protocol\":2}\n", "speaks protocol 2"),
        ("endless", &endless, "a line of more than 16777216 bytes"),
    ]
    .into_iter()
    .map(|(name, said, told)| (name, said.to_owned(), told))
    .chain(
        [
            ("greets", "", "it closed the connection"),
            ("mumbles", "what?\n", "not a backstop that this command can talk to"),
            ("deep", &format!("{}\n", "[".repeat(100_000)), "not a backstop that this command can talk to"),
            ("errs", "{\"error\":{\"message\":\"the store is \\u001baway\"}}\n", r"the store is \u{1b}away"),
        ]
        .into_iter()
        .map(|(name, said, told)| (name, format!("{GREETING}{said}"), told)),
    )
    .collect();
    each(rows, |(name, said, told)| {
        let path = dir.join(name);
        let listener = UnixListener::bind(&path).expect("it is bound");
        thread::spawn(move || listener.incoming().flatten().for_each(|stream| say(stream, &said)));
        for args in ASKING {
            is_told(name, args, &ask(&path, args), UNAVAILABLE, told);
        }
    });
    // A reply to another question.
    let path = dir.join("other");
    let listener = UnixListener::bind(&path).expect("it is bound");
    let other = "{\"switched\":{\"disabled\":null,\"before\":true}}\n";
    thread::spawn(move || {
        listener.incoming().flatten().for_each(|stream| say(stream, &format!("{GREETING}{other}")));
    });
    let output = ask(&path, &["status"]);
    assert_eq!(output.status, 70, "{output:?}");
    assert_eq!(output.stderr, "backstop: the server answered something else\n");
}

/// It takes no connection, or says nothing, or trickles: no command waits for ever, and a log-in hook not long.
#[test]
fn a_server_that_hangs() {
    let dir = TempDir::new("wrong");
    let listen = |name: &str| UnixListener::bind(dir.join(name)).expect("it is bound");
    // listen(2): a queue that is full.
    let stopped = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
    stopped.bind(&SockAddr::unix(dir.join("stopped")).expect("short")).expect("it is bound");
    stopped.listen(0).expect("it listens");
    let _waiting = UnixStream::connect(dir.join("stopped")).expect("the kernel queues one");
    let _silent = listen("silent");
    let trickles = listen("trickles");
    thread::spawn(move || {
        for mut stream in trickles.incoming().flatten() {
            thread::spawn(move || {
                while stream.write_all(b" ").is_ok() {
                    thread::park_timeout(Duration::from_millis(100));
                }
            });
        }
    });
    let greets = listen("greets");
    thread::spawn(move || {
        let streams = greets.incoming().flatten().map(|mut stream| {
            let _ = stream.write_all(GREETING.as_bytes());
            stream
        });
        streams.collect::<Vec<_>>()
    });
    let rows = ["stopped", "silent", "trickles"].into_iter().flat_map(|name| ASKING.map(|args| (name, args)));
    let last = [("greets", ASKING[6])];
    let began = Instant::now();
    each(rows.chain(last), |(name, args)| {
        let output = ask(&dir.join(name), args);
        is_told(name, args, &output, UNAVAILABLE, "nothing came within 5 s");
    });
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn a_server_that_others_may_not_ask() {
    let builder = site::backstop();
    let program = builder.path("program");
    fs::copy(BACKSTOP, &program).expect("there is room");
    let backstop = builder.start();
    let config = backstop.path("backstop.toml").display().to_string();
    each(ASKING, |args| {
        let all = [args, &["--config", &config]].concat();
        let mut command = as_nobody(&program, &all);
        command
            .env("BACKSTOP__CONTROL__SOCKET", backstop.path("control.sock"))
            .env("BACKSTOP__CONTROL__TRUST_SOCKET", backstop.path("trust.sock"));
        let output = CommandOutput::of(&mut command);
        is_told(
            "permission",
            args,
            &output,
            77,
            "only root, the user that backstop runs as and the group of",
        );
    });
    assert_eq!(backstop.metric("backstop_enabled", &[]), 1.0);
    assert_eq!(backstop.command(&["suspended"]).stdout, "");
}

/// What the server, and not the command line, finds wrong; and what is wrong, and yet an answer.
#[test]
fn what_the_server_refuses() {
    let backstop = site::backstop().start();
    let long = format!("{}@example.test", "\u{1}".repeat(120_000));
    let texts = [["--reason", &long], ["--text", &long]].concat();
    for (args, status, told) in [
        (&["suspend", "nobody"][..], 64, "nobody"),
        (&["suspend", "a b@example.test"], 64, "a b@example.test"),
        (&["suspend", "@"], 64, "@"),
        (&["suspend", "a\u{1b}[2J@example.test"], 64, r"\u{1b}"),
        (&["suspend", "anna@example.test", "--until", "2001-01-01"], 64, ""),
        (&["suspend", "anna@example.test", "--text", "\u{7}"], 64, "ASCII"),
        (&["suspend", &long], 64, ""),
        (&[&["suspend", "anna@example.test"][..], &texts].concat(), 64, "the server takes 1048576 bytes"),
        (&["suspend", "anna@example.test", "--reason", &"é".repeat(60_000)], 64, ""),
        (&["resume", "nobody"], 64, "nobody"),
        (&["check", ""], 64, "the address is empty"),
        (&["block", "127.0.0.1", "--for", "400d"], 64, ""),
        (&["block", "203.0.113.9", "--reason", &"x".repeat(120_000)], 64, ""),
        (&["trust", "127.0.0.1"], 64, "this host itself"),
        (&["trust", "203.0.113.9", "--for", "400d"], 64, ""),
        (&["disable", "--for", "4000d"], 64, ""),
        (&["disable", "--reason", &"x".repeat(120_000)], 64, ""),
    ] {
        is_told("refused", args, &backstop.command(args), status, told);
    }
    assert_eq!(backstop.command(&["suspended"]).stdout, "", "nothing of it was done");
    assert_eq!(backstop.command(&["blocked"]).stdout, "");
    assert_eq!(backstop.metric("backstop_enabled", &[]), 1.0);
    for address in ["@", "a@", &long, "a\u{1b}@example.test", "<a@example.test", "a@exa mple.test", "a@-.-"] {
        let [online, offline] = [&[][..], &["--offline"]].map(|more| {
            let output = backstop.command(&[&["check"][..], more, &[address]].concat());
            assert!(!output.stdout.contains(|c: char| c.is_control() && c != '\n'), "{address:.20?}");
            (output.status, output.stdout.lines().last().map(str::to_owned), output.stderr)
        });
        assert_eq!(online, offline, "{address:.20?}");
        assert!([0, 1].contains(&online.0), "{address:.20?}: {online:?}");
    }
}

fn ask(socket: &Path, args: &[&str]) -> CommandOutput {
    let mut command = backstop(&[args, &["--config", "/dev/null"]].concat());
    command.env("BACKSTOP__CONTROL__SOCKET", socket).env("BACKSTOP__CONTROL__TRUST_SOCKET", socket);
    CommandOutput::of(&mut command)
}

/// Says it, and reads what is asked before it goes, so that nothing is lost.
fn say(mut stream: UnixStream, said: &str) {
    let _ = stream.write_all(said.as_bytes());
    if said.starts_with(GREETING) {
        let _ = BufReader::new(stream).read_line(&mut String::new());
    }
}
