//! A directory that hangs (takes connections, never answers) costs no session more than the deadline, and whom other
//! directories know nothing.

use std::thread;
use std::time::{Duration, Instant};

use backstop_harness::Slapd;

use super::{OK, UNAVAILABLE, UNKNOWN, decides, decision, person};

#[test]
fn a_directory_that_hangs_costs_the_deadline_and_others_nothing() {
    let mut slapd = Slapd::start();
    slapd.add(&person("anna", &["mail: anna@example.test"]));
    let more = "source = \"live\"\ndeadline = \"1s\"\n\
                [directory.other]\ndomains = [\"other.test\"]\n[directory.other.file]\npath = \"{dir}/others\"\n";
    let ldap = super::reader(&[slapd.url()], &slapd, more);
    let backstop = super::backstop(&ldap).file("others", "otto@other.test\n").start();
    let postfix = super::postfix(&backstop);
    let mut smtp = super::session(&postfix);
    decides(&mut smtp, "before", &[("anna", OK), ("nobody", UNKNOWN)]);

    slapd.pause();
    let timed = |recipient: String| {
        let mut smtp = super::session(&postfix);
        let begun = Instant::now();
        let decision = decision(&mut smtp, &recipient);
        (recipient, decision, begun.elapsed())
    };
    let timed = &timed;
    let sessions: Vec<_> = thread::scope(|scope| {
        let asked = |index| {
            let domain = if index % 2 == 0 { "example.test" } else { "other.test" };
            let local = if index % 4 < 2 { "otto".to_owned() } else { format!("nobody{index}") };
            scope.spawn(move || timed(format!("<{local}@{domain}>")))
        };
        let sessions: Vec<_> = (0..24).map(asked).collect();
        sessions.into_iter().map(|session| session.join().expect("it was decided")).collect()
    });
    for (recipient, decision, time) in sessions {
        if recipient.contains("other.test") {
            let expected = if recipient.contains("otto") { OK } else { UNKNOWN };
            assert_eq!(decision, expected, "{recipient}");
            assert!(time < Duration::from_millis(500), "{recipient} took {time:?}");
        } else {
            assert_eq!(decision, UNAVAILABLE, "{recipient}");
            assert!(time < Duration::from_millis(1600), "{recipient} took {time:?}");
        }
    }
    decides(&mut smtp, "who was known before", &[("anna", OK)]);

    slapd.resume();
    let back = || decision(&mut smtp, "<newcomer@example.test>") == UNKNOWN;
    backstop_harness::wait_until(Duration::from_secs(10), "the directory's return", back);
    decides(&mut smtp, "after", &[("anna", OK), ("otto", UNKNOWN)]);
}
