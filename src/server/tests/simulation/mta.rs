//! MTAs of the simulation: what they write, when, and what they may be answered.

use std::{
    io::{ErrorKind, Read, Write},
    os::unix::net::UnixStream,
};

use bytes::BytesMut;
use milter_protocol::{
    client::{Client, Expect},
    command::{CStrings, ClientAddress, Command, Connect, Header, Mail, Rcpt},
    flags::{Actions, Steps, Version},
    negotiation::{CURRENT_OFFER, Offer},
    reply::Reply,
};

use super::*;

/// One that asks.
pub(super) struct Mta {
    pub(super) number: usize,
    pub(super) socket: UnixStream,
    pub(super) protocol: Client,
    pub(super) version: Version,
    pub(super) phase: Phase,
    pub(super) asked: Option<Asking>,
    /// What is written later.
    pub(super) rest: BytesMut,
    pub(super) received: Vec<u8>,
    /// When something that counts was written last.
    pub(super) last: Instant,
    /// It may be closed now: a command that was out of order, or a farewell.
    pub(super) may_end: bool,
    pub(super) is_over: bool,
    pub(super) client: Option<Ipv4Addr>,
    pub(super) is_authenticated: bool,
    pub(super) is_bounce: bool,
    /// Recipients that were let pass.
    pub(super) accepted: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Start,
    Negotiated,
    Connected,
    Mail,
    Rcpt,
    Headers,
    Body,
}

/// What waits for an answer.
#[derive(Debug)]
pub(super) enum Asking {
    Other(&'static str, Instant),
    /// To whom, when, and whether the client is trusted.
    Recipient {
        to: To,
        at: Instant,
        is_trusted: bool,
        expected: Expected,
    },
}

#[derive(Debug, Clone)]
pub(super) enum To {
    Local(String),
    Postmaster,
    Elsewhere,
}

/// What is said whatever a directory knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    This(Verdict),
    AsDirectoriesSay,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    Continue,
    Temporary(&'static str),
    Permanent(&'static str),
}

impl Mta {
    pub(super) fn connect(number: usize, world: &World) -> Self {
        let (connection, socket) = Connection::of_pair();
        socket.set_nonblocking(true).expect("it is open");
        world.server.begin(connection);
        Self {
            number,
            socket,
            protocol: Client::new(CURRENT_OFFER),
            version: Version::MAX,
            phase: Phase::Start,
            asked: None,
            rest: BytesMut::new(),
            received: Vec::new(),
            last: clock::now(),
            may_end: false,
            is_over: false,
            client: None,
            is_authenticated: false,
            is_bounce: false,
            accepted: 0,
        }
    }

    /// Writes the next thing, if nothing is awaited.
    pub(super) async fn act(&mut self, scene: &mut Scene, world: &mut World) {
        if !self.rest.is_empty() {
            let rest = self.rest.split();
            self.write(&rest);
            self.begin(world).await;
            return;
        }
        if self.asked.is_some() {
            // MTAs wait; some go away meanwhile.
            if scene.random.once_in(60) {
                scene.tell(format_args!("{}: goes away", self.number));
                self.socket.shutdown(std::net::Shutdown::Both).expect("it is open");
                self.is_over = true;
            }
            return;
        }
        let mut output = BytesMut::new();
        if self.phase == Phase::Start && !scene.random.once_in(40) {
            let steps = if scene.random.once_in(3) { Steps::NONE } else { CURRENT_OFFER.steps };
            self.version = [Version::MAX, Version::MAX, Version(2), Version(4)][scene.random.below(4)];
            let offer = Offer { version: self.version, actions: Actions(0x1f), steps, macros: &[] };
            let offer = if self.version == Version::MAX { Offer { steps, ..CURRENT_OFFER } } else { offer };
            self.protocol = Client::new(offer);
            self.protocol.negotiate(&mut output);
            self.asked = Some(Asking::Other("the offer", clock::now()));
            self.phase = Phase::Negotiated;
        } else {
            self.command(scene, &mut output);
        }
        if output.is_empty() {
            // The filter does not want to see it.
            return;
        }
        // A frame may come in two parts.
        let is_split = output.len() > 1 && scene.random.once_in(10);
        let length = if is_split { 1 + scene.random.below(output.len() - 1) } else { output.len() };
        let now = output.split_to(length);
        self.rest = output;
        self.write(&now);
        if self.rest.is_empty() {
            self.begin(world).await;
        }
    }

    /// All of it is written.
    async fn begin(&mut self, world: &mut World) {
        self.last = clock::now();
        let standing = match self.client {
            Some(client) => world.server.snapshot().defences.standings.find(client.into()).await,
            None => Standing::default(),
        };
        let is_disabled = world.server.is_disabled();
        match &mut self.asked {
            Some(Asking::Other(_, at)) => *at = clock::now(),
            Some(Asking::Recipient { to, at, is_trusted, expected }) => {
                *at = clock::now();
                *is_trusted = self.client.is_some_and(|client| client.octets()[0] == 192);
                let is_insider = *is_trusted || self.is_authenticated;
                if let (Some(_), Some(client)) = (&standing.blocked, self.client) {
                    let guesses = world.guesses.get(&client).map_or(0, BTreeSet::len);
                    let by_hand = world.blocked.get(&client).is_some_and(|until| clock::now() < *until);
                    let is_due = guesses >= usize::try_from(world.config.harvest.unknown).expect("small");
                    assert!(by_hand || is_due, "{client} is blocked for {guesses} guesses");
                }
                *expected = match to {
                    _ if is_disabled => Expected::This(Verdict::Continue),
                    To::Postmaster | To::Elsewhere => Expected::This(Verdict::Continue),
                    To::Local(_) if !is_insider && standing.blocked.is_some() => {
                        Expected::This(Verdict::Temporary("harvest"))
                    }
                    To::Local(_) if !is_insider && self.is_bounce && self.accepted > 0 => {
                        Expected::This(Verdict::Temporary("bounce-many"))
                    }
                    To::Local(person) => {
                        // It counts when it is decided, which may be long before the answer.
                        let is_guess = |verdict: &Verdict| matches!(verdict, Verdict::Permanent(_));
                        if let Some(client) = self.client
                            && world.may_be(person, *at, false).iter().any(is_guess)
                        {
                            world.guesses.entry(client).or_default().insert(person.clone());
                        }
                        Expected::AsDirectoriesSay
                    }
                };
            }
            None => {}
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        match self.socket.write_all(bytes) {
            Ok(()) => {}
            Err(error) => {
                assert!(self.may_end && error.kind() == ErrorKind::BrokenPipe, "{}: {error}", self.number);
                self.is_over = true;
            }
        }
    }

    fn command(&mut self, scene: &mut Scene, output: &mut BytesMut) {
        let random = &mut scene.random;
        let out_of_order = random.once_in(150);
        let phase = match out_of_order {
            true => [Phase::Negotiated, Phase::Connected, Phase::Mail, Phase::Body][random.below(4)],
            false => self.phase,
        };
        self.may_end |= out_of_order || self.phase == Phase::Start;
        let choice = random.below(12);
        let macros_of_mail = [("{auth_authen}", "joe"), ("{mail_addr}", "x")];
        let version = self.version.0;
        let mut person = String::new();
        let mut asks = None;
        let parameters = CStrings::default();
        let mut macros: Option<&[(&str, &str)]> = random.once_in(2).then_some(&[]);
        let (name, command, next) = match phase {
            _ if choice == 0 && random.once_in(3) => {
                self.may_end = true;
                ("quit", Command::Quit, Phase::Start)
            }
            Phase::Start | Phase::Negotiated => {
                let client = some_client(random);
                self.client = Some(client);
                let address =
                    if random.once_in(15) { ClientAddress::Unknown } else { ClientAddress::Inet(client, 25) };
                if address == ClientAddress::Unknown {
                    self.client = None;
                }
                ("connect", Command::Connect(Connect { host: b"h", address }), Phase::Connected)
            }
            _ if choice == 1 && version >= 6 => {
                self.client = None;
                ("new connection", Command::QuitNewConnection, Phase::Negotiated)
            }
            _ if choice == 2 => ("abort", Command::Abort, Phase::Connected),
            _ if choice == 3 && random.once_in(2) => ("helo", Command::Helo(b"h"), Phase::Connected),
            _ if choice == 4 && version >= 3 && random.once_in(3) => {
                ("unknown", Command::Unknown(b"WHAT"), phase)
            }
            Phase::Connected => self.mail(random.below(6), &macros_of_mail, &mut macros),
            _ if choice == 5 && random.once_in(3) => self.mail(random.below(6), &macros_of_mail, &mut macros),
            Phase::Mail | Phase::Rcpt if phase == Phase::Mail || choice < 9 => {
                let to = match random.below(10) {
                    0 => To::Postmaster,
                    1 => To::Elsewhere,
                    2 => To::Local(format!("nobody{}", random.below(30))),
                    _ => To::Local(random.one_of(&PEOPLE).to_owned()),
                };
                person = match &to {
                    To::Local(person) => format!("<{person}@example.test>"),
                    To::Postmaster => "<postmaster@Example.test>".to_owned(),
                    To::Elsewhere => "<anna@elsewhere.test>".to_owned(),
                };
                asks = Some(to);
                ("rcpt", Command::Rcpt(Rcpt { address: person.as_bytes(), parameters }), Phase::Rcpt)
            }
            Phase::Rcpt | Phase::Mail => match random.below(3) {
                0 if version >= 4 => ("data", Command::Data, Phase::Headers),
                _ => ("header", Command::Header(Header { name: b"Subject", value: b"x" }), Phase::Headers),
            },
            Phase::Headers => match random.below(3) {
                0 => ("header", Command::Header(Header { name: b"To", value: b"x" }), Phase::Headers),
                _ => ("end of headers", Command::EndOfHeaders, Phase::Body),
            },
            Phase::Body => match random.below(3) {
                0 => ("body", Command::Body(b"x"), Phase::Body),
                _ => ("end of message", Command::EndOfMessage(b""), Phase::Connected),
            },
        };
        let number = self.number;
        let expect = self.protocol.send(&command, macros, output);
        scene
            .tell(format_args!("{number}: {name} {person} {expect:?}, {:?} {:?}", self.client, self.version));
        self.phase = next;
        if expect == Expect::Reply {
            let at = clock::now();
            self.asked = Some(match asks {
                None => Asking::Other(name, at),
                Some(to) => {
                    let expected = Expected::AsDirectoriesSay;
                    Asking::Recipient { to, at, is_trusted: false, expected }
                }
            });
        }
    }

    /// A message begins.
    fn mail<'m>(
        &mut self,
        choice: usize,
        authenticated: &'m [(&'m str, &'m str)],
        macros: &mut Option<&'m [(&'m str, &'m str)]>,
    ) -> (&'static str, Command<'static>, Phase) {
        self.is_authenticated = choice == 0;
        self.is_bounce = choice == 1;
        self.accepted = 0;
        *macros = Some(if self.is_authenticated { authenticated } else { &[] });
        let address: &[u8] = if self.is_bounce { b"<>" } else { b"<sender@elsewhere.test>" };
        ("mail", Command::Mail(Mail { address, parameters: CStrings::default() }), Phase::Mail)
    }

    /// Takes what has come.
    pub(super) fn listen(&mut self, scene: &mut Scene, world: &World) {
        let mut some = [0; 512];
        loop {
            match self.socket.read(&mut some) {
                Ok(0) => {
                    let silent = clock::since(self.last);
                    let is_begun = !self.rest.is_empty() || self.phase == Phase::Start;
                    let limit = Duration::from_secs(if is_begun { 30 } else { 7210 });
                    assert!(self.may_end || silent >= limit, "{}: closed after {silent:?}", self.number);
                    scene.tell(format_args!("{}: it is closed", self.number));
                    self.is_over = true;
                    break;
                }
                Ok(count) => self.received.extend_from_slice(&some[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if self.may_end && error.kind() == ErrorKind::ConnectionReset => {
                    self.is_over = true;
                    break;
                }
                Err(error) => panic!("{}: {error}", self.number),
            }
        }
        let received = std::mem::take(&mut self.received);
        let mut input = &*received;
        // It says so where nothing was asked.
        while let Some(reply) = self.protocol.receive(&mut input).expect("an MTA would understand it") {
            let Some(asked) = self.asked.take() else { panic!("{}: {reply:?} to nothing", self.number) };
            let (Asking::Other(_, at) | Asking::Recipient { at, .. }) = &asked;
            assert!(clock::since(*at) <= LONGEST_REPLY + GRACE, "{asked:?} took {:?}", clock::since(*at));
            let verdict = verdict(&reply);
            match &asked {
                Asking::Other(what, _) => scene.tell(format_args!("{}: {verdict:?} to {what}", self.number)),
                Asking::Recipient { to, .. } => {
                    scene.tell(format_args!("{}: {verdict:?} to {to:?}", self.number));
                }
            }
            match asked {
                Asking::Recipient { to, at, is_trusted, expected } => {
                    self.answered(world, &to, at, is_trusted, expected, verdict);
                }
                Asking::Other(what, _) => assert_eq!(verdict, Verdict::Continue, "{what}"),
            }
        }
        self.received = input.to_vec();
        let is_late = |asked: &Asking| {
            let (Asking::Other(_, at) | Asking::Recipient { at, .. }) = asked;
            self.rest.is_empty() && clock::since(*at) > LONGEST_REPLY + GRACE
        };
        assert!(
            self.is_over || !self.asked.as_ref().is_some_and(is_late),
            "{}: {:?}",
            self.number,
            self.asked
        );
    }

    fn answered(
        &mut self,
        world: &World,
        to: &To,
        at: Instant,
        is_trusted: bool,
        expected: Expected,
        verdict: Verdict,
    ) {
        let may_be = match (expected, to) {
            (Expected::AsDirectoriesSay, To::Local(person)) => world.may_be(person, at, is_trusted),
            (Expected::This(this), _) => BTreeSet::from([this]),
            (Expected::AsDirectoriesSay, _) => BTreeSet::from([Verdict::Continue]),
        };
        assert!(
            may_be.contains(&verdict),
            "{}: {to:?} is answered {verdict:?}, and may be {may_be:?}",
            self.number
        );
        self.accepted += usize::from(verdict == Verdict::Continue);
    }
}

fn verdict(reply: &Reply<'_>) -> Verdict {
    match reply {
        Reply::Continue | Reply::Negotiate(_) => Verdict::Continue,
        Reply::ReplyCode(text) => {
            let text = String::from_utf8_lossy(text);
            let reason = REASONS.into_iter().find(|reason| text.ends_with(&format!("[{reason}]")));
            let reason = reason.unwrap_or_else(|| panic!("a reply for no reason: {text}"));
            if text.starts_with('5') { Verdict::Permanent(reason) } else { Verdict::Temporary(reason) }
        }
        other => panic!("{other:?}"),
    }
}
