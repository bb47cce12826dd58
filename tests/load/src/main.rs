//! `backstop-load`: see `backstop-load --help`.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use backstop_load::drive::{Answers, Idle, Load, Mix, Pace};
use backstop_load::figures::Figures;
use backstop_load::measure::cpu;
use backstop_load::peers::{Peer, floor};
use backstop_load::rows::{Bench, GROUPS, Group};
use backstop_load::table::Table;
use backstop_load::total::{self, Plan};
use backstop_load::{Endpoint, Error, Transport, count, people};
use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, value_parser};

/// Drives milters as an MTA does, and measures what they cost.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Drives the milter at ENDPOINT, by default with the attack: one recipient a session, 95 of 100 unknown.
    Attack(Attack),
    /// Is a milter that answers constants, at ENDPOINT, until it is killed.
    Floor {
        /// inet:ADDRESS:PORT or unix:PATH
        endpoint: Endpoint,
        /// Accepts every recipient instead of refusing it.
        #[arg(long)]
        accept: bool,
    },
    /// Measures the table: every row, with its goal.
    Table(TableArguments),
    /// Starts floor, libmilter and Backstop, attacks them, and prints what a session costs: instructions in user space, CPU
    /// time, system calls.
    Count(Count),
    /// Counts all instructions of a session, the kernel's too, in an emulated machine (see tests/load/install).
    Total(Total),
    /// What the emulated machine runs.
    #[command(hide = true)]
    Inside(Plan),
    /// Writes a file with the known addresses 0 to COUNT into DIRECTORY, and prints its name.
    Addresses {
        /// Where the file is written.
        directory: PathBuf,
        /// So many addresses.
        #[arg(default_value_t = 1_000_000)]
        count: u64,
    },
}

#[derive(Args)]
struct Attack {
    /// inet:ADDRESS:PORT or unix:PATH
    endpoint: Endpoint,
    /// So many sessions.
    #[arg(long, default_value_t = 10_000, value_parser = value_parser!(u64).range(1..))]
    sessions: u64,
    /// So many addresses are known to the milter (see `addresses`).
    #[arg(long, default_value_t = 1_000_000, value_parser = value_parser!(u64).range(1..))]
    addresses: u64,
    /// The share of recipients that are unknown, 0 to 1.
    #[arg(long, default_value_t = 0.95, value_parser = share)]
    unknown: f64,
    /// Recipients in each session.
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..))]
    recipients: u32,
    /// Sessions of each client.
    #[arg(long, default_value_t = 4, value_parser = value_parser!(u64).range(1..))]
    sessions_a_client: u64,
    /// Sessions at the same time.
    #[arg(long, default_value_t = 8, conflicts_with = "rate", value_parser = value_parser!(u32).range(1..=100_000))]
    at_once: u32,
    /// Sessions in a second, whether or not those before have ended.
    #[arg(long, value_parser = rate)]
    rate: Option<f64>,
    /// Connections that are open meanwhile and do nothing.
    #[arg(long, default_value_t = 0)]
    idle: u64,
    /// The number of the first session; each is always the same.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Delivers a short message where somebody is accepted.
    #[arg(long)]
    deliver: bool,
    /// Seconds after which it fails.
    #[arg(long, default_value_t = 600, value_parser = value_parser!(u64).range(1..))]
    within: u64,
}

#[derive(Args)]
struct TableArguments {
    /// The program.
    #[arg(long, default_value = "target/release/backstop")]
    program: PathBuf,
    /// Only what takes a minute and is the same in each run, the instructions of the attack; compared with the stored
    /// figures, of which more than a tenth more is a failure.
    #[arg(long)]
    short: bool,
    /// Stores the figures instead of comparing them.
    #[arg(long, requires = "short")]
    store: bool,
    /// The stored figures.
    #[arg(long, default_value = "tests/load/figures.json")]
    figures: PathBuf,
    /// Writes the table to this file as well, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Only these groups of rows.
    #[arg(long, value_parser = PossibleValuesParser::new(GROUPS.map(|group| group.name)))]
    row: Vec<String>,
    /// So many addresses are known, where a row does not say otherwise.
    #[arg(long, default_value_t = 1_000_000)]
    addresses: u64,
    /// Rounds in which servers take turns.
    #[arg(long, default_value = "7")]
    rounds: NonZeroUsize,
    /// Where files are kept: those with the addresses, and callgrind's (for callgrind_annotate).
    #[arg(long, default_value = "target/load")]
    directory: PathBuf,
}

#[derive(Args)]
struct Count {
    /// The program.
    #[arg(long, default_value = "target/release/backstop")]
    program: PathBuf,
    /// Only these.
    #[arg(long, value_parser = PossibleValuesParser::new(Peer::NAMES))]
    peer: Vec<String>,
    /// Only this one.
    #[arg(long, value_parser = PossibleValuesParser::new(["tcp", "unix"]))]
    transport: Option<String>,
    /// Sessions of one count; the instructions are the difference between two counts, one of them of twice as many.
    #[arg(long, default_value_t = 1000, value_parser = value_parser!(u64).range(1..))]
    sessions: u64,
    /// So many addresses are known.
    #[arg(long, default_value_t = 1_000_000)]
    addresses: u64,
    /// Where files are kept: those with the addresses, and callgrind's (for callgrind_annotate).
    #[arg(long, default_value = "target/load")]
    directory: PathBuf,
    /// More lines for Backstop's configuration.
    #[arg(long, default_value = "")]
    config: String,
}

#[derive(Args)]
struct Total {
    /// The program.
    #[arg(long, default_value = "target/release/backstop")]
    program: PathBuf,
    #[command(flatten)]
    plan: Plan,
    /// Where files are kept.
    #[arg(long, default_value = "target/load")]
    directory: PathBuf,
}

fn main() -> ExitCode {
    let good = |()| true;
    let done = match Arguments::parse().command {
        Command::Table(table) => table.run(),
        Command::Attack(attack) => attack.run(),
        Command::Floor { endpoint, accept } => serve_floor(&endpoint, accept).map(good),
        Command::Count(count) => count.run().map(good),
        Command::Total(total) => total.run().map(good),
        Command::Inside(plan) => total::inside(&plan).map(good),
        Command::Addresses { directory, count } => {
            people::file(&directory, count).map(|path| println!("{}", path.display())).map(good)
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("backstop-load: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Attack {
    /// Whether no answer was wrong.
    fn run(&self) -> Result<bool, Error> {
        let _ = backstop_harness::allow_open_files(self.idle + 4096);
        let mix = Mix {
            addresses: self.addresses,
            unknown: self.unknown,
            recipients: self.recipients,
            sessions_a_client: self.sessions_a_client,
        };
        let load = Load {
            mix,
            first: self.first,
            sessions: self.sessions,
            pace: self.rate.map_or(Pace::Closed(self.at_once), Pace::Open),
            deliver: self.deliver,
            within: Duration::from_secs(self.within),
        };
        let idle = Idle::open(&self.endpoint, self.idle)?;
        let answers = idle.drive(&load, &self.endpoint)?;
        print(&answers);
        Ok(answers.wrong == 0)
    }
}

fn print(answers: &Answers) {
    let Answers { sessions, refused, deferred, accepted, over, wrong, time, .. } = answers;
    println!("{sessions} sessions in {time:.2?}, {:.0} a second", answers.rate());
    println!(
        "{refused} recipients refused, {accepted} accepted, {deferred} deferred; {over} sessions ended early"
    );
    println!("{wrong} answers were wrong");
    for (name, latencies) in [("RCPT", &answers.latencies), ("message", &answers.messages)] {
        let at = |percent| latencies.percentile(percent).unwrap_or_default();
        if latencies.count() > 0 {
            let (p50, p99, most) = (at(50.0), at(99.0), at(100.0));
            println!("{name}: p50 {p50:.1?}, p99 {p99:.1?}, slowest {most:.1?}");
        }
    }
}

fn serve_floor(endpoint: &Endpoint, accept: bool) -> Result<(), Error> {
    let answer = if accept { floor::Answer::Accept } else { floor::Answer::Refuse };
    let io = |error| Error::Io { what: endpoint.to_string(), error };
    let listener = endpoint.listen().map_err(io)?;
    println!("listening address={}", listener.endpoint().map_err(io)?);
    floor::serve(&listener, answer).map_err(io)
}

impl Total {
    fn run(&self) -> Result<(), Error> {
        is_there(&self.program)?;
        let directory = std::path::absolute(&self.directory).map_err(Error::io("target/load"))?;
        for total in total::totals(&self.program, &self.plan, &directory)? {
            let (instructions, spread) = (total.instructions(), 100.0 * total.spread());
            println!(
                "{:<10} {:<12} {instructions:>9.0} instructions a session (rounds differ by {spread:.1} %)",
                total.peer, total.transport
            );
        }
        Ok(())
    }
}

impl TableArguments {
    /// Whether all is as it should be.
    fn run(&self) -> Result<bool, Error> {
        is_there(&self.program)?;
        let bench = Bench {
            program: self.program.clone(),
            directory: std::path::absolute(&self.directory).map_err(Error::io("target/load"))?,
            addresses: self.addresses,
            rounds: self.rounds.get(),
            short: self.short,
            pinned: cpu::part()?,
        };
        let wanted = |group: &&Group| match self.row.is_empty() {
            true => !self.short || group.name == "attack",
            false => self.row.iter().any(|name| name == group.name),
        };
        let table = Table::measure(&bench, GROUPS.iter().filter(wanted), self.json.as_deref())?;
        println!("{}", table.summary());
        if !self.short {
            return Ok(table.passes());
        }
        let figures = Figures::of(&table);
        if self.store {
            figures.write(&self.figures)?;
            println!("stored in {}", self.figures.display());
            return Ok(table.failed.is_empty());
        }
        let regressions = figures.regressions(&Figures::read(&self.figures)?);
        for regression in &regressions {
            println!("REGRESSION: {regression}");
        }
        if !regressions.is_empty() {
            println!("If that is what a change is worth, store new figures: tests/bench --short --store");
        }
        Ok(regressions.is_empty() && table.failed.is_empty())
    }
}

impl Count {
    fn run(&self) -> Result<(), Error> {
        is_there(&self.program)?;
        let directory = std::path::absolute(&self.directory).map_err(Error::io("target/load"))?;
        let addresses = people::file(&directory, self.addresses)?;
        let pinned = cpu::part()?;
        println!(
            "{:<10} {:<12} {:>13} {:>9} {:>9} {:>9}",
            "", "", "instructions", "CPU µs", "calls", "sessions/s"
        );
        for peer in self.peers(&self.program) {
            for transport in Transport::ALL {
                let name = if transport == Transport::Tcp { "tcp" } else { "unix" };
                if self.transport.as_ref().is_some_and(|only| only != name) {
                    continue;
                }
                let subject =
                    count::Subject { peer: &peer, transport, addresses: &addresses, pinned: &pinned };
                let load = Load::attack(self.addresses, self.sessions);
                let instructions = count::instructions(&subject, &load, &directory)?;
                let cost = count::cost(&subject, &load)?;
                let calls: u64 = cost.calls.values().sum();
                println!(
                    "{:<10} {:<12} {instructions:>13.0} {:>9.1} {:>9.1} {:>9.0}",
                    peer.to_string(),
                    transport.to_string(),
                    cost.cpu.as_secs_f64() * 1e6,
                    calls as f64 / self.sessions as f64,
                    cost.rate
                );
                let each = cost
                    .calls
                    .iter()
                    .map(|(name, calls)| format!("{name} {:.2}", *calls as f64 / self.sessions as f64));
                println!("           {}", each.collect::<Vec<_>>().join(", "));
            }
        }
        Ok(())
    }

    fn peers(&self, program: &Path) -> Vec<Peer> {
        let backstop = Peer::backstop(program, &self.config);
        let all = [Peer::Floor(floor::Answer::Refuse), Peer::Libmilter, backstop];
        let wanted = |peer: &Peer| self.peer.is_empty() || self.peer.contains(&peer.to_string());
        all.into_iter().filter(wanted).collect()
    }
}

/// Fails at once where the program was not built, and not after the minutes that the other servers take.
fn is_there(program: &Path) -> Result<(), Error> {
    match program.metadata() {
        Ok(file) if file.is_file() => Ok(()),
        Ok(_) => Err(Error::Wrong(format!("{} is not a file", program.display()))),
        Err(error) => {
            let what = format!("the program to measure, {} (--program names another)", program.display());
            Err(Error::Io { what, error })
        }
    }
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "not a number from 0 to 1".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.001..=1e6).contains(rate));
    rate.ok_or_else(|| "not a number from 0.001 to 1000000".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_driven_is_refused_before_it_is_tried() {
        let attack = ["backstop-load", "attack", "inet:127.0.0.1:1"];
        let count = ["backstop-load", "count"];
        let total = ["backstop-load", "total"];
        let parses =
            |words: &[&str], more: &[&str]| Arguments::try_parse_from([words, more].concat()).is_ok();
        for good in
            ["--rate=0.5", "--rate=1000", "--unknown=0", "--unknown=1", "--at-once=1", "--recipients=3"]
        {
            assert!(parses(&attack, &[good]), "{good}");
        }
        for bad in [
            "--rate=0",
            "--rate=-5",
            "--rate=nan",
            "--rate=1e-30",
            "--rate=inf",
            "--unknown=2",
            "--unknown=-1",
            "--unknown=nan",
            "--at-once=0",
            "--at-once=4294967295",
            "--recipients=0",
            "--sessions=0",
            "--sessions-a-client=0",
            "--addresses=0",
            "--within=0",
        ] {
            assert!(!parses(&attack, &[bad]), "{bad}");
        }
        for name in Peer::NAMES {
            assert!(parses(&count, &["--peer", name]) && parses(&total, &["--peer", name]), "{name}");
        }
        assert!(parses(&count, &["--transport", "tcp"]) && parses(&count, &["--transport", "unix"]));
        assert!(!parses(&count, &["--peer", "bogus"]) && !parses(&total, &["--peer", "bogus"]));
        assert!(!parses(&["backstop-load", "table"], &["--rounds", "0"]));
        assert!(!parses(&count, &["--transport", "x"]) && !parses(&count, &["--sessions", "0"]));
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = is_there(Path::new("/nonexistent/backstop")).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/backstop") && error.contains("--program"), "{error}");
        assert!(is_there(Path::new("/")).is_err());
    }
}
