//! Many connections that are open: what one holds that does nothing, and whether the others feel it.

use crate::count::Subject;
use crate::drive::{Idle, Load, Pace};
use crate::measure::memory;
use crate::peers::{Peer, Running};
use crate::{Error, Transport};

use super::{Bench, Row, median};

pub(super) fn rows(bench: &Bench) -> Result<Vec<Row>, Error> {
    if backstop_harness::allow_open_files(MANY + 1000) < MANY + 1000 {
        let said = format!("{MANY} connections need as many open files");
        return Err(Error::Tool { tool: "ulimit -n", said });
    }
    let mut rows = Vec::new();
    for transport in Transport::ALL {
        rows.push(memory_of_one(bench, transport)?);
        rows.extend(latency(bench, transport)?);
    }
    Ok(rows)
}

/// A site that has so many has that limit.
fn backstop(bench: &Bench) -> Peer {
    bench.backstop_with("[limits]\nsessions = 20000\n")
}

fn memory_of_one(bench: &Bench, transport: Transport) -> Result<Row, Error> {
    let addresses = bench.people()?;
    let mut bytes = Vec::new();
    // Libmilter looks through all that it has for each new one, so it gets fewer.
    for (peer, count) in [(Peer::Libmilter, MANY / 5), (backstop(bench), MANY)] {
        let subject = Subject { peer: &peer, transport, addresses: &addresses, pinned: &bench.pinned };
        let running = subject.start(Vec::new())?;
        subject.drive(&running, &Load::attack(bench.addresses, 1000))?;
        let before = memory::resident(running.pid())?;
        let idle = Idle::open(running.endpoint(), count)?;
        wait_until_seen(&running, count)?;
        let after = memory::resident(running.pid())?;
        bytes.push(after.saturating_sub(before) as f64 / idle.count() as f64);
    }
    let note = format!("{MANY} that have told of a client; libmilter {:.0}, with a fifth of them", bytes[0]);
    Ok(Row::new(format!("idle MTA connection, {transport}: resident"), bytes[1], "B")
        .at_most(2048.0)
        .note(note))
}

fn latency(bench: &Bench, transport: Transport) -> Result<Vec<Row>, Error> {
    let addresses = bench.people()?;
    let peer = backstop(bench);
    let subject = Subject { peer: &peer, transport, addresses: &addresses, pinned: &bench.pinned };
    let mut load = Load { pace: Pace::Open(1000.0), ..Load::attack(bench.addresses, 3000) };
    let (few, many) = (subject.start(Vec::new())?, subject.start(Vec::new())?);
    let open = [Idle::open(few.endpoint(), FEW)?, Idle::open(many.endpoint(), MANY)?];
    let mut p50: [Vec<f64>; 2] = Default::default();
    let mut p99: [Vec<f64>; 2] = Default::default();
    for _ in 0..bench.rounds {
        for (place, running) in [&few, &many].into_iter().enumerate() {
            let answers = open[place].drive(&load, running.endpoint())?;
            if !answers.are_right() {
                return Err(Error::Wrong("not every session was served".into()));
            }
            let at = |percent| answers.latencies.percentile(percent).unwrap_or_default().as_secs_f64() * 1e6;
            p50[place].push(at(50.0));
            p99[place].push(at(99.0));
        }
        load = load.next();
    }
    let row = |what: &str, [few, many]: &[Vec<f64>; 2]| {
        let ratio = median(many.iter().zip(few).map(|(many, few)| many / few).collect());
        let name =
            format!("RCPT, {transport}, 1000 sessions/s: {what} with {MANY} open connections, to {FEW}");
        let note = format!("µs: {:.0}, {:.0}", median(many.clone()), median(few.clone()));
        Row::new(name, ratio, "×").note(note)
    };
    Ok(vec![row("p50", &p50).at_most(1.2), row("p99", &p99)])
}

/// Until Backstop has so many sessions. Libmilter does not say; it has answered them all.
fn wait_until_seen(running: &Running, count: u64) -> Result<(), Error> {
    let Some(backstop) = running.backstop() else { return Ok(()) };
    let begun = std::time::Instant::now();
    while backstop.metric("backstop_sessions_open", &[]) < count as f64 {
        if begun.elapsed() > std::time::Duration::from_secs(30) {
            return Err(Error::Wrong(format!("backstop has not {count} sessions open")));
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    Ok(())
}

const MANY: u64 = 10_000;
const FEW: u64 = 100;
