//! Who guesses is blocked, by number and share, until a set time; who is trusted or blocked by hand; who is released.
//!
//! With room for everything all is as the model says. In a store that is too small counts are lost, and blocks and trusts
//! with them: then nobody is blocked for whom the model has no reason, and nobody for longer.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    time::{Duration, Instant},
};

use ipnet::IpNet;

use super::{address, at_once, shared};
use crate::{
    clock,
    defence::{Guess, Harvest, Purpose, Standing, Standings, harvest},
    policy::Counts,
    tests::simulation::{Scene, all, twice},
};

#[test]
fn blocks_and_trusts() {
    all(0..800, async |scene| play(scene, false).await);
}

#[test]
fn a_store_that_is_too_small_blocks_nobody() {
    all(0..400, async |scene| play(scene, true).await);
}

#[test]
fn the_same_again() {
    twice(0..20, async |scene| play(scene, false).await);
    twice(0..20, async |scene| play(scene, true).await);
}

mod full {
    use super::*;

    #[test]
    fn blocks_and_trusts() {
        all(10_000..60_000, async |scene| play(scene, false).await);
    }

    #[test]
    fn a_store_that_is_too_small_blocks_nobody() {
        all(10_000..30_000, async |scene| play(scene, true).await);
    }
}

async fn play(scene: &mut Scene, is_small: bool) {
    let random = &mut scene.random;
    let second = Duration::from_secs(1);
    let mut config = harvest::Config {
        unknown: 1 + u32::try_from(random.below(8)).expect("below 8"),
        ratio: [0.0, 0.3, 0.5, 1.0][random.below(4)],
        window: second * [60, 600, 3600, 86_400][random.below(4)],
        block: second * [1, 3, 60, 3600, 20_000][random.below(5)],
        distributed: 0,
        except: vec!["198.51.100.0/28".to_owned()],
        private: random.once_in(3),
        ..harvest::Config::default()
    };
    config.enabled = !random.once_in(20);
    let shared = shared(is_small.then_some(64));
    let harvest = Harvest::new(&config, &shared);
    let standings = Standings::new(&shared, &harvest);
    let mut model = Model { config, ..Model::default() };
    let clients = CLIENTS.map(|text| text.parse::<IpAddr>().expect("an address"));
    // A few do most.
    let busy = random.below(clients.len());
    for _ in 0..80 {
        let client = clients[if scene.random.once_in(2) { busy } else { scene.random.below(clients.len()) }];
        match scene.random.below(40) {
            0 => {
                let ttl = time(scene);
                scene.tell(format_args!("{client} is trusted for {ttl:?}"));
                at_once(standings.trust(client, ttl)).expect("it may be");
                model.trust(client, ttl);
            }
            1 => {
                let ttl = time(scene);
                scene.tell(format_args!("{client} is blocked by hand for {ttl:?}"));
                at_once(standings.block(client, "", ttl)).expect("it may be");
                model.blocks.insert(own(client), (clock::now() + ttl, true));
            }
            2 => {
                scene.tell(format_args!("{client} is released"));
                at_once(standings.release(client)).expect("it may be");
                model.release(client);
            }
            3..12 => {
                let time = scene.some_time();
                scene.pass(time).await;
            }
            _ => ask(scene, &harvest, &standings, &mut model, client, is_small),
        }
        let other = clients[scene.random.below(clients.len())];
        for client in [client, other] {
            compare(scene, &at_once(standings.find(client)), &model, client, is_small);
        }
    }
}

/// For how long somebody is trusted or blocked.
fn time(scene: &mut Scene) -> Duration {
    scene.some_time().max(Duration::from_secs(1))
}

fn ask(
    scene: &mut Scene,
    harvest: &Harvest,
    standings: &Standings,
    model: &mut Model,
    client: IpAddr,
    is_small: bool,
) {
    let standing = at_once(standings.find(client));
    // As a session does.
    let Some(lately) = standing.lately.filter(|_| standing.blocked.is_none() && !standing.trusted) else {
        return;
    };
    let random = &mut scene.random;
    let times = 1 + random.below(6);
    let purpose = if random.once_in(5) { Purpose::Report } else { Purpose::Mail };
    let kind = random.below(6);
    let mut lately = lately;
    for _ in 0..times {
        let number = scene.random.below(40);
        let address = address(number);
        let (guess, weight) = match kind {
            0..2 => (Guess::Known(&address), 0),
            2 if number < 10 => (Guess::Trap(&address), 10),
            _ => (Guess::Unknown(&address), 1),
        };
        let is_new = harvest.note(client, lately, guess, purpose);
        let expected = model.note(client, number, weight, purpose);
        scene.tell(format_args!("{client} asks for {guess:?}, {purpose:?}: {is_new}"));
        assert_eq!(is_new, expected, "it counts once");
        let standing = at_once(standings.find(client));
        compare(scene, &standing, model, client, is_small);
        match standing.lately.filter(|_| standing.blocked.is_none()) {
            Some(now) => lately = now,
            None => return,
        }
    }
}

fn compare(scene: &mut Scene, found: &Standing, model: &Model, client: IpAddr, is_small: bool) {
    let Standing { trusted, blocked, unanswered, unsure, lately } = found;
    let expected = model.find(client);
    assert!(!unanswered);
    if is_small {
        assert!(!trusted || expected.trusted, "{client} is trusted without a reason");
        if let Some(blocked) = blocked {
            let until = match blocked.by_hand {
                true => {
                    model.blocks.get(&blocked.network).filter(|(_, by_hand)| *by_hand).map(|block| block.0)
                }
                false => model.at_most.get(&blocked.network).copied(),
            };
            assert!(until.is_some_and(|until| clock::now() < until), "{client}: {blocked:?} until {until:?}");
        }
        if let Some(lately) = lately {
            let is_more =
                |found: Counts, model: Counts| found.unknown > model.unknown || found.known > model.known;
            let own = expected.own.unwrap_or_default();
            assert!(!is_more(lately.own, own), "{client}: {lately:?}, {own:?}");
        }
        scene.tell(format_args!("{client}: {trusted} {:?}", blocked.is_some()));
        return;
    }
    assert!(!unsure);
    assert_eq!(*trusted, expected.trusted, "{client} is trusted");
    let blocked = blocked.as_ref().map(|blocked| (blocked.network, blocked.by_hand));
    assert_eq!(blocked, expected.blocked, "{client} is blocked");
    let (own, network) = lately.map_or((None, None), |lately| (Some(lately.own), lately.network));
    assert_eq!((own, network), (expected.own, expected.network), "what {client} asked for");
}

/// What has to be.
#[derive(Debug, Default)]
struct Model {
    config: harvest::Config,
    /// In each bucket of time: known ones, unknown ones by mail, and by reports.
    asked: HashMap<(IpNet, u64), [u64; 3]>,
    /// In each month: known ones.
    history: HashMap<(IpNet, u64), u64>,
    /// In which bucket somebody asked last for one that is unknown.
    guesses: HashMap<(IpNet, usize), u64>,
    known: HashSet<(IpNet, usize, u64)>,
    friends: HashSet<(IpNet, usize, u64)>,
    trusts: HashMap<IpAddr, (Instant, u64)>,
    /// Until when, and whether by hand.
    blocks: HashMap<IpNet, (Instant, bool)>,
    /// The latest end of a block for which there were guesses enough.
    at_most: HashMap<IpNet, Instant>,
}

#[derive(Debug)]
struct Expected {
    trusted: bool,
    blocked: Option<(IpNet, bool)>,
    own: Option<Counts>,
    network: Option<Counts>,
}

impl Model {
    fn find(&self, client: IpAddr) -> Expected {
        let (now, own) = (clock::now(), own(client));
        let trusted = self.trusts.get(&client.to_canonical()).is_some_and(|(until, _)| now < *until);
        let block = |network| {
            let (until, by_hand) = self.blocks.get(&network)?;
            (now < *until).then_some((network, *by_hand))
        };
        let is_counted = self.is_counted(client);
        let counts = is_counted.then(|| self.counts(own));
        let wider = wider(client).filter(|_| is_counted);
        let blocked = block(own).filter(|(_, by_hand)| *by_hand || is_counted);
        let is_spared = self.config.enabled && counts.is_some_and(|counts| counts.history >= 10);
        let of_wider = || wider.filter(|_| !is_spared).and_then(block);
        let blocked = blocked.or_else(of_wider);
        Expected { trusted, blocked, own: counts, network: wider.map(|wider| self.counts(wider)) }
    }

    fn is_counted(&self, client: IpAddr) -> bool {
        let text = client.to_canonical().to_string();
        self.config.enabled
            && !text.starts_with("198.51.100.")
            && (self.config.private || !text.starts_with("10."))
    }

    /// What was asked for within the window: a bucket that is over counts by the part of it that is within.
    fn counts(&self, network: IpNet) -> Counts {
        let (now, window) = (now(), millis(self.config.window));
        let asked = |bucket| self.asked.get(&(network, bucket)).copied().unwrap_or_default();
        let weigh =
            |current: u64, before: u64, length: u64| current + before * (length - now % length) / length;
        let bucket = now / window;
        let (current, before) = (asked(bucket), asked(bucket - 1));
        let [known, mail, reports] = [0, 1, 2].map(|of| weigh(current[of], before[of], window));
        let friends = |month| self.history.get(&(network, month)).copied().unwrap_or_default();
        let month = now / MONTH;
        let history = weigh(friends(month), friends(month - 1), MONTH);
        Counts { known, unknown: mail + reports, reports, history }
    }

    /// `weight`: 0 for one who is known. Whether it counts.
    fn note(&mut self, client: IpAddr, number: usize, weight: u64, purpose: Purpose) -> bool {
        let own = own(client);
        // What it looked like before, to which this one is added.
        let before = (self.counts(own), wider(client).map(|wider| self.counts(wider)));
        if !self.is_new(own, number, weight) {
            return false;
        }
        let wider = wider(client).filter(|wider| self.is_new(*wider, number, weight));
        let (bucket, month) = (now() / millis(self.config.window), now() / MONTH);
        for network in [Some(own), wider].into_iter().flatten() {
            let asked = self.asked.entry((network, bucket)).or_default();
            match (weight, purpose) {
                (0, _) => {
                    asked[0] += 1;
                    if self.friends.insert((network, number, month)) {
                        *self.history.entry((network, month)).or_default() += 1;
                    }
                }
                (weight, Purpose::Mail) => asked[1] += weight,
                (weight, Purpose::Report) => asked[2] += weight,
            }
        }
        if weight == 0 {
            return true;
        }
        let more = |mut counts: Counts| {
            counts.unknown += weight;
            counts.reports += if purpose == Purpose::Report { weight } else { 0 };
            counts
        };
        let counts = more(before.0);
        let of_network = before.1.map(|counts| if wider.is_some() { more(counts) } else { counts });
        let limit = u64::from(self.config.unknown);
        let is_network_bad = of_network.is_some_and(|counts| self.breaks(counts, counts.unknown, limit * 8));
        let lower = (limit / 4).max(5).min(limit);
        let is_bad = self.breaks(counts, counts.unknown, limit)
            || is_network_bad
                && purpose == Purpose::Mail
                && self.breaks(counts, counts.unknown - counts.reports, lower);
        // Where known ones are forgotten the share is lost, the number is not.
        if counts.unknown >= lower {
            self.may_block(own);
        }
        if let Some(wider) = wider.filter(|_| of_network.is_some_and(|counts| counts.unknown >= limit * 8)) {
            self.may_block(wider);
        }
        if is_bad {
            self.block(own);
        }
        if let Some(wider) = wider.filter(|_| is_network_bad && counts.history < 10) {
            self.block(wider);
        }
        true
    }

    /// `unknown` of them are at least so many, with those that its good name is worth.
    fn breaks(&self, counts: Counts, unknown: u64, limit: u64) -> bool {
        let forgiven = (counts.history / 10).min(limit * 50);
        let all = (unknown + counts.known) as f64;
        unknown >= limit + forgiven && unknown as f64 >= self.config.ratio * all
    }

    fn is_new(&mut self, network: IpNet, number: usize, weight: u64) -> bool {
        let bucket = now() / millis(self.config.window);
        if weight == 0 {
            return self.known.insert((network, number, bucket));
        }
        let last = self.guesses.insert((network, number), bucket);
        last.is_none_or(|last| last + 1 < bucket)
    }

    fn block(&mut self, network: IpNet) {
        let until = clock::now() + self.config.block;
        let is_blocked = self.blocks.get(&network).is_some_and(|(until, _)| clock::now() < *until);
        if !is_blocked {
            self.blocks.insert(network, (until, false));
        }
    }

    fn may_block(&mut self, network: IpNet) {
        self.at_most.insert(network, clock::now() + self.config.block);
    }

    fn trust(&mut self, client: IpAddr, ttl: Duration) {
        let end = (clock::since_1970() + ttl).as_secs();
        let client = client.to_canonical();
        let is_longer = |(until, before): &(Instant, u64)| clock::now() < *until && *before > end;
        if !self.trusts.get(&client).is_some_and(is_longer) {
            self.trusts.insert(client, (clock::now() + ttl, end));
        }
    }

    fn release(&mut self, client: IpAddr) {
        self.trusts.remove(&client.to_canonical());
        let bucket = now() / millis(self.config.window);
        for network in [Some(own(client)), wider(client)].into_iter().flatten() {
            self.blocks.remove(&network);
            self.at_most.remove(&network);
            self.asked.remove(&(network, bucket));
            self.asked.remove(&(network, bucket - 1));
        }
    }
}

fn own(client: IpAddr) -> IpNet {
    prefix(client, 32, 64)
}

fn wider(client: IpAddr) -> Option<IpNet> {
    client.to_canonical().is_ipv6().then(|| prefix(client, 32, 48))
}

fn prefix(client: IpAddr, v4: u8, v6: u8) -> IpNet {
    let client = client.to_canonical();
    IpNet::new_assert(client, if client.is_ipv4() { v4 } else { v6 }).trunc()
}

/// In milliseconds since 1970.
fn now() -> u64 {
    millis(clock::since_1970())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).expect("not that long")
}

/// Two are one host; three are in one /48; one is excepted, and one private.
const CLIENTS: [&str; 10] = [
    "192.0.2.1",
    "::ffff:192.0.2.1",
    "192.0.2.2",
    "203.0.113.9",
    "198.51.100.9",
    "10.0.0.7",
    "2001:db8:1:1::1",
    "2001:db8:1:1:2::2",
    "2001:db8:1:2::1",
    "2001:db8:2::1",
];
/// In milliseconds.
const MONTH: u64 = 30 * 86_400_000;
