//! Simulation: one part of the program in a world that is made up, for hours and days of a time that passes at once.
//!
//! All that happens follows from a seed: what, to whom, and when. Beside the part a simple model says what has to come of it,
//! and each step compares the two. The simulations are `simulation.rs` beside the tests of their parts; all of them, one
//! seed of one, and more seeds:
//!
//! ```text
//! cargo nextest run -E 'test(simulation::)'
//! SIM_SEED=4711 cargo nextest run -E 'test(=defence::tests::simulation::blocks::blocks_and_trusts)' --no-capture
//! cargo nextest run --profile full -E 'test(simulation::full::)'
//! ```

use std::{
    fmt,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::{Duration, SystemTime},
};

use backstop_harness::Random;

use crate::clock;

/// What one seed has come to so far.
pub(crate) struct Scene {
    pub(crate) random: Random,
    began: std::time::Instant,
    told: Vec<String>,
}

impl Scene {
    /// Notes what happened, for whoever looks for the reason of a failure.
    pub(crate) fn tell(&mut self, what: fmt::Arguments<'_>) {
        self.told.push(format!("{:>12.3} {what}", clock::since(self.began).as_secs_f64()));
    }

    /// Lets so much time pass, and everything happen that is due in it.
    pub(crate) async fn pass(&mut self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Some time: milliseconds or hours, each as likely.
    pub(crate) fn some_time(&mut self) -> Duration {
        let unit = [1, 20, 1000, 20_000, 60_000, 600_000, 3_600_000][self.random.below(7)];
        Duration::from_millis(unit * (1 + self.random.below(40) as u64))
    }
}

/// Plays each of these seeds, or the one of `SIM_SEED`. The first that fails is told, with what happened last.
pub(crate) fn all(seeds: Range<u64>, play: impl AsyncFn(&mut Scene)) {
    let one = std::env::var("SIM_SEED").ok().map(|seed| seed.parse().expect("SIM_SEED is a number"));
    for seed in one.map_or(seeds, |one| one..one + 1) {
        let (told, failure) = run(seed, &play);
        if one.is_some() {
            println!("{}", told.join("\n"));
        }
        if let Err(failure) = failure {
            let lately = &told[told.len().saturating_sub(LATELY)..];
            eprintln!("{}\nSIM_SEED={seed} has it again, after {} steps", lately.join("\n"), told.len());
            resume_unwind(failure);
        }
    }
}

/// Plays each of these seeds twice: the same has to happen.
pub(crate) fn twice(seeds: Range<u64>, play: impl AsyncFn(&mut Scene)) {
    let mut last = Vec::new();
    for seed in seeds {
        let [(first, _), (second, _)] = [(); 2].map(|()| run(seed, &play));
        let differs = first.iter().zip(&second).find(|(first, second)| first != second);
        assert!(first == second, "SIM_SEED={seed}: {differs:?}, {} and {} steps", first.len(), second.len());
        assert!(first != last, "seeds {seed} and {} are the same", seed - 1);
        last = first;
    }
}

/// What happened, and how it ended.
fn run(seed: u64, play: &impl AsyncFn(&mut Scene)) -> (Vec<String>, std::thread::Result<()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().expect("a runtime");
    let _context = runtime.enter();
    let mut random = Random::new(seed);
    // At any place in an hour, and in a day.
    let begins = BEGINS + random.below(86_400_000) as u64;
    clock::stopped::set(SystemTime::UNIX_EPOCH + Duration::from_millis(begins));
    let mut scene = Scene { random, began: clock::now(), told: Vec::new() };
    let played = catch_unwind(AssertUnwindSafe(|| runtime.block_on(play(&mut scene))));
    (scene.told, played)
}

/// In milliseconds since 1970.
const BEGINS: u64 = 1_800_000_000_000;
/// So many steps of one that fails are shown.
const LATELY: usize = 60;

#[test]
fn a_seed_is_a_world() {
    let play = async |scene: &mut Scene| {
        for _ in 0..20 {
            let time = scene.some_time();
            scene.pass(time).await;
            let at = clock::since_1970();
            scene.tell(format_args!("{at:?}"));
        }
    };
    twice(0..20, play);
    let failed = catch_unwind(|| all(0..20, async |scene| assert!(!scene.random.once_in(3))));
    assert!(failed.is_err() || std::env::var_os("SIM_SEED").is_some());
}
