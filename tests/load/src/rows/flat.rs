//! What a session costs does not depend on how much there is: addresses, directories, trusted networks, harvest entries.

use std::fmt::Write as _;
use std::path::Path;

use crate::count::{self, Subject};
use crate::drive::{Load, Mix};
use crate::peers::Peer;
use crate::{Error, Transport, people};

use super::{Bench, COUNTED, Row};

pub(super) fn rows(bench: &Bench) -> Result<Vec<Row>, Error> {
    let few = people::file(&bench.directory, FEW)?;
    let million = people::file(&bench.directory, MANY)?;
    let base = cost(bench, &bench.backstop(), &million, 0)?;
    let sessions = |clients: u64| clients * Mix::attack(MANY).sessions_a_client;
    let row = |name: &str, many: f64, few: f64| {
        let note = format!("instructions in user space, a session: {many:.0} and {few:.0}");
        Row::new(format!("flat: {name}"), many / few, "×").at_most(1.05).note(note)
    };
    Ok(vec![
        row("1 000 000 addresses, to 10", base, cost(bench, &bench.backstop(), &few, 0)?),
        row(
            "100 directories, to 1",
            cost(bench, &bench.backstop_with(&directories(&few)), &million, 0)?,
            base,
        ),
        row(
            "200 000 trusted networks, to 10",
            cost(bench, &bench.backstop_with(&trusted(NETWORKS)), &million, 0)?,
            cost(bench, &bench.backstop_with(&trusted(FEW)), &million, 0)?,
        ),
        row(
            "25 000 clients that are counted, to 1 000",
            cost(bench, &bench.backstop(), &million, sessions(25_000))?,
            // Not to none: from many clients it is an attack of many, and each is blocked, which is written down.
            cost(bench, &bench.backstop(), &million, sessions(1_000))?,
        ),
    ])
}

/// Instructions of a session, after so many others.
fn cost(bench: &Bench, peer: &Peer, addresses: &Path, before: u64) -> Result<f64, Error> {
    let subject = Subject { peer, transport: Transport::Unix, addresses, pinned: &bench.pinned };
    // Who is asked for is the same for all: unknown to each.
    let mix = Mix { unknown: 1.0, ..Mix::attack(MANY) };
    let load = Load { mix, ..Load::attack(MANY, COUNTED) };
    count::instructions_after(&subject, before, count::SLOWER, &load, &bench.directory)
}

/// 99 more, each in charge of a domain of its own.
fn directories(file: &Path) -> String {
    (1..100).fold(String::new(), |mut text, n| {
        let path = file.display();
        write!(
            text,
            "[directory.more{n}]\ndomains = [\"more{n}.example\"]\n[directory.more{n}.file]\npath = \"{path}\"\n"
        )
        .expect("a string takes everything");
        text
    })
}

/// So many networks, none of which has a client of ours.
fn trusted(count: u64) -> String {
    let mut text = String::from("[client]\ntrusted = [\n");
    for n in 0..count {
        // 11.0.0.0/8, in steps of 16 addresses.
        let network = std::net::Ipv4Addr::from_bits((11 << 24) + (n as u32) * 16);
        writeln!(text, "\"{network}/28\",").expect("a string takes everything");
    }
    text + "]\n"
}

const FEW: u64 = 10;
const MANY: u64 = 1_000_000;
/// About what a configuration file of 4 MiB, the most that is read, has room for.
const NETWORKS: u64 = 200_000;
