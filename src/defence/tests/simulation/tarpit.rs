//! Each refusal of a client is delayed twice as long as the one before, up to a limit, until it stays away; so many wait at
//! the same time, and a part of them for one client.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use super::shared;
use crate::{
    clock,
    defence::{Held, Tarpit, tarpit},
    tests::simulation::{Scene, all, twice},
};

#[test]
fn delays() {
    all(0..400, play);
}

#[test]
fn the_same_again() {
    twice(0..20, play);
}

mod full {
    use super::*;

    #[test]
    fn delays() {
        all(10_000..60_000, play);
    }
}

async fn play(scene: &mut Scene) {
    let second = Duration::from_secs(1);
    let config = tarpit::Config {
        enabled: true,
        first: Duration::from_millis([1, 250, 900][scene.random.below(3)]),
        max: second * [1, 4, 6][scene.random.below(3)],
        window: second * [1, 60, 3600][scene.random.below(3)],
        sleepers: 1 + scene.random.below(12),
    };
    let shared = shared(None);
    let tarpit = Tarpit::new(&config, &shared);
    // Refusals, and when the last one was.
    let mut refused: HashMap<IpAddr, (u32, Instant)> = HashMap::new();
    let mut asleep: Vec<(IpAddr, Instant, Held)> = Vec::new();
    for _ in 0..60 {
        let client = IpAddr::from([192, 0, 2, u8::try_from(scene.random.below(5)).expect("below 5")]);
        match scene.random.below(10) {
            0..2 => {
                let time = scene.some_time();
                scene.pass(time).await;
            }
            2 => {
                tarpit.forgive(client);
                if let Some((count, _)) = refused.get_mut(&client) {
                    *count = count.saturating_sub(1);
                }
            }
            _ => {
                let is_stressed = scene.random.once_in(8);
                let held = tarpit.hold(client, is_stressed);
                let now = clock::now();
                let entry = refused.entry(client).or_insert((0, now));
                if clock::since(entry.1) >= config.window {
                    entry.0 = 0;
                }
                let before = entry.0;
                *entry = ((before + 1).min(20), now);
                let own = asleep.iter().filter(|(of, ..)| *of == client).count();
                let is_full = asleep.len() >= config.sleepers || own >= (config.sleepers / 5).max(1);
                let delay = config.first.saturating_mul(1 << before).min(config.max);
                let expected = (!is_stressed && !is_full).then_some(delay);
                scene.tell(format_args!("{client} is refused: {expected:?}"));
                assert_eq!(held.as_ref().map(|held| held.delay), expected, "{client} waits");
                asleep.extend(held.map(|held| (client, now + delay, held)));
            }
        }
        asleep.retain(|(_, until, _)| clock::now() < *until);
        let sleeping = usize::try_from(shared.metrics.tarpit_sleeping.get()).expect("not below 0");
        assert_eq!(sleeping, asleep.len());
    }
    drop(asleep);
    assert_eq!(shared.metrics.tarpit_sleeping.get(), 0, "nobody is left behind");
}
