//! Whether anybody waits for a delayed acknowledgement (40 ms on Linux): each command of a session through Postfix and
//! Sendmail, over TCP and a unix socket, against the same MTA without a milter, whose late answers are the host's noise.

use std::time::Duration;

use backstop_harness::TempDir;

use super::site::{Milter, Mta, Site};
use crate::peers::{Peer, Start};
use crate::rows::{Bench, Row};
use crate::smtp::{Load, Steps};
use crate::{Endpoint, Error, Transport};

pub(in crate::rows) fn rows(bench: &Bench) -> Result<Vec<Row>, Error> {
    // Sendmail takes no socket below a directory that anyone can write to.
    let directory = TempDir::in_run("milter");
    let socket = Endpoint::Unix(directory.join("milter.sock"));
    let listen = format!("[\"inet:127.0.0.1:0\", \"{socket}\"]");
    let peer = Peer::Backstop {
        program: bench.program.clone(),
        more: String::new(),
        env: vec![("BACKSTOP__LISTEN".to_owned(), listen)],
    };
    let backstop = peer.start(&Start {
        transport: Transport::Tcp,
        addresses: &bench.people()?,
        launcher: bench.pinned.clone(),
        within: Duration::from_secs(180),
    })?;
    let mut rows = Vec::new();
    for mta in [Mta::Postfix, Mta::Sendmail] {
        let bare = Site::start(mta, Milter::None, bench)?;
        for transport in Transport::ALL {
            let endpoint = match transport {
                Transport::Tcp => backstop.endpoint(),
                Transport::Unix => &socket,
            };
            let site = Site::start(mta, Milter::At(endpoint), bench)?;
            for (kind, load) in [("attack", Load::attack as fn(_, _) -> _), ("good mail", Load::good)] {
                let load = Load { at_once: 1, ..load(bench.addresses, TURN) };
                let name = format!("{mta:?}, {transport}, {kind}: commands late by a stall of 40 ms");
                rows.push(Stalls::measure(&site, &bare, load)?.row(name));
            }
        }
    }
    Ok(rows)
}

/// What clients of one MTA waited for.
struct Stalls {
    /// With Backstop.
    steps: Steps,
    /// Without a milter.
    noise: Steps,
}

impl Stalls {
    /// Drives both in turns, so that both meet the same noise.
    fn measure(site: &Site, bare: &Site, mut load: Load) -> Result<Self, Error> {
        let (mut steps, mut noise) = (Steps::default(), Steps::default());
        for _ in 0..TURNS {
            steps.take(load.drive(site.target)?.steps);
            noise.take(load.drive(bare.target)?.steps);
            load = load.next();
        }
        Ok(Self { steps, noise })
    }

    /// How many of 100 answers to the worst command are late that would not be without a milter. Who stalls does it in every
    /// session; on a host that does other things as well, the noise of two loads differs by a few of 100.
    fn row(&self, name: String) -> Row {
        let (mut most, mut note) = (0.0_f64, "ms p50/p99/slowest:".to_owned());
        for ((step, times), (_, noise)) in self.steps.taken().zip(self.noise.taken()) {
            let share = |late: usize| 100.0 * late as f64 / times.count() as f64;
            most = most.max(share(times.at_least(LATE)) - share(noise.at_least(LATE)));
            let [p50, p99, slowest] = [50.0, 99.0, 100.0]
                .map(|percent| times.percentile(percent).unwrap_or_default().as_secs_f64() * 1e3);
            let quiet = noise.percentile(100.0).unwrap_or_default().as_secs_f64() * 1e3;
            note += &format!(" {step} {p50:.2}/{p99:.1}/{slowest:.1} (slowest without {quiet:.1}),");
        }
        Row::new(name, most, "%").at_most(1.0).note(note.trim_end_matches(','))
    }
}

/// A little less than Linux delays an acknowledgement.
const LATE: Duration = Duration::from_millis(35);

/// Sessions before it is the other's turn.
const TURN: u64 = 20;

/// Of each.
const TURNS: u64 = 20;
