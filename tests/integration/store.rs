//! What outlives the process, and what several share: a client that one Backstop was told of is known to the other, and
//! while the store is away mail flows.

use std::time::Duration;

use backstop_harness::{Backstop, Redis, Signal, wait_until};

use crate::mta::{Answer, Mta};
use crate::site;

/// Whoever writes the key that `backstop block` writes has the client refused by all.
#[test]
fn a_client_that_is_blocked_in_redis_is_refused_by_all_until_redis_is_gone() {
    let mut redis = Redis::start();
    let start = || site::backstop().env("BACKSTOP__STORE__URL", &redis.url()).start();
    let (here, there) = (start(), start());
    for backstop in [&here, &there] {
        assert_eq!(backstop.metric("backstop_store_up", &[]), 1.0);
        assert_eq!(anna(backstop), Answer::Continue);
    }
    redis.command(&["set", "backstop:blocks:203.0.113.7", "", "px", "600000"]);
    for backstop in [&here, &there] {
        let answer = anna(backstop);
        assert!(matches!(&answer, Answer::Refused(text) if text.starts_with("421 4.7.0")), "{answer:?}");
    }
    redis.kill();
    for backstop in [&here, &there] {
        wait_until(SOON, "the metric", || backstop.metric("backstop_store_up", &[]) == 0.0);
        assert_eq!(anna(backstop), Answer::Continue, "nobody is refused for what can't be found out");
        let status = backstop.command(&["status"]).stdout;
        assert!(status.contains("out of use for"), "{status}");
        assert!(backstop.metric("backstop_store_errors_total", &[("what", "run")]) >= 1.0);
    }
    redis.resume();
    for backstop in [&here, &there] {
        wait_until(SOON, "the metric", || backstop.metric("backstop_store_up", &[]) == 1.0);
        let status = backstop.command(&["status"]).stdout;
        assert!(status.contains("lost what it was told"), "{status}");
    }
}

#[test]
fn a_store_that_hangs_delays_mail_by_no_more_than_its_deadline() {
    let mut redis = Redis::start();
    let backstop = site::backstop().env("BACKSTOP__STORE__URL", &redis.url()).start();
    redis.freeze();
    let begun = std::time::Instant::now();
    for _ in 0..20 {
        assert_eq!(anna(&backstop), Answer::Continue);
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    redis.thaw();
    wait_until(SOON, "it to be back", || backstop.metric("backstop_store_up", &[]) == 1.0);
}

/// The file is closed by a stop, opened again, and nobody else can take it meanwhile.
#[test]
fn a_directory_is_one_process_own() {
    let mut first = site::backstop().start();
    let url = format!("embedded:{}", first.path("store").display());
    assert!(first.path("store/store.redb").exists());
    assert_eq!(first.metric("backstop_store_unsaved", &[]), 0.0);
    let second = site::backstop().env("BACKSTOP__STORE__URL", &url).start();
    assert_eq!(anna(&second), Answer::Continue);
    let status = second.command(&["status"]).stdout;
    assert!(status.contains("another process has it"), "{status}");
    assert_eq!(second.metric("backstop_store_unsaved", &[]), 1.0);
    first.signal(Signal::TERM);
    first.wait_exit();
    let third = site::backstop().env("BACKSTOP__STORE__URL", &url).start();
    assert_eq!(third.metric("backstop_store_unsaved", &[]), 0.0, "{}", third.log());
}

/// A mistake is told at its place, and a password is not shown.
#[test]
fn a_store_that_makes_no_sense_is_told() {
    for (lines, part) in [
        ("url = \"redis://u:secret@host\"", "password_file"),
        ("url = \"redis://host/mail\"", "number"),
        ("url = \"rediss://host\"\nca_file = \"/nowhere\"", "No such file"),
        ("deadline = \"0s\"", "more than 0"),
    ] {
        let builder = site::backstop();
        let path = builder.path("wrong.toml");
        std::fs::write(&path, format!("[store]\n{lines}\n")).expect("it can be written");
        let mut command = std::process::Command::new(crate::BACKSTOP);
        let output =
            backstop_harness::CommandOutput::of(command.args(["config", "check", "--config"]).arg(&path));
        assert_eq!(output.status, 78, "{output:?}");
        assert!(output.stderr.contains("wrong.toml:") && output.stderr.contains(part), "{output:?}");
    }
}

/// The answer to a known recipient, from a client at 203.0.113.7.
fn anna(backstop: &Backstop) -> Answer {
    let mut mta = Mta::connect(backstop.milter_port());
    mta.greet();
    mta.mail();
    mta.rcpt("<anna@example.test>")
}

const SOON: Duration = Duration::from_secs(20);
