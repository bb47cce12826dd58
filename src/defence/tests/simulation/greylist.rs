//! Who comes for the first time has to come again, is let in when it has waited as long as it was told, and stays known.
//!
//! Each message is judged by what the postmaster was promised: by when its client came with this sender to this recipient,
//! and how often it came back. In a store that is too small nobody waits for longer.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use super::{address, at_once, shared};
use crate::{
    clock,
    defence::{
        Greylist, Triplet, Why,
        greylist::{Config, Mode},
    },
    tests::simulation::{Scene, all, twice},
};

#[test]
fn who_comes_again() {
    all(0..800, async |scene| play(scene, false).await);
}

#[test]
fn who_comes_again_where_there_is_no_room() {
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
    fn who_comes_again() {
        all(10_000..60_000, async |scene| play(scene, false).await);
    }

    #[test]
    fn who_comes_again_where_there_is_no_room() {
        all(10_000..30_000, async |scene| play(scene, true).await);
    }
}

async fn play(scene: &mut Scene, is_small: bool) {
    let minute = Duration::from_secs(60);
    let delay = minute * [1, 5, 60][scene.random.below(3)];
    let window = delay * [2, 10, 100][scene.random.below(3)];
    let pass = window * [1, 3, 30][scene.random.below(3)];
    let passes = [0, 1, 3][scene.random.below(3)];
    let config = Config { mode: Mode::All, delay, window, pass, passes };
    let greylist = Greylist::new(&config, &shared(is_small.then_some(64)));
    let mut model = Model { config, first: HashMap::new(), known: HashMap::new(), clients: HashMap::new() };
    let (clients, all) = if is_small { (60, 20) } else { (4, 3) };
    let mut again: Vec<Message> = Vec::new();
    for _ in 0..80 {
        if scene.random.once_in(3) {
            let time = match scene.random.below(5) {
                0 => model.config.delay,
                1 => model.config.window,
                2 => model.config.pass - model.config.pass / 16,
                _ => scene.some_time(),
            };
            scene.pass(time).await;
        }
        let is_again = !again.is_empty() && !scene.random.once_in(3);
        let message = match is_again {
            true => again.swap_remove(scene.random.below(again.len())),
            false => Message {
                network: scene.random.below(clients),
                sender: scene.random.below(all),
                recipient: scene.random.below(all),
            },
        };
        let is_first = !scene.random.once_in(4);
        let is_rehearsal = scene.random.once_in(8);
        let host = u8::try_from(1 + scene.random.below(3)).expect("below 4");
        let network = u8::try_from(message.network).expect("below 256");
        let sender = format!(
            "<{}@elsewhere.test>",
            ["ann", "joe", "sue"][message.sender % 3].repeat(1 + message.sender / 3)
        );
        let recipient = address(message.recipient);
        let triplet = Triplet {
            client: IpAddr::from([198, 18, network, host]),
            name: None,
            sender: sender.as_bytes(),
            recipient: &recipient,
            is_first,
        };
        // A message begins a little before it shows its recipients.
        let began = clock::since_1970().as_secs();
        let wait = at_once(greylist.check(triplet, began, is_rehearsal));
        let what = if is_rehearsal { "might send" } else { "sends" };
        scene.tell(format_args!(
            "{} {what} from {sender} to {recipient}, first {is_first}: {:?}",
            triplet.client, wait.why
        ));
        assert!(wait.left <= model.config.delay, "{wait:?}: longer than the delay");
        if wait.why == Why::Overrun {
            assert!(is_small, "there is room");
            continue;
        }
        let expected = model.judge(&message, began);
        if !is_small {
            assert_eq!(wait.why, expected, "{message:?}");
        } else if wait.left.is_zero() {
            assert!(expected.left().is_zero(), "{message:?} passes, the model says {expected:?}");
        }
        if !is_rehearsal {
            let why = if is_small { wait.why } else { expected };
            model.remember(&message, why, is_first, began);
        }
        if !wait.left.is_zero() {
            again.push(message);
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Message {
    network: usize,
    sender: usize,
    recipient: usize,
}

struct Model {
    config: Config,
    /// When it came first, in seconds since 1970, and until when that is remembered.
    first: HashMap<Message, (u64, Instant)>,
    /// When it was written down that it came again, and until when that is remembered.
    known: HashMap<Message, (u64, Instant)>,
    /// The same of a network, with how often.
    clients: HashMap<usize, (u32, u64, Instant)>,
}

impl Model {
    fn judge(&self, message: &Message, began: u64) -> Why {
        let now = clock::now();
        let passes =
            self.clients.get(&message.network).filter(|(.., until)| now < *until).map_or(0, |it| it.0);
        if self.config.passes > 0 && passes >= self.config.passes {
            return Why::Client;
        }
        if self.known.get(message).is_some_and(|(_, until)| now < *until) {
            return Why::Known;
        }
        match self.first.get(message).filter(|(_, until)| now < *until) {
            None => Why::First(self.config.delay),
            Some((at, _)) => match (*at + self.config.delay.as_secs()).saturating_sub(began) {
                0 => Why::Returned,
                left => Why::Early(Duration::from_secs(left)),
            },
        }
    }

    fn remember(&mut self, message: &Message, why: Why, is_first: bool, began: u64) {
        let now = clock::now();
        let until = now + self.config.pass;
        let is_old = |at: u64| began - at > self.config.pass.as_secs() / 32;
        if matches!(why, Why::First(_) | Why::Early(_) | Why::Returned) {
            let first = self.first.entry(message.clone()).or_insert((began, now));
            // What there was no room for is new again.
            if first.1 <= now || matches!(why, Why::First(_)) {
                *first = (began, now + self.config.window);
            }
        }
        if matches!(why, Why::Returned | Why::Known) {
            let known = self.known.get(message).filter(|(_, until)| now < *until);
            if known.is_none_or(|(at, _)| is_old(*at)) {
                self.known.insert(message.clone(), (began, until));
            }
        }
        let client = self.clients.get(&message.network).filter(|(.., until)| now < *until);
        let (passes, at) = client.map_or((0, 0), |(passes, at, _)| (*passes, *at));
        match why {
            Why::Returned if is_first => {
                self.clients.insert(message.network, (passes + 1, began, until));
            }
            Why::Client if is_old(at) => {
                self.clients.insert(message.network, (passes, began, until));
            }
            _ => {}
        }
    }
}
