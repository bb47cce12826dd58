//! The attack: user-space instructions, CPU time and system calls of a session, beside libmilter and the floor.

use crate::count::{self, Subject};
use crate::drive::Load;
use crate::measure::{cpu, strace};
use crate::peers::{Peer, floor};
use crate::{Error, Transport};

use super::{Bench, COUNTED, Row, median};

pub(super) fn rows(bench: &Bench) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    for transport in Transport::ALL {
        rows.extend(instructions(bench, transport)?);
        if !bench.short {
            rows.extend(cpu_time(bench, transport)?);
            rows.push(calls(bench, transport)?);
        }
    }
    Ok(rows)
}

/// The peers, the one that is compared with the others last.
fn peers(bench: &Bench) -> [Peer; 3] {
    [Peer::Floor(floor::Answer::Refuse), Peer::Libmilter, bench.backstop()]
}

fn instructions(bench: &Bench, transport: Transport) -> Result<Vec<Row>, Error> {
    let addresses = bench.people()?;
    let load = Load::attack(bench.addresses, COUNTED);
    let mut counts = Vec::new();
    for peer in &peers(bench) {
        let subject = Subject { peer, transport, addresses: &addresses, pinned: &bench.pinned };
        counts.push(count::instructions(&subject, &load, bench.directory())?);
    }
    let [floor, libmilter, backstop] = counts[..] else { return Ok(Vec::new()) };
    let name = format!("attack, {transport}: instructions in user space, a session");
    let ratio = format!("attack, {transport}: the same, to libmilter's");
    Ok(vec![
        Row::new(name, backstop, "instructions")
            .at_most(12_000.0)
            .note(format!("libmilter {libmilter:.0}, floor {floor:.0}")),
        Row::new(ratio, backstop / libmilter, "×"),
    ])
}

fn cpu_time(bench: &Bench, transport: Transport) -> Result<Vec<Row>, Error> {
    let addresses = bench.people()?;
    let peers = peers(bench);
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
    let mut load = Load::attack(bench.addresses, TIMED);
    let mut rounds: [Vec<f64>; 3] = Default::default();
    // The first round pays for what is kept.
    for round in 0..=bench.rounds {
        for ((subject, running), times) in subjects.iter().zip(&running).zip(&mut rounds) {
            let before = cpu::time(running.pid())?;
            subject.drive(running, &load)?;
            if round > 0 {
                times.push((cpu::time(running.pid())? - before).as_secs_f64() * 1e6 / TIMED as f64);
            }
        }
        load = load.next();
    }
    let [floor, libmilter, backstop] = &rounds;
    let ratio = |to: &[f64]| median(backstop.iter().zip(to).map(|(ours, theirs)| ours / theirs).collect());
    let each = format!(
        "µs a session: backstop {:.1}, libmilter {:.1}, floor {:.1}; {} rounds",
        median(backstop.clone()),
        median(libmilter.clone()),
        median(floor.clone()),
        bench.rounds
    );
    let to_libmilter =
        Row::new(format!("attack, {transport}: CPU time, to libmilter's"), ratio(libmilter), "×").note(each);
    let to_floor = Row::new(format!("attack, {transport}: CPU time, to the floor's"), ratio(floor), "×");
    Ok(match transport {
        Transport::Tcp => vec![to_libmilter.at_most(0.5), to_floor],
        Transport::Unix => vec![to_libmilter, to_floor],
    })
}

fn calls(bench: &Bench, transport: Transport) -> Result<Row, Error> {
    let addresses = bench.people()?;
    let (mut sums, mut note) = (Vec::new(), String::new());
    for peer in &peers(bench) {
        let subject = Subject { peer, transport, addresses: &addresses, pinned: &bench.pinned };
        let running = subject.start(Vec::new())?;
        let load = Load::attack(bench.addresses, COUNTED);
        subject.drive(&running, &load)?;
        let load = load.next();
        let calls = strace::calls(running.pid(), || subject.drive(&running, &load).map(drop))?;
        sums.push(calls.values().sum::<u64>() as f64 / COUNTED as f64);
        let mut calls: Vec<_> = calls.into_iter().collect();
        calls.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let most = calls.iter().take(8);
        note = most
            .map(|(name, count)| format!("{name} {:.2}", *count as f64 / COUNTED as f64))
            .collect::<Vec<_>>()
            .join(", ");
    }
    let [floor, libmilter, backstop] = sums[..] else { return Err(Error::Wrong("not three peers".into())) };
    let name = format!("attack, {transport}: system calls, a session");
    let note = format!("libmilter {libmilter:.1}, floor {floor:.1}; {note}");
    Ok(Row::new(name, backstop, "calls").note(note))
}

/// Sessions of one round.
const TIMED: u64 = 4000;
