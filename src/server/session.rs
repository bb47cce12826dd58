//! One MTA connection: reads what is there, answers it, writes once.
//!
//! A session is one task. It holds no buffer while it waits, takes no lock, and keeps the snapshot that it began with.
//! Failure: whatever breaks the protocol, times out or vanishes ends this session alone, counted by its kind; the MTA
//! then does what its admin chose for a missing filter.

mod defend;
mod end;
mod note;
mod rcpt;

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::Instant,
};

use bytes::BytesMut;
use milter_protocol::{
    command::{Connect, Mail},
    session::{Ask, Event},
    verdict::{
        BodyVerdict, ConnectVerdict, DataVerdict, EndOfHeadersVerdict, EndOfMessageVerdict, HeaderVerdict,
        HeloVerdict, MailVerdict, UnknownVerdict,
    },
};
use tokio::{task::yield_now, time::Duration};

use defend::Delayed;
pub(super) use end::{End, Ends};

use crate::{
    address::{Address, ReversePath, parse_mail},
    client::Hint,
    clock,
    history::bounded,
    net::Connection,
    policy::{ClientClass, Facts, Stage},
    telemetry::Pace,
};

use super::{
    Asked, Server, Snapshot,
    buffers::{self, Input},
    decide::{Envelope, decide},
    metrics::Callback,
    recipient::{client_address, completed_sender, is_authenticated},
    waits::Place,
};

/// One connection from an MTA.
pub(super) struct Session {
    id: u64,
    server: Arc<Server>,
    snapshot: Arc<Snapshot>,
    protocol: milter_protocol::session::Session,
    client: Client,
    message: Message,
    delayed: Option<Box<Delayed>>,
    /// Counts what it was told and read since it waited last.
    turn: u8,
}

/// The client of the SMTP session that the MTA tells us about.
#[derive(Default)]
struct Client {
    address: Option<SocketAddr>,
    trusted: bool,
    denied: bool,
    /// Its name, if it has one, as the MTA found it.
    name: Option<String>,
    /// What it calls itself, if that is text and the MTA was asked for it.
    helo: Option<String>,
}

/// The message under way.
#[derive(Default)]
struct Message {
    under_way: bool,
    /// As written, for the log.
    sender: Vec<u8>,
    reverse_path: Option<Address>,
    null_sender: bool,
    authenticated: bool,
    /// In seconds since 1970.
    began: u64,
    trapped: bool,
    /// Recipients that were let pass.
    accepted: u32,
    /// One of them is in a domain that is only watched.
    is_watched: bool,
    /// Of a bounce: those of them whom the defences don't leave alone.
    recipients: Vec<Address>,
    /// Of a bounce: one of them is left alone.
    is_free: bool,
}

impl Session {
    pub(super) fn new(id: u64, server: Arc<Server>) -> Self {
        let snapshot = server.snapshot();
        let protocol = milter_protocol::session::Session::new(server.wanted(&snapshot));
        let (client, message) = (Client::default(), Message::default());
        Self { id, server, snapshot, protocol, client, message, delayed: None, turn: 0 }
    }

    /// Serves the connection to its end.
    pub(super) async fn run(&mut self, connection: &mut Connection) {
        let end = match self.serve(connection).await {
            Ok(end) | Err(end) => end,
        };
        self.server.ends.note(self.id, &end, &self.server.metrics, clock::now());
    }

    async fn serve(&mut self, connection: &mut Connection) -> Result<End, End> {
        let mut held: Option<Input> = None;
        let mut last = clock::now();
        let server = Arc::clone(&self.server);
        let mut place = Place::new(&server.waits, last + SHORT);
        loop {
            let begun_frame = held.is_some();
            let mut is_woken = false;
            let woken = poll_fn(|context| {
                if let Poll::Ready(read) = poll_read(connection, &mut held) {
                    return Poll::Ready(Woken::Read(read));
                }
                self.turn = 0;
                if place.wait(context) && !self.message.under_way {
                    return Poll::Ready(Woken::End);
                }
                if std::mem::replace(&mut is_woken, true) && clock::now() >= place.until() {
                    return Poll::Ready(Woken::Time);
                }
                Poll::Pending
            });
            let read = match woken.await {
                Woken::Read(read) => read?,
                Woken::Time if clock::since(last) < self.limit(held.is_some()) => {
                    place.set(last + self.limit(held.is_some()));
                    continue;
                }
                over => {
                    // What has come may be there without an event that has told of it: other threads are faster.
                    connection.look();
                    match poll_read(connection, &mut held) {
                        Poll::Ready(read) => read?,
                        Poll::Pending if matches!(over, Woken::End) => return Ok(End::Drained),
                        Poll::Pending => return Err(End::Silent(self.limit(held.is_some()))),
                    }
                }
            };
            if read == 0 {
                return if held.is_none() { Ok(End::Closed) } else { Err(End::CutShort) };
            }
            // Macros are no events, and a frame may come in many reads.
            self.take_turns().await;
            // Once more for what lies behind a refusal that was kept back.
            while let Some(mut input) = held.take() {
                let mut output = buffers::output();
                let now = clock::now();
                let mut rest: &[u8] = &input;
                let outcome = self.answer_all(&mut rest, &mut output, connection, now).await;
                let taken = input.len() - rest.len();
                // More of a frame that stays incomplete is no sign of life: else a byte now and then would hold a session.
                if taken > 0 || !begun_frame {
                    last = now;
                }
                if !output.is_empty() {
                    connection.write_all(&output, SHORT).await?;
                }
                buffers::give_back(output);
                if let Some(end) = outcome? {
                    input.give_back();
                    return Ok(end);
                }
                input.advance(taken);
                if input.is_empty() {
                    input.give_back();
                } else {
                    held = Some(input);
                    // The rest of a begun frame must come soon.
                    if place.until() > last + SHORT {
                        place.set(last + SHORT);
                    }
                }
                let Some(delayed) = self.delayed.take() else { break };
                Box::pin(self.pause(*delayed, connection, &mut held)).await?;
                last = clock::now();
            }
        }
    }

    /// Answers every event that `input` holds whole. What decides is large, and boxed: an idle connection needs none of it.
    async fn answer_all(
        &mut self,
        input: &mut &[u8],
        output: &mut BytesMut,
        connection: &mut Connection,
        mut begun: Instant,
    ) -> Result<Option<End>, End> {
        while let Some(event) = self.protocol.next(input, output)? {
            let (callback, is_answered) = match event {
                Event::Negotiated => (Callback::Negotiate, true),
                Event::Connect(connect, ask) => {
                    self.connect(&connect);
                    let is_answered = ask.is_some();
                    if let Some(ask) = ask {
                        Box::pin(self.admit(ask, output)).await;
                    }
                    (Callback::Connect, is_answered)
                }
                Event::Helo(helo, ask) => {
                    self.client.helo = str::from_utf8(helo)
                        .ok()
                        .filter(|helo| helo.len() <= LONGEST_HELO)
                        .map(str::to_owned);
                    (Callback::Helo, self.pass(ask, HeloVerdict::Continue, output))
                }
                Event::Mail(mail, ask) => {
                    self.mail(&mail);
                    (Callback::Mail, self.pass(ask, MailVerdict::Continue, output))
                }
                Event::Rcpt(rcpt, ask) => {
                    // What is written together goes out together.
                    let connection = input.is_empty().then_some(&mut *connection);
                    let mut output = Output { bytes: output, connection };
                    if let Some(hearing) = self.rcpt(&rcpt, ask, begun, &mut output) {
                        Box::pin(self.rcpt_later(hearing, &mut output)).await;
                    }
                    (Callback::Rcpt, true)
                }
                Event::Data(ask) => (Callback::Data, self.pass(ask, DataVerdict::Continue, output)),
                Event::Header(_, ask) => (Callback::Header, self.pass(ask, HeaderVerdict::Continue, output)),
                Event::EndOfHeaders(ask) => {
                    (Callback::EndOfHeaders, self.pass(ask, EndOfHeadersVerdict::Continue, output))
                }
                Event::Body(_, ask) => (Callback::Body, self.pass(ask, BodyVerdict::Continue, output)),
                Event::EndOfMessage(_, ask) => {
                    Box::pin(self.end_of_message(ask, output)).await;
                    (Callback::EndOfMessage, true)
                }
                Event::Unknown(_, ask) => {
                    (Callback::Unknown, self.pass(ask, UnknownVerdict::Continue, output))
                }
                Event::Abort => {
                    self.message.under_way = false;
                    (Callback::Abort, false)
                }
                Event::NewConnection => {
                    self.message.under_way = false;
                    self.client = Client::default();
                    self.take_turns().await;
                    continue;
                }
                Event::Quit => return Ok(Some(End::Closed)),
            };
            self.server.metrics.callback(callback);
            if is_answered {
                let now = clock::now();
                self.server.metrics.answered(callback, now.duration_since(begun).as_secs_f64());
                begun = now;
            }
            if self.delayed.is_some() {
                break;
            }
            self.take_turns().await;
        }
        Ok(None)
    }

    /// One that pipelines without end must not keep the thread from the others.
    async fn take_turns(&mut self) {
        self.turn += 1;
        if self.turn >= TURNS {
            self.turn = 0;
            yield_now().await;
        }
    }

    fn connect(&mut self, connect: &Connect<'_>) {
        self.message.under_way = false;
        let address = client_address(connect.address);
        let ip = address.map(|address| address.ip());
        let clients = &self.snapshot.clients;
        let (trusted, denied) = (clients.is_trusted(ip), clients.is_denied(ip));
        self.client = Client { address, trusted, denied, name: name_of(connect.host), helo: None };
        self.classify();
        self.note_mta();
    }

    /// Decides about the client, where that is asked for before its first recipient.
    async fn admit(&mut self, ask: Ask<ConnectVerdict>, output: &mut BytesMut) {
        let mut facts = Facts { stage: Stage::Connect, ..self.facts() };
        let snapshot = Arc::clone(&self.snapshot);
        let mut asked = self.asked(clock::now());
        let decision = decide(&snapshot, self.envelope(), &mut facts, Some(&mut asked)).await;
        self.client.trusted |= facts.trusted;
        let now = clock::now();
        self.record(&decision, &facts, b"", asked, now);
        self.tell(&decision, &facts, b"", now);
        let verdict = match decision.enforced_reply() {
            None => ConnectVerdict::Continue,
            Some(reply) => ConnectVerdict::Refuse(snapshot.smtp_reply(reply, None)),
        };
        self.protocol.answer(ask, verdict, output);
    }

    /// Has the client's class found out, while the client talks. Where nothing depends on it, under load only of some: a
    /// class stands for all that came since the last one. While we are disabled nobody is asked about anybody.
    fn classify(&self) {
        if self.server.is_disabled() {
            return;
        }
        let metrics = &self.server.metrics;
        let client = match self.client.address {
            Some(client) if !self.client.trusted => client.ip(),
            _ => {
                let class = if self.client.trusted { ClientClass::Trusted } else { ClientClass::Unknown };
                return metrics.client(class, 1);
            }
        };
        self.server.unclassified.fetch_add(1, Ordering::Relaxed);
        let since = clock::since(self.server.began);
        if !self.snapshot.rules.defences.asks_for_class() && !self.server.classes.allows(CLASSES, since) {
            return;
        }
        let times = self.server.unclassified.swap(0, Ordering::Relaxed);
        let (server, classifier) = (Arc::clone(&self.server), Arc::clone(self.snapshot.clients.classifier()));
        let found_out = async move {
            let found = classifier.classify(client, Hint::default()).await;
            server.metrics.client(found.class, times);
        };
        self.server.asides.spawn_on(found_out, &self.server.home);
    }

    /// Remembers who asks, for `backstop status`; written only when it changes.
    fn note_mta(&self) {
        let macros = self.protocol.macros();
        let word = |name| macros.get(name).unwrap_or_default();
        let (name, version) = (word("j"), word("v"));
        let known = self.server.last_mta.load();
        let same = known.as_deref().and_then(|known| known.as_bytes().strip_prefix(name));
        if !name.is_empty() && same.map(<[u8]>::trim_ascii_start) == Some(version) {
            return;
        }
        let name = if name.is_empty() { NAMELESS } else { name };
        let [name, version] = [name, version].map(String::from_utf8_lossy);
        let told = format!("{name} {version}");
        if known.as_deref().map(String::as_str) != Some(told.trim_end()) {
            self.server.last_mta.store(Some(Arc::new(told.trim_end().to_owned())));
        }
    }

    fn mail(&mut self, mail: &Mail<'_>) {
        let mut sender = std::mem::take(&mut self.message.sender);
        sender.clear();
        sender.extend_from_slice(mail.address.get(..LONGEST_SENDER).unwrap_or(mail.address));
        let reverse_path = parse_mail(mail.address);
        self.message = Message {
            under_way: true,
            sender,
            null_sender: reverse_path == ReversePath::Null,
            authenticated: is_authenticated(self.protocol.macros()),
            began: clock::since_1970().as_secs(),
            reverse_path: match reverse_path {
                ReversePath::Address(address) => Some(address),
                ReversePath::Null => None,
                ReversePath::Other => completed_sender(mail.address, self.protocol.macros()),
            },
            ..Message::default()
        };
    }

    async fn end_of_message(&mut self, ask: Ask<EndOfMessageVerdict>, output: &mut BytesMut) {
        let mut facts = Facts {
            stage: Stage::EndOfMessage,
            trapped: self.message.trapped,
            watched: self.message.is_watched,
            solicited: self.message.is_free.then_some(true),
            ..self.facts()
        };
        let snapshot = Arc::clone(&self.snapshot);
        let may_be_refused = facts.null_sender || facts.trapped;
        let mut asked = if may_be_refused { self.asked(clock::now()) } else { Asked::default() };
        let decision = decide(&snapshot, self.envelope(), &mut facts, Some(&mut asked)).await;
        // Of a bounce the log names whom it is for.
        let recipient = self.message.recipients.first().map(ToString::to_string).unwrap_or_default();
        let now = clock::now();
        self.record(&decision, &facts, recipient.as_bytes(), asked, now);
        self.tell(&decision, &facts, recipient.as_bytes(), now);
        let verdict = match decision.enforced_reply() {
            None => EndOfMessageVerdict::Continue,
            Some(reply) => EndOfMessageVerdict::Refuse(snapshot.smtp_reply(reply, None)),
        };
        self.protocol.answer(ask, verdict, output);
        self.message.under_way = false;
    }

    /// Who writes.
    fn envelope(&self) -> Envelope<'_> {
        Envelope {
            client: self.client.address.map(|client| client.ip()),
            hint: Hint { name: None, helo: self.client.helo.as_deref() },
            sender: &self.message.sender,
            began: self.message.began,
            recipients: &self.message.recipients,
            is_rehearsal: false,
        }
    }

    /// Answers an event that decides nothing, if it wants an answer; whether it does. Most MTAs leave these out, as they were
    /// asked to.
    fn pass<V: milter_protocol::verdict::Verdict>(
        &mut self,
        ask: Option<Ask<V>>,
        go_on: V,
        output: &mut BytesMut,
    ) -> bool {
        let Some(ask) = ask else { return false };
        self.protocol.answer(ask, go_on, output);
        true
    }

    /// What is known at every stage.
    fn facts(&self) -> Facts {
        Facts {
            disabled: self.server.is_disabled(),
            trusted: self.client.trusted,
            denied: self.client.denied,
            authenticated: self.message.authenticated,
            null_sender: self.message.null_sender,
            ..Facts::default()
        }
    }

    /// How long the MTA may be silent.
    fn limit(&self, within_frame: bool) -> Duration {
        let idle = !within_frame && self.protocol.agreed().is_some();
        if idle { IDLE } else { SHORT }
    }
}

/// Answers on their way.
struct Output<'c> {
    bytes: &'c mut BytesMut,
    /// Nothing more is there to be answered together with them.
    connection: Option<&'c mut Connection>,
}

impl Output<'_> {
    /// Sends them before what nobody has to wait for is done, as far as they can be sent at once.
    fn send(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.write_now(self.bytes);
        }
    }
}

/// Waits for bytes and reads them behind those that are held. No buffer is held while there is none to be.
async fn read(connection: &mut Connection, held: &mut Option<Input>) -> io::Result<usize> {
    poll_fn(|_| poll_read(connection, held)).await
}

fn poll_read(connection: &mut Connection, held: &mut Option<Input>) -> Poll<io::Result<usize>> {
    let read = connection.poll_read(|socket| held.get_or_insert_with(Input::take).read_from(socket));
    if let Some(input) = held.take_if(|input| input.is_empty()) {
        input.give_back();
    }
    read
}

/// The client's name, if it has one: for others, MTAs put its address in brackets there, or `unknown`.
fn name_of(host: &[u8]) -> Option<String> {
    let has_name = !matches!(host, b"" | b"unknown" | [b'[', ..]);
    has_name.then(|| bounded(host))
}

/// What a session waits for.
enum Woken {
    Read(io::Result<usize>),
    End,
    Time,
}

/// What a session is told and reads before others have their turn.
const TURNS: u8 = 64;

/// Clients whose class is found out though nothing depends on it: it costs questions to the DNS.
const CLASSES: Pace = Pace::new(Duration::from_millis(100), 100);

/// One that does not tell its name.
const NAMELESS: &[u8] = b"an MTA without a name";

/// Longer ones are no names of hosts (RFC 1035 §2.3.4).
const LONGEST_HELO: usize = 255;

/// Kept of what MAIL says: more than a path with a route in it has (RFC 5321 §4.5.3.1.3).
const LONGEST_SENDER: usize = 1024;

/// Before the negotiation and within a frame: an MTA sends these at once.
const SHORT: Duration = Duration::from_secs(30);

/// Between frames: longer than any MTA waits for its client (Sendmail 1 h, libmilter 7210 s).
const IDLE: Duration = Duration::from_secs(7210);
