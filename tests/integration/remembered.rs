//! What the defences have seen by themselves outlives a kill -9, but for the last second of it, and a reload: who has to
//! come again need not begin anew, and who guesses stays blocked.

use std::time::{Duration, Instant};

use backstop_harness::{Backstop, Dns, Postfix, TempDir, free_port, wait_until};

use crate::site;
use crate::standing::{answer, from};

const ANNA: &str = "<anna@example.test>";
const SENDER: &str = "198.51.100.7";
const HARVESTER: &str = "203.0.113.66";
const GUESSES_YET: &str = "203.0.113.67";

#[test]
fn over_a_kill() {
    let place = Place::new();
    goes_on(&place, |backstop| {
        let written = Instant::now();
        wait_until(SOON, "the second that may be lost to be over", || {
            written.elapsed() > Duration::from_secs(1)
        });
        drop(backstop); // kill -9
        place.start()
    });
}

#[test]
fn over_a_reload() {
    let place = Place::new();
    goes_on(&place, |backstop| {
        assert_eq!(backstop.command(&["reload"]).status, 0);
        backstop
    });
}

/// Three lives of one server, with `again` between them.
fn goes_on(place: &Place, again: impl Fn(Backstop) -> Backstop) {
    let backstop = place.start();
    let postfix = Postfix::builder().milter(&backstop.for_postfix()).start();
    let first = Instant::now();
    assert_eq!(answer(&postfix, SENDER, ANNA), 450);
    assert_eq!(guess(&postfix, HARVESTER, 0..LIMIT), LIMIT);
    assert_eq!(answer(&postfix, HARVESTER, ANNA), 421);
    assert_eq!(guess(&postfix, GUESSES_YET, 0..LIMIT - 1), LIMIT - 1);

    let backstop = again(backstop);
    assert_eq!(answer(&postfix, HARVESTER, ANNA), 421);
    let blocked = backstop.command(&["blocked"]).stdout;
    assert!(blocked.starts_with(HARVESTER) && blocked.contains("20 of 20 are unknown"), "{blocked}");
    assert_eq!(answer(&postfix, GUESSES_YET, "<postmaster@example.test>"), 250);
    assert_eq!(guess(&postfix, GUESSES_YET, LIMIT..LIMIT + 2), 1, "one more is one too many");
    let outcome = |backstop: &Backstop, outcome: &str| {
        backstop.metric("backstop_greylist_total", &[("outcome", outcome)])
    };
    let firsts = outcome(&backstop, "first");
    wait_until(SOON, "the sender to pass", || answer(&postfix, SENDER, ANNA) == 250);
    // Times are kept in whole seconds.
    assert!(first.elapsed() >= DELAY - Duration::from_secs(1), "{:?}", first.elapsed());
    assert_eq!(outcome(&backstop, "first"), firsts, "it did not begin anew");
    assert_eq!(outcome(&backstop, "returned"), 1.0);

    let backstop = again(backstop);
    let known = outcome(&backstop, "known");
    assert_eq!(answer(&postfix, SENDER, ANNA), 250);
    assert_eq!(outcome(&backstop, "known"), known + 1.0);
    for client in [HARVESTER, GUESSES_YET] {
        assert_eq!(answer(&postfix, client, ANNA), 421, "{client}");
    }
}

/// Guesses in one session; how many were answered with "unknown" before the client was blocked.
fn guess(postfix: &Postfix, client: &str, numbers: std::ops::Range<usize>) -> usize {
    let mut smtp = from(postfix, client);
    smtp.mail("<sender@elsewhere.test>");
    let mut replies = numbers.map(|number| smtp.rcpt(&format!("<guess{number}@example.test>")).code);
    replies.by_ref().take_while(|code| *code == 550).count()
}

/// What stays the same: the port, and where the store is.
struct Place {
    port: u16,
    dns: Dns,
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { port: free_port(), dns: Dns::start(), dir: TempDir::new("store") }
    }

    fn start(&self) -> Backstop {
        site::backstop()
            .listen(&format!("inet:127.0.0.1:{}", self.port))
            .env("BACKSTOP__STORE__URL", &format!("embedded:{}", self.dir.join("store").display()))
            .env("BACKSTOP__CLIENT__RESOLVER", &self.dns.address().to_string())
            .env("BACKSTOP__DEFENCE__GREYLIST__MODE", "all")
            .env("BACKSTOP__DEFENCE__GREYLIST__DELAY", &format!("{}s", DELAY.as_secs()))
            .start()
    }
}

/// Longer than a restart takes.
const DELAY: Duration = Duration::from_secs(4);

/// The default of `unknown`.
const LIMIT: usize = 20;

const SOON: Duration = Duration::from_secs(30);
