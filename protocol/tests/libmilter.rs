//! The original is the judge: the same scripts are played to a filter on libmilter (`libmilter_filter.c`, compiled here) and to
//! the same filter on a `Session`, and everything that they reply is compared.
//!
//! Where they differ on purpose, `docs/libmilter-differences.md` says so, with both transcripts and the reason; this test
//! reads that table, and fails for a difference that is not in it, for one that is gone, and for one that has changed.
//!
//! A script is written at once, and the writing side is closed: what comes back until the end is the transcript, so
//! nothing here waits for a time.

#![cfg(test)]

use std::collections::BTreeMap;
use std::env::temp_dir;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use milter_protocol::client::Client;
use milter_protocol::frame::next_frame;
use milter_protocol::negotiation::Wanted;
use milter_protocol::reply::Reply;

use crate::filter::serve;
use crate::scripts::{Script, Step, scripts};

#[path = "libmilter/filter.rs"]
mod filter;
#[path = "libmilter/scripts.rs"]
mod scripts;

#[test]
fn replies_are_those_of_libmilter() {
    let directory = Directory::new();
    let filter = compile(&directory.0);
    let mut found = BTreeMap::new();
    let scripts = scripts();
    for script in &scripts {
        let theirs = {
            let socket = directory.0.join(format!("{}.libmilter", script.name));
            let _running = Libmilter::start(&filter, &socket, script);
            play(script, &socket)
        };
        let ours = {
            let socket = directory.0.join(format!("{}.session", script.name));
            let listener = UnixListener::bind(&socket).unwrap();
            let wanted = Wanted::new(script.actions, script.steps).unwrap();
            let server = thread::spawn(move || serve(listener.accept().unwrap().0, wanted));
            let transcript = play(script, &socket);
            server.join().unwrap();
            transcript
        };
        println!("{:28} {theirs}", script.name);
        if theirs != ours {
            println!("{:28} {ours}   <- ours", "");
            found.insert(script.name.to_owned(), (theirs, ours));
        }
    }
    assert_eq!(scripts.len(), scripts.iter().map(|s| (s.name, ())).collect::<BTreeMap<_, _>>().len());
    assert_eq!(found, documented(), "left: found now; right: docs/libmilter-differences.md");
}

/// Plays a script. The transcript: each reply's byte, with what is in it in parentheses.
fn play(script: &Script, socket: &Path) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut client = Client::new(script.offer);
    let mut output = BytesMut::new();
    client.negotiate(&mut output);
    stream.write_all(&output).unwrap();
    let mut replies = Vec::new();
    let mut transcript = String::new();
    while transcript.is_empty() {
        if !read_some(&mut stream, &mut replies) {
            return "(closed)".to_owned();
        }
        let mut input = &replies[..];
        if let Some(reply) = client.receive(&mut input).unwrap() {
            transcript = describe(&reply);
            assert!(input.is_empty(), "more than the answer to the offer");
        }
    }
    replies.clear();
    output.clear();
    for step in &script.commands {
        match step {
            Step::Send(command) => drop(client.send(command, None, &mut output)),
            Step::With(macros, command) => drop(client.send(command, Some(macros), &mut output)),
            Step::Raw(bytes) => output.extend_from_slice(bytes),
        }
    }
    // Who closes before it has read everything breaks the pipe; what it had replied can still be read.
    match stream.write_all(&output).and_then(|()| stream.shutdown(Shutdown::Write)) {
        Err(error) if !matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::NotConnected) => {
            panic!("{error}")
        }
        _ => {}
    }
    while read_some(&mut stream, &mut replies) {}
    let mut input = &replies[..];
    while let Some(frame) = next_frame(&mut input, 1 << 20).unwrap() {
        transcript.push(' ');
        transcript.push_str(&describe(&Reply::parse(frame).unwrap()));
    }
    assert!(input.is_empty(), "half a reply");
    transcript
}

/// `false`: closed.
fn read_some(stream: &mut UnixStream, bytes: &mut Vec<u8>) -> bool {
    let mut chunk = [0; 4096];
    match stream.read(&mut chunk) {
        Ok(0) => false,
        Ok(length) => {
            bytes.extend_from_slice(&chunk[..length]);
            true
        }
        Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
        Err(error) => panic!("no reply and no end: {error}"),
    }
}

fn describe(reply: &Reply<'_>) -> String {
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    match reply {
        Reply::Negotiate(o) => {
            format!("O({} {:x} {:x}{})", o.version, o.actions.0, o.steps.0, text(o.macros))
        }
        Reply::ReplyCode(bytes) => format!("y({})", text(bytes)),
        Reply::Modify(_) => {
            let mut output = BytesMut::new();
            reply.encode(&mut output);
            format!("{}({})", char::from(reply.code()), text(&output[5..]))
        }
        _ => char::from(reply.code()).to_string(),
    }
}

/// The table of the documentation: script, what libmilter replies, what we reply.
fn documented() -> BTreeMap<String, (String, String)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/libmilter-differences.md");
    let text = fs::read_to_string(path).unwrap_or_default();
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.map(|line| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, name, theirs, ours, why, _] = cells[..] else { panic!("not four columns: {line}") };
        assert!(!why.is_empty(), "no reason: {line}");
        let code = |cell: &str| cell.trim_matches('`').to_owned();
        (code(name), (code(theirs), code(ours)))
    })
    .collect()
}

/// Compiles the C filter.
fn compile(directory: &Path) -> PathBuf {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/libmilter_filter.c");
    assert!(
        Path::new("/usr/include/libmilter/mfapi.h").exists(),
        "this test compares with libmilter: install it (Debian: apt-get install libmilter-dev)"
    );
    let program = directory.join("filter");
    let compiler =
        Process::new("cc").arg("-o").arg(&program).args([source, "-lmilter", "-lpthread"]).output();
    let output =
        compiler.expect("this test needs a C compiler named cc (Debian: apt-get install gcc libc6-dev)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    program
}

/// The C filter at work; ends with the value.
struct Libmilter(Child);

impl Libmilter {
    fn start(program: &Path, socket: &Path, script: &Script) -> Libmilter {
        let mut process = Process::new(program);
        process.arg(format!("local:{}", socket.display()));
        process.args([format!("{:x}", script.actions.0), format!("{:x}", script.steps.0)]);
        let child = process.stdin(Stdio::null()).spawn().unwrap();
        let mut running = Libmilter(child);
        let start = Instant::now();
        // It says nothing when it is ready: try until it takes a connection, which is closed at once.
        while let Err(error) = UnixStream::connect(socket) {
            assert!(start.elapsed() < DEADLINE, "{error}");
            assert!(running.0.try_wait().unwrap().is_none(), "the libmilter filter has ended");
            thread::sleep(Duration::from_millis(2));
        }
        running
    }
}

impl Drop for Libmilter {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        let path = temp_dir().join(format!("milter-protocol-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const DEADLINE: Duration = Duration::from_secs(20);
