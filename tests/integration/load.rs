//! The generator of `tests/bench` against Backstop: each answer is the right one, so what is measured is what is meant.

use std::time::Duration;

use backstop_harness::TempDir;
use backstop_load::drive::{Idle, Load, Mix, Pace};
use backstop_load::peers::{Peer, Start};
use backstop_load::{Transport, people};

#[test]
fn the_attack_is_refused_for_unknown_recipients_alone() {
    let directory = TempDir::new("load");
    let addresses = people::file(directory.path(), 500).expect("it can be written");
    for transport in Transport::ALL {
        let peer = Peer::backstop(env!("CARGO_BIN_EXE_backstop").as_ref());
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
