//! The generator against the peers: what it counts is what they answered.

#![cfg(test)]

use std::process::Command;
use std::time::Duration;

use backstop_harness::{Process, Signal, TempDir, wait_until};
use backstop_load::drive::{Idle, Load, Mix, Pace};
use backstop_load::peers::{Peer, Start};
use backstop_load::{Endpoint, Error, Transport, people};

#[test]
fn the_floor_refuses_everybody() {
    let directory = TempDir::new("floor");
    for endpoint in ["inet:127.0.0.1:0".to_owned(), format!("unix:{}", directory.join("socket").display())] {
        let (_floor, endpoint) = floor(&directory, &endpoint, &[]);
        let load = Load { pace: Pace::Closed(3), ..load(Mix { recipients: 2, ..Mix::attack(100) }) };
        let idle = Idle::open(&endpoint, 5).unwrap();
        let answers = idle.drive(&load, &endpoint).unwrap();
        assert_eq!((answers.sessions, answers.refused, answers.accepted), (200, 400, 0));
        assert_eq!(answers.latencies.count(), 400);
        let known = (0..200).flat_map(|n| load.mix.visit(n).recipients).filter(|r| r.is_known).count();
        assert_eq!(answers.wrong, known as u64, "it does not look who is known");
        assert_eq!(idle.count(), 5);
    }
}

#[test]
fn the_floor_takes_messages() {
    let directory = TempDir::new("floor");
    let (_floor, endpoint) = floor(&directory, "inet:127.0.0.1:0", &["--accept"]);
    let load = Load { deliver: true, pace: Pace::Open(2000.0), ..load(Mix::good(100)) };
    let answers = load.drive(&endpoint).unwrap();
    assert!(answers.are_right());
    assert_eq!((answers.accepted, answers.messages.count()), (200, 200));
    assert!(answers.time >= Duration::from_millis(99), "200 sessions, 2000 in a second: {answers:?}");
}

#[test]
fn libmilter_knows_who_is_known() {
    let directory = TempDir::new("libmilter");
    let addresses = people::file(directory.path(), 100).unwrap();
    for transport in Transport::ALL {
        let start =
            Start { transport, addresses: &addresses, launcher: Vec::new(), within: Duration::from_secs(30) };
        let running = Peer::Libmilter.start(&start).unwrap();
        let load = Load { deliver: true, ..load(Mix { unknown: 0.5, ..Mix::attack(100) }) };
        let answers = load.drive(running.endpoint()).unwrap();
        assert!(answers.are_right(), "{answers:?}");
        assert!(answers.accepted > 50 && answers.refused > 50, "{answers:?}");
    }
}

#[test]
fn a_milter_that_is_not_there_is_told() {
    let endpoint: Endpoint = "unix:/nonexistent/socket".parse().unwrap();
    assert!(matches!(load(Mix::attack(1)).drive(&endpoint), Err(Error::Io { .. })));
}

fn load(mix: Mix) -> Load {
    Load { mix, within: Duration::from_secs(60), ..Load::attack(100, 200) }
}

/// The floor, and where it listens.
fn floor(directory: &TempDir, endpoint: &str, more: &[&str]) -> (Process, Endpoint) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backstop-load"));
    let log = directory.join("log");
    let _ = std::fs::remove_file(&log);
    let process = Process::spawn("floor", command.args(["floor", endpoint]).args(more), &log, Signal::KILL);
    let mut found = None;
    wait_until(Duration::from_secs(10), "the floor to listen", || {
        let log = process.log();
        found = log.split_whitespace().find_map(|word| word.strip_prefix("address=")?.parse().ok());
        found.is_some() && log.ends_with('\n')
    });
    (process, found.unwrap())
}
