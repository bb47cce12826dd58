//! Sessions in a world that is made up: MTAs with any order of commands and any pauses, clients who guess, directories whose
//! people come and go and whose servers fail, hang and come back.
//!
//! The model knows what each directory said at what time. From that follows what a recipient may be answered: for good only
//! where each directory in charge can have said that nobody has the address, so late that it is still believed. Each command
//! has one answer in time, if it wants one, and none else.

use std::{
    collections::{BTreeSet, HashMap},
    io::{ErrorKind, Read, Write},
    net::Ipv4Addr,
    os::unix::net::UnixStream,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::BytesMut;
use milter_protocol::{
    client::{Client, Expect},
    command::{CStrings, ClientAddress, Command, Connect, Header, Mail, Rcpt},
    flags::{Actions, Steps, Version},
    negotiation::{CURRENT_OFFER, Offer},
    reply::Reply,
};

use super::{snapshot, *};
use crate::{
    address::Address,
    clock,
    defence::{Shared, Standing},
    net::event_loop::Turns,
    policy::Unavailable,
    tests::simulation::{Scene, all, twice},
};

#[test]
fn answers() {
    all(0..400, play);
}

#[test]
fn the_same_again() {
    twice(0..10, play);
}

mod full {
    use super::*;

    #[test]
    fn answers() {
        all(10_000..22_000, play);
    }
}

async fn play(scene: &mut Scene) {
    let mut world = World::new(scene);
    let mut mtas: Vec<Mta> =
        (0..1 + scene.random.below(4)).map(|number| Mta::connect(number, &world)).collect();
    for _ in 0..120 {
        match scene.random.below(12) {
            0 => world.change(scene, &mtas).await,
            1..3 => {
                let time = world.some_time(scene);
                world.pass(scene, &mut mtas, time).await;
            }
            _ => {
                let at = scene.random.below(mtas.len());
                if mtas[at].is_over {
                    mtas[at] = Mta::connect(at, &world);
                }
                mtas[at].act(scene, &mut world).await;
            }
        }
        world.turns.turn();
        // A question to a directory is a task of its own, and gets there before anything else happens.
        tokio::task::yield_now().await;
        world.turns.turn();
        world.listen(scene, &mut mtas);
    }
    world.pass(scene, &mut mtas, LONGEST_REPLY + GRACE).await;
    for mta in &mtas {
        let is_due = !mta.is_over && mta.rest.is_empty() && mta.asked.is_some();
        assert!(!is_due, "{}: no answer to {:?}", mta.number, mta.asked);
    }
    assert_eq!(world.server.metrics.session_panics.get(), 0);
}

/// All but the MTAs.
struct World {
    turns: Turns,
    server: Arc<Server>,
    shared: Shared,
    config: defence::Config,
    directories: Vec<Arc<Mutex<Known>>>,
    /// Different addresses that each client asked for and that may have been nobody's.
    guesses: HashMap<Ipv4Addr, BTreeSet<String>>,
    /// By hand.
    blocked: HashMap<Ipv4Addr, Instant>,
}

/// What a directory said when.
#[derive(Debug)]
struct Known {
    on_unavailable: Unavailable,
    people: HashMap<String, Vec<(Instant, bool)>>,
    /// How long an answer takes, `None`: it can't tell.
    server: Vec<(Instant, Option<Duration>)>,
}

impl World {
    fn new(scene: &mut Scene) -> Self {
        let random = &mut scene.random;
        let began = clock::now();
        let directories: Vec<_> = (0..1 + random.below(2))
            .map(|_| {
                let people =
                    PEOPLE.iter().map(|&person| (person.to_owned(), vec![(began, random.once_in(2))]));
                Arc::new(Mutex::new(Known {
                    people: people.collect(),
                    on_unavailable: if random.once_in(4) {
                        Unavailable::Continue
                    } else {
                        Unavailable::Defer
                    },
                    server: vec![(began, Some(Duration::ZERO))],
                }))
            })
            .collect();
        let mut config = defence::Config::default();
        config.harvest.unknown = 3 + u32::try_from(random.below(5)).expect("below 5");
        config.harvest.distributed = 0;
        config.harvest.block = Duration::from_secs([60, 600][random.below(2)]);
        config.tarpit.enabled = random.once_in(2);
        let registry = Registry::default();
        let store = store::Store::in_memory(store::Metrics::register(&registry));
        let shared = Shared::new(store, defence::Metrics::register(&registry));
        let metrics = Metrics::register(&registry);
        let snapshot = made(&config, &shared, &directories);
        let server = Server::new(snapshot, &Limits::default(), metrics, Arc::default());
        let silent = Arc::clone(&server);
        server.asides.spawn(async move { silent.end_the_silent(CancellationToken::new()).await });
        Self {
            turns: Turns::begin(),
            server,
            shared,
            config,
            directories,
            guesses: HashMap::new(),
            blocked: HashMap::new(),
        }
    }

    fn some_time(&self, scene: &mut Scene) -> Duration {
        let unit = [1, 100, 1000, 10_000][scene.random.below(4)];
        let most = Duration::from_millis(unit * (1 + scene.random.below(20)) as u64);
        // Longer than any MTA waits.
        if scene.random.once_in(400) { Duration::from_secs(7300) } else { most }
    }

    /// Something happens beside the sessions.
    async fn change(&mut self, scene: &mut Scene, mtas: &[Mta]) {
        let random = &mut scene.random;
        let client = some_client(random);
        let standings = &self.server.snapshot().defences.standings;
        match random.below(10) {
            0..4 => {
                let directory = &self.directories[random.below(self.directories.len())];
                let person = random.one_of(&PEOPLE);
                let exists = random.once_in(2);
                let mut known = directory.lock().expect("no panic");
                known.people.get_mut(person).expect("one of them").push((clock::now(), exists));
                scene.tell(format_args!("{person} exists from now on: {exists}"));
            }
            4..7 => {
                let directory = &self.directories[random.below(self.directories.len())];
                let times =
                    [None, Some(0), Some(0), Some(1), Some(300), Some(1900), Some(2500), Some(60_000)];
                let time = times[random.below(times.len())].map(Duration::from_millis);
                directory.lock().expect("no panic").server.push((clock::now(), time));
                scene.tell(format_args!("a directory answers after {time:?} from now on"));
            }
            7 => {
                let time = Duration::from_secs(1 + random.below(300) as u64);
                standings.block(client.into(), "", time).await.expect("it may be");
                self.blocked.insert(client, clock::now() + time);
                scene.tell(format_args!("{client} is blocked for {time:?}"));
            }
            8 if random.once_in(2) => {
                standings.release(client.into()).await.expect("it may be");
                self.blocked.remove(&client);
                // What is being looked up now is counted with what it had asked for before.
                if !mtas.iter().any(|mta| mta.client == Some(client) && mta.asked.is_some()) {
                    self.guesses.remove(&client);
                }
                scene.tell(format_args!("{client} is released"));
            }
            8 => {
                let is_disabled = random.once_in(2);
                self.server.set_disabled(is_disabled);
                scene.tell(format_args!("disabled: {is_disabled}"));
            }
            _ => {
                self.server.replace(made(&self.config, &self.shared, &self.directories));
                scene.tell(format_args!("it is reloaded"));
            }
        }
    }

    /// Lets time pass, and sees what is answered when.
    async fn pass(&self, scene: &mut Scene, mtas: &mut [Mta], time: Duration) {
        let mut over = std::pin::pin!(tokio::time::sleep(time));
        loop {
            self.turns.turn();
            self.listen(scene, mtas);
            tokio::select! {
                biased;
                () = self.turns.woken() => {}
                () = &mut over => return,
            }
        }
    }

    fn listen(&self, scene: &mut Scene, mtas: &mut [Mta]) {
        for mta in mtas.iter_mut().filter(|mta| !mta.is_over) {
            mta.listen(scene, self);
        }
    }

    /// What a recipient in the local domain that was asked about then may be answered now, as far as the directories decide.
    fn may_be(&self, person: &str, asked: Instant, is_trusted: bool) -> BTreeSet<Verdict> {
        let each =
            self.directories.iter().map(|known| known.lock().expect("no panic").may_say(person, asked));
        let mut all = vec![(false, Unavailable::Continue, false)];
        for (answers, on_unavailable) in each {
            let mut next = Vec::new();
            for (exists, outcome, unknown) in all {
                for answer in &answers {
                    next.push(match answer {
                        Some(yes) => (exists || *yes, outcome, unknown),
                        None => (exists, outcome.max(on_unavailable), true),
                    });
                }
            }
            all = next;
        }
        let verdict = |(exists, outcome, unknown)| match (exists, unknown) {
            (true, _) => Verdict::Continue,
            (false, false) => Verdict::Permanent("unknown-recipient"),
            (false, true) if outcome == Unavailable::Continue || is_trusted => Verdict::Continue,
            (false, true) => Verdict::Temporary("directory-unavailable"),
        };
        all.into_iter().map(verdict).collect()
    }
}

impl Known {
    /// What it may have said to who asked then, and what becomes of mail where it can't tell.
    fn may_say(&self, person: &str, asked: Instant) -> (BTreeSet<Option<bool>>, Unavailable) {
        let back = |time: u64| asked.checked_sub(Duration::from_secs(time)).unwrap_or(self.server[0].0);
        // Somebody else may have asked the same question just before.
        let is_slow = |time: &Option<Duration>| time.is_none_or(|time| time >= DEADLINE);
        let is_unsure = during(&self.server, back(3)).any(is_slow);
        let nobody = Vec::new();
        let times = self.people.get(person).unwrap_or(&nobody);
        // As `[directory.NAME.cache]` says by default.
        let positive = if is_unsure { 24 * 3600 } else { 5 * 60 + 3 };
        let existed = during(times, back(positive)).any(|exists| *exists);
        let was_absent = times.is_empty() || during(times, back(10 + 3)).any(|exists| !exists);
        let mut answers = BTreeSet::new();
        answers.extend(existed.then_some(Some(true)));
        answers.extend(was_absent.then_some(Some(false)));
        answers.extend(is_unsure.then_some(None));
        (answers, self.on_unavailable)
    }
}

/// What held at any time from then on.
fn during<T>(history: &[(Instant, T)], from: Instant) -> impl Iterator<Item = &T> {
    let last_before = history.iter().rposition(|(at, _)| *at <= from).unwrap_or(0);
    history[last_before..].iter().map(|(_, what)| what)
}

/// What a site decides by.
fn made(config: &defence::Config, shared: &Shared, directories: &[Arc<Mutex<Known>>]) -> Snapshot {
    let servers = directories.iter().map(|known| {
        let (on_unavailable, known) = (known.lock().expect("no panic").on_unavailable, Arc::clone(known));
        let answer = move |address: &Address| {
            let known = known.lock().expect("no panic");
            let exists = known.people.get(address.local()).is_some_and(|times| times[times.len() - 1].1);
            let time = known.server[known.server.len() - 1].1;
            (time.unwrap_or_default(), time.map(|_| exists))
        };
        (on_unavailable, DEADLINE, answer)
    });
    let registry = Registry::default();
    let dynamic = client::Dynamic { reverse_dns: false, ..client::Dynamic::default() };
    let trusted = vec![TRUSTED.parse().expect("a network")];
    let client = client::Config { trusted, dynamic, ..client::Config::default() };
    let rules = Rules {
        defences: policy::Defences { standing: true, ..policy::Defences::default() },
        ..Rules::default()
    };
    let keeper = Keeper::new(files::Metrics::register(&Registry::default()));
    let mut made = snapshot(&registry, &client, rules);
    let defences = Defences::build(config, shared, &Default::default(), Vec::new(), &keeper);
    made.defences = Arc::new(defences.expect("no files"));
    made.directories = Arc::new(Directories::told("example.test", servers.collect()));
    made
}

/// One that asks.
struct Mta {
    number: usize,
    socket: UnixStream,
    protocol: Client,
    version: Version,
    phase: Phase,
    asked: Option<Asking>,
    /// What is written later.
    rest: BytesMut,
    received: Vec<u8>,
    /// When something that counts was written last.
    last: Instant,
    /// It may be closed now: a command that was out of order, or a farewell.
    may_end: bool,
    is_over: bool,
    client: Option<Ipv4Addr>,
    is_authenticated: bool,
    is_bounce: bool,
    /// Recipients that were let pass.
    accepted: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
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
enum Asking {
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
enum To {
    Local(String),
    Postmaster,
    Elsewhere,
}

/// What is said whatever a directory knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    This(Verdict),
    AsDirectoriesSay,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Continue,
    Temporary(&'static str),
    Permanent(&'static str),
}

impl Mta {
    fn connect(number: usize, world: &World) -> Self {
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
    async fn act(&mut self, scene: &mut Scene, world: &mut World) {
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
    fn listen(&mut self, scene: &mut Scene, world: &World) {
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

/// One of them is trusted, by its network.
fn some_client(random: &mut backstop_harness::Random) -> Ipv4Addr {
    [[203, 0, 113, 1], [203, 0, 113, 2], [198, 51, 100, 3], [192, 0, 2, 4]][random.below(4)].into()
}

const TRUSTED: &str = "192.0.2.0/24";
const PEOPLE: [&str; 8] = ["anna", "bob", "carl", "dora", "emil", "fred", "gina", "hans"];
const REASONS: [&str; 4] = ["unknown-recipient", "directory-unavailable", "harvest", "bounce-many"];
/// Of each directory.
const DEADLINE: Duration = Duration::from_secs(2);
/// A timer may be a little late, and a session's own is looked at once in a second.
const GRACE: Duration = Duration::from_millis(1100);
