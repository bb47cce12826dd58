//! What a line of the log costs: `cargo bench --bench log -- [LINES]`, by default two hundred thousand.
//!
//! Prints one table: the time of the line of a refusal by what standard error is (a file, `/dev/null`, a pipe, a socket as
//! systemd has it), and of a line whose level is not written. `LINES --here` writes that many lines to the standard error
//! that is there, for who counts instructions.

use std::{
    fs::File,
    hint::black_box,
    io::{self, Read},
    net::{IpAddr, Ipv4Addr},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use backstop::{
    history::cut,
    readable::Ip,
    telemetry::log::{Config, Log, shown_text},
};
use tracing::{debug, info};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let lines = arguments.iter().find_map(|argument| argument.replace('_', "").parse().ok());
    let lines: u32 = lines.unwrap_or(200_000);
    if arguments.iter().any(|argument| argument == HERE) {
        return here(lines);
    }
    println!("{:>9}  {:>15}  {:>15}", "stderr is", "a refusal", "not written");
    let file = tempfile::tempfile().expect("a file");
    row("a file", lines, file.into());
    row("/dev/null", lines, File::options().write(true).open("/dev/null").expect("it is there").into());
    let (reader, writer) = io::pipe().expect("a pipe");
    read_all(reader);
    row("a pipe", lines, writer.into());
    let (reader, writer) = UnixStream::pair().expect("a socket");
    read_all(reader);
    row("a socket", lines, writer.into());
}

/// Another process, as a log is of one process and its standard error.
fn row(name: &str, lines: u32, stderr: OwnedFd) {
    let program = std::env::current_exe().expect("this program");
    let child = Command::new(program).args([&lines.to_string(), HERE]).stderr(Stdio::from(stderr)).output();
    let output = child.expect("it runs");
    print!("{name:>9}  {}", String::from_utf8_lossy(&output.stdout));
}

fn read_all(mut reader: impl Read + Send + 'static) {
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 20];
        while reader.read(&mut buffer).is_ok_and(|length| length > 0) {}
    });
}

fn here(lines: u32) {
    let _log = Log::start(&Config::default(), Path::new("/")).expect("a log");
    let refused = nanoseconds(lines, refuse);
    let disabled = nanoseconds(lines, |session| debug!(target: "backstop::bench", session, "continue"));
    println!("{refused:>12.0} ns  {disabled:>12.1} ns");
}

fn nanoseconds(lines: u32, line: impl Fn(u64)) -> f64 {
    let begun = Instant::now();
    for session in 0..lines {
        line(black_box(session.into()));
    }
    begun.elapsed().as_secs_f64() * 1e9 / f64::from(lines)
}

/// As a session does it.
fn refuse(session: u64) {
    let client = black_box(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)));
    let (sender, recipient) = (black_box(b"<jo@partner.example>"), black_box(b"<somebody.else@example.org>"));
    let client = Ip::from(client);
    info!(
        target: "backstop::bench",
        message = black_box("reject"),
        session,
        stage = "rcpt",
        reason = "unknown-recipient",
        enforced = black_box(true),
        client = client.as_str(),
        sender = &*shown_text(cut(sender)),
        recipient = &*shown_text(cut(recipient)),
        code = black_box(550_u16),
        wait = black_box(None::<&str>),
    );
}

const HERE: &str = "--here";
