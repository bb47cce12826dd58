//! One SMTP session (RFC 5321), each command written at once, each reply waited for.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

use super::{Load, Step, Steps, Target};
use crate::Error;
use crate::drive::{Recipient, Visit};

/// Takes part in session `number` of a load, from the connection to `QUIT`.
pub(super) fn run(load: &Load, target: Target, number: u64, steps: &mut Steps) -> Result<(), Error> {
    let visit = load.mix.visit(number);
    let [Recipient { address, is_known }, ..] = visit.recipients.as_slice() else { return Ok(()) };
    let begun = Instant::now();
    let stream = open(target.address, visit.client).map_err(Error::io("connect to the MTA"))?;
    let mut session = Session { stream: BufReader::new(stream), line: Vec::new(), steps };
    if target.is_proxied {
        session.write(&format!("PROXY TCP4 {} 127.0.0.1 {} 25\r\n", visit.client, visit.port))?;
    }
    session.reply(Step::Connect, begun, "220")?;
    session.command(Step::Ehlo, &format!("EHLO {}\r\n", visit.helo), "250")?;
    session.command(Step::Mail, &format!("MAIL FROM:<{}>\r\n", visit.sender), "250")?;
    let is_taken = *is_known || !target.refuses;
    let expected = if is_taken { "250" } else { "550" };
    session.command(Step::Rcpt, &format!("RCPT TO:<{address}>\r\n"), expected)?;
    if is_taken && load.deliver {
        session.command(Step::Data, "DATA\r\n", "354")?;
        session.command(Step::Message, &message(number, &visit, address), "250")?;
    }
    session.command(Step::Quit, "QUIT\r\n", "221")
}

struct Session<'a> {
    stream: BufReader<TcpStream>,
    line: Vec<u8>,
    steps: &'a mut Steps,
}

impl Session<'_> {
    /// Writes a command at once, and waits for its reply.
    fn command(&mut self, step: Step, text: &str, expected: &str) -> Result<(), Error> {
        let begun = Instant::now();
        self.write(text)?;
        self.reply(step, begun, expected)
    }

    fn write(&mut self, text: &str) -> Result<(), Error> {
        self.stream.get_mut().write_all(text.as_bytes()).map_err(Error::io("write to the MTA"))
    }

    /// Reads a whole reply: its last line has no hyphen behind the code.
    fn reply(&mut self, step: Step, begun: Instant, expected: &str) -> Result<(), Error> {
        loop {
            self.line.clear();
            let read = self.stream.read_until(b'\n', &mut self.line);
            if read.map_err(Error::io(format!("the MTA's reply to {step}")))? == 0 {
                return Err(Error::Closed);
            }
            if self.line.get(3) != Some(&b'-') {
                break;
            }
        }
        self.steps.add(step, begun.elapsed());
        if self.line.starts_with(expected.as_bytes()) {
            return Ok(());
        }
        let reply = String::from_utf8_lossy(&self.line);
        Err(Error::Wrong(format!("{step}: {expected} was to come, but the MTA said {:?}", reply.trim_end())))
    }
}

/// Connects from the client's address in 127.0.0.0/8: the kernel has ports enough for each.
fn open(to: SocketAddr, client: Ipv4Addr) -> io::Result<TcpStream> {
    let [_, b, c, d] = client.octets();
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddr::from((Ipv4Addr::new(127, b, c, d), 0)))?;
    connect(&socket, &to)?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

/// A message of about four kilobytes, as small mail is, with its final dot.
fn message(number: u64, visit: &Visit, recipient: &str) -> String {
    let mut text = format!(
        "From: <{sender}>\r\nTo: <{recipient}>\r\nSubject: Number {number}\r\n\
         Date: Mon, 2 Mar 2026 10:00:00 +0000\r\nMessage-ID: <{number}@{helo}>\r\n\
         MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n",
        sender = visit.sender,
        helo = visit.helo,
    );
    for _ in 0..LINES {
        text.push_str("The quick brown fox jumps over the lazy dog, and over all the others too.\r\n");
    }
    text.push_str(".\r\n");
    text
}

/// Longer than the MTAs wait for a milter.
const TIMEOUT: Duration = Duration::from_secs(40);

/// Of the text of a message.
const LINES: usize = 50;
