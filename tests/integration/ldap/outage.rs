//! The directory is killed, hangs and comes back while mail flows: nobody who exists is refused for good, nobody who does
//! not gets in, and nobody has to do anything when it is back.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use backstop_harness::{Postfix, SambaAd, Slapd, wait_until};

use super::{OK, UNAVAILABLE, UNKNOWN, decision, wait_for_addresses};

#[test]
fn a_live_directory_fails_under_load() {
    let flow = run("source = \"live\"\ndeadline = \"500ms\"", 1);
    // Who was never asked for before is put off; nobody says "unknown" of him.
    flow.only(&flow.existing, &[OK, UNAVAILABLE]);
    flow.only(&flow.invented, &[UNKNOWN, UNAVAILABLE]);
}

#[test]
fn a_replica_fails_under_load() {
    let flow = run("deadline = \"500ms\"", 1);
    flow.only(&flow.existing, &[OK]);
    flow.only(&flow.invented, &[UNKNOWN, UNAVAILABLE]);
}

mod full {
    use super::*;

    #[test]
    fn a_live_directory_fails_under_load_again_and_again() {
        let flow = run("source = \"live\"\ndeadline = \"500ms\"", 5);
        flow.only(&flow.existing, &[OK, UNAVAILABLE]);
        flow.only(&flow.invented, &[UNKNOWN, UNAVAILABLE]);
    }

    #[test]
    fn a_replica_fails_under_load_again_and_again() {
        let flow = run("deadline = \"500ms\"", 5);
        flow.only(&flow.existing, &[OK]);
        flow.only(&flow.invented, &[UNKNOWN, UNAVAILABLE]);
    }

    #[test]
    fn active_directory_fails_under_load() {
        const USERS: u32 = 100;
        let mut samba = SambaAd::start();
        samba.add(&(0..USERS).map(user).collect::<String>());
        let ldap = super::super::active_directory(&samba, SambaAd::ADMINISTRATOR, "deadline = \"1s\"");
        let flow = under_load(&ldap, USERS, 2, |event| match event {
            Event::Death => samba.kill(),
            Event::Start => samba.restart(),
            Event::Standstill => samba.pause(),
            Event::Continuation => samba.resume(),
        });
        flow.only(&flow.existing, &[OK]);
        flow.only(&flow.invented, &[UNKNOWN, UNAVAILABLE]);
    }

    fn user(number: u32) -> String {
        let name = format!("u{number:06}");
        format!(
            "dn: CN={name},{}\nobjectClass: user\nsAMAccountName: {name}\nuserAccountControl: 544\n\
             mail: {name}@example.test\nproxyAddresses: SMTP:{name}@example.test\n\
             proxyAddresses: smtp:a{number:06}@example.test\n\n",
            SambaAd::STAFF
        )
    }
}

fn run(more: &str, rounds: usize) -> Flow {
    let mut slapd = Slapd::start();
    slapd.seed(2_000);
    let ldap = super::reader(&[slapd.url()], &slapd, more);
    under_load(&ldap, 2_000, rounds, |event| match event {
        Event::Death => slapd.kill(),
        Event::Start => slapd.restart(),
        Event::Standstill => slapd.pause(),
        Event::Continuation => slapd.resume(),
    })
}

/// What happens to the server.
enum Event {
    Death,
    Start,
    Standstill,
    Continuation,
}

fn under_load(ldap: &str, users: u32, rounds: usize, mut server: impl FnMut(Event)) -> Flow {
    let backstop = super::backstop(ldap).start();
    let postfix = super::postfix(&backstop);
    if !ldap.contains("live") {
        wait_for_addresses(&backstop, users * 2);
    }
    let flow = Flow { users, ..Flow::default() };
    thread::scope(|scope| {
        for number in 0..SESSIONS {
            let (flow, postfix) = (&flow, &postfix);
            scope.spawn(move || flow.send(postfix, number));
        }
        let stop = StopOnDrop(&flow.stop); // also when a wait fails: the scope joins the senders
        let recovered = |what: &str| {
            let mut smtp = super::session(&postfix);
            wait_until(Duration::from_secs(45), what, || {
                let stranger = format!("<stranger{}@example.test>", flow.count());
                decision(&mut smtp, &stranger) == UNKNOWN
            });
        };
        recovered("answers at first");
        flow.goes_on();
        for round in 0..rounds {
            server(Event::Death);
            flow.goes_on();
            server(Event::Start);
            recovered("answers after it was killed");
            flow.goes_on();
            if round > 0 {
                server(Event::Standstill);
                flow.goes_on();
                server(Event::Continuation);
                recovered("answers after it hung");
                server(Event::Start);
                flow.goes_on();
            }
        }
        drop(stop);
    });
    flow
}

/// What was decided, and how often.
#[derive(Default)]
struct Flow {
    users: u32,
    stop: AtomicBool,
    decided: AtomicUsize,
    existing: Mutex<BTreeMap<String, usize>>,
    invented: Mutex<BTreeMap<String, usize>>,
}

impl Flow {
    /// Sends to users and to invented recipients in turn, a few in each session.
    fn send(&self, postfix: &Postfix, number: u32) {
        let mut index = number;
        while !self.stop.load(Ordering::SeqCst) {
            let mut smtp = super::session(postfix);
            for _ in 0..5 {
                let user = index * 7 % self.users;
                let form = if index.is_multiple_of(2) { 'u' } else { 'a' };
                self.note(&self.existing, decision(&mut smtp, &format!("<{form}{user:06}@example.test>")));
                self.note(&self.invented, decision(&mut smtp, &format!("<invented{index}@example.test>")));
                index += SESSIONS;
            }
            smtp.quit();
        }
    }

    fn note(&self, decisions: &Mutex<BTreeMap<String, usize>>, decision: String) {
        *decisions.lock().expect("no thread panics with the lock").entry(decision).or_default() += 1;
        self.decided.fetch_add(1, Ordering::SeqCst);
    }

    fn count(&self) -> usize {
        self.decided.load(Ordering::SeqCst)
    }

    /// Waits until some more recipients were decided, by every session.
    #[track_caller]
    fn goes_on(&self) {
        let enough = self.count() + 10 * SESSIONS as usize;
        wait_until(Duration::from_secs(60), "mail to flow", || self.count() >= enough);
    }

    /// Only these were decided, and each of them was.
    #[track_caller]
    fn only(&self, decisions: &Mutex<BTreeMap<String, usize>>, expected: &[&str]) {
        let decisions = decisions.lock().expect("no thread panics with the lock");
        println!("{decisions:?}");
        let mut expected: Vec<&str> = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(decisions.keys().collect::<Vec<_>>(), expected, "{decisions:?}");
    }
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

const SESSIONS: u32 = 4;
