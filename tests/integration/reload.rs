//! A reload while mail flows: what was begun goes on, what was changed counts at once, and nothing holds anybody up.
//! (That every key is in force or named is shown beside the code: src/daemon/reload/tests.rs.)

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use backstop_harness::{Backstop, Postfix, Signal, Slapd, wait_until};
use serde_json::Value;

use crate::mta::Mta;
use crate::trust_socket::gid;
use crate::{BACKSTOP, site};

#[test]
fn a_hundred_reloads_under_load_lose_no_mail_and_no_session() {
    reloads_under_load(100);
}

/// smtp-source(1) keeps its sessions and sends message after message; Postfix keeps its milter connections.
fn reloads_under_load(reloads: usize) {
    let mut backstop = site::backstop().start();
    let mut old = Mta::connect(backstop.milter_port());
    old.greet();
    let postfix = Postfix::builder()
        .milter(&backstop.for_postfix())
        .main("relay_transport = discard:\nsmtpd_client_connection_count_limit = 0")
        .start();
    let (stop, port) = (Arc::new(AtomicBool::new(false)), postfix.port());
    let load = thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let mut sent = 0;
            while !stop.load(Ordering::SeqCst) {
                let mut source = Command::new("smtp-source");
                source.args(["-d", "-s", "5", "-l", "500", "-m", &MESSAGES.to_string()]);
                source.args(["-f", "sender@elsewhere.test", "-t", "anna@example.test"]);
                let output = source.arg(format!("127.0.0.1:{port}")).output().expect("Postfix has it");
                assert!(output.status.success(), "{output:?}");
                sent += MESSAGES;
            }
            sent
        }
    });
    let sent = |log: &str| log.matches("status=sent").count();
    wait_until(SOON, "mail to flow", || sent(&postfix.maillog()) > 20);
    // The third has a mistake, and changes nothing.
    let texts = [
        config(&backstop),
        format!("{}\n[limits]\nlookup = \"2s\"\n[log]\nlevel = \"warn\"\n", config(&backstop)),
        config(&backstop).replace("[domains]", "[domain]"),
    ];
    let mut early = 0;
    for round in 0..reloads {
        assert!(!load.is_finished(), "mail flows");
        backstop.write("backstop.toml", &texts[round % 3]);
        if round % 10 == 9 {
            backstop.signal(Signal::HUP);
        }
        let output = backstop.command(&["reload"]);
        let expected = if round % 3 == 2 { (78, "") } else { (0, "applied\n") };
        assert_eq!((output.status, output.stdout.as_str()), expected, "{round}: {output:?}");
        if round == 30 {
            early = anonymous_kib(&backstop);
        }
    }
    stop.store(true, Ordering::SeqCst);
    let messages = load.join().expect("all mail is taken");
    println!("{messages} messages, {reloads} reloads");
    wait_until(SOON * 3, "all mail", || sent(&postfix.maillog()) == messages);
    let log = postfix.maillog();
    for trouble in ["status=deferred", "status=bounced", "milter-reject", "warning: milter"] {
        assert!(!log.contains(trouble), "{trouble}");
    }
    let late = anonymous_kib(&backstop);
    // With all that the sessions and the allocator's arenas came to need meanwhile.
    assert!(late < early + 12 * 1024, "{early} KiB after 30 reloads, {late} KiB in the end");
    old.decides();
    assert_eq!(backstop.metric("backstop_session_panics_total", &[]), 0.0);
    assert_eq!(backstop.metric("backstop_protocol_errors_total", &[]), 0.0);
}

/// What a reload replaces is given back.
#[test]
fn memory_does_not_grow_with_reloads() {
    let backstop = site::backstop().start();
    let texts = [config(&backstop), format!("{}\n[limits]\nlookup = \"2s\"\n", config(&backstop))];
    let mut grown = [0; 2];
    for part in &mut grown {
        for round in 0..150 {
            backstop.write("backstop.toml", &texts[round % 2]);
            assert_eq!(backstop.command(&["reload"]).status, 0, "{round}");
        }
        *part = anonymous_kib(&backstop);
    }
    assert!(grown[1] < grown[0] + 3 * 1024, "{} KiB after 150 reloads, {} KiB after 300", grown[0], grown[1]);
}

#[test]
fn many_reloads_at_once_come_one_after_another() {
    let mut backstop = site::backstop().start();
    let text = config(&backstop);
    backstop.write("backstop.toml", &format!("mode = \"monitor\"\n{text}"));
    backstop.signal(Signal::HUP);
    let all = thread::scope(|scope| {
        let commands: Vec<_> = (0..8).map(|_| scope.spawn(|| backstop.command(&["reload"]))).collect();
        commands.into_iter().map(|command| command.join().expect("it ends")).collect::<Vec<_>>()
    });
    for output in all {
        assert_eq!((output.status, output.stdout.as_str()), (0, "applied\n"), "{output:?}");
    }
    wait_until(SOON, "all of them", || {
        backstop.metric("backstop_reloads_total", &[("outcome", "applied")]) == 9.0
    });
    assert_eq!(backstop.metric("backstop_mode", &[("mode", "monitor")]), 1.0);
}

/// Each says where, and changes nothing.
#[test]
fn what_is_wrong_is_told_with_its_place() {
    let backstop = site::backstop().file("none.pem", "no certificate\n").start();
    let text = config(&backstop);
    let lines = text.lines().count();
    let path = backstop.path("backstop.toml");
    let ldap = "[directory.corp]\ndomains = [\"corp.test\"]\n[directory.corp.ldap]\nurls = [\"ldaps://127.0.0.1:1\"]\nbase = \"\"\n";
    let (none, added) = (backstop.path("none.pem"), lines + 1);
    for (what, addition, place) in [
        ("not TOML", "mode = = 1\n".to_owned(), format!("{}:{added}:8: ", path.display())),
        (
            "a contradiction",
            "[limits]\nlookup = \"7s\"\n[defence.tarpit]\nenabled = true\nmax = \"4s\"\n".to_owned(),
            format!("{}:{}:7: together with limits.lookup", path.display(), lines + 5),
        ),
        (
            "a file that is no certificate",
            format!("{ldap}ca_file = \"{}\"\n", none.display()),
            format!("{}:{}:11: ", path.display(), lines + 6),
        ),
        (
            "no group of that name",
            "[control]\ngroup = \"no-such-group\"\n".to_owned(),
            format!("{}:{}:9: there is no group", path.display(), lines + 2),
        ),
    ] {
        backstop.write("backstop.toml", &format!("{text}{addition}"));
        let why = refused(&backstop);
        assert!(why.starts_with(&place), "{what}: {place}\n{why}");
    }
    fs::remove_file(&path).expect("it is there");
    let why = refused(&backstop);
    assert!(why.contains("backstop.toml: No such file"), "{why}");
    backstop.write("backstop.toml", &text);
    assert_eq!(backstop.command(&["reload"]).status, 0);
    decides(&backstop);
}

/// The start may have been allowed more than the process is.
#[test]
fn a_file_that_may_not_be_read_any_more_is_told() {
    let backstop = site::backstop().user(65534).start();
    let path = backstop.path("backstop.toml");
    chown(&path, Some(0), Some(0)).expect("root may");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("root may");
    let why = refused(&backstop);
    assert!(why.contains("backstop.toml: Permission denied"), "{why}");
    decides(&backstop);
}

/// A disk that hangs (here: a pipe that nobody writes to) keeps the reload waiting, and nobody else.
#[test]
fn a_reload_that_waits_holds_nobody_up() {
    let backstop = site::backstop().start();
    let text = config(&backstop);
    let path = backstop.path("backstop.toml");
    hang(&backstop);
    let mut reload = connect(&backstop);
    send(&mut reload, r#"{"command":"reload","accept":false}"#);
    let mut other = connect(&backstop);
    let begun = Instant::now();
    for _ in 0..3 {
        send(&mut other, r#"{"command":"status"}"#);
        assert!(answer(&mut other)["status"].is_object());
        decides(&backstop);
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    fs::write(&path, &text).expect("it is read");
    assert_eq!(answer(&mut reload)["reload"]["applied"], true);
}

#[test]
fn a_directory_that_hangs_does_not_hold_up_a_reload() {
    let slapd = Slapd::start();
    let settings = format!(
        "[directory.corp]\ndomains = [\"corp.test\"]\n[directory.corp.ldap]\nurls = [\"{}\"]\nbase = \"{}\"\nallow_plain = true\n\
         bind_dn = \"{}\"\npassword_file = \"{}\"\n",
        slapd.url(),
        Slapd::BASE,
        Slapd::READER,
        slapd.password_file().display()
    );
    let backstop = site::backstop().start();
    let text = config(&backstop);
    let mut slapd = slapd;
    slapd.pause();
    for more in ["", "source = \"live\"\n", "connections = 2\n", "source = \"live\"\ndeadline = \"1s\"\n"] {
        backstop.write("backstop.toml", &format!("{text}{settings}{more}"));
        let begun = Instant::now();
        let output = backstop.command(&["reload"]);
        assert_eq!((output.status, output.stdout.as_str()), (0, "applied\n"), "{output:?}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{more}: {:?}", begun.elapsed());
        decides(&backstop);
    }
    slapd.resume();
}

/// Lines look different from then on, also those about sessions that are open.
#[test]
fn the_log_changes_while_it_is_written() {
    let backstop = site::backstop().start();
    let text = config(&backstop);
    let mut old = Mta::connect(backstop.milter_port());
    old.greet();
    old.decides();
    assert!(!backstop.log().contains(" DEBUG "));
    for (format, sign) in [("json", r#""level":"DEBUG""#), ("text", " DEBUG ")] {
        backstop
            .write("backstop.toml", &format!("{text}\n[log]\nlevel = \"debug\"\nformat = \"{format}\"\n"));
        let before = backstop.log().len();
        assert_eq!(backstop.command(&["reload"]).stdout, "applied\n");
        old.decides();
        wait_until(SOON, "another line", || {
            let log = backstop.log();
            log[before..].lines().any(|line| line.contains(sign) && line.contains("anna@example.test"))
        });
    }
    backstop.write("backstop.toml", &format!("{text}\n[log]\nlevel = \"error\"\n"));
    assert_eq!(backstop.command(&["reload"]).stdout, "applied\n");
    let before = backstop.log().len();
    old.decides();
    assert_eq!(backstop.command(&["reload"]).stdout, "applied\n");
    assert_eq!(&backstop.log()[before..], "");
}

#[test]
fn there_may_be_fewer_or_more_sessions() {
    let backstop = site::backstop().start();
    let text = config(&backstop);
    let mut old = Mta::connect(backstop.milter_port());
    old.greet();
    let mut other = Mta::connect(backstop.milter_port());
    other.greet();
    let limit = |most: usize| {
        backstop.write("backstop.toml", &format!("{text}\n[limits]\nsessions = {most}\n"));
        assert_eq!(backstop.command(&["reload"]).stdout, "applied\n");
    };
    limit(1);
    Mta::silent(([127, 0, 0, 1], backstop.milter_port()).into(), milter_protocol::negotiation::CURRENT_OFFER)
        .is_closed();
    old.decides();
    other.decides();
    limit(3);
    decides(&backstop);
}

/// Who may order changes at once, for those as well who are in already.
#[test]
fn who_may_command_changes_in_place() {
    let builder = site::backstop();
    let program = builder.path("program");
    fs::copy(BACKSTOP, &program).expect("there is room");
    let backstop = builder.start();
    let (text, path) = (config(&backstop), backstop.path("control.sock"));
    let as_member = || {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", &format!("--regid={}", gid("mail")), "--clear-groups"]).arg(&program);
        command.arg("status").env("BACKSTOP__CONTROL__SOCKET", &path);
        backstop_harness::CommandOutput::of(&mut command).status
    };
    assert_eq!(as_member(), 77);
    let inode = fs::metadata(&path).expect("it is there").ino();
    for (keys, mode, group, status) in [
        ("group = \"mail\"", 0o660, gid("mail"), 0),
        ("group = \"mail\"\nmode = \"0620\"", 0o620, gid("mail"), 0),
        ("", 0o600, 0, 77),
    ] {
        let mut visitor = connect(&backstop);
        backstop.write("backstop.toml", &format!("{text}\n[control]\n{keys}\n"));
        assert_eq!(backstop.command(&["reload"]).stdout, "applied\n", "{keys}");
        let found = fs::metadata(&path).expect("it is there");
        assert_eq!((found.mode() & 0o777, found.gid(), found.ino()), (mode, group, inode), "{keys}");
        assert_eq!(as_member(), status, "{keys}");
        send(&mut visitor, r#"{"command":"disable"}"#);
        let told = answer(&mut visitor);
        assert!(
            told["refused"]["message"].as_str().is_some_and(|why| why.contains("connect again")),
            "{told}"
        );
    }
    assert_eq!(backstop.metric("backstop_enabled", &[]), 1.0);
}

/// Somebody opened the file to others: they are told, and written down, and find nothing open.
#[test]
fn a_file_that_was_opened_to_others_is_no_way_in() {
    let builder = site::backstop();
    let program = builder.path("program");
    fs::copy(BACKSTOP, &program).expect("there is room");
    let backstop = builder.start();
    let path = backstop.path("control.sock");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("root may");
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
    command.arg("disable").env("BACKSTOP__CONTROL__SOCKET", &path);
    let output = backstop_harness::CommandOutput::of(&mut command);
    assert!(
        output.status != 0 && output.stderr.contains("only root and the user that backstop runs as"),
        "{output:?}"
    );
    backstop.wait_for_log("a control connection was closed uid=65534");
    assert_eq!(backstop.metric("backstop_enabled", &[]), 1.0);
}

/// A signal that comes while it stops neither keeps it, nor lets systemd think that it goes on.
#[test]
fn a_reload_while_it_stops_does_not_keep_it() {
    let mut backstop = site::backstop().start();
    hang(&backstop);
    let mut reload = connect(&backstop);
    send(&mut reload, r#"{"command":"reload","accept":false}"#);
    let begun = Instant::now();
    backstop.signal(Signal::HUP);
    backstop.signal(Signal::TERM);
    backstop.signal(Signal::HUP);
    assert_eq!(backstop.wait_exit().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

mod full {
    use super::*;

    #[test]
    fn a_thousand_reloads_under_load_lose_no_mail_and_no_session() {
        reloads_under_load(1000);
    }

    /// The command waits for 60 s.
    #[test]
    fn a_reload_that_takes_too_long_is_given_up() {
        let backstop = site::backstop().start();
        let text = config(&backstop);
        hang(&backstop);
        let begun = Instant::now();
        let why = refused(&backstop);
        assert!(why.contains("took too long"), "{why}");
        assert!(begun.elapsed() < Duration::from_secs(55), "{:?}", begun.elapsed());
        fs::remove_file(backstop.path("backstop.toml")).expect("it is there");
        backstop.write("backstop.toml", &format!("mode = \"monitor\"\n{text}"));
        assert_eq!(backstop.command(&["reload"]).stdout, "applied\n");
    }
}

/// Whoever reads the configuration from now on waits until somebody writes.
fn hang(backstop: &Backstop) {
    let path = backstop.path("backstop.toml");
    fs::remove_file(&path).expect("it is there");
    assert!(Command::new("mkfifo").arg(&path).status().expect("coreutils has it").success());
}

fn config(backstop: &Backstop) -> String {
    fs::read_to_string(backstop.path("backstop.toml")).expect("it has one")
}

fn decides(backstop: &Backstop) {
    let mut mta = Mta::connect(backstop.milter_port());
    mta.greet();
    mta.decides();
}

/// Why a reload changed nothing.
#[track_caller]
fn refused(backstop: &Backstop) -> String {
    let mut connection = connect(backstop);
    send(&mut connection, r#"{"command":"reload","accept":true}"#);
    let told = answer(&mut connection);
    assert_eq!(told["reload"]["applied"], false, "{told}");
    told["reload"]["refused"].as_str().unwrap_or_else(|| panic!("{told}")).to_owned()
}

fn connect(backstop: &Backstop) -> BufReader<UnixStream> {
    let stream = UnixStream::connect(backstop.path("control.sock")).expect("it listens");
    stream.set_read_timeout(Some(SOON * 2)).expect("it is open");
    let mut connection = BufReader::new(stream);
    assert!(answer(&mut connection)["protocol"].is_number(), "it greets");
    connection
}

fn send(connection: &mut BufReader<UnixStream>, request: &str) {
    connection.get_mut().write_all(format!("{request}\n").as_bytes()).expect("it reads");
}

#[track_caller]
fn answer(connection: &mut BufReader<UnixStream>) -> Value {
    let mut line = String::new();
    connection.read_line(&mut line).expect("it answers");
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// proc(5): what the process has of its own, without files.
fn anonymous_kib(backstop: &Backstop) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", backstop.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux tells it");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// In each run of smtp-source(1).
const MESSAGES: usize = 250;
const SOON: Duration = Duration::from_secs(30);
