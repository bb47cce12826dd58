//! The generator of `tests/bench` against Backstop: each answer is the right one, so what is measured is what is meant.

use std::fs;
use std::time::Duration;

use backstop_harness::TempDir;
use backstop_load::count::{self, Subject};
use backstop_load::drive::{Idle, Load, Mix, Pace};
use backstop_load::peers::{Peer, Start};
use backstop_load::{Transport, people};

/// Instructions of an attack session in user space, of the build without optimisation that all tests have: more than a tenth
/// more than what is stored is a regression. `STORE=1` stores what it is now. (`tests/bench --short` counts a release.)
#[test]
fn a_session_costs_no_more_than_it_did() {
    let directory = TempDir::new("count");
    let addresses = people::file(directory.path(), 1000).expect("it can be written");
    let peer = Peer::backstop(env!("CARGO_BIN_EXE_backstop").as_ref(), "");
    let subject = Subject { peer: &peer, transport: Transport::Unix, addresses: &addresses, pinned: &[] };
    let load = Load::attack(1000, 200);
    let count = || count::instructions_after(&subject, 200, SLOWER, &load, directory.path());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/load/instructions");
    if std::env::var_os("STORE").is_some() {
        let counted = count().expect("the machine is not busy");
        fs::write(path, format!("{counted:.0}\n")).expect("it can be written");
    }
    let stored: f64 = fs::read_to_string(path).expect("it is stored").trim().parse().expect("a number");
    // A machine that is busy with other tests makes it more, never less.
    let mut counted = count();
    for _ in 0..4 {
        if counted.as_ref().is_ok_and(|counted| *counted < stored * 1.1) {
            break;
        }
        counted = count();
    }
    let counted = counted.expect("it is counted");
    let more = counted / stored - 1.0;
    assert!(
        more < 0.1,
        "{counted:.0} instructions, {:.0} % more than the {stored} that are stored",
        100.0 * more
    );
    assert!(
        more > -0.3,
        "{counted:.0} instructions, where {stored} are stored: store what it is now (STORE=1)"
    );
}

/// Without optimisation a session takes ten times as long.
const SLOWER: i32 = 50;

#[test]
fn the_attack_is_refused_for_unknown_recipients_alone() {
    let directory = TempDir::new("load");
    let addresses = people::file(directory.path(), 500).expect("it can be written");
    for transport in Transport::ALL {
        let peer = Peer::backstop(env!("CARGO_BIN_EXE_backstop").as_ref(), "");
        let start =
            Start { transport, addresses: &addresses, launcher: Vec::new(), within: Duration::from_secs(30) };
        let running = peer.start(&start).expect("it starts");
        let backstop = running.backstop().expect("it is Backstop");
        // More unknown recipients than make it a distributed harvest.
        let load = Load { within: Duration::from_secs(120), ..Load::attack(500, 600) };
        let idle = Idle::open(running.endpoint(), 20).expect("they can be opened");
        let answers = idle.drive(&load, running.endpoint()).expect("it answers");
        assert!(answers.are_right(), "{answers:?}");
        assert_eq!((answers.sessions, answers.refused + answers.accepted), (600, 600));
        assert!(answers.refused > 500, "{answers:?}");

        let decisions = backstop.metric_by("backstop_decisions_total", &[("stage", "rcpt")], "reason");
        let expected = [("ok", answers.accepted), ("unknown-recipient", answers.refused)];
        assert_eq!(decisions, expected.map(|(reason, count)| (reason.to_owned(), count as f64)).into());
        let lines = backstop.log().lines().filter(|line| line.contains("unknown-recipient")).count();
        assert_eq!(lines as u64, answers.refused, "a line for each refusal");

        let good = Load { mix: Mix::good(500), deliver: true, pace: Pace::Open(500.0), ..load.next() };
        let good = Load { sessions: 100, ..good };
        let answers = good.drive(running.endpoint()).expect("it answers");
        assert!(answers.are_right(), "{answers:?}");
        assert_eq!(answers.messages.count(), 100);
    }
}
