//! A clock that jumps: forwards and backwards, by a day and by years, as where a machine's battery is empty or its time is set.
//! Nobody is refused for good who exists, and what lasts for a time does not last for ever.

use std::time::Duration;

use backstop_harness::{Backstop, Clock, Slapd, wait_until};

use super::{fill_slapd, ldap_directory, message, said};
use crate::BACKSTOP;

#[test]
fn who_exists_is_never_refused_for_good_when_the_clock_jumps() {
    let site = Site::start("");
    for jump in ["+1d", "-1d", "+3650d", "+0", "-3650d", "+0"] {
        site.set_clock(jump);
        // At once, whatever had to be asked anew: a lasting no for nobody but those who get it anyway.
        for _ in 0..5 {
            assert_eq!(site.answer(CLIENT, "known0@ldap.test"), "continue", "{jump}");
            assert_eq!(site.answer(CLIENT, "anna@file.test"), "continue", "{jump}");
            for unknown in ["nobody@ldap.test", "nobody@file.test"] {
                let answer = site.answer(CLIENT, unknown);
                assert!(answer.starts_with("550 5.1.1") || answer.starts_with("451 "), "{jump}: {answer}");
            }
        }
        wait_until(SOON, &format!("the replica to be current again, {jump}"), || {
            site.answer(CLIENT, "nobody@ldap.test").starts_with("550 5.1.1")
                && site.answer(CLIENT, "gone0@ldap.test").starts_with("550 5.2.1")
        });
    }
    let log = site.backstop.log();
    let years = ["203", "201"].map(|decade| log.lines().any(|line| line.starts_with(decade)));
    assert_eq!(years, [true, true], "the clock has jumped: {log}");
    assert!(!log.contains("panicked") && !log.contains("ERROR"), "{log}");
}

#[test]
fn what_lasts_for_a_time_ends_when_the_clock_jumps() {
    for (jump, number) in [("-1d", 1), ("+1d", 2), ("-3650d", 3)] {
        let site = Site::start("[defence.greylist]\nmode = \"all\"\ndelay = \"2s\"\n");
        let (blocked, greylisted) = ([203, 0, 113, number], [198, 51, 100, number]);
        let output = site.backstop.command(&[
            "block",
            &blocked.map(|octet| octet.to_string()).join("."),
            "--for",
            "5s",
        ]);
        assert_eq!(output.status, 0, "{output:?}");
        assert!(site.answer(blocked, "anna@file.test").starts_with("421 4.7.0"));
        assert!(site.answer(greylisted, "bob@file.test").starts_with("450 4.7.1"));
        site.set_clock(jump);
        wait_until(SOON, &format!("the block to end, {jump}"), || {
            !site.answer(blocked, "anna@file.test").starts_with("421")
        });
        wait_until(SOON, &format!("the greylist to let it in, {jump}"), || {
            site.answer(greylisted, "bob@file.test") == "continue"
        });
    }
}

/// `backstop suspend` without an end has none, whatever the clock says.
#[test]
fn a_suspension_outlives_the_clock() {
    let site = Site::start("");
    let output = site.backstop.command(&["suspend", "anna@file.test"]);
    assert_eq!(output.status, 0, "{output:?}");
    for jump in ["-3650d", "+3650d", "+0"] {
        site.set_clock(jump);
        wait_until(SOON, jump, || site.answer(CLIENT, "anna@file.test").starts_with("550 5.2.1"));
        assert_eq!(site.answer(CLIENT, "bob@file.test"), "continue");
    }
}

struct Site {
    backstop: Backstop,
    clock: Clock,
    _slapd: Slapd,
}

impl Site {
    fn start(more: &str) -> Self {
        let slapd = Slapd::start();
        fill_slapd(&slapd, 1);
        let clock = Clock::new();
        let config = format!("{CONFIG}{}{more}", ldap_directory(&slapd, slapd.url(), "deadline = \"1s\""));
        let backstop = Backstop::builder(BACKSTOP)
            .file("people", "anna\nbob\n")
            .config(&config)
            .after(&clock.script())
            .start();
        let site = Self { backstop, clock, _slapd: slapd };
        wait_until(SOON, "the replica", || {
            site.answer(CLIENT, "nobody@ldap.test").starts_with("550 5.1.1")
                && site.backstop.metric("backstop_directory_addresses", &[("directory", "corp")]) == 2.0
        });
        site
    }

    /// So far from the true time.
    fn set_clock(&self, offset: &str) {
        self.clock.set(offset);
        // Seen by it at the next look, of which its log tells.
        assert_eq!(self.backstop.command(&["reload"]).status, 0);
    }

    fn answer(&self, client: [u8; 4], recipient: &str) -> String {
        said(&mut message(self.backstop.milter_port(), client), recipient)
    }
}

const CLIENT: [u8; 4] = [192, 0, 2, 77];
const SOON: Duration = Duration::from_secs(20);

const CONFIG: &str = r#"
[domains]
detect = false
names = ["file.test", "ldap.test"]

[store]
url = "embedded:{dir}/store"

[defence.harvest]
enabled = false

[directory.people]
domains = ["file.test"]
[directory.people.file]
path = "{dir}/people"
"#;
