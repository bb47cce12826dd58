//! The control socket: what the commands tell of the running server, and that nobody can disturb it there.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use backstop_harness::{Backstop, Smtp, wait_until};
use serde_json::{Value, json};

use crate::mta::Mta;
use crate::{BACKSTOP, check, site};

#[test]
fn check_answers_as_the_server_does_with_and_without_it() {
    let backstop = site::backstop().start();
    for (address, more, status, verdict, reason) in [
        ("anna@example.test", &[][..], 0, "continue", "ok"),
        ("anna+lists@example.test", &[], 0, "continue", "ok"),
        ("nobody@example.test", &[], 1, "reject", "unknown-recipient"),
        ("nobody@example.test", &["--from", "<>"], 1, "reject", "unknown-recipient"),
        ("nobody@example.test", &["--auth", "anna"], 1, "reject", "unknown-recipient"),
        ("unpaid@example.test", &[], 1, "reject", "suspended-recipient"),
        ("anyone@elsewhere.test", &[], 0, "continue", "not-local"),
        ("anyone@catchall.test", &[], 0, "continue", "no-directory"),
        ("postmaster@example.test", &[], 0, "continue", "exempt"),
        ("not an address@example.test", &[], 1, "reject", "bad-address"),
        ("nobody%elsewhere.test@example.test", &["--client", "203.0.113.7"], 1, "reject", "relay-syntax"),
        ("anna@example.test", &["--client", "2001:db8::1"], 0, "continue", "ok"),
    ] {
        let call = |extra: &[&str]| backstop.command(&[&["check", address], more, extra].concat());
        let online = call(&["--json"]);
        assert_eq!(online.status, status, "{address} {more:?}: {online:?}");
        let facts = parse(&online.stdout);
        assert_eq!((&facts["verdict"], &facts["address"]), (&json!(verdict), &json!(address)), "{facts}");
        if reason != "no-directory" {
            assert_eq!(facts["reason"], reason, "{facts}");
        }
        assert_eq!(facts["reply"].is_null(), status == 0, "{facts}");
        // one engine, no twin: the answer is the same without the server
        let offline = call(&["--json", "--offline"]);
        assert_eq!(offline.status, status);
        let offline = parse(&offline.stdout);
        for what in ["verdict", "reason", "reply", "enforced"] {
            assert_eq!(offline[what], facts[what], "{what}: {offline}");
        }
        assert_eq!(check::ageless(&offline, true), check::ageless(&facts, false));
        // the words say the same
        let text = call(&[]);
        assert_eq!(text.status, status);
        let last = text.stdout.lines().last().unwrap_or_default();
        assert_eq!(last, format!("reason: {}", facts["reason"].as_str().unwrap_or_default()), "{text:?}");
        let reply = facts["reply"].as_str().unwrap_or("no objection");
        assert!(text.stdout.contains(&format!("{verdict}: {reply}\n")), "{text:?}");
    }
}

/// A store belongs to its server: what is there can't be looked at beside it, and that is told.
#[test]
fn check_without_the_server_says_what_it_did_not_look_at() {
    let backstop = site::backstop().start();
    assert_eq!(backstop.command(&["suspend", "anna@example.test"]).status, 0);
    let check = |more: &[&str]| backstop.command(&[&["check", "anna@example.test"], more].concat());
    let (online, offline) = (check(&[]), check(&["--offline"]));
    assert_eq!((online.status, offline.status), (1, 0), "{offline:?}");
    assert!(!online.stdout.contains("note: "), "{online:?}");
    let note =
        "note: without the server it was not looked at who is blocked, trusted for a time or suspended";
    assert!(offline.stdout.contains(note), "{offline:?}");
    assert_eq!(parse(&check(&["--offline", "--json"]).stdout)["notes"].as_array().map(Vec::len), Some(1));
}

#[test]
fn check_says_when_it_could_not_be_found_out() {
    // an empty list at the first start is no list: nobody is refused for good
    let backstop = site::backstop().file("addresses", "").start();
    for extra in [&[][..], &["--offline"]] {
        let output =
            backstop.command(&[&["check", "anna@example.test", "--client", "203.0.113.7"], extra].concat());
        assert_eq!(output.status, 2, "{output:?}");
        assert!(output.stdout.contains("defer: 451 4.4.3 "), "{output:?}");
        assert!(output.stdout.ends_with("reason: directory-unavailable\n"), "{output:?}");
    }
}

#[test]
fn check_in_monitor_mode_says_that_it_would_pass() {
    let backstop = site::backstop().env("BACKSTOP__MODE", "monitor").start();
    let output = backstop.command(&["check", "nobody@example.test"]);
    assert!(output.stdout.contains("monitor mode: it would pass all the same"), "{output:?}");
    assert_eq!(
        parse(&backstop.command(&["check", "nobody@example.test", "--json"]).stdout)["enforced"],
        false
    );
}

/// What is asked about comes back on a terminal.
#[test]
fn check_does_not_steer_the_terminal() {
    let backstop = site::backstop().start();
    let output = backstop.command(&["check", "\u{1b}[2Jx\u{9b}y@example.test"]);
    assert_eq!(output.status, 1, "{output:?}");
    assert!(!output.stdout.contains(['\u{1b}', '\u{9b}']), "{output:?}");
}

#[test]
fn status_tells_of_the_running_server() {
    let backstop = site::backstop().start();
    let mut mta = Mta::connect(backstop.milter_port());
    mta.greet();
    mta.decides();
    let output = backstop.command(&["status", "--json"]);
    assert_eq!(output.status, 0, "{output:?}");
    let status = parse(&output.stdout);
    assert_eq!(status["pid"], backstop.pid());
    assert_eq!(status["mode"], "enforce");
    assert_eq!(status["listening"], json!([backstop.for_postfix()]));
    assert_eq!((&status["sessions_open"], &status["recipients"]), (&json!(1), &json!(2)), "{status}");
    let directories = status["directories"].as_array().expect("a list");
    let people =
        directories.iter().find(|directory| directory["name"] == "people").expect("it is configured");
    assert_eq!((&people["up"], &people["addresses"]), (&json!(true), &json!(site::people())), "{status}");
    let text = backstop.command(&["status"]).stdout;
    for line in [
        format!("backstop {}, process {}, up ", env!("CARGO_PKG_VERSION"), backstop.pid()),
        "mode: enforce".to_owned(),
        format!("listening: {}", backstop.for_postfix()),
        "sessions open: 1, recipients decided: 2".to_owned(),
        "domain: example.test (domains.names)".to_owned(),
        format!("directory people (file): up, {} addresses", site::people()),
    ] {
        assert!(text.lines().any(|shown| shown.starts_with(&line)), "{line}\nis not in\n{text}");
    }
}

#[test]
fn status_names_the_last_mta() {
    let backstop = site::backstop().start();
    assert!(backstop.command(&["status"]).stdout.contains("last MTA: none yet"));
    let postfix = backstop_harness::Postfix::builder().milter(&backstop.for_postfix()).start();
    let mut smtp = Smtp::connect(postfix.port());
    smtp.ehlo("mail.elsewhere.test");
    // Postfix keeps the connection event back until there is something that needs an answer.
    smtp.mail("<sender@elsewhere.test>");
    assert_eq!(smtp.rcpt("<nobody@example.test>").code, 550, "{}", smtp.transcript());
    wait_until(SOON, "the MTA's name", || {
        let status = parse(&backstop.command(&["status", "--json"]).stdout);
        status["last_mta"].as_str().is_some_and(|mta| mta.contains("Postfix"))
    });
}

// --------------------------------------------------------------------------------------------------------- reload

#[test]
fn a_reload_is_applied() {
    let backstop = site::backstop().start();
    change(&backstop, |text| format!("mode = \"monitor\"\n{text}"));
    let output = backstop.command(&["reload"]);
    assert_eq!((output.status, output.stdout.as_str(), output.stderr.as_str()), (0, "applied\n", ""));
    assert_eq!(parse(&backstop.command(&["status", "--json"]).stdout)["mode"], "monitor");
    assert_eq!(backstop.metric("backstop_reloads_total", &[("outcome", "applied")]), 1.0);
    assert_eq!(backstop.metric("backstop_mode", &[("mode", "monitor")]), 1.0);
    assert_eq!(backstop.metric("backstop_mode", &[("mode", "enforce")]), 0.0);
    // it has another name, for who looks for what it does
    assert_eq!(backstop.command(&["redetect"]).status, 0);
}

/// A session keeps the state that it began with; the next one has the new.
#[test]
fn a_reload_does_not_change_a_running_session() {
    let backstop = site::backstop().start();
    let mut old = Mta::connect(backstop.milter_port());
    old.greet();
    change(&backstop, |text| format!("mode = \"monitor\"\n{text}"));
    assert_eq!(backstop.command(&["reload"]).status, 0);
    old.decides();
    let mut new = Mta::connect(backstop.milter_port());
    new.greet();
    new.mail();
    assert_eq!(new.rcpt("<nobody@example.test>"), crate::mta::Answer::Continue);
}

#[test]
fn a_reload_names_the_keys_that_need_a_restart() {
    let backstop = site::backstop().start();
    change(&backstop, |text| {
        format!("{text}\n[limits]\nlookup = \"1s\"\n[store]\nprefix = \"x:\"\ndeadline = \"1s\"\n")
    });
    // They are not in force, so each reload says so again.
    for count in [1.0, 2.0] {
        let output = backstop.command(&["reload"]);
        assert_eq!(output.status, 1, "{output:?}");
        assert_eq!(
            output.stdout,
            "applied\nneeds a restart: store.deadline\nneeds a restart: store.prefix\n"
        );
        assert_eq!(backstop.metric("backstop_reloads_total", &[("outcome", "needs-restart")]), count);
    }
    let json = backstop.command(&["reload", "--json"]);
    assert_eq!(parse(&json.stdout)["needs_restart"], json!(["store.deadline", "store.prefix"]));
    change(&backstop, |text| text.replace("prefix = \"x:\"", "").replace("deadline = \"1s\"", ""));
    assert_eq!(backstop.command(&["reload"]).status, 0);
}

#[test]
fn a_reload_that_is_refused_changes_nothing() {
    let backstop = site::backstop().file("other", "zoe@example.test\n").start();
    let path = backstop.path("backstop.toml");
    let good = fs::read_to_string(&path).expect("it is there");
    backstop.write("partial", PARTIAL);
    for (what, text, place) in [
        ("TOML", format!("{good}\n[http\n"), ":"),
        ("an unknown key", format!("{good}\n[http]\nlistne = \"\"\n"), ": unknown key `listne`"),
        ("a file that is not there", good.replace("/virtual\"", "/gone\""), "/gone: No such file"),
        (
            "a list that is not the whole",
            format!("{good}\n{PARTIAL_DIRECTORY}"),
            "/partial: line 2 refers to another source",
        ),
    ] {
        // what would change along with it
        let dir = path.parent().expect("it is in a directory").display().to_string();
        backstop.write("backstop.toml", &format!("mode = \"monitor\"\n{}", text.replace("{dir}", &dir)));
        // the commands read the file, too: they need no more than the socket
        let output = reload_by_hand(&backstop, true);
        let why = output["reload"]["refused"].as_str().unwrap_or_else(|| panic!("{what}: {output}"));
        assert!(why.contains(place), "{what}: {why}");
        assert_eq!(output["reload"]["applied"], false, "{what}");
        let mut mta = Mta::connect(backstop.milter_port());
        mta.greet();
        mta.decides();
    }
    assert_eq!(backstop.metric("backstop_reloads_total", &[("outcome", "refused")]), 4.0);
    assert_eq!(backstop.metric("backstop_mode", &[("mode", "enforce")]), 1.0);
    backstop.write("backstop.toml", &good);
    assert_eq!(backstop.command(&["reload"]).status, 0);
}

/// Not even what was held back is taken by a reload that is refused.
#[test]
fn a_refused_reload_does_not_accept_what_was_held_back() {
    let many: String = (0..50).map(|number| format!("user{number}@example.test\n")).collect();
    let backstop = site::backstop().file("addresses", &many).start();
    backstop.write("addresses", "user0@example.test\n");
    backstop.wait_for_log("held back");
    backstop.write("partial", PARTIAL);
    let dir = backstop.path("").display().to_string();
    let good = change(&backstop, |text| {
        format!("{text}\n{}", PARTIAL_DIRECTORY.replace("{dir}", dir.trim_end_matches('/')))
    });
    let refused = reload_by_hand(&backstop, true);
    assert!(refused["reload"]["refused"].is_string(), "{refused}");
    assert_eq!(backstop.metric("backstop_directory_addresses", &[("directory", "people")]), 50.0);
    backstop.write("backstop.toml", &good);
    // without --accept it is told, and stays held back
    let output = backstop.command(&["reload"]);
    assert_eq!(output.status, 1, "{output:?}");
    assert!(
        output.stdout.contains("held back: directory people: it shrank from 50 to 1 entries"),
        "{output:?}"
    );
    assert_eq!(backstop.command(&["reload", "--accept"]).status, 0);
    assert_eq!(backstop.metric("backstop_directory_addresses", &[("directory", "people")]), 1.0);
}

// ------------------------------------------------------------------------------------------- who may, and who can't

#[test]
fn only_its_owner_may_connect() {
    let backstop = site::backstop().start();
    let mode = fs::metadata(socket(&backstop)).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let output = std::process::Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "cat"])
        .arg(socket(&backstop))
        .output();
    let output = output.expect("util-linux has setpriv");
    assert!(String::from_utf8_lossy(&output.stderr).contains("ermission denied"), "{output:?}");
}

/// Where /run can't be written, the socket is in the user's runtime directory, and the commands find it there.
#[test]
fn without_a_writable_run_the_socket_is_in_the_runtime_directory() {
    let builder = Backstop::builder(BACKSTOP);
    let runtime = builder.path("runtime");
    fs::create_dir(&runtime).expect("a new directory");
    chown(&runtime, Some(65534), Some(65534)).expect("root may");
    let backstop = builder
        .user(65534)
        .env("XDG_RUNTIME_DIR", &runtime.display().to_string())
        .env("BACKSTOP__CONTROL__SOCKET", "/run/backstop/control.sock")
        .env("BACKSTOP__CONTROL__TRUST_SOCKET", "/run/backstop/trust.sock")
        .env("BACKSTOP__DOMAINS__DETECT", "false")
        .start();
    let fallback = runtime.join("backstop/control.sock");
    backstop.wait_for_log(&format!("address=unix:{}", fallback.display()));
    assert!(backstop.log().contains("the control socket is elsewhere"), "{}", backstop.log());
    let output = backstop.command(&["status"]);
    assert_eq!(output.status, 0, "{output:?}");
    assert!(output.stdout.contains(&format!("process {}", backstop.pid())), "{output:?}");
    assert_eq!(backstop.command(&["trust", "203.0.113.9"]).status, 0, "that one is there as well");
}

#[test]
fn garbage_is_answered_and_harms_nothing() {
    let backstop = site::backstop().start();
    for request in [
        "\n",
        "garbage\n",
        "{}\n",
        "null\n",
        "{\"command\":\"stop\"}\n",
        "{\"command\":\"status\",\"command\":\"status\"}\n",
        "{\"command\":\"check\",\"address\":1}\n",
        "{\"command\":\"check\",\"address\":\"a@b\",\"unheard_of\":1}\n",
        "{\"command\":\"reload\"}\n",
        "\u{0}\u{1}\u{2}\n",
    ] {
        let mut connection = connect(&backstop);
        assert!(line(&mut connection).contains("protocol"), "it greets first");
        send(&connection, request.as_bytes());
        let answer = line(&mut connection);
        assert!(answer.starts_with("{\"error\":{\"message\":\"not a request: "), "{request:?}: {answer}");
        // and the connection goes on
        send(&connection, b"{\"command\":\"status\"}\n");
        assert!(line(&mut connection).starts_with("{\"status\":"), "{request:?}");
    }
    let mut connection = connect(&backstop);
    let _ = line(&mut connection);
    send(&connection, &[b'['; 100_000]); // JSON as deep as it goes
    send(&connection, b"\n");
    assert!(line(&mut connection).contains("not a request: "), "deep JSON");
    alive(&backstop);
}

#[test]
fn an_endless_line_is_cut() {
    let backstop = site::backstop().start();
    let mut connection = connect(&backstop);
    let _ = line(&mut connection);
    let chunk = vec![b' '; 65_536];
    let mut stream = connection.get_ref();
    let written = (0..1024).take_while(|_| stream.write_all(&chunk).is_ok()).count();
    assert!(written < 1024, "64 MiB were taken");
    alive(&backstop);
}

/// Slow and silent clients take none of the places for longer than 10 s, and none of anything else.
#[test]
fn a_hundred_connections_harm_nothing() {
    let backstop = site::backstop().start();
    let before = fs::read_dir(format!("/proc/{}/fd", backstop.pid())).map_or(0, Iterator::count);
    let silent: Vec<UnixStream> =
        (0..100).map(|_| UnixStream::connect(socket(&backstop)).expect("the kernel queues it")).collect();
    for (number, mut stream) in silent.iter().enumerate() {
        // One byte now and then: a line has its time as a whole. Most are closed already.
        let _ = stream.write(if number % 2 == 0 { b"{" } else { b"" });
    }
    let mut mta = Mta::connect(backstop.milter_port());
    mta.greet();
    mta.decides();
    assert_eq!(backstop.http_get("/live"), "live\n");
    wait_until(SOON, "those too many to be closed", || {
        fs::read_dir(format!("/proc/{}/fd", backstop.pid())).map_or(0, Iterator::count) <= before + 20
    });
    let start = Instant::now();
    wait_until(SOON, "a place", || backstop.command(&["status"]).status == 0);
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    drop(silent);
    alive(&backstop);
}

/// A client that asks and never reads is cut.
#[test]
fn a_client_that_does_not_read_is_cut() {
    let backstop = site::backstop().start();
    let connection = connect(&backstop);
    let mut stream = connection.get_ref();
    stream.set_write_timeout(Some(SOON)).expect("it is open");
    let request = b"{\"command\":\"status\"}\n".repeat(1000);
    let ended = (0..1_000).map(|_| stream.write_all(&request)).find_map(Result::err).expect("it ends");
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
    assert!(matches!(ended.kind(), BrokenPipe | ConnectionReset), "{ended}");
    alive(&backstop);
}

/// Changes the configuration file and returns what it was.
fn change(backstop: &Backstop, edit: impl FnOnce(&str) -> String) -> String {
    let text = fs::read_to_string(backstop.path("backstop.toml")).expect("it has one");
    backstop.write("backstop.toml", &edit(&text));
    text
}

/// Asks for a reload as the command does, which can't with a configuration that it can't read.
fn reload_by_hand(backstop: &Backstop, accept: bool) -> Value {
    let mut connection = connect(backstop);
    let _ = line(&mut connection);
    send(&connection, format!("{{\"command\":\"reload\",\"accept\":{accept}}}\n").as_bytes());
    parse(&line(&mut connection))
}

#[track_caller]
fn alive(backstop: &Backstop) {
    let output = backstop.command(&["check", "nobody@example.test"]);
    assert_eq!(output.status, 1, "{output:?}");
    let log = backstop.log();
    assert!(!log.contains("panic"), "{log}");
}

fn connect(backstop: &Backstop) -> BufReader<UnixStream> {
    let stream = UnixStream::connect(socket(backstop)).expect("it listens");
    stream.set_read_timeout(Some(SOON)).expect("it is open");
    BufReader::new(stream)
}

fn socket(backstop: &Backstop) -> PathBuf {
    backstop.path("control.sock")
}

#[track_caller]
fn send(connection: &BufReader<UnixStream>, bytes: &[u8]) {
    let mut stream = connection.get_ref();
    stream.write_all(bytes).expect("it reads");
}

#[track_caller]
fn line(connection: &mut BufReader<impl Read>) -> String {
    let mut line = String::new();
    connection.read_line(&mut line).expect("it answers");
    line
}

#[track_caller]
fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// NIS: the users are elsewhere (passwd(5) of glibc, "compat").
const PARTIAL: &str = "root:x:0:0::/root:/bin/sh\n+::::::\n";

const PARTIAL_DIRECTORY: &str = "\
[directory.new]
domains = [\"new.test\"]
[directory.new.file]
format = \"passwd\"
path = \"{dir}/partial\"
";

const SOON: Duration = Duration::from_secs(30);
