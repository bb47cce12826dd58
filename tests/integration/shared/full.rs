//! What takes longer: Redis under load, and outages of minutes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use super::*;

/// Good clients and harvesters, eight sessions at a time, while Redis is killed, hangs, and comes back with and without
/// what it was told.
#[test]
fn a_redis_that_dies_under_load_costs_no_mail() {
    let (mut redis, dns) = (Redis::start(), Dns::start());
    persists(&redis, true);
    let host = Host::start(&redis, &dns);
    let good: Vec<String> = (1..=6).map(|number| format!("198.51.{number}.7")).collect();
    let passes = |client: &String| host.answer(client, "<anna@example.test>") == 250;
    wait_until(SOON, "all to have come again", || good.iter().filter(|client| !passes(client)).count() == 0);
    let load = Load::default();
    std::thread::scope(|scope| {
        let (host, load) = (&host, &load);
        for client in &good {
            scope.spawn(move || load.good(host, client));
        }
        for number in 0..2 {
            scope.spawn(move || load.harvester(host, &format!("203.0.113.{number}")));
        }
        // However it ends: the others must not run for ever.
        let _stop = Stop(&load.stop);
        let is_up = || host.backstop.metric("backstop_store_up", &[]) == 1.0;
        load.runs(100);
        for _ in 0..2 {
            redis.kill();
            load.runs(100);
            assert!(!is_up() && host.command(&["status"]).contains("out of use for"));
            redis.resume();
            wait_until(SOON, "it to be back", is_up);
            load.runs(100);
            redis.freeze();
            load.runs(100);
            redis.thaw();
            wait_until(SOON, "it to be back", is_up);
            load.runs(100);
        }
        let status = host.command(&["status"]);
        assert!(!status.contains("lost what it was told") && !status.contains("out of use"), "{status}");
        assert!(host.command(&["blocked"]).contains("203.0.113."), "it has kept the blocks");
        assert_eq!(load.greylisted.load(Ordering::Relaxed), 0, "nobody had to come again");

        persists(&redis, false);
        redis.kill();
        load.runs(100);
        load.may_wait.store(true, Ordering::Relaxed);
        redis.resume();
        wait_until(SOON, "it to be back", is_up);
        wait_until(SOON, "all to have come again", || {
            good.iter().filter(|client| !passes(client)).count() == 0
        });
        load.may_wait.store(false, Ordering::Relaxed);
        load.runs(200);
        assert!(load.greylisted.load(Ordering::Relaxed) > 0, "it had lost them");
        let status = host.command(&["status"]);
        assert!(status.contains("lost what it was told") && !status.contains("out of use"), "{status}");
    });
    let slowest = Duration::from_micros(load.slowest.load(Ordering::Relaxed));
    println!("{} sessions, the slowest RCPT took {slowest:?}", load.sessions.load(Ordering::Relaxed));
    // Two deadlines of 250 ms, and what a busy host adds.
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
}

/// Somebody may have resumed her elsewhere.
#[test]
fn who_is_cut_off_for_long_refuses_nobody_for_good() {
    let (mut redis, dns) = (Redis::start(), Dns::start());
    persists(&redis, true);
    let host = Host::start(&redis, &dns);
    let anna = || host.rcpt(TRUSTED_FOR_A_TIME, "<anna@example.test>");
    host.command(&["trust", TRUSTED_FOR_A_TIME]);
    host.command(&["suspend", "anna@example.test"]);
    let suspended = "550 5.2.1 Mailbox suspended [suspended-recipient]";
    assert_eq!(anna(), suspended);
    redis.kill();
    let begun = Instant::now();
    let mut last = String::new();
    wait_until(Duration::from_secs(180), "the end of what is believed", || {
        // Two minutes of sessions as fast as they go would tell no more.
        std::thread::sleep(Duration::from_secs(1));
        last = host.rcpt(GOOD, "<anna@example.test>");
        last != suspended
    });
    assert_eq!(last, "450 4.2.1 Mailbox suspended [suspended-recipient]");
    assert!(
        begun.elapsed() > Duration::from_secs(115),
        "a short outage changes nothing: {:?}",
        begun.elapsed()
    );
    assert_eq!(host.rcpt(GOOD, "<unpaid@example.test>"), suspended, "that one is in a file");
    assert_eq!(host.answer("192.0.2.1", "<anna@example.test>"), 250, "a trusted network is not held up");
    let checked = host.backstop.command(&["check", "anna@example.test"]);
    assert_eq!(checked.status, 2, "{checked:?}");
    for words in
        ["suspended anna@example.test: could not find out (", "(that may be over: the store does not answer)"]
    {
        assert!(checked.stdout.contains(words), "{words}: {checked:?}");
    }
    let status = host.command(&["status"]);
    assert!(status.contains("mail for these recipients is put off, not refused"), "{status}");
    assert!(host.command(&["suspended"]).contains("note: suspensions by command are known as of "));
    host.backstop.wait_for_log("mail for these is put off, not refused");
    redis.resume();
    wait_until(SOON, "it to be back", || anna() == suspended);
    assert!(!host.command(&["status"]).contains("put off"));
}

/// What many clients saw.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    /// Redis has lost who came again.
    may_wait: AtomicBool,
    sessions: AtomicU64,
    greylisted: AtomicU64,
    /// In microseconds.
    slowest: AtomicU64,
}

impl Load {
    /// A server that is known, with a recipient who exists and an old address on its list.
    fn good(&self, host: &Host, client: &str) {
        while !self.stop.load(Ordering::Relaxed) {
            let _failed = StopOnPanic(&self.stop);
            let could_wait = self.may_wait.load(Ordering::Relaxed);
            let known = self.rcpt(host, client, "<anna@example.test>");
            if known.code == 450 && known.text.contains("[greylisted]") {
                self.greylisted.fetch_add(1, Ordering::Relaxed);
                assert!(could_wait || self.may_wait.load(Ordering::Relaxed), "{known}");
            } else {
                assert_eq!(known.code, 250, "{known}");
            }
            let unknown = self.rcpt(host, client, "<left@example.test>");
            assert_eq!(unknown.code, 550, "{unknown}");
            self.sessions.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn harvester(&self, host: &Host, client: &str) {
        let mut number = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let _failed = StopOnPanic(&self.stop);
            number += 1;
            let reply = self.rcpt(host, client, &format!("<guess{number}@example.test>"));
            assert!(matches!(reply.code, 421 | 550), "{reply}");
        }
    }

    fn rcpt(&self, host: &Host, client: &str, recipient: &str) -> Reply {
        let mut smtp = from(&host.postfix, client);
        smtp.mail("<sender@elsewhere.test>");
        let begun = Instant::now();
        let reply = smtp.rcpt(recipient);
        let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.slowest.fetch_max(took, Ordering::Relaxed);
        reply
    }

    /// Waits for so many more sessions of good clients.
    #[track_caller]
    fn runs(&self, sessions: u64) {
        let until = self.sessions.load(Ordering::Relaxed) + sessions;
        wait_until(Duration::from_secs(60), "sessions", || {
            assert!(!self.stop.load(Ordering::Relaxed), "a client was answered wrongly");
            self.sessions.load(Ordering::Relaxed) >= until
        });
    }
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct StopOnPanic<'a>(&'a AtomicBool);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

/// Whether a kill leaves it what it was told, also after its next start.
fn persists(redis: &Redis, yes: bool) {
    redis.command(&["config", "set", "appendfsync", "always"]);
    redis.command(&["config", "set", "appendonly", if yes { "yes" } else { "no" }]);
    let is_done = || redis.command(&["info", "persistence"]).contains("aof_rewrite_in_progress:0");
    wait_until(SOON, "its file", || !yes || is_done());
    assert_eq!(redis.command(&["config", "rewrite"]), "OK");
}

const TRUSTED_FOR_A_TIME: &str = "203.0.113.200";
