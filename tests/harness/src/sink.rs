//! The rest of the world: an SMTP server that takes whatever the MTAs relay to it, bounces too.
//!
//! It stands for other people's servers, never for a server that is under test.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::wait::wait_for;

/// A running sink. It stops when dropped.
#[derive(Debug)]
pub struct Sink {
    port: u16,
    shared: Arc<Shared>,
}

/// One message that the sink took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The sender's address without brackets; empty for the null sender of a bounce.
    pub mail_from: String,
    /// The recipients that were accepted, without brackets.
    pub rcpts: Vec<String>,
    /// The message, with line feeds and without dot stuffing.
    pub data: String,
}

impl Sink {
    /// A sink that takes every recipient.
    #[must_use]
    pub fn start() -> Self {
        Self::run(None)
    }

    /// A server that knows only these addresses (compared without case) in the domains they are in, and says `550 5.1.1`
    /// to others there. Recipients in all other domains are taken: they are the rest of the world.
    #[must_use]
    pub fn knowing(addresses: &[&str]) -> Self {
        Self::run(Some(addresses.iter().map(|address| address.to_lowercase()).collect()))
    }

    fn run(known: Option<BTreeSet<String>>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind the sink");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let shared = Arc::new(Shared {
            known,
            messages: Mutex::default(),
            refused: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let for_thread = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &for_thread));
        Sink { port, shared }
    }

    /// The port of 127.0.0.1 on which it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it took so far.
    ///
    /// # Panics
    /// Never, unless a thread of the sink did.
    #[must_use]
    pub fn messages(&self) -> Vec<Envelope> {
        self.shared.messages.lock().expect("no thread panics while it holds the lock").clone()
    }

    /// The recipients that it refused so far.
    ///
    /// # Panics
    /// Never, unless a thread of the sink did.
    #[must_use]
    pub fn refused(&self) -> Vec<String> {
        self.shared.refused.lock().expect("no thread panics while it holds the lock").clone()
    }

    /// The messages that are bounces: those with the null sender.
    #[must_use]
    pub fn bounces(&self) -> Vec<Envelope> {
        self.messages().into_iter().filter(|message| message.mail_from.is_empty()).collect()
    }

    /// Waits for a message whose data holds `text`, and returns it.
    ///
    /// # Panics
    /// When none has come after 30 s.
    #[track_caller]
    pub fn wait_for(&self, text: &str) -> Envelope {
        let what = format!("a message with {text:?} in the sink");
        wait_for(Duration::from_secs(30), &what, || {
            self.messages().into_iter().find(|message| message.data.contains(text))
        })
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)); // wakes the thread that accepts
    }
}

#[derive(Debug)]
struct Shared {
    known: Option<BTreeSet<String>>,
    messages: Mutex<Vec<Envelope>>,
    refused: Mutex<Vec<String>>,
    stop: AtomicBool,
}

impl Shared {
    fn takes(&self, rcpt: &str) -> bool {
        let Some(known) = &self.known else { return true };
        let rcpt = rcpt.to_lowercase();
        let domain = rcpt.rsplit_once('@').map_or("", |(_, domain)| domain);
        let ours =
            known.iter().any(|address| address.rsplit_once('@').is_some_and(|(_, ours)| ours == domain));
        !ours || known.contains(&rcpt)
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        if let Ok(stream) = stream {
            let shared = Arc::clone(shared);
            thread::spawn(move || {
                // the peer may go away at any time; what was taken until then is kept
                let _ = serve(stream, &shared);
            });
        }
    }
}

fn serve(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut envelope: Option<Envelope> = None;
    stream.write_all(b"220 sink.test ESMTP\r\n")?;
    loop {
        let Some(line) = read_line(&mut reader)? else { return Ok(()) };
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let reply = match verb.as_str() {
            "EHLO" => {
                "250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES"
                    .to_owned()
            }
            "MAIL" => {
                let mail_from = path(&line);
                envelope = Some(Envelope { mail_from, rcpts: Vec::new(), data: String::new() });
                "250 2.1.0 Ok".to_owned()
            }
            "RCPT" => match &mut envelope {
                None => "503 5.5.1 MAIL first".to_owned(),
                Some(envelope) => {
                    let rcpt = path(&line);
                    if shared.takes(&rcpt) {
                        envelope.rcpts.push(rcpt);
                        "250 2.1.5 Ok".to_owned()
                    } else {
                        shared.refused.lock().expect("no thread panics while it holds the lock").push(rcpt);
                        "550 5.1.1 Not known here".to_owned()
                    }
                }
            },
            "DATA" => match envelope.take_if(|envelope| !envelope.rcpts.is_empty()) {
                None => "554 5.5.1 No recipients".to_owned(),
                Some(mut message) => {
                    stream.write_all(b"354 Go on\r\n")?;
                    loop {
                        let Some(line) = read_line(&mut reader)? else { return Ok(()) };
                        if line == "." {
                            break;
                        }
                        message.data.push_str(line.strip_prefix('.').unwrap_or(&line));
                        message.data.push('\n');
                    }
                    shared.messages.lock().expect("no thread panics while it holds the lock").push(message);
                    "250 2.0.0 Taken".to_owned()
                }
            },
            "RSET" | "HELO" | "NOOP" => {
                envelope = None;
                "250 2.0.0 Ok".to_owned()
            }
            "QUIT" => {
                stream.write_all(b"221 2.0.0 Bye\r\n")?;
                return Ok(());
            }
            _ => "500 5.5.1 What?".to_owned(),
        };
        stream.write_all(reply.as_bytes())?;
        stream.write_all(b"\r\n")?;
    }
}

fn read_line(reader: &mut impl BufRead) -> std::io::Result<Option<String>> {
    let mut line = Vec::new();
    if reader.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    let line = line.strip_suffix(b"\n").unwrap_or(&line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    Ok(Some(String::from_utf8_lossy(line).into_owned()))
}

/// The path of a MAIL or RCPT line without its brackets: what is between the first `<` and the last `>`.
fn path(line: &str) -> String {
    let begin = line.find('<').map_or(line.len(), |at| at + 1);
    let end = line.rfind('>').unwrap_or(line.len());
    line.get(begin..end).unwrap_or_default().to_owned()
}
