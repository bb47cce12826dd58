//! Sessions in a world that is made up: MTAs with any order of commands and any pauses, clients who guess, directories whose
//! people come and go and whose servers fail, hang and come back.
//!
//! The model knows what each directory said at what time. From that follows what a recipient may be answered: for good only
//! where each directory in charge can have said that nobody has the address, so late that it is still believed. Each command
//! has one answer in time, if it wants one, and none else.

mod mta;

use std::{
    collections::{BTreeSet, HashMap},
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
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
use mta::{Mta, Verdict};

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
