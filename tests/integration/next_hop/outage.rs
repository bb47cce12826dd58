//! A next hop that is gone, hangs or hangs up: nobody is refused for it, nobody waits longer than the deadline, others do not
//! wait at all, and it recovers by itself.

use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use backstop_harness::{Backstop, Dovecot, wait_until};

use crate::next_hop::{asking, config, front, host, knowing, rcpt};

#[test]
fn one_that_hangs_costs_the_deadline_and_others_nothing() {
    // The kernel takes the connections, and nobody ever answers them.
    let hung = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = hung.local_addr().expect("it is bound").port();
    let inside = knowing().start();
    let settings = format!(
        "{}\ndeadline = \"1s\"\nhosts = {{ \"example.test\" = \"127.0.0.1:{port}\" }}",
        host(&inside)
    );
    let backstop = asking(&settings).start();
    let front = front(&backstop, &inside);
    std::thread::scope(|scope| {
        for number in 0..8 {
            let front = &front;
            scope.spawn(move || {
                let begun = Instant::now();
                let reply = rcpt(front, &format!("<nobody{number}@example.test>"));
                assert_eq!(reply.code, 451, "{reply}");
                assert!(begun.elapsed() < Duration::from_millis(2500), "{:?}", begun.elapsed());
            });
        }
        for number in 0..5 {
            let begun = Instant::now();
            assert_eq!(rcpt(&front, &format!("<nobody{number}@other.test>")).code, 550);
            assert_eq!(rcpt(&front, "<anna@other.test>").code, 250);
            assert!(begun.elapsed() < Duration::from_millis(900), "{:?}", begun.elapsed());
        }
    });
    // Now it is known to be down, and that costs nothing.
    let begun = Instant::now();
    let quick = (0..20).filter(|number| {
        let begun = Instant::now();
        let check = backstop.command(&["check", &format!("x{number}@example.test"), "--client", "192.0.2.1"]);
        assert_eq!(check.status, 2, "{}", check.stdout);
        begun.elapsed() < Duration::from_millis(500)
    });
    assert!(quick.count() >= 10, "20 questions took {:?}", begun.elapsed());
    let status = backstop.command(&["status"]).stdout;
    assert!(status.contains("directory inside (smtp): can't answer"), "{status}");
    assert_eq!(backstop.metric("backstop_directory_up", &[("directory", "inside")]), 0.0);
    let log = backstop.log();
    assert_eq!(log.matches("the directory does not answer").count(), 1, "{log}");
    assert_eq!(log.matches("answers again").count(), 0, "one of two is down all the time: {log}");
}

#[test]
fn a_second_server_takes_over() {
    let hung = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = hung.local_addr().expect("it is bound").port();
    let inside = knowing().start();
    let map = format!("example.test smtp:[127.0.0.1]:{port}, [127.0.0.1]:1, [127.0.0.1]:{}\n", inside.port());
    let backstop = asking("transport_map = \"{dir}/transport\"").file("transport", &map).start();
    let begun = Instant::now();
    for number in 0..5 {
        let check = backstop.command(&["check", &format!("nobody{number}@example.test")]);
        assert_eq!(check.status, 1, "{}", check.stdout);
    }
    assert!(begun.elapsed() < Duration::from_secs(3), "the dead ones are spared: {:?}", begun.elapsed());
}

/// The second may be a backup that knows nobody: it is asked only while the first is away.
#[test]
fn the_first_server_is_asked_again_when_it_is_back() {
    let mut first = Dovecot::start(&["anna@example.test", "postmaster@example.test"]);
    let second = Dovecot::start(&["bob@example.test", "postmaster@example.test"]);
    let map =
        format!("example.test lmtp:unix:{}, unix:{}\n", first.lmtp().display(), second.lmtp().display());
    let cache = "positive = \"1ms\"\nnegative = \"1ms\"\nstale = \"1ms\"";
    let settings = format!("transport_map = \"{{dir}}/transport\"\n[directory.inside.cache]\n{cache}");
    let backstop = asking(&settings).file("transport", &map).start();
    let ask = |recipient: &str| check(&backstop, recipient);
    assert_eq!((ask("anna@example.test"), ask("bob@example.test")), (0, 1));
    first.stop();
    assert_eq!((ask("anna@example.test"), ask("bob@example.test")), (1, 0));
    first.start_again();
    wait_until(Duration::from_secs(20), "the first one's turn", || ask("anna@example.test") == 0);
    assert_eq!(ask("bob@example.test"), 1);
}

#[test]
fn connections_that_the_server_cuts_are_noticed_by_nobody() {
    let inside = knowing().main("smtpd_timeout = 1s").start();
    let backstop = asking(&host(&inside)).start();
    for number in 0..3 {
        let check = backstop.command(&["check", &format!("nobody{number}@example.test")]);
        assert_eq!(check.status, 1, "{}", check.stdout);
        let cut = |log: String| log.matches("timeout after").count() > number;
        wait_until(Duration::from_secs(10), "Postfix to hang up", || cut(inside.maillog()));
    }
    assert!(!backstop.log().contains("does not answer"), "{}", backstop.log());
}

#[test]
fn killed_and_back() {
    let mut dovecot = Dovecot::start(&["anna@example.test", "bob@example.test", "postmaster@example.test"]);
    let socket = dovecot.lmtp();
    let cache = "\n[directory.inside.cache]\npositive = \"1ms\"\nnegative = \"1ms\"\n";
    let settings = format!("host = \"lmtp:unix:{}\"\n{cache}", socket.display());
    let backstop = asking(&settings).start();
    let ask = |recipient: &str| check(&backstop, recipient);
    assert_eq!((ask("anna@example.test"), ask("nobody@example.test")), (0, 1));
    dovecot.stop();
    // Who was known a moment ago still is; nobody is called unknown.
    assert_eq!((ask("anna@example.test"), ask("bob@example.test"), ask("nobody@example.test")), (0, 2, 2));
    dovecot.start_again();
    wait_until(Duration::from_secs(20), "Backstop to see that it is back", || ask("bob@example.test") == 0);
    assert_eq!((ask("anna@example.test"), ask("nobody@example.test")), (0, 1));
    assert!(backstop.log().contains("the directory answers again"), "{}", backstop.log());
}

#[test]
fn the_admin_may_let_mail_in_meanwhile() {
    let text = config("host = \"127.0.0.1:1\"") + "[directory.inside]\non_unavailable = \"continue\"\n";
    let backstop = Backstop::builder(crate::BACKSTOP).config(&text).start();
    assert_eq!(check(&backstop, "nobody@example.test"), 0);
}

fn check(backstop: &Backstop, recipient: &str) -> i32 {
    backstop.command(&["check", recipient, "--client", "192.0.2.1"]).status
}
