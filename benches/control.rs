//! How long a command waits for its answer while every CPU is busy with mail: `cargo bench --bench control -- [SESSIONS…]`, by
//! default with 2, 32 and 500 sessions.
//!
//! Each session is an MTA that waits for every answer, as Postfix and Sendmail do, and asks for the next recipient at once: one
//! in two is unknown. Each command comes on a connection of its own, as the program makes it. Prints, for no session and for
//! each number, the median, the 99th of a hundred and the longest; and how busy the machine was.

use std::{
    error::Error,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpStream},
    os::unix::net::UnixStream,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use backstop_harness::{Backstop, wait_until};
use bytes::BytesMut;
use milter_protocol::{
    client::{Client, Expect},
    command::{CStrings, ClientAddress, Command, Connect, Mail, Rcpt},
    negotiation::CURRENT_OFFER,
};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Result<()> {
    let counts = std::env::args().skip(1).filter_map(|argument| argument.replace('_', "").parse().ok());
    let mut counts: Vec<usize> = counts.collect();
    if counts.is_empty() {
        counts = vec![2, 32, 500];
    }
    let backstop = Backstop::builder(env!("CARGO_BIN_EXE_backstop"));
    let backstop = backstop.file("people", "anna@example.test\n").config(CONFIG).start();
    println!(
        "{:>8}  {:8} {:>9} {:>9} {:>9}   the machine",
        "sessions", "command", "median", "99 %", "longest"
    );
    row(&backstop, 0)?;
    counts.into_iter().try_for_each(|count| row(&backstop, count))
}

fn row(backstop: &Backstop, sessions: usize) -> Result<()> {
    let (stop, recipients) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..sessions {
            scope
                .spawn(|| keep_busy(backstop.milter_port(), &stop, &recipients).expect("the server answers"));
        }
        let flows = || sessions == 0 || recipients.load(Ordering::Relaxed) > 1000;
        wait_until(SOON, "mail to flow", flows);
        let (begun, unused_before, before) = (Instant::now(), unused(), recipients.load(Ordering::Relaxed));
        let times =
            COMMANDS.map(|(name, request)| (name, measure(backstop, request).expect("the server answers")));
        let seconds = begun.elapsed().as_secs_f64();
        let cpus = thread::available_parallelism().map_or(1.0, |cpus| cpus.get() as f64);
        let busy = 100.0 - 100.0 * (unused() - unused_before) as f64 / TICKS / seconds / cpus;
        let rate = (recipients.load(Ordering::Relaxed) - before) as f64 / seconds;
        for (name, times) in times {
            let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| quantile(&times, share));
            println!(
                "{sessions:>8}  {name:8} {p50:>9.2?} {p99:>9.2?} {max:>9.2?}   {busy:.0} % busy, {rate:.0} recipients/s"
            );
        }
        stop.store(true, Ordering::Relaxed);
    });
    Ok(())
}

/// An MTA, until `stop`.
fn keep_busy(port: u16, stop: &AtomicBool, recipients: &AtomicU64) -> Result<()> {
    let mut mta = Mta::connect(port)?;
    let none = CStrings::default;
    let address = ClientAddress::Inet(Ipv4Addr::LOCALHOST, 4711);
    mta.tell(&Command::Connect(Connect { host: b"localhost", address }))?;
    mta.tell(&Command::Helo(b"localhost"))?;
    while !stop.load(Ordering::Relaxed) {
        mta.tell(&Command::Mail(Mail { address: b"<sender@elsewhere.test>", parameters: none() }))?;
        mta.tell(&Command::Rcpt(Rcpt { address: b"<anna@example.test>", parameters: none() }))?;
        mta.tell(&Command::Rcpt(Rcpt { address: b"<nobody@example.test>", parameters: none() }))?;
        mta.tell(&Command::Abort)?;
        recipients.fetch_add(2, Ordering::Relaxed);
    }
    Ok(())
}

struct Mta {
    client: Client,
    stream: BufReader<TcpStream>,
    output: BytesMut,
    frame: Vec<u8>,
}

impl Mta {
    fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        let stream = BufReader::new(stream);
        let mut mta =
            Self { client: Client::new(CURRENT_OFFER), stream, output: BytesMut::new(), frame: Vec::new() };
        mta.client.negotiate(&mut mta.output);
        mta.stream.get_mut().write_all(&mta.output)?;
        mta.receive()?;
        Ok(mta)
    }

    /// Sends it, and waits for the answer.
    fn tell(&mut self, command: &Command<'_>) -> Result<()> {
        self.output.clear();
        let expect = self.client.send(command, Some(&[]), &mut self.output);
        self.stream.get_mut().write_all(&self.output)?;
        if expect == Expect::Reply { self.receive() } else { Ok(()) }
    }

    fn receive(&mut self) -> Result<()> {
        self.frame.resize(4, 0);
        self.stream.read_exact(&mut self.frame)?;
        let length = u32::from_be_bytes([self.frame[0], self.frame[1], self.frame[2], self.frame[3]]);
        self.frame.resize(4 + usize::try_from(length)?, 0);
        self.stream.read_exact(&mut self.frame[4..])?;
        self.client.receive(&mut &self.frame[..])?.map(drop).ok_or_else(|| "half a reply".into())
    }
}

/// How long each took, sorted.
fn measure(backstop: &Backstop, request: &str) -> Result<Vec<Duration>> {
    let path = backstop.path("control.sock");
    let mut times = Vec::new();
    for _ in 0..SAMPLES {
        let begun = Instant::now();
        let mut connection = BufReader::new(UnixStream::connect(&path)?);
        let mut line = String::new();
        connection.read_line(&mut line)?;
        connection.get_mut().write_all(request.as_bytes())?;
        line.clear();
        connection.read_line(&mut line)?;
        times.push(begun.elapsed());
        if line.contains("\"error\"") || line.contains("\"refused\":{") {
            return Err(line.into());
        }
    }
    times.sort_unstable();
    Ok(times)
}

fn quantile(sorted: &[Duration], share: f64) -> Duration {
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}

/// CPU time that nobody took, in ticks (proc_stat(5), "idle").
fn unused() -> u64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    stat.split_whitespace().nth(4).and_then(|idle| idle.parse().ok()).unwrap_or_default()
}

const CONFIG: &str = r#"
[domains]
detect = false
names = ["example.test"]
[directory.people.file]
path = "{dir}/people"
"#;

const COMMANDS: [(&str, &str); 4] = [
    ("status", "{\"command\":\"status\"}\n"),
    ("check", "{\"command\":\"check\",\"address\":\"nobody@example.test\",\"client\":\"203.0.113.9\"}\n"),
    ("suspend", "{\"command\":\"suspend\",\"what\":\"lodger@example.test\"}\n"),
    ("report", "{\"command\":\"report\",\"seconds\":3600}\n"),
];
const SAMPLES: usize = 300;
const SOON: Duration = Duration::from_secs(60);
/// A second has so many (time(7), USER_HZ).
const TICKS: f64 = 100.0;
