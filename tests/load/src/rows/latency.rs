//! How long a recipient waits for its answer at a fixed load: 1000 sessions begin in a second.

use crate::count::Subject;
use crate::drive::{Load, Pace};
use crate::peers::{Peer, floor};
use crate::{Error, Transport};

use super::{Bench, Row, median};

pub(super) fn rows(bench: &Bench) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    for transport in Transport::ALL {
        rows.extend(at_fixed_load(bench, transport)?);
    }
    Ok(rows)
}

fn at_fixed_load(bench: &Bench, transport: Transport) -> Result<Vec<Row>, Error> {
    let addresses = bench.people()?;
    let peers = [Peer::Floor(floor::Answer::Refuse), Peer::Libmilter, bench.backstop()];
    let subjects = peers.each_ref().map(|peer| Subject {
        peer,
        transport,
        addresses: &addresses,
        pinned: &bench.pinned,
    });
    let mut running = Vec::new();
    for subject in &subjects {
        running.push(subject.start(Vec::new())?);
    }
    let mut load = Load { pace: Pace::Open(RATE), ..Load::attack(bench.addresses, SESSIONS) };
    let mut p50: [Vec<f64>; 3] = Default::default();
    let mut p99: [Vec<f64>; 3] = Default::default();
    for _ in 0..bench.rounds {
        for (place, (subject, running)) in subjects.iter().zip(&running).enumerate() {
            let latencies = subject.drive(running, &load)?.latencies;
            let at = |percent| latencies.percentile(percent).unwrap_or_default().as_secs_f64() * 1e6;
            p50[place].push(at(50.0));
            p99[place].push(at(99.0));
        }
        load = load.next();
    }
    let ratio = |times: &[Vec<f64>; 3]| {
        median(times[2].iter().zip(&times[0]).map(|(ours, floor)| ours / floor).collect())
    };
    let each = |times: &[Vec<f64>; 3]| {
        let [floor, libmilter, backstop] = times.each_ref().map(|times| median(times.clone()));
        format!("µs: backstop {backstop:.0}, libmilter {libmilter:.0}, floor {floor:.0}")
    };
    let name = |what| format!("RCPT, {transport}, 1000 sessions/s: {what}, to the floor's");
    Ok(vec![
        Row::new(name("p50"), ratio(&p50), "×").at_most(1.25).note(each(&p50)),
        Row::new(name("p99"), ratio(&p99), "×").note(each(&p99)),
    ])
}

const RATE: f64 = 1000.0;
/// Of one round.
const SESSIONS: u64 = 3000;
