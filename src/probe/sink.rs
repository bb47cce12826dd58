//! Receives what the tested server relays or bounces: mail for the addresses of this run, and no other.
//!
//! Keeps nothing of a message but that it came. Bounded: connections, their time, their bytes, the length of a line.

use std::{
    collections::BTreeSet,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinSet,
    time::timeout,
};

use super::{
    forms::{Kind, read_local_part},
    report::Fate,
};
use crate::address::{Address, Domain};

/// A listening sink. It stops when dropped.
#[derive(Debug)]
pub(super) struct Sink {
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    run: String,
    foreign: Domain,
    /// The numbers of the addresses to which mail came.
    victims: Mutex<BTreeSet<u32>>,
    senders: Mutex<BTreeSet<u32>>,
    came: Notify,
}

impl Sink {
    /// Listens for mail for the addresses of the run in the foreign domain.
    pub(super) async fn open(address: SocketAddr, run: &str, foreign: &Domain) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let shared = Arc::new(Shared {
            run: run.to_owned(),
            foreign: foreign.clone(),
            victims: Mutex::default(),
            senders: Mutex::default(),
            came: Notify::new(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { shared, _tasks: tasks })
    }

    /// What became of the message with this number, so far.
    pub(super) fn fate(&self, number: u32) -> Fate {
        if lock(&self.shared.victims).contains(&number) {
            Fate::Delivered
        } else if lock(&self.shared.senders).contains(&number) {
            Fate::Bounced
        } else {
            Fate::Vanished
        }
    }

    /// Waits until something became of all of these, for so long at most.
    pub(super) async fn wait(&self, numbers: &[u32], limit: Duration) {
        let all = async {
            loop {
                let came = self.shared.came.notified();
                if numbers.iter().all(|&number| self.fate(number) != Fate::Vanished) {
                    return;
                }
                came.await;
            }
        };
        let _ = timeout(limit, all).await;
    }
}

impl Shared {
    /// The address of this run that is meant, if any.
    fn read(&self, argument: &[u8]) -> Option<(Kind, u32)> {
        let address = Address::parse(argument).ok()?;
        if *address.domain() != self.foreign {
            return None;
        }
        read_local_part(&self.run, address.local()).filter(|(kind, _)| *kind != Kind::Invented)
    }

    fn note(&self, recipients: &BTreeSet<(bool, u32)>) {
        for &(is_victim, number) in recipients {
            lock(if is_victim { &self.victims } else { &self.senders }).insert(number);
        }
        self.came.notify_waiters();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= CONNECTIONS {
            connections.join_next().await;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    // Whoever goes away early has delivered what he has.
                    let _ = timeout(LIFETIME, serve(stream, &shared)).await;
                });
            }
            // Out of descriptors: those in use come back.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn serve(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut reader = BufReader::new(read.take(BYTES));
    let mut recipients = BTreeSet::new();
    write.write_all(b"220 backstop-probe ESMTP, takes mail of one test only\r\n").await?;
    while let Some(line) = line(&mut reader).await? {
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        let reply: &[u8] = match verb.as_slice() {
            b"EHLO" => b"250-backstop-probe\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n",
            b"HELO" | b"MAIL" | b"RSET" => {
                recipients.clear();
                b"250 2.0.0 Ok\r\n"
            }
            b"NOOP" => b"250 2.0.0 Ok\r\n",
            b"RCPT" => match shared.read(argument(&line)) {
                Some((kind, number)) => {
                    recipients.insert((kind == Kind::Victim, number));
                    b"250 2.1.5 Ok\r\n"
                }
                None => b"550 5.1.1 Not of this test\r\n",
            },
            b"DATA" if recipients.is_empty() => b"554 5.5.1 No recipients\r\n",
            b"DATA" => {
                write.write_all(b"354 Go on\r\n").await?;
                while self::line(&mut reader).await?.ok_or(io::ErrorKind::UnexpectedEof)? != b"." {}
                shared.note(&recipients);
                recipients.clear();
                b"250 2.0.0 Taken\r\n"
            }
            b"QUIT" => return write.write_all(b"221 2.0.0 Bye\r\n").await,
            _ => b"502 5.5.1 Not here\r\n",
        };
        write.write_all(reply).await?;
    }
    Ok(())
}

/// The path of `RCPT TO:<path> …`.
fn argument(line: &[u8]) -> &[u8] {
    let colon = line.iter().position(|&byte| byte == b':').map_or(line.len(), |at| at + 1);
    let path = line.get(colon..).unwrap_or_default();
    let end = path.iter().rposition(|&byte| byte == b'>').map_or(path.len(), |at| at + 1);
    path.get(..end).unwrap_or_default().trim_ascii()
}

/// The next line without its end, cut at [`LINE`] bytes; `None`: there is none.
async fn line(reader: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    loop {
        let chunk = reader.fill_buf().await?;
        if chunk.is_empty() {
            return Ok(None);
        }
        let end = chunk.iter().position(|&byte| byte == b'\n');
        let used = end.map_or(chunk.len(), |at| at + 1);
        let kept = used.min(LINE.saturating_sub(line.len()));
        line.extend_from_slice(chunk.get(..kept).unwrap_or_default());
        reader.consume(used);
        if end.is_some() {
            let text = line.strip_suffix(b"\n").unwrap_or(&line);
            return Ok(Some(text.strip_suffix(b"\r").unwrap_or(text).to_vec()));
        }
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

const CONNECTIONS: usize = 50;
/// Of one connection: its time, and its bytes.
const LIFETIME: Duration = Duration::from_secs(120);
const BYTES: u64 = 4 << 20;
const LINE: usize = 2048;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn only_what_is_of_this_run_is_taken() {
        let shared = Shared {
            run: "abcdef".to_owned(),
            foreign: Domain::parse("x.test").unwrap(),
            victims: Mutex::default(),
            senders: Mutex::default(),
            came: Notify::new(),
        };
        for (line, number) in [
            ("RCPT TO:<backstopprobeabcdefv07@x.test>", Some((Kind::Victim, 7))),
            ("RCPT TO:<BackstopProbeABCDEFf12@X.test> NOTIFY=NEVER", Some((Kind::Sender, 12))),
            ("RCPT TO: <backstopprobeabcdefv07@x.test>", Some((Kind::Victim, 7))),
            ("RCPT TO:<backstopprobeabcdefu07@x.test>", None),
            ("RCPT TO:<backstopprobeabcdefv07@y.test>", None),
            ("RCPT TO:<backstopprobeabcdefv07%x.test@y.test>", None),
            ("RCPT TO:<backstopprobefedcbav07@x.test>", None),
            ("RCPT TO:<backstopprobeabcdefv07>", None),
            ("RCPT", None),
        ] {
            assert_eq!(shared.read(argument(line.as_bytes())), number, "{line}");
        }
    }

    #[tokio::test]
    async fn what_came_is_told() {
        let address = {
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            free.local_addr().unwrap()
        };
        let sink = Sink::open(address, "abcdef", &Domain::parse("x.test").unwrap()).await.unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let long = "x".repeat(3 * LINE);
        let mail = format!(
            "EHLO a\r\nMAIL FROM:<>\r\nDATA\r\nRCPT TO:<other@x.test>\r\nRCPT TO:<backstopprobeabcdefv07@x.test>\r\n\
             DATA\r\n{long}\r\n..\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<backstopprobeabcdeff08@x.test>\r\nDATA\r\n.\r\nQUIT\r\n"
        );
        stream.write_all(mail.as_bytes()).await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        let codes: Vec<&str> = said.lines().filter_map(|line| line.get(..4)).collect();
        assert_eq!(
            codes,
            [
                "220 ", "250-", "250-", "250 ", "250 ", "554 ", "550 ", "250 ", "354 ", "250 ", "250 ",
                "250 ", "354 ", "250 ", "221 "
            ],
            "{said}"
        );
        sink.wait(&[7, 8], Duration::from_secs(10)).await;
        assert_eq!(
            [7, 8, 9].map(|number| sink.fate(number)),
            [Fate::Delivered, Fate::Bounced, Fate::Vanished]
        );
    }
}
