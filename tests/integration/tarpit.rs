//! Refusals that take their time, and what that costs everybody else.

use std::io::Read;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use backstop_harness::{BackstopBuilder, Postfix, Signal, Smtp, wait_until};
use bytes::BytesMut;
use milter_protocol::command::{CStrings, Command, Rcpt};

use crate::mta::{Mta, is_unknown};
use crate::site;

#[test]
fn each_refusal_takes_longer_and_nothing_else_does() {
    let backstop = tarpit("100ms", "400ms").start();
    let postfix = Postfix::builder().milter(&backstop.for_postfix()).start();
    let mut smtp = session(&postfix, "198.51.100.7");
    smtp.mail("<sender@elsewhere.test>");
    for (number, least) in [100, 200, 400, 400].into_iter().enumerate() {
        let (code, took) = timed(&mut smtp, &format!("<guess{number}@example.test>"));
        assert!(code == 550 && took >= Duration::from_millis(least), "{number}: {code} after {took:?}");
        assert!(took < Duration::from_millis(least) + SLACK, "{number}: {took:?}");
    }
    for (rcpt, expected) in [("<anna@example.test>", 250), ("<unpaid@example.test>", 550)] {
        let (code, took) = timed(&mut smtp, rcpt);
        assert!(code == expected && took < Duration::from_millis(400), "{rcpt}: {code} after {took:?}");
    }
    assert_eq!(backstop.metric("backstop_tarpit_sleeping", &[]), 0.0);
    let slept = backstop.metric("backstop_tarpit_seconds_total", &[]);
    assert!((1.1..5.0).contains(&slept), "{slept}");
}

/// The site's own mailing lists have dead addresses, too.
#[test]
fn insiders_do_not_wait() {
    let backstop = tarpit("5s", "5s").env("BACKSTOP__CLIENT__TRUSTED", "[\"203.0.113.7\"]").start();
    let mut mta = Mta::connect(backstop.milter_port());
    mta.greet();
    mta.mail();
    let begun = Instant::now();
    assert!(is_unknown(&mta.rcpt("<nobody@example.test>")));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!(backstop.metric("backstop_tarpit_seconds_total", &[]), 0.0);
}

#[test]
fn a_sleeping_session_notices_that_its_mta_is_gone() {
    let backstop = tarpit("5s", "5s").start();
    let mut mta = Mta::connect(backstop.milter_port());
    mta.greet();
    mta.mail();
    let begun = Instant::now();
    send(&mut mta, &["<nobody@example.test>"]);
    wait_until(SOON, "the delay", || backstop.metric("backstop_tarpit_sleeping", &[]) == 1.0);
    drop(mta);
    wait_until(SOON, "the end", || backstop.metric("backstop_sessions_open", &[]) == 0.0);
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!(backstop.metric("backstop_tarpit_sleeping", &[]), 0.0);
}

/// No MTA does so, but the order of the answers must not suffer.
#[test]
fn what_is_pipelined_behind_a_delay_is_answered_in_order() {
    let backstop = tarpit("100ms", "200ms").start();
    let mut mta = Mta::connect(backstop.milter_port());
    mta.greet();
    mta.mail();
    send(
        &mut mta,
        &["<nobody@example.test>", "<anna@example.test>", "<no@example.test>", "<bob@example.test>"],
    );
    let answers = [0; 4].map(|_| answer(&mut mta));
    assert_eq!(answers, ["y550 5.1.1", "c", "y550 5.1.1", "c"]);
}

#[test]
fn nobody_waits_for_the_tarpit_at_the_end() {
    let mut backstop = tarpit("5s", "5s").start();
    let mut mta = Mta::connect(backstop.milter_port());
    mta.greet();
    mta.mail();
    let begun = Instant::now();
    send(&mut mta, &["<nobody@example.test>"]);
    wait_until(SOON, "the delay", || backstop.metric("backstop_tarpit_sleeping", &[]) == 1.0);
    backstop.signal(Signal::TERM);
    assert_eq!(answer(&mut mta), "y550 5.1.1");
    assert!(is_unknown(&mta.rcpt("<nobody2@example.test>")), "the message under way may finish");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    drop(mta);
    assert_eq!(backstop.wait_exit().code(), Some(0));
}

#[test]
fn one_client_gets_a_part_of_the_places() {
    let backstop = tarpit("5s", "5s").env("BACKSTOP__DEFENCE__TARPIT__SLEEPERS", "10").start();
    let mut sleeping: Vec<_> = (0..2).map(|_| Mta::connect(backstop.milter_port())).collect();
    for mta in &mut sleeping {
        mta.greet();
        mta.mail();
        send(mta, &["<nobody@example.test>"]);
    }
    wait_until(SOON, "both delays", || backstop.metric("backstop_tarpit_sleeping", &[]) == 2.0);
    let mut third = Mta::connect(backstop.milter_port());
    third.greet();
    third.mail();
    let begun = Instant::now();
    assert!(is_unknown(&third.rcpt("<nobody@example.test>")));
    assert!(begun.elapsed() < Duration::from_secs(4), "it waited for {:?}", begun.elapsed());
}

mod full {
    use super::*;

    /// Each attacker is a client of its own that guesses and guesses, all of them at the same time.
    #[test]
    fn a_thousand_attackers_do_not_delay_a_legitimate_session() {
        for (name, enabled) in [("without", "false"), ("with", "true")] {
            let backstop = tarpit("250ms", "4s").env("BACKSTOP__DEFENCE__TARPIT__ENABLED", enabled).start();
            let postfix = Postfix::builder()
                .milter(&backstop.for_postfix())
                .main("default_process_limit = 1100\nsmtpd_error_sleep_time = 0")
                .start();
            let quiet: Vec<Duration> = (0..20).map(|_| legitimate(&postfix)).collect();
            let stop = AtomicBool::new(false);
            let (busy, guesses) = std::thread::scope(|scope| {
                let (postfix, stop) = (&postfix, &stop);
                let attackers: Vec<_> =
                    (0..1000_u32).map(|number| scope.spawn(move || attack(postfix, number, stop))).collect();
                let open = || backstop.metric("backstop_sessions_open", &[]);
                wait_until(Duration::from_secs(120), "all attackers", || open() >= 1000.0);
                let busy: Vec<Duration> = (0..50).map(|_| legitimate(postfix)).collect();
                let asleep = backstop.metric("backstop_tarpit_sleeping", &[]);
                assert!(asleep <= 50.0 && (asleep > 40.0) == (enabled == "true"), "{asleep} sleep");
                stop.store(true, Ordering::Relaxed);
                let guesses: u32 = attackers.into_iter().map(|thread| thread.join().expect("no panic")).sum();
                (busy, guesses)
            });
            let slept = backstop.metric("backstop_tarpit_seconds_total", &[]);
            println!(
                "{name} the tarpit: a legitimate session takes {}, in the attack {}; {guesses} guesses, {slept:.0} s slept",
                spread(quiet),
                spread(busy.clone())
            );
            let longest = busy.into_iter().max().expect("there are fifty");
            assert!(longest < Duration::from_secs(4), "{name} the tarpit: {longest:?}");
        }
    }

    fn attack(postfix: &Postfix, number: u32, stop: &AtomicBool) -> u32 {
        let mut smtp = session(postfix, &format!("203.0.{}.{}", number / 250, number % 250 + 1));
        smtp.mail("<sender@elsewhere.test>");
        let mut guesses = 0;
        while !stop.load(Ordering::Relaxed) {
            let _ = smtp.rcpt(&format!("<guess{number}-{guesses}@example.test>"));
            guesses += 1;
            // Its next word comes over the network.
            std::thread::sleep(Duration::from_millis(500));
        }
        guesses
    }

    /// A whole session of another client, with one recipient who exists.
    fn legitimate(postfix: &Postfix) -> Duration {
        let begun = Instant::now();
        let mut smtp = session(postfix, "198.51.100.7");
        smtp.mail("<sender@elsewhere.test>");
        assert_eq!(smtp.rcpt("<anna@example.test>").code, 250, "{}", smtp.transcript());
        smtp.quit();
        begun.elapsed()
    }

    fn spread(mut times: Vec<Duration>) -> String {
        times.sort();
        format!("{:.0?} ({:.0?} at most)", times[times.len() / 2], times[times.len() - 1])
    }
}

fn tarpit(first: &str, max: &str) -> BackstopBuilder {
    site::backstop()
        .env("BACKSTOP__DEFENCE__HARVEST__ENABLED", "false")
        .env("BACKSTOP__DEFENCE__TARPIT__ENABLED", "true")
        .env("BACKSTOP__DEFENCE__TARPIT__FIRST", first)
        .env("BACKSTOP__DEFENCE__TARPIT__MAX", max)
}

fn session(postfix: &Postfix, client: &str) -> Smtp {
    let mut smtp = Smtp::connect(postfix.port());
    smtp.ehlo("client.elsewhere.test");
    smtp.xclient(&format!("ADDR={client} NAME=client.elsewhere.test"));
    smtp.ehlo("client.elsewhere.test");
    smtp
}

fn timed(smtp: &mut Smtp, rcpt: &str) -> (u16, Duration) {
    let begun = Instant::now();
    let reply = smtp.rcpt(rcpt);
    (reply.code, begun.elapsed())
}

/// Sends recipients in one write, without waiting.
fn send(mta: &mut Mta<TcpStream>, rcpts: &[&str]) {
    let mut output = BytesMut::new();
    for rcpt in rcpts {
        Command::Rcpt(Rcpt { address: rcpt.as_bytes(), parameters: CStrings::default() }).encode(&mut output);
    }
    mta.write(&output);
}

/// The answer to a recipient that was sent so.
fn answer(mta: &mut Mta<TcpStream>) -> String {
    let mut head = [0; 4];
    mta.stream.read_exact(&mut head).expect("an answer");
    let mut frame = vec![0; u32::from_be_bytes(head) as usize];
    mta.stream.read_exact(&mut frame).expect("the rest of it");
    String::from_utf8_lossy(&frame).chars().take(10).collect()
}

const SOON: Duration = Duration::from_secs(10);

/// What a busy machine may add.
const SLACK: Duration = Duration::from_millis(350);
