//! The milter at its edges: addresses to listen on, peers that break the rules or say nothing, and too many of them. None
//! of them may disturb another session. The real MTAs never do most of this, so a client of our own does.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command as Program;
use std::time::{Duration, Instant};

use backstop_harness::{Backstop, CommandOutput, Signal, allow_open_files, let_children_have, wait_until};
use bytes::BytesMut;
use milter_protocol::command::{CStrings, ClientAddress, Command, Connect, Header, Mail, Rcpt};
use milter_protocol::flags::{Actions, Steps, Version};
use milter_protocol::negotiation::{CURRENT_OFFER, Offer};

use crate::BACKSTOP;
use crate::mta::{Answer, Mta, is_unknown};
use crate::site;

// ------------------------------------------------------------------------------------------------ where it listens

#[test]
fn port_0_is_any_free_port_on_both_families() {
    let backstop =
        site::backstop().env("BACKSTOP__LISTEN", r#"["inet:127.0.0.1:0", "inet6:[::1]:0"]"#).start();
    let log = backstop.log();
    let addresses: Vec<SocketAddr> = log
        .lines()
        .filter(|line| line.contains("listening"))
        .filter_map(|line| line.split("address=inet").nth(1)?.trim_start_matches(['6', ':']).parse().ok())
        .collect();
    assert!(
        addresses.len() == 2 && addresses[1].is_ipv6() && addresses.iter().all(|a| a.port() != 0),
        "{log}"
    );
    for address in addresses {
        let mut mta = Mta::connect_to(address, CURRENT_OFFER);
        mta.greet();
        mta.decides();
    }
}

/// Both programs may bind the same port, one for each family (IPV6_V6ONLY, ipv6(7)).
#[test]
fn an_ipv6_listener_leaves_ipv4_alone() {
    let backstop = site::backstop().listen("inet6:[::]:0").start();
    let refused = TcpStream::connect((Ipv4Addr::LOCALHOST, backstop.milter_port()));
    assert!(refused.is_err(), "IPv4 is answered");
}

#[test]
fn a_unix_socket_that_a_killed_process_left_is_reclaimed() {
    let mut backstop = site::backstop().listen("unix:{dir}/milter.sock").start();
    let path = backstop.path("milter.sock");
    // Postfix' and Sendmail's users are not ours
    assert_eq!(fs::metadata(&path).expect("it listens").permissions().mode() & 0o777, 0o666);
    backstop.signal(Signal::KILL);
    backstop.wait_exit();
    assert!(path.exists(), "SIGKILL leaves it");
    let mut second =
        site::backstop().env("BACKSTOP__LISTEN", &format!("[\"unix:{}\"]", path.display())).start();
    let mut mta = Mta::connect_unix(&path);
    mta.greet();
    mta.decides();
    second.signal(Signal::TERM);
    assert_eq!(second.wait_exit().code(), Some(0));
    assert!(!path.exists(), "its own socket is removed in the end");
}

#[test]
fn a_unix_socket_that_is_answered_is_left_alone() {
    let backstop = site::backstop().listen("unix:{dir}/milter.sock").start();
    let path = backstop.path("milter.sock");
    let output = second(&format!("unix:{}", path.display()), &backstop.path("second.sock"));
    assert_eq!(output.status, 71, "{output:?}");
    assert!(output.stderr.contains("another program listens there"), "{output:?}");
    Mta::connect_unix(&path).greet();
}

#[test]
fn a_file_in_the_place_of_a_socket_is_left_alone() {
    let backstop = site::backstop().start();
    let path = backstop.write("milter.sock", "precious");
    let output = second(&format!("unix:{}", path.display()), &backstop.path("second.sock"));
    assert_eq!(output.status, 71, "{output:?}");
    assert!(output.stderr.contains("there is something that is not a socket"), "{output:?}");
    assert_eq!(fs::read_to_string(path).expect("still there"), "precious");
}

/// sd_listen_fds(3): descriptors from 3 on, for the process in LISTEN_PID, with names between colons.
#[test]
fn sockets_that_systemd_passes_are_taken_by_their_names() {
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let builder = site::backstop();
    let path = builder.path("passed.sock");
    let unix = UnixListener::bind(&path).expect("a new path");
    let descriptors = [tcp.as_raw_fd(), other.as_raw_fd(), unix.as_raw_fd()];
    let_children_have(&tcp);
    let_children_have(&other);
    let_children_have(&unix);
    let [tcp_fd, other_fd, unix_fd] = descriptors;
    let script = format!(
        "exec 100<&{tcp_fd}- 101<&{other_fd}- 102<&{unix_fd}-\nexec 3<&100- 4<&101- 5<&102-\n\
         export LISTEN_PID=$$ LISTEN_FDS=3 LISTEN_FDNAMES=milter:stranger:milter"
    );
    let backstop = builder.listen("fd:milter").after(&script).start();
    let address = tcp.local_addr().expect("it is bound");
    let stranger = fs::read_link(format!("/proc/self/fd/{other_fd}")).expect("proc(5)");
    drop((tcp, other, unix));
    assert_eq!(backstop.milter_port(), address.port());
    let mut mta = Mta::connect_to(address, CURRENT_OFFER);
    mta.greet();
    mta.decides();
    let mut mta = Mta::connect_unix(&path);
    mta.greet();
    mta.decides();
    // The one that no `listen` names is closed: whoever connects to it would wait for ever.
    backstop.wait_for_log("stranger");
    let kept = fs::read_dir(format!("/proc/{}/fd", backstop.pid())).expect("it runs").flatten();
    let kept: Vec<_> = kept.filter_map(|entry| fs::read_link(entry.path()).ok()).collect();
    assert!(kept.len() > 10 && !kept.contains(&stranger), "{stranger:?} is open still: {kept:?}");
    assert!(fs::metadata(&path).expect("it is systemd's").file_type().is_socket());
}

#[test]
fn a_socket_that_was_not_passed_stops_the_start() {
    let backstop = site::backstop().start();
    let output = second("fd:milter", &backstop.path("second.sock"));
    assert_eq!(output.status, 71, "{output:?}");
    assert!(
        output.stderr.contains("can't listen on fd:milter: no socket of that name was passed"),
        "{output:?}"
    );
}

// ------------------------------------------------------------------------------------- peers that break the rules

#[test]
fn a_peer_that_breaks_the_rules_ends_its_own_session_alone() {
    let backstop = site::backstop().start();
    let port = backstop.milter_port();
    let mut other = Mta::connect(port);
    other.greet();
    let mut expected = 0.0;
    for (what, bytes) in [
        ("a frame of length 0", &[0, 0, 0, 0][..]),
        ("an oversized frame", &[0, 1, 0, 1, b'B']),
        ("the largest length there is", &[0xff, 0xff, 0xff, 0xff, b'B']),
        ("an unknown command", &[0, 0, 0, 1, b'z']),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ("TLS", &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]),
        ("a command before the negotiation", &[0, 0, 0, 5, b'H', b'h', b'e', b'l', 0]),
        ("an offer that is cut short", &[0, 0, 0, 5, b'O', 0, 0, 0, 6]),
        ("version 1", &[0, 0, 0, 13, b'O', 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
    ] {
        let mut mta = Mta::silent((Ipv4Addr::LOCALHOST, port).into(), CURRENT_OFFER);
        mta.write(bytes);
        mta.is_closed();
        expected += 1.0;
        wait_until(SOON, what, || backstop.metric("backstop_protocol_errors_total", &[]) == expected);
    }
    // and behind a good negotiation
    for (what, bytes) in [
        ("a recipient before a sender", &b"\0\0\0\x05R<a>\0"[..]),
        ("a recipient without its NUL", b"\0\0\0\x04R<a>"),
        ("a client without a name", b"\0\0\0\x02Ca"),
        ("a reply, as a filter gives it", b"\0\0\0\x01c"),
        ("a refusal, as a filter gives it", b"\0\0\0\x0by550 5.1.1\0"),
        ("a second offer", b"\0\0\0\x0dO\0\0\0\x06\0\0\0\0\0\0\0\0"),
    ] {
        let mut mta = Mta::connect(port);
        mta.write(bytes);
        mta.is_closed();
        expected += 1.0;
        wait_until(SOON, what, || backstop.metric("backstop_protocol_errors_total", &[]) == expected);
        other.decides();
    }
    // half a frame, and away
    let mut mta = Mta::connect(port);
    mta.write(&[0, 0, 0, 100, b'R', b'<']);
    drop(mta);
    wait_until(SOON, "half a frame", || {
        backstop.metric("backstop_protocol_errors_total", &[("kind", "cut-short")]) == 1.0
    });
    wait_until(SOON, "one session", || backstop.metric("backstop_sessions_open", &[]) == 1.0);
    assert_eq!(backstop.metric("backstop_session_panics_total", &[]), 0.0);
    other.decides();
}

/// docs/reliability.md states it: as many macros and as long a sender as there may be, and a frame that is as long as there
/// may be and has no end.
#[test]
fn a_session_takes_no_more_memory_than_is_stated() {
    const SESSIONS: u64 = 300;
    let backstop = site::backstop().start();
    // Commands are sent with their macros, the first byte, and of a list nothing is left out.
    let macros = |stage: u8, length: usize| {
        let list = [&b"x\0"[..], &vec![b'v'; length], b"\0"].concat();
        [&u32::try_from(list.len() + 2).expect("short").to_be_bytes()[..], &[b'D', stage], &list].concat()
    };
    let sender = [&64_993_u32.to_be_bytes()[..], b"M<", &vec![b's'; 64_989], b">\0"].concat();
    let half = [&65_000_u32.to_be_bytes()[..], b"L", &vec![b'a'; 64_990]].concat();
    let before = memory(&backstop);
    let open: Vec<Mta<TcpStream>> = (0..SESSIONS)
        .map(|_| {
            let mut mta = Mta::connect(backstop.milter_port());
            for (stage, length) in [(b'C', 60_000), (b'H', 60_000), (b'M', 10_000)] {
                mta.write(&macros(stage, length));
            }
            mta.greet();
            mta.write(&sender);
            mta.write(&half);
            mta
        })
        .collect();
    wait_until(SOON, "all", || backstop.metric("backstop_sessions_open", &[]) == SESSIONS as f64);
    let each = (memory(&backstop) - before) / SESSIONS;
    assert!((100..=256).contains(&each), "{each} kB a session");
    drop(open);
    wait_until(SOON, "none", || backstop.metric("backstop_sessions_open", &[]) == 0.0);

    // One that goes on with macros is ended.
    let mut mta = Mta::connect(backstop.milter_port());
    for stage in [b'C', b'H', b'M'] {
        mta.write(&macros(stage, 65_000));
    }
    mta.is_closed();
    assert_eq!(backstop.metric("backstop_protocol_errors_total", &[("kind", "macros-too-long")]), 1.0);
}

/// Whoever may connect could fill the disk.
#[test]
fn what_breaks_the_protocol_fills_no_log() {
    let backstop = site::backstop().start();
    let break_it = || {
        let mut mta = Mta::silent((Ipv4Addr::LOCALHOST, backstop.milter_port()).into(), CURRENT_OFFER);
        mta.write(&[0, 0, 0, 0]);
        mta.is_closed();
    };
    let began = Instant::now();
    (0..200).for_each(|_| break_it());
    wait_until(SOON, "all", || backstop.metric("backstop_protocol_errors_total", &[]) == 200.0);
    let lines = || backstop.log().matches("session ended: ").count() as u64;
    let most = 21 + began.elapsed().as_secs();
    assert!((20..=most).contains(&lines()), "{}, not {most}", lines());
    wait_until(SOON, "the next line", || {
        break_it();
        backstop.log().lines().any(|line| line.contains("session ended: ") && line.contains("left_out=1"))
    });
}

/// What a peer sends must not reach the log as it is: a line of the log is a line, and a terminal stays as it is.
#[test]
fn what_a_peer_sends_is_escaped_in_the_log() {
    let backstop = site::backstop().start();
    let mut mta = Mta::connect(backstop.milter_port());
    mta.greet();
    mta.mail();
    let answer = mta.rcpt("<x\"\r\n2026-01-01T00:00:00Z  INFO forged=1\u{1b}[31m@example.test>");
    assert!(matches!(&answer, Answer::Refused(text) if text.ends_with("[bad-address]")), "{answer:?}");
    backstop.wait_for_log("bad-address");
    let log = backstop.log();
    assert!(
        !log.contains('\u{1b}') && !log.lines().any(|line| line.starts_with("2026-01-01T00:00:00Z")),
        "{log}"
    );
}

#[test]
fn a_slow_writer_is_served_right() {
    let backstop = site::backstop().start();
    let mut mta = Mta::silent((Ipv4Addr::LOCALHOST, backstop.milter_port()).into(), CURRENT_OFFER);
    let mut output = BytesMut::new();
    mta.client.negotiate(&mut output);
    // each byte in a packet of its own
    output.iter().for_each(|byte| mta.write(&[*byte]));
    let mut head = [0; 4];
    mta.stream.read_exact(&mut head).expect("an answer");
    let mut rest = vec![0; u32::from_be_bytes(head) as usize];
    mta.stream.read_exact(&mut rest).expect("the rest of it");
    mta.client.receive(&mut &[&head[..], &rest].concat()[..]).expect("right").expect("whole");
    for command in talk() {
        output.clear();
        let _ = mta.client.send(&command, None, &mut output);
        output.iter().for_each(|byte| mta.write(&[*byte]));
        if mta.client.waits() {
            let answer = mta.answer();
            assert_eq!(
                is_unknown(&answer),
                command == rcpt(b"<nobody@example.test>"),
                "{command:?}: {answer:?}"
            );
        }
    }
    assert_eq!(backstop.metric("backstop_protocol_errors_total", &[]), 0.0);
}

#[test]
fn commands_in_one_write_are_answered_in_order() {
    let backstop = site::backstop().start();
    let mut mta = Mta::connect(backstop.milter_port());
    mta.greet();
    mta.mail();
    let mut output = BytesMut::new();
    for address in [&b"<nobody@example.test>"[..], b"<anna@example.test>", b"<unpaid@example.test>"] {
        rcpt(address).encode(&mut output);
    }
    mta.write(&output);
    let mut answers = [0; 3].map(|_| {
        let mut head = [0; 4];
        mta.stream.read_exact(&mut head).expect("an answer");
        let mut frame = vec![0; u32::from_be_bytes(head) as usize];
        mta.stream.read_exact(&mut frame).expect("the rest of it");
        String::from_utf8_lossy(&frame).into_owned()
    });
    answers.iter_mut().for_each(|answer| answer.truncate(10));
    assert_eq!(answers, ["y550 5.1.1", "c", "y550 5.2.1"]);
}

#[test]
fn a_connection_serves_one_smtp_session_after_another() {
    let backstop = site::backstop().start();
    let mut mta = Mta::connect(backstop.milter_port());
    for _ in 0..3 {
        mta.greet();
        mta.decides();
        assert_eq!(mta.send(&Command::QuitNewConnection), Answer::None);
    }
    mta.greet();
    assert_eq!(mta.send(&Command::Quit), Answer::None);
    mta.is_closed();
    assert_eq!(backstop.metric("backstop_sessions_total", &[]), 1.0);
    assert_eq!(backstop.metric("backstop_callbacks_total", &[("callback", "connect")]), 4.0);
    assert_eq!(backstop.metric("backstop_protocol_errors_total", &[]), 0.0);
}

/// Sendmail 8.11 to 8.13 offer versions 2 and less steps; Postfix 2.3 to 2.5 likewise (`milter_protocol`).
#[test]
fn every_version_is_served_with_and_without_steps() {
    let backstop = site::backstop().start();
    for version in 2..=6 {
        // 0x3f is what 0 means, too: the least that there ever was (mfdef.h SMFI_V1_PROT)
        for steps in [Steps(0x80), Steps::NONE, Steps(0x7f), CURRENT_OFFER.steps] {
            let offer = Offer { version: Version(version), steps, actions: Actions(0x3f), macros: &[] };
            let address = (Ipv4Addr::LOCALHOST, backstop.milter_port()).into();
            let mut mta = Mta::connect_to(address, offer);
            for command in talk() {
                let since = match command {
                    Command::Data => 4,
                    Command::Unknown(_) => 3,
                    _ => 2,
                };
                if version < since {
                    continue;
                }
                let answer = mta.send(&command);
                let wanted = command == rcpt(b"<nobody@example.test>");
                assert_eq!(
                    is_unknown(&answer),
                    wanted,
                    "version {version}, {steps}: {command:?}: {answer:?}"
                );
                // Nothing can be left out, but for the reply to a header.
                if steps == Steps(0x80) && !matches!(command, Command::Header(_)) {
                    let silent = matches!(command, Command::Abort);
                    assert_eq!(answer == Answer::None, silent, "{command:?} must be answered: {answer:?}");
                }
            }
        }
    }
    assert_eq!(backstop.metric("backstop_protocol_errors_total", &[]), 0.0);
}

/// RFC 5321 §4.5.3.1.8 asks for 100; list servers send more.
#[test]
fn ten_thousand_recipients_in_one_message() {
    let backstop = site::backstop().env("BACKSTOP__DEFENCE__HARVEST__ENABLED", "false").start();
    let before = memory(&backstop);
    let mut mta = Mta::connect(backstop.milter_port());
    mta.greet();
    mta.mail();
    for number in 0..5_000 {
        assert_eq!(mta.rcpt("<anna@example.test>"), Answer::Continue);
        assert!(is_unknown(&mta.rcpt(&format!("<nobody{number}@example.test>"))));
    }
    assert_eq!(backstop.metric("backstop_decisions_total", &[("stage", "rcpt"), ("reason", "ok")]), 5_000.0);
    let unknown = [("stage", "rcpt"), ("reason", "unknown-recipient"), ("verdict", "reject")];
    assert_eq!(backstop.metric("backstop_decisions_total", &unknown), 5_000.0);
    assert_eq!(backstop.metric("backstop_backscatter_prevented_total", &[]), 5_000.0);
    let grown = memory(&backstop).saturating_sub(before);
    assert!(grown < 8 * 1024, "grown by {grown} kB");
}

// ---------------------------------------------------------------------------------------------------- too many

#[test]
fn one_session_too_many_is_closed_at_once() {
    let backstop = site::backstop().env("BACKSTOP__LIMITS__SESSIONS", "3").start();
    let port = backstop.milter_port();
    let mut sessions: Vec<_> = (0..3).map(|_| Mta::connect(port)).collect();
    for session in &mut sessions {
        session.greet();
    }
    let start = Instant::now();
    Mta::silent((Ipv4Addr::LOCALHOST, port).into(), CURRENT_OFFER).is_closed();
    assert!(start.elapsed() < Duration::from_secs(5), "it was left waiting");
    assert_eq!(backstop.metric("backstop_sessions_over_limit_total", &[]), 1.0);
    assert_eq!(backstop.metric("backstop_sessions_open", &[]), 3.0);
    for session in &mut sessions {
        session.decides();
    }
    sessions.pop();
    wait_until(SOON, "room", || backstop.metric("backstop_sessions_open", &[]) == 2.0);
    let mut mta = Mta::connect(port);
    mta.greet();
    mta.decides();
    assert_eq!(backstop.metric("backstop_sessions_over_limit_total", &[]), 1.0);
    assert_eq!(backstop.metric("backstop_sessions_total", &[]), 5.0);
}

#[test]
fn thousands_of_half_open_connections_disturb_nobody() {
    let most = usize::try_from(allow_open_files(8_000)).unwrap_or(usize::MAX);
    let count = (most - 200).min(4_000);
    assert!(count > 500, "only {count} connections are possible: ulimit -n is too low to test this");
    let backstop = site::backstop().start();
    let port = backstop.milter_port();
    let mut other = Mta::connect(port);
    other.greet();
    let before = memory(&backstop);
    let half_open: Vec<TcpStream> = (0..count)
        .map(|number| {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it still accepts");
            // Nothing, half a length, and the begin of a frame that is said to be as long as there may be.
            let begin = [&[][..], &[0, 0, 1], &[0, 0, 0xff, 0xff, b'O', 0, 0, 0]][number % 3];
            stream.write_all(begin).expect("it is open");
            stream
        })
        .collect();
    let start = Instant::now();
    for _ in 0..100 {
        other.decides();
    }
    let took = start.elapsed();
    assert!(took < Duration::from_secs(2), "300 commands took {took:?}");
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let wanted = (count + 1) as f64;
    wait_until(SOON, "all connections", || backstop.metric("backstop_sessions_open", &[]) == wanted);
    let each = (memory(&backstop) - before) * 1024 / count as u64;
    assert!(each < 16 * 1024, "{each} bytes for a connection that has said much and sent little");
    let mut new = Mta::connect(port);
    new.greet();
    new.decides();
    drop(half_open);
    wait_until(SOON, "their end", || backstop.metric("backstop_sessions_open", &[]) == 2.0);
    other.decides();
}

/// With a low limit of descriptors, sessions are fewer: one more is closed and does not wait for a descriptor.
#[test]
fn sessions_fit_the_limit_of_open_files() {
    let backstop = site::backstop().after("ulimit -n 128").start();
    assert!(backstop.log().contains("LimitNOFILE"), "{}", backstop.log());
    let port = backstop.milter_port();
    let mut sessions: Vec<_> = (0..64).map(|_| Mta::connect(port)).collect();
    Mta::silent((Ipv4Addr::LOCALHOST, port).into(), CURRENT_OFFER).is_closed();
    let mut last = sessions.pop().expect("there are 64");
    last.greet();
    last.decides();
}

/// A soft limit, as of shells and systemd, is no limit: the program raises it.
#[test]
fn a_soft_limit_of_open_files_is_raised() {
    let backstop =
        site::backstop().env("BACKSTOP__LIMITS__SESSIONS", "1000").after("ulimit -S -n 64").start();
    let port = backstop.milter_port();
    let mut sessions: Vec<_> = (0..200).map(|_| Mta::connect(port)).collect();
    let last = sessions.last_mut().expect("there are 200");
    last.greet();
    last.decides();
}

/// EMFILE: what waits is served as soon as descriptors are free again, and the rest goes on meanwhile.
#[test]
fn a_shortage_of_descriptors_passes() {
    let backstop = site::backstop().after("ulimit -n 64").start();
    let port = backstop.milter_port();
    let mut other = Mta::connect(port);
    other.greet();
    let hoard: Vec<TcpStream> = (0..100)
        .map(|_| {
            TcpStream::connect((Ipv4Addr::LOCALHOST, backstop.http_port())).expect("the kernel queues it")
        })
        .collect();
    wait_until(SOON, "no descriptor is left", || open_files(&backstop) >= 64);
    // A file that was open for a moment may have left one more.
    let mut waiting = Vec::new();
    wait_until(SOON, "one too many", || {
        waiting.push(Mta::silent((Ipv4Addr::LOCALHOST, port).into(), CURRENT_OFFER));
        backstop.log().contains("can't accept connections")
    });
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(500) {
        other.decides(); // for longer than the listener pauses
    }
    drop(hoard);
    for mut waiting in waiting {
        waiting.negotiate();
        waiting.greet();
        waiting.decides();
    }
    let warnings = backstop.log().matches("can't accept connections").count();
    assert_eq!(warnings, 1, "a shortage fills no log");
}

/// A scraper that hangs must not use up what mail needs.
#[test]
fn connections_to_the_pages_are_bounded() {
    let backstop = site::backstop().start();
    let before = open_files(&backstop);
    let hoard: Vec<TcpStream> = (0..500)
        .map(|_| {
            TcpStream::connect((Ipv4Addr::LOCALHOST, backstop.http_port())).expect("the kernel queues it")
        })
        .collect();
    // One more takes the place of the oldest.
    let mut first = hoard.first().expect("there are 500");
    first.set_read_timeout(Some(Duration::from_secs(5))).expect("it is open");
    let read = first.read(&mut [0; 1]);
    let closed =
        read.as_ref().map_or_else(|error| error.kind() == ErrorKind::ConnectionReset, |length| *length == 0);
    assert!(closed, "one too many is not closed: {read:?}");
    // 128, and those that are just being closed
    let open = open_files(&backstop) - before;
    assert!(open < 200, "{open} of 500 are open");
    let mut mta = Mta::connect(backstop.milter_port());
    mta.greet();
    mta.decides();
    drop(hoard);
    wait_until(SOON, "the pages are there again", || {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, backstop.http_port())).expect("it listens");
        live(stream)
    });
}

mod full {
    use super::*;

    /// Before the negotiation and within a frame, an MTA has 30 s; an agreed session may be idle for hours.
    #[test]
    fn a_silent_peer_is_cut_after_half_a_minute() {
        let backstop = site::backstop().start();
        let port = backstop.milter_port();
        let mut idle = Mta::connect(port);
        idle.greet();
        let start = Instant::now();
        let mut silent = Mta::silent((Ipv4Addr::LOCALHOST, port).into(), CURRENT_OFFER);
        let mut within = Mta::connect(port);
        within.write(&[0, 0, 0, 9, b'R']);
        for mta in [&mut silent, &mut within] {
            mta.is_closed();
            let took = start.elapsed();
            assert!((Duration::from_secs(29)..Duration::from_secs(36)).contains(&took), "{took:?}");
        }
        wait_until(SOON, "both are counted", || {
            backstop.metric("backstop_protocol_errors_total", &[("kind", "silent")]) == 2.0
        });
        idle.decides();
    }

    /// A frame that never gets whole is no sign of life, however often a byte of it comes.
    #[test]
    fn a_trickle_is_cut_after_half_a_minute() {
        let backstop = site::backstop().start();
        let mut stream =
            TcpStream::connect((Ipv4Addr::LOCALHOST, backstop.milter_port())).expect("it listens");
        stream.write_all(b"\0\0\0\x0dO\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff").expect("it takes an offer");
        assert!(matches!(stream.read(&mut [0; 256]), Ok(1..)), "it answers the offer");
        stream.write_all(&[0, 0, 0xff, 0, b'R']).expect("it takes the begin of a frame");
        stream.set_read_timeout(Some(Duration::from_secs(1))).expect("it is open");
        let start = Instant::now();
        let cut = std::iter::repeat_n(b'x', 50).position(|byte| {
            let ended = stream.write_all(&[byte]).is_err();
            ended || matches!(stream.read(&mut [0; 64]), Ok(0))
        });
        let took = start.elapsed();
        assert!(
            cut.is_some() && (Duration::from_secs(28)..Duration::from_secs(38)).contains(&took),
            "{took:?}"
        );
    }

    /// The pages: a connection is cut, also one that asks for one byte at a time.
    #[test]
    fn a_slow_scraper_is_cut() {
        let backstop = site::backstop().start();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, backstop.http_port())).expect("it listens");
        let start = Instant::now();
        let cut = std::iter::repeat_n(b'G', 1_000).position(|byte| {
            stream.set_read_timeout(Some(Duration::from_millis(500))).expect("it is open");
            let ended = stream.write_all(&[byte]).is_err();
            ended || matches!(stream.read(&mut [0; 64]), Ok(0))
        });
        assert!(cut.is_some() && start.elapsed() < Duration::from_secs(40), "{:?}", start.elapsed());
    }
}

/// A whole SMTP session.
fn talk() -> [Command<'static>; 12] {
    let address = ClientAddress::Inet(Ipv4Addr::new(203, 0, 113, 7), 4711);
    [
        Command::Connect(Connect { host: b"mail.elsewhere.test", address }),
        Command::Helo(b"mail.elsewhere.test"),
        Command::Unknown(b"FOO"),
        Command::Mail(Mail { address: b"<sender@elsewhere.test>", parameters: CStrings::default() }),
        rcpt(b"<nobody@example.test>"),
        rcpt(b"<anna@example.test>"),
        Command::Data,
        Command::Header(Header { name: b"Subject", value: b"Hello" }),
        Command::EndOfHeaders,
        Command::Body(b"Hello.\r\n"),
        Command::EndOfMessage(b""),
        Command::Abort,
    ]
}

fn rcpt(address: &[u8]) -> Command<'_> {
    Command::Rcpt(Rcpt { address, parameters: CStrings::default() })
}

/// A second `backstop serve` that is to fail; were it to start, it would be stopped.
fn second(listen: &str, control: &Path) -> CommandOutput {
    let mut command = Program::new("timeout");
    command
        .args(["20", BACKSTOP, "serve", "--config", "/dev/null"])
        .env("BACKSTOP__LISTEN", format!("[\"{listen}\"]"))
        .env("BACKSTOP__HTTP__LISTEN", "")
        .env("BACKSTOP__DOMAINS__DETECT", "false")
        .env("BACKSTOP__CONTROL__SOCKET", control);
    CommandOutput::of(&mut command)
}

fn live(mut stream: TcpStream) -> bool {
    let mut page = String::new();
    stream.set_read_timeout(Some(SOON)).expect("it is open");
    let asked = stream.write_all(b"GET /live HTTP/1.0\r\n\r\n");
    asked.is_ok() && stream.read_to_string(&mut page).is_ok() && page.ends_with("live\n")
}

/// proc(5): one entry for each descriptor.
fn open_files(backstop: &Backstop) -> usize {
    fs::read_dir(format!("/proc/{}/fd", backstop.pid())).map_or(0, Iterator::count)
}

/// proc(5) VmRSS, in kB.
fn memory(backstop: &Backstop) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", backstop.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("proc(5) has it");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

const SOON: Duration = Duration::from_secs(20);
