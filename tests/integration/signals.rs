//! The life of the process as a shell and systemd see it: signals, exit statuses, and what sd_notify(3) is told.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use backstop_harness::{Backstop, BackstopBuilder, CommandOutput, Signal, free_port, wait_until};

use crate::BACKSTOP;
use crate::mta::{Answer, Mta, is_unknown};
use crate::site;

#[test]
fn sighup_reloads() {
    let mut backstop = site::backstop().start();
    let text = fs::read_to_string(backstop.path("backstop.toml")).expect("it is there");
    backstop.write("backstop.toml", &format!("mode = \"monitor\"\n{text}"));
    backstop.signal(Signal::HUP);
    wait_until(SOON, "the reload", || backstop.metric("backstop_mode", &[("mode", "monitor")]) == 1.0);
    // One that is refused is told, and changes nothing.
    backstop.write("backstop.toml", &format!("mode = \"off\"\n{text}"));
    backstop.signal(Signal::HUP);
    backstop.wait_for_log("reload refused, nothing was changed");
    assert_eq!(backstop.metric("backstop_mode", &[("mode", "monitor")]), 1.0);
    assert_eq!(backstop.metric("backstop_reloads_total", &[("outcome", "refused")]), 1.0);
    assert!(backstop.exited().is_none());
}

#[test]
fn sigterm_and_sigint_end_it_in_peace() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut backstop = site::backstop().start();
        let mut idle = Mta::connect(backstop.milter_port());
        idle.greet();
        let mut busy = Mta::connect(backstop.milter_port());
        busy.greet();
        busy.mail();
        assert_eq!(busy.rcpt("<anna@example.test>"), Answer::Continue);
        backstop.signal(signal);
        // Without a message there is nothing to wait for; with one, it goes on to its end.
        idle.is_closed();
        assert!(is_unknown(&busy.rcpt("<nobody@example.test>")));
        assert!(backstop.exited().is_none(), "{signal:?}");
        let start = Instant::now();
        assert_eq!(busy.send(&milter_protocol::command::Command::Abort), Answer::None);
        busy.is_closed();
        assert_eq!(backstop.wait_exit().code(), Some(0), "{signal:?}");
        assert!(start.elapsed() < Duration::from_secs(10), "{signal:?}: {:?}", start.elapsed());
        assert!(!backstop.path("control.sock").exists(), "{signal:?}: it removes its socket");
    }
}

/// A peer that goes away is no reason to end (SIGPIPE), nor is a terminal that is closed before the first reload.
#[test]
fn a_peer_that_goes_away_while_it_is_answered_ends_nothing() {
    let mut backstop = site::backstop().start();
    for _ in 0..20 {
        let mut mta = Mta::connect(backstop.milter_port());
        mta.greet();
        mta.mail();
        let mut output = bytes::BytesMut::new();
        for _ in 0..500 {
            let parameters = milter_protocol::command::CStrings::default();
            let rcpt = milter_protocol::command::Rcpt { address: b"<nobody@example.test>", parameters };
            milter_protocol::command::Command::Rcpt(rcpt).encode(&mut output);
        }
        mta.write(&output);
    }
    wait_until(SOON, "the end of the sessions", || backstop.metric("backstop_sessions_open", &[]) == 0.0);
    assert!(backstop.exited().is_none());
}

#[test]
fn a_second_start_says_why_it_can_not() {
    let backstop = site::backstop().start();
    let milter = format!("[\"{}\"]", backstop.for_postfix());
    let first_control = backstop.path("control.sock").display().to_string();
    let second_control = backstop.path("second.sock").display().to_string();
    for (milter, http, control, message) in [
        (milter.as_str(), "", second_control.as_str(), "can't listen on inet:127.0.0.1:"),
        ("[\"inet:127.0.0.1:0\"]", "", &first_control, "control.sock: another program listens there"),
        (
            "[\"inet:192.0.2.1:8890\"]",
            "",
            &second_control,
            "can't listen on inet:192.0.2.1:8890: Cannot assign",
        ),
        (
            "[\"inet:no-such-host.invalid:8890\"]",
            "",
            &second_control,
            "can't listen on inet:no-such-host.invalid:8890: ",
        ),
        (
            "[\"unix:/nonexistent/milter.sock\"]",
            "",
            &second_control,
            "can't listen on unix:/nonexistent/milter.sock: No such",
        ),
    ] {
        let mut command = Command::new("timeout");
        command
            .args(["20", BACKSTOP, "serve", "--config", "/dev/null"])
            .env("BACKSTOP__LISTEN", milter)
            .env("BACKSTOP__HTTP__LISTEN", http)
            .env("BACKSTOP__CONTROL__SOCKET", control)
            .env("BACKSTOP__DOMAINS__DETECT", "false");
        let output = CommandOutput::of(&mut command);
        assert_eq!(output.status, EX_OSERR, "{message}: {output:?}");
        let last = output.stderr.lines().last().unwrap_or_default();
        assert!(last.starts_with("backstop: ") && last.contains(message), "{message}: {output:?}");
    }
    // The first one goes on, on all of its sockets.
    assert_eq!(backstop.command(&["status"]).status, 0);
    assert_eq!(backstop.http_get("/live"), "live\n");
    let mut mta = Mta::connect(backstop.milter_port());
    mta.greet();
    mta.decides();
}

/// Another program has the port of the pages: mail does not wait until somebody looks at the log.
#[test]
fn mail_does_not_wait_for_the_pages() {
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, free_port())).expect("the port is free");
    let address = other.local_addr().expect("it is bound").to_string();
    let builder = site::backstop().listen("unix:{dir}/milter.sock").env("BACKSTOP__HTTP__LISTEN", &address);
    let [milter, control] = ["milter.sock", "control.sock"].map(|name| builder.path(name));
    let status = || {
        let mut command = Command::new(BACKSTOP);
        command.arg("status").env("BACKSTOP__CONTROL__SOCKET", &control);
        CommandOutput::of(&mut command)
    };
    let starting = std::thread::spawn(move || builder.start());
    wait_until(SOON, "the commands' socket", || control.exists());
    wait_until(SOON, "the status", || status().status == 0);
    assert!(status().stdout.contains(&format!("http.listen: can't listen on {address}: ")), "{:?}", status());
    let mut mta = Mta::connect_unix(&milter);
    mta.greet();
    mta.decides();

    drop(other);
    let backstop = starting.join().expect("it says that it listens");
    assert_eq!(backstop.http_get("/live"), "live\n");
    assert!(!status().stdout.contains("http.listen"), "{:?}", status());
    let error = format!("ERROR http.listen: can't listen on {address}: no status page and no metrics");
    assert!(backstop.log().contains(&error), "{}", backstop.log());
}

/// unix(7): who sends to a socket that is full waits. It must not be the one thread that a small host has for mail.
#[test]
fn a_systemd_that_hangs_stops_no_mail() {
    let builder = site::backstop();
    let path = builder.path("notify");
    let _unread = UnixDatagram::bind(&path).expect("the directory is there");
    let builder = builder.env("WATCHDOG_USEC", "30000").env("TOKIO_WORKER_THREADS", "1");
    let backstop = start(builder, &path);
    let other = UnixDatagram::unbound().expect("there are sockets");
    other.set_nonblocking(true).expect("it is open");
    wait_until(SOON, "the socket to be full", || other.send_to(b"X=1", &path).is_err());
    let signs = Instant::now();
    while signs.elapsed() < Duration::from_millis(300) {
        let mut mta = Mta::connect(backstop.milter_port());
        mta.greet();
        mta.decides();
    }
}

/// sd_notify(3): READY=1 once it listens; RELOADING=1 with MONOTONIC_USEC before READY=1 again; STOPPING=1.
#[test]
fn systemd_is_told() {
    let builder = site::backstop();
    let path = builder.path("notify");
    let notify = Notify::bind(&path);
    let mut backstop = start(builder, &path);
    assert_eq!(notify.next(), ["READY=1"]);

    let before = monotonic_usec();
    backstop.signal(Signal::HUP);
    let reloading = notify.next();
    assert_eq!(reloading[0], "RELOADING=1", "{reloading:?}");
    let told = reloading[1].strip_prefix("MONOTONIC_USEC=").and_then(|usec| usec.parse::<u64>().ok());
    let told = told.unwrap_or_else(|| panic!("{reloading:?}"));
    assert!((before..=monotonic_usec()).contains(&told), "{before} {told}: not CLOCK_MONOTONIC");
    assert_eq!(notify.next(), ["READY=1"]);

    // a reload that is refused ends, too: systemd would wait for it
    backstop.write("backstop.toml", "[");
    backstop.signal(Signal::HUP);
    assert_eq!(notify.next()[0], "RELOADING=1");
    assert_eq!(notify.next(), ["READY=1"]);

    backstop.signal(Signal::TERM);
    assert_eq!(notify.next(), ["STOPPING=1"]);
    assert_eq!(backstop.wait_exit().code(), Some(0));
}

mod full {
    use super::*;

    /// A message that does not end is cut when the drain time is over; the exit status is 0 all the same.
    #[test]
    fn the_drain_time_ends() {
        let mut backstop = site::backstop().start();
        let mut mta = Mta::connect(backstop.milter_port());
        mta.greet();
        mta.mail();
        assert_eq!(mta.rcpt("<anna@example.test>"), Answer::Continue);
        let start = Instant::now();
        backstop.signal(Signal::TERM);
        // nothing more is said
        mta.is_closed();
        wait_until(Duration::from_secs(60), "the end", || backstop.exited().is_some());
        let took = start.elapsed();
        assert!((Duration::from_secs(25)..Duration::from_secs(45)).contains(&took), "{took:?}");
        assert_eq!(backstop.wait_exit().code(), Some(0));
    }
}

struct Notify(UnixDatagram);

impl Notify {
    fn bind(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("a new path");
        socket.set_read_timeout(Some(SOON)).expect("it is open");
        Self(socket)
    }

    /// The assignments of the next message.
    #[track_caller]
    fn next(&self) -> Vec<String> {
        let mut message = [0; 4096];
        let length = self.0.recv(&mut message).expect("systemd is told");
        let text = String::from_utf8_lossy(&message[..length]).into_owned();
        text.lines().map(str::to_owned).collect()
    }
}

fn start(builder: BackstopBuilder, notify: &Path) -> Backstop {
    builder.env("NOTIFY_SOCKET", &notify.display().to_string()).start()
}

/// proc(5): /proc/uptime is CLOCK_BOOTTIME in 1/100 s; the kernel's timer list has CLOCK_MONOTONIC, but only for root.
fn monotonic_usec() -> u64 {
    let list = fs::read_to_string("/proc/timer_list").unwrap_or_default();
    let now =
        list.lines().find_map(|line| line.strip_prefix("now at ")?.split(' ').next()?.parse::<u64>().ok());
    now.expect("/proc/timer_list tells the time") / 1000
}

/// sysexits(3)
const EX_OSERR: i32 = 71;

const SOON: Duration = Duration::from_secs(20);
