//! Backstop is killed again and again while mail comes in through two real Postfix: what they do without it is what they are
//! told to, and with it nothing is other than before.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use backstop_harness::{Backstop, Postfix, Random, Signal, Smtp, TempDir};

use crate::site;

#[test]
fn under_load() {
    let dir = TempDir::in_run("killed");
    let socket = format!("unix:{}", dir.join("milter.sock").display());
    let store = format!("embedded:{}", dir.join("store").display());
    let start = || site::backstop().listen(&socket).env("BACKSTOP__STORE__URL", &store).start();
    let postfix = |action| {
        let main = format!("smtpd_authorized_xclient_hosts = 127.0.0.1\nmilter_default_action = {action}");
        Postfix::builder().milter(&socket).main(&main).start()
    };
    let mtas = [("tempfail", postfix("tempfail")), ("accept", postfix("accept"))];

    let mut backstop = start();
    assert_eq!(backstop.command(&["block", BLOCKED]).status, 0);
    let load = Load::default();
    thread::scope(|scope| {
        for seed in 0..4 {
            for (action, postfix) in &mtas {
                let (load, port) = (&load, postfix.port());
                scope.spawn(move || load.clients(action, port, seed));
            }
        }
        let _ends = Ends(&load.ends);
        let mut random = Random::new(9);
        for number in 0..KILLS {
            load.until(|passed| passed >= 10);
            let client = format!("198.51.100.{number}");
            assert_eq!(backstop.command(&["block", &client]).status, 0);
            load.life.fetch_add(1, Ordering::SeqCst);
            backstop.signal(Signal::KILL);
            backstop.wait_exit();
            thread::sleep(Duration::from_millis(random.below(700) as u64));
            // The path of the unix socket is still there, and nobody behind it.
            assert!(dir.join("milter.sock").exists());
            backstop = start();
            load.life.fetch_add(1, Ordering::SeqCst);
            is_back(&backstop, number);
        }
        load.until(|passed| passed >= 10);
    });
    let seen = load.seen.into_inner().expect("nobody panicked");
    println!("{seen:#?}");
    for expected in [
        "tempfail, alive, anna: 250",
        "tempfail, alive, nobody: 550",
        "tempfail, alive, blocked: 421",
        "tempfail, killed, anna: 451",
        "accept, alive, nobody: 550",
        "accept, alive, blocked: 421",
        "accept, killed, nobody: 250",
    ] {
        assert!(seen.contains_key(expected), "{expected} was never seen: {seen:#?}");
    }
}

/// Who was blocked right before it was killed is.
fn is_back(backstop: &Backstop, last: usize) {
    let blocked = backstop.command(&["blocked"]).stdout;
    for number in 0..=last {
        assert!(blocked.contains(&format!("198.51.100.{number} ")), "{number} is forgotten: {blocked}");
    }
}

#[derive(Default)]
struct Load {
    ends: AtomicBool,
    /// Odd while Backstop is killed, or not yet there.
    life: AtomicUsize,
    /// Sessions in which it was alive, since it was killed last.
    passed: Mutex<(usize, usize)>,
    /// What was answered, and how often.
    seen: Mutex<BTreeMap<String, u64>>,
}

/// The load ends with the test, however that ends.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Load {
    /// Waits for so many sessions of this life.
    fn until(&self, enough: impl Fn(usize) -> bool) {
        backstop_harness::wait_until(Duration::from_secs(60), "mail to come in", || {
            let passed = self.passed.lock().expect("nobody panicked");
            passed.0 == self.life.load(Ordering::SeqCst) && enough(passed.1)
        });
    }

    /// One after the other, until the end.
    fn clients(&self, action: &str, port: u16, seed: u64) {
        let mut random = Random::new(seed);
        while !self.ends.load(Ordering::SeqCst) {
            let (who, client, recipient) = *[
                ("anna", OTHER, "<anna@example.test>"),
                ("nobody", OTHER, "<nobody@example.test>"),
                ("blocked", BLOCKED, "<anna@example.test>"),
            ]
            .get(random.below(3))
            .expect("one of three");
            let begun = self.life.load(Ordering::SeqCst);
            let code = answer(port, client, recipient);
            let is_alive = begun.is_multiple_of(2) && begun == self.life.load(Ordering::SeqCst);
            let answer = code.as_ref().map_or_else(ToString::to_string, ToString::to_string);
            if is_alive {
                let expected = match who {
                    "anna" => 250,
                    "nobody" => 550,
                    _ => 421,
                };
                assert_eq!(code.ok(), Some(expected), "{action}, {who}: {answer}");
                let mut passed = self.passed.lock().expect("nobody panicked");
                *passed = if passed.0 == begun { (begun, passed.1 + 1) } else { (begun, 1) };
            } else {
                // What it says itself, or what the MTA is told to say without it.
                let may_be: &[u16] = match (action, who) {
                    ("tempfail", "anna") => &[250, 451],
                    ("tempfail", "nobody") => &[550, 451],
                    ("tempfail", _) => &[421, 451],
                    (_, "anna") => &[250],
                    (_, "nobody") => &[550, 250],
                    _ => &[421, 250],
                };
                assert!(code.is_ok_and(|code| may_be.contains(&code)), "{action}, {who}, killed: {answer}");
            }
            let life = if is_alive { "alive" } else { "killed" };
            let mut seen = self.seen.lock().expect("nobody panicked");
            *seen.entry(format!("{action}, {life}, {who}: {answer}")).or_default() += 1;
        }
    }
}

/// The code of the first refusal, or that of the recipient.
fn answer(port: u16, client: &str, recipient: &str) -> io::Result<u16> {
    let mut smtp = Smtp::try_connect(None, (Ipv4Addr::LOCALHOST, port).into())?;
    let mut last = smtp.banner().code;
    let xclient = format!("XCLIENT ADDR={client}");
    let rcpt = format!("RCPT TO:{recipient}");
    for line in ["EHLO client.test", &xclient, "EHLO client.test", "MAIL FROM:<sender@elsewhere.test>", &rcpt]
    {
        if last >= 400 {
            return Ok(last);
        }
        last = smtp.try_command(line)?.code;
    }
    Ok(last)
}

const KILLS: usize = 6;
const BLOCKED: &str = "203.0.113.9";
const OTHER: &str = "203.0.113.10";
