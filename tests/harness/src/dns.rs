//! A DNS server that says what a test wants, be it true, wrong, late or nothing.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, MX, PTR, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::BinEncodable;

use crate::ports::free_port;

/// A running DNS server, over UDP and TCP, whose zones are in memory and may change at any time. What it does not know
/// does not exist (NXDOMAIN). It stops when dropped.
#[derive(Debug)]
pub struct Dns {
    address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// How a name and all below it are answered, in place of the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `SERVFAIL`.
    ServFail,
    /// `REFUSED`.
    Refused,
    /// Nothing.
    Silence,
    /// The truth, after this time.
    Delay(Duration),
    /// Over UDP only that there is more to say over TCP.
    Truncation,
    /// Bytes that are no answer.
    Garbage,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Of answers, in seconds.
    ttl: u32,
    records: HashMap<String, Vec<RData>>,
    faults: Vec<(String, Fault)>,
    asked: Vec<String>,
}

impl Dns {
    /// Starts one on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// When it can't listen.
    #[must_use]
    pub fn start() -> Self {
        // a resolver may have taken the port for a question in the meantime
        (0..10)
            .find_map(|_| Self::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()))).ok())
            .expect("one of ten free ports stays free")
    }

    /// Starts one there.
    ///
    /// # Panics
    /// When it can't listen.
    #[must_use]
    pub fn start_at(address: SocketAddr) -> Self {
        Self::listen(address).expect("the port is free")
    }

    fn listen(address: SocketAddr) -> io::Result<Self> {
        let udp = UdpSocket::bind(address)?;
        let tcp = TcpListener::bind(address)?;
        udp.set_read_timeout(Some(TICK)).expect("a socket has a timeout");
        tcp.set_nonblocking(true).expect("a socket need not block");
        let shared = Arc::new(Shared::default());
        let threads = vec![
            thread::spawn({
                let shared = Arc::clone(&shared);
                move || shared.serve_udp(&Arc::new(udp))
            }),
            thread::spawn({
                let shared = Arc::clone(&shared);
                move || shared.serve_tcp(&tcp)
            }),
        ];
        Ok(Self { address, shared, threads })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds an address to a name; `*.NAME` are all below it.
    pub fn address_of(&self, name: &str, address: IpAddr) {
        self.add(
            name,
            match address {
                IpAddr::V4(address) => RData::A(A(address)),
                IpAddr::V6(address) => RData::AAAA(AAAA(address)),
            },
        );
    }

    /// Adds a name to an address, and does not ask whether it leads back there.
    pub fn name_of(&self, address: IpAddr, name: &str) {
        self.add(&reverse(address), RData::PTR(PTR(self::name(name))));
    }

    /// Adds a name to an address, and the address to the name.
    pub fn host(&self, address: IpAddr, name: &str) {
        self.name_of(address, name);
        self.address_of(name, address);
    }

    /// Gives an address this name in place of all others.
    pub fn rename(&self, address: IpAddr, name: &str) {
        self.remove(&reverse(address));
        self.name_of(address, name);
    }

    /// Puts an address on a list (RFC 5782).
    pub fn list(&self, zone: &str, address: IpAddr, answer: Ipv4Addr) {
        self.add(&listed(zone, address), RData::A(A(answer)));
    }

    /// Adds a text to a name.
    pub fn text(&self, name: &str, text: &str) {
        self.add(name, RData::TXT(TXT::new(vec![text.to_owned()])));
    }

    /// Adds a mail exchanger to a domain.
    pub fn exchanger(&self, domain: &str, preference: u16, host: &str) {
        self.add(domain, RData::MX(MX::new(preference, name(host))));
    }

    /// Makes a name another one's alias.
    pub fn alias(&self, name: &str, of: &str) {
        self.add(name, RData::CNAME(CNAME(self::name(of))));
    }

    /// Takes all records of a name away.
    pub fn remove(&self, name: &str) {
        self.shared.state().records.remove(&key(name));
    }

    /// For so many seconds answers may be remembered, in place of an hour.
    pub fn remember_for(&self, seconds: u32) {
        self.shared.state().ttl = seconds;
    }

    /// From now on the name and all below it are answered like this; `None` ends it.
    pub fn fault(&self, name: &str, fault: Option<Fault>) {
        let mut state = self.shared.state();
        let name = key(name);
        state.faults.retain(|(other, _)| *other != name);
        state.faults.extend(fault.map(|fault| (name, fault)));
    }

    /// As [`Dns::fault`], for the names of an address.
    pub fn fault_of(&self, address: IpAddr, fault: Option<Fault>) {
        self.fault(&reverse(address), fault);
    }

    /// How many questions came for this name or below it.
    #[must_use]
    pub fn asked(&self, name: &str) -> usize {
        let name = key(name);
        self.shared.state().asked.iter().filter(|asked| is_below(asked, &name)).count()
    }

    fn add(&self, name: &str, data: RData) {
        self.shared.state().records.entry(key(name)).or_default().push(data);
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn serve_udp(self: &Arc<Self>, socket: &Arc<UdpSocket>) {
        let mut buffer = [0; 4096];
        while self.goes_on() {
            let Ok((length, client)) = socket.recv_from(&mut buffer) else { continue };
            let Some((answer, delay)) = self.answer(&buffer[..length], true) else { continue };
            if delay.is_zero() {
                let _ = socket.send_to(&answer, client);
                continue;
            }
            let (shared, socket) = (Arc::clone(self), Arc::clone(socket));
            thread::spawn(move || {
                shared.wait(delay);
                let _ = socket.send_to(&answer, client);
            });
        }
    }

    fn serve_tcp(self: &Arc<Self>, listener: &TcpListener) {
        while self.goes_on() {
            match listener.accept() {
                Ok((stream, _)) => {
                    let shared = Arc::clone(self);
                    thread::spawn(move || shared.serve_stream(stream));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(TICK),
                Err(_) => return,
            }
        }
    }

    /// RFC 1035 §4.2.2: each message has its length before it.
    fn serve_stream(&self, mut stream: TcpStream) {
        let _ = stream.set_nonblocking(false);
        let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
        let mut length = [0; 2];
        while self.goes_on() && stream.read_exact(&mut length).is_ok() {
            let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
            if stream.read_exact(&mut question).is_err() {
                return;
            }
            let Some((answer, delay)) = self.answer(&question, false) else { return };
            self.wait(delay);
            let Ok(length) = u16::try_from(answer.len()) else { return };
            if stream.write_all(&length.to_be_bytes()).and_then(|()| stream.write_all(&answer)).is_err() {
                return;
            }
        }
    }

    fn wait(&self, delay: Duration) {
        let start = Instant::now();
        while self.goes_on() && start.elapsed() < delay {
            thread::sleep(TICK.min(delay));
        }
    }

    /// What to send, and after which time.
    fn answer(&self, question: &[u8], is_udp: bool) -> Option<(Vec<u8>, Duration)> {
        let mut message = Message::from_vec(question).ok()?;
        let query = message.queries.first()?.clone();
        let asked = key(&query.name().to_ascii());
        let mut state = self.state();
        state.asked.push(asked.clone());
        let longest = state.faults.iter().filter(|(name, _)| is_below(&asked, name));
        let fault = longest.max_by_key(|(name, _)| name.len()).map(|(_, fault)| *fault);
        message.metadata.message_type = MessageType::Response;
        message.metadata.recursion_available = true;
        let mut delay = Duration::ZERO;
        match fault {
            Some(Fault::Silence) => return None,
            Some(Fault::Garbage) => return Some((question.iter().map(|byte| !byte).collect(), delay)),
            Some(Fault::ServFail) => message.metadata.response_code = ResponseCode::ServFail,
            Some(Fault::Refused) => message.metadata.response_code = ResponseCode::Refused,
            Some(Fault::Truncation) if is_udp => message.metadata.truncation = true,
            fault => {
                if let Some(Fault::Delay(by)) = fault {
                    delay = by;
                }
                state.fill(&mut message, &asked, query.query_type());
            }
        }
        Some((message.to_bytes().ok()?, delay))
    }
}

impl Default for State {
    fn default() -> Self {
        Self { ttl: TTL, records: HashMap::new(), faults: Vec::new(), asked: Vec::new() }
    }
}

impl State {
    fn fill(&self, message: &mut Message, asked: &str, kind: RecordType) {
        let mut at = asked.to_owned();
        for _ in 0..8 {
            // RFC 4592, as far as tests need it: what exists is not covered.
            let wildcard = || {
                let above = at.match_indices('.').map(|(dot, _)| format!("*{}", &at[dot..]));
                above.into_iter().find_map(|wildcard| self.records.get(&wildcard))
            };
            let Some(records) = self.records.get(&at).or_else(wildcard) else {
                message.metadata.response_code = ResponseCode::NXDomain;
                return;
            };
            let owner = name(&at);
            let found = |kind: RecordType| records.iter().filter(move |data| data.record_type() == kind);
            for data in found(kind) {
                message.add_answer(Record::from_rdata(owner.clone(), self.ttl, data.clone()));
            }
            let Some(RData::CNAME(alias)) = found(RecordType::CNAME).next() else { return };
            message.add_answer(Record::from_rdata(owner, self.ttl, RData::CNAME(alias.clone())));
            at = key(&alias.0.to_ascii());
        }
    }
}

/// `4.3.2.1.in-addr.arpa`, or the nibbles below `ip6.arpa`.
fn reverse(address: IpAddr) -> String {
    listed(if address.is_ipv4() { "in-addr.arpa" } else { "ip6.arpa" }, address)
}

fn listed(zone: &str, address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.{zone}")
        }
        IpAddr::V6(address) => {
            let digits = format!("{:032x}", u128::from(address));
            let nibbles: Vec<String> = digits.chars().rev().map(String::from).collect();
            format!("{}.{zone}", nibbles.join("."))
        }
    }
}

/// As names are kept: in lower case, without the last dot.
fn key(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    name.set_fqdn(true);
    name
}

fn is_below(name: &str, zone: &str) -> bool {
    name == zone || name.strip_suffix(zone).is_some_and(|rest| rest.ends_with('.'))
}

/// How soon it notices that it is to stop.
const TICK: Duration = Duration::from_millis(20);
/// Answers may be remembered for an hour.
const TTL: u32 = 3600;
