//! All instructions of a session, those in the kernel included: counted in the emulated machine ([`Machine`]), where this
//! same program starts the servers, drives them and prints what they cost.
//!
//! Before it counts them it counts a loop whose number is known: a machine whose clock isn't right ends with an error.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::count::Subject;
use crate::drive::{Load, Pace};
use crate::measure::machine::{Image, Machine};
use crate::measure::{self, cpu};
use crate::peers::{Peer, floor};
use crate::{Error, Transport, compile, people};

/// What is counted in the machine.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Plan {
    /// Sessions of a round. The first round is not counted: what comes first pays for what is kept.
    #[arg(long, default_value_t = Plan::default().sessions, value_parser = clap::value_parser!(u64).range(1..))]
    pub sessions: u64,
    /// So many rounds are counted.
    #[arg(long, default_value_t = Plan::default().rounds, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Sessions at the same time.
    #[arg(long, default_value_t = Plan::default().at_once)]
    pub at_once: u32,
    /// So many addresses are known.
    #[arg(long, default_value_t = Plan::default().addresses)]
    pub addresses: u64,
    /// Only these.
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(Peer::NAMES))]
    pub peer: Vec<String>,
}

/// The instructions of a session of the attack, of one server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Total {
    /// Which server: `floor`, `libmilter`, `backstop`.
    pub peer: String,
    /// `TCP` or `unix socket`
    pub transport: String,
    /// Instructions of a session, in each round.
    pub rounds: Vec<f64>,
}

impl Default for Plan {
    fn default() -> Self {
        Self { sessions: 2000, rounds: 4, at_once: 1, addresses: 1_000_000, peer: Vec::new() }
    }
}

impl Total {
    /// Of a session: the mean of the rounds. What a server does once in a while belongs to its cost, and there is no noise
    /// that a median would have to take out.
    #[must_use]
    pub fn instructions(&self) -> f64 {
        self.rounds.iter().sum::<f64>() / self.rounds.len() as f64
    }

    /// How far apart the rounds are, as a share of the mean.
    #[must_use]
    pub fn spread(&self) -> f64 {
        let most = self.rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let least = self.rounds.iter().copied().fold(f64::INFINITY, f64::min);
        (most - least) / self.instructions()
    }
}

/// Counts in the machine what floor, libmilter and Backstop (`program`) do for a session, by TCP and by a unix socket.
/// Files that are made for it are kept in `directory`.
///
/// # Errors
/// When the machine is not there, or something in it fails.
pub fn totals(program: &Path, plan: &Plan, directory: &Path) -> Result<Vec<Total>, Error> {
    let machine = Machine::find()?;
    let Plan { sessions, rounds, at_once, addresses, peer } = plan;
    let peers: String = peer.iter().map(|peer| format!(" --peer {peer}")).collect();
    let image = Image::new(&format!(
        "exec {HERE} inside --sessions {sessions} --rounds {rounds} --at-once {at_once} --addresses {addresses}{peers}\n"
    ))?;
    image.program(&std::env::current_exe().map_err(Error::io("find this program"))?, HERE)?;
    image.program(program, BACKSTOP)?;
    image.program(&compile::program("libmilter", directory)?, LIBMILTER)?;
    image.program(&compile::program("loop", directory)?, LOOP)?;
    let known = people::file(directory, *addresses)?;
    let name = known.file_name().unwrap_or_default().to_string_lossy();
    image.file(&known, &format!("{FILES}/{name}"))?;
    let said = machine.run(&image, LONGEST)?;
    said.lines()
        .map(|line| read(line).ok_or_else(|| Error::Tool { tool: "the machine", said: said.clone() }))
        .collect()
}

/// What the machine does: prints the totals, a line of JSON each.
///
/// # Errors
/// When a server does not start or answers wrongly, or the machine's clock does not count instructions.
pub fn inside(plan: &Plan) -> Result<(), Error> {
    check_the_clock()?;
    let addresses = people::file(Path::new(FILES), plan.addresses)?;
    let backstop = Peer::backstop(Path::new(BACKSTOP), "");
    let all = [Peer::Floor(floor::Answer::Refuse), Peer::Compiled(LIBMILTER.into()), backstop];
    let wanted = |peer: &Peer| plan.peer.is_empty() || plan.peer.contains(&peer.to_string());
    for peer in all.into_iter().filter(wanted) {
        for transport in Transport::ALL {
            let subject = Subject { peer: &peer, transport, addresses: &addresses, pinned: &[] };
            let rounds = count(&subject, plan)?;
            let total = Total { peer: peer.to_string(), transport: transport.to_string(), rounds };
            let line = serde_json::to_string(&total);
            println!("{}", line.map_err(|error| Error::Tool { tool: "JSON", said: error.to_string() })?);
        }
    }
    Ok(())
}

fn count(subject: &Subject<'_>, plan: &Plan) -> Result<Vec<f64>, Error> {
    let running = subject.start(Vec::new())?;
    let load = Load { pace: Pace::Closed(plan.at_once), ..Load::attack(plan.addresses, plan.sessions) };
    let mut load = Load { within: LONGEST, ..load };
    subject.drive(&running, &load)?;
    let mut rounds = Vec::new();
    for _ in 0..plan.rounds {
        load = load.next();
        let before = cpu::time(running.pid())?;
        subject.drive(&running, &load)?;
        let time = cpu::time(running.pid())? - before;
        // Nanoseconds; in the machine these are instructions.
        rounds.push(time.as_nanos() as f64 / plan.sessions as f64);
    }
    Ok(rounds)
}

/// The clock has to count a loop of a hundred million instructions as these and those of its 25 ticks.
fn check_the_clock() -> Result<(), Error> {
    let said = measure::run("loop", Command::new(LOOP).arg(KNOWN.to_string()))?;
    let counted: u64 = said.trim().parse().map_err(|_| Error::Tool { tool: "loop", said: said.clone() })?;
    if (KNOWN..KNOWN + KNOWN / 200).contains(&counted) {
        return Ok(());
    }
    Err(Error::Wrong(format!("the machine's clock counts {counted} instructions where there are {KNOWN}")))
}

fn read(line: &str) -> Option<Total> {
    serde_json::from_str(line).ok()
}

const KNOWN: u64 = 100_000_000;

/// Where things are in the machine.
const HERE: &str = "/bin/backstop-load";
const BACKSTOP: &str = "/bin/backstop";
const LIBMILTER: &str = "/bin/libmilter";
const LOOP: &str = "/bin/loop";
const FILES: &str = "/var/load";

/// On a machine that is busy it may take some minutes.
const LONGEST: Duration = Duration::from_secs(1800);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_total_is_the_mean_of_its_rounds() {
        let line = r#"{"peer":"floor","transport":"TCP","rounds":[75800.0,75500.0,75500.0]}"#;
        let total = read(line).unwrap();
        assert_eq!((total.peer.as_str(), total.transport.as_str()), ("floor", "TCP"));
        assert_eq!(total.instructions(), 75_600.0);
        assert!((total.spread() - 300.0 / 75_600.0).abs() < 1e-12);
        assert_eq!(read("[    9.0] out of memory"), None);
    }
}
