//! The configuration as an administrator meets it: what is right is taken, and whatever is wrong is refused with its place.
//! What an error tells: `file:line:column`, the line and a caret; environment variables by their name; exit statuses as in sysexits(3).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use backstop_harness::{Authority, Backstop, CommandOutput, TempDir};
use serde_json::Value;

use crate::BACKSTOP;

/// sysexits(3)
const EX_USAGE: i32 = 64;
const EX_UNAVAILABLE: i32 = 69;
const EX_CONFIG: i32 = 78;

/// Keys whose commented line is an example: their default is nothing.
const EXAMPLES: [&str; 7] = [
    "domains.names",
    "domains.files",
    "directory.",
    "suspensions.files",
    "defence.traps.",
    "replies.",
    "http.token_file",
];

#[test]
fn the_shipped_file_changes_nothing() {
    let dir = TempDir::new("config");
    let path =
        dir.write("backstop.toml", fs::read(repository("deploy/backstop.toml")).expect("it is shipped"));
    let output = with_config(&path, &["config", "check"]);
    assert_eq!((output.status, output.stderr.as_str()), (0, ""));
    assert_eq!(output.stdout, format!("{}: fine\n", path.display()));
    assert_eq!(values(&with_config(&path, &["config", "show", "--json"])), values(&defaults()));
}

#[test]
fn every_commented_line_of_the_shipped_file_is_right() {
    let dir = TempDir::new("config");
    let path = full(&dir);
    let output = with_config(&path, &["config", "check"]);
    assert_eq!((output.status, output.stderr.as_str()), (0, ""), "{}", output.stdout);

    // It shows the defaults, but for the examples, and it shows every key.
    let (defaults, shown) = (values(&defaults()), values(&with_config(&path, &["config", "show", "--json"])));
    let place = dir.path().display().to_string();
    for (key, default) in &defaults {
        let shown = shown.get(key).unwrap_or_else(|| panic!("{key} has a default, but is not in the file"));
        if EXAMPLES.iter().any(|example| key.starts_with(example)) {
            assert_eq!(
                default,
                &Value::from(Vec::<Value>::new()),
                "{key}: an example in place of its default"
            );
        } else {
            let shown = shown.to_string().replace(&format!("{place}/state"), "/var/lib/backstop");
            let shown = shown.replace(&place, "/run/backstop");
            assert_eq!(shown, default.to_string(), "{key}: the file shows another default");
        }
    }
    for key in shown.keys().filter(|key| !defaults.contains_key(*key)) {
        assert!(EXAMPLES.iter().any(|example| key.starts_with(example)), "{key} has no default");
    }
}

#[test]
fn an_unknown_key_is_refused_in_every_table() {
    let dir = TempDir::new("config");
    let lines = full_lines(&dir);
    let headers = (0..=lines.len()).filter(|&at| at == 0 || lines[at - 1].starts_with('['));
    let mut tables = 0;
    for at in headers {
        let mut lines = lines.clone();
        lines.insert(at, "  unheard_of = 1".to_owned());
        let path = dir.write("unknown.toml", lines.join("\n"));
        let output = with_config(&path, &["config", "check"]);
        refused_at(&output, &path, at + 1, 3, "unknown key `unheard_of`");
        assert!(output.stderr.ends_with(&caret(at + 1, "  unheard_of = 1", 3, 10)), "{}", output.stderr);
        tables += 1;
    }
    assert!(tables > 10, "only {tables} tables");
}

#[test]
fn an_unknown_table_or_dotted_key_is_refused() {
    let dir = TempDir::new("config");
    for (text, line, column, message) in [
        ("[unheard_of]\nx = 1\n", 1, 2, "unknown key `unheard_of`"),
        ("[http]\n[http.unheard_of]\n", 2, 7, "unknown key `unheard_of`"),
        ("\nhttp.unheard_of = 1\n", 2, 6, "unknown key `unheard_of`"),
        ("http = { listen = \"\", unheard_of = 1 }\n", 1, 23, "unknown key `unheard_of`"),
        ("[directory.staff.ldap]\nurl = \"\"\n", 2, 1, "unknown key `url`"),
        ("[directory.staff.nis]\nurl = \"\"\n", 1, 18, "unknown key `nis`"),
        // A name of the administrator's choice stands there, so the value is what is wrong.
        ("[directory]\nunheard_of = 1\n", 2, 14, "found the number 1, expected a table"),
        ("[replies.unheard-of]\ncode = \"550 5.1.1\"\n", 1, 10, "`unheard-of` is not a reason"),
    ] {
        let path = dir.write("unknown.toml", text);
        refused_at(&with_config(&path, &["config", "check"]), &path, line, column, message);
    }
}

#[test]
fn a_wrong_type_is_refused_at_every_key() {
    let dir = TempDir::new("config");
    let lines = full_lines(&dir);
    let mut keys = 0;
    for (at, line) in lines.iter().enumerate() {
        let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| !key.starts_with('#')) else {
            continue;
        };
        let mut lines = lines.clone();
        lines[at] = format!("{key} = {{}}");
        let path = dir.write("wrong.toml", lines.join("\n"));
        let output = with_config(&path, &["config", "check"]);
        refused_at(&output, &path, at + 1, key.len() + 4, "found a table, expected ");
        keys += 1;
    }
    assert!(keys > 20, "only {keys} keys");
}

#[test]
fn wrong_values_are_refused_with_what_to_write() {
    let dir = TempDir::new("config");
    dir.write("users", "anna\n");
    let long = "x".repeat(201);
    for (text, line, column, message) in [
        ("mode = \"on\"", 1, 8, "`on` is not known here; known: enforce, monitor"),
        ("listen = []", 1, 10, "is empty: no MTA could connect"),
        ("listen = \"inet:127.0.0.1:8890\"", 1, 10, "expected a list, such as [\"…\"]"),
        ("listen = [\n  \"unix:/x\",\n  \"inet:8890@localhost\",\n]", 3, 3, "no port; write inet:HOST:PORT"),
        ("[limits]\nsessions = 0", 2, 12, "0 sessions would serve nobody"),
        ("[limits]\nsessions = -1", 2, 12, "the number -1 can't be used here, expected a whole number"),
        ("[limits]\nsessions = \"many\"", 2, 12, "found the text \"many\", expected a whole number"),
        ("[limits]\nlookup = \"0s\"", 2, 10, "must be more than 0"),
        ("[client]\nresolver = \"dns.example\"", 2, 12, "is not a name server; write `system`"),
        ("[client]\ndnswl = [\"a.example=10.0.0.1\"]", 2, 10, "is not an answer of a list"),
        ("[client]\ntrusted_files = [\"/nonexistent/x\"]", 2, 18, "/nonexistent/x: No such file"),
        ("[client.dynamic]\nnetworks = [\"/nonexistent/x\"]", 2, 13, "/nonexistent/x: No such file"),
        (
            "[client.dynamic]\npatterns = [\"a.example\", \"pcre:/nonexistent/x\"]",
            2,
            26,
            "/nonexistent/x: No such file",
        ),
        ("[client.dynamic]\ndnsbl = [\"a.example=127.255.255.254\"]", 2, 10, "refuse to serve"),
        ("[client.dynamic]\ndnsbl = [\"a.example\", \"A.example=127.0.0.2\"]", 2, 23, "is there twice"),
        ("[client.dynamic]\nexcept = [\"192.0.2.1/24\"]", 2, 11, "did you mean 192.0.2.0/24?"),
        ("[client.dynamic]\nexcept = [\"a b\"]", 2, 11, "is neither a network nor a name"),
        // What no host is called excepts nobody, and whom it was meant for would be refused.
        ("[client.dynamic]\nexcept = [\"*.example.net\"]", 2, 11, "what the names end with"),
        ("[client.dynamic]\nexcept = [\"/^mail/\"]", 2, 11, "expressions and tables belong into `patterns`"),
        ("[client.dynamic]\nexcept = [\"192.0.2.1-192.0.2.9\"]", 2, 11, "is no name of a host"),
        (
            "[client.dynamic]\npatterns = [\"*.example.net\"]",
            2,
            13,
            "what the names end with (pool.example.net)",
        ),
        ("[client.dynamic]\ndeadline = \"6s\"", 2, 12, "at most 5s"),
        (
            "[limits]\nlookup = \"7s\"\n[client.dynamic]\nenforce = \"rcpt\"\ndeadline = \"2s\"",
            5,
            12,
            "together with limits.lookup (7s)",
        ),
        ("[limits]\nlookup = \"8001ms\"", 2, 10, "at most 8s: Sendmail gives up waiting"),
        ("[limits]\nlookup = \"soon\"", 2, 10, "is no duration; write it like \"500ms\""),
        ("[defence.harvest]\nblock = \"2d\"", 2, 9, "a day is \"24h\""),
        ("[limits]\nlookup = 3", 2, 10, "expected a duration in quotes, such as \"3s\""),
        (
            "[limits]\nlookup = \"1s\"\n[directory.in.smtp]\nhost = \"mx\"\ndeadline = \"1500ms\"",
            5,
            12,
            "1.5s is longer than limits.lookup (1s)",
        ),
        ("[http]\nlisten = \"localhost:9890\"", 2, 10, "`localhost:9890` is not ADDRESS:PORT"),
        ("[http]\ntoken_file = \"/nonexistent/x\"", 2, 14, "/nonexistent/x: No such file"),
        ("[http]\nnames = [\"a.test\", \"b.test:80\"]", 2, 20, "is no name of a host"),
        ("[http]\naddresses = \"hashed\"", 2, 13, "known: masked, plain"),
        ("[control]\nsocket = \"\"", 2, 10, "must be an absolute path"),
        ("[control]\nsocket = \"control.sock\"", 2, 10, "must be an absolute path"),
        ("[control]\ngroup = \"no-such-group\"", 2, 9, "there is no group `no-such-group`"),
        ("[control]\nmode = \"0666\"", 2, 8, "would let every user of this host switch Backstop off"),
        ("[control]\nmode = 432", 2, 8, "a text in quotes"),
        ("[control]\ntrust_group = \"no-such-group\"", 2, 15, "there is no group `no-such-group`"),
        ("[log]\nlevel = \"loud\"", 2, 9, "known: error, warn, info, debug, trace"),
        ("[domains]\nnames = [\"good.test\", \"not a domain\"]", 2, 23, "is not a domain"),
        ("[recipients]\ncatch_all = [\"user@example.test\"]", 2, 14, "is not a domain"),
        ("[recipients]\nexempt = [\"abuse@example.test\"]", 2, 11, "without a domain"),
        ("[client]\ntrusted = [\"192.0.2.256\"]", 2, 12, "is not a network"),
        ("[defence.harvest]\nunknown = 0", 2, 11, "at least 1"),
        ("[defence.harvest]\nratio = 1.5", 2, 9, "from 0 to 1"),
        ("[defence.harvest]\nblock = \"2160h\"", 2, 9, "30 days"),
        ("[defence.harvest]\nunknown = 5000000000", 2, 11, "expected a whole number from 0 to 4294967295"),
        ("[defence.harvest]\nratio = \"50%\"", 2, 9, "expected a number"),
        ("[defence.tarpit]\nwindow = \"0s\"", 2, 10, "at least 1s"),
        ("[defence.harvest]\nexcept = [\"192.0.2.1/24\"]", 2, 10, "has bits set beyond"),
        ("[defence.tarpit]\nfirst = \"5s\"", 2, 9, "at most `max`"),
        ("[defence.tarpit]\nsleepers = 0", 2, 12, "at least 1"),
        ("[defence.tarpit]\nenabled = true\nmax = \"6s\"", 3, 7, "Sendmail gives up"),
        ("[client]\ndenied = [\"10.0.0.1/8\"]", 2, 11, "did you mean 10.0.0.0/8?"),
        ("[monitor]\nreasons = [\"none\"]", 2, 12, "`none` is not a reason"),
        ("[replies.unknown-recipient]\ncode = \"250 2.1.5\"", 2, 8, "begins with 4 or 5"),
        ("[replies.unknown-recipient]\ntext = \"a\\r\\nb\"", 2, 8, "printable ASCII"),
        (&format!("[replies.unknown-recipient]\ntext = \"{long}\""), 2, 8, "1 to 200"),
        // the first promise: what could not be found out is never refused for good
        ("[replies.directory-unavailable]\ncode = \"550 5.1.1\"", 2, 8, "must begin with 4"),
        ("[replies.ok]\ncode = \"550 5.1.1\"", 1, 10, "ok"),
        // what only the whole can tell
        ("[directory.staff]", 1, 12, "add a table such as [directory.NAME.file]"),
        ("[directory.staff.file]\npath = \"{dir}/users\"", 1, 12, "in charge of no domain"),
        ("[directory.staff.file]\nformat = \"passwd\"", 1, 18, "the key `path` is missing"),
        (
            "[directory.staff]\ndomains = [\"a b\"]\n[directory.staff.file]\npath = \"{dir}/users\"",
            2,
            12,
            "not a domain",
        ),
        (
            "[directory.staff]\ndomains = [\"a.test\"]\n[directory.staff.file]\npath = \"{dir}/none\"",
            4,
            8,
            "{dir}/none: No such",
        ),
        (
            "[domains]\nfiles = [\"{dir}/users\", \"{dir}/none\"]",
            2,
            "files = [\"{dir}/users\", ".len() + 1,
            "{dir}/none: No such",
        ),
        ("[domains]\nfiles = [\"{dir}\"]", 2, 10, "{dir} is not a file"),
        ("[suspensions]\nfiles = [\"{dir}/none\"]", 2, 10, "{dir}/none: No such file"),
        // not TOML
        ("[http\n", 1, 6, ""),
        ("mode = enforce", 1, 8, ""),
        ("mode = \"enforce\"\nmode = \"monitor\"", 2, 1, "duplicate key"),
        ("mode = \"enforce\" # \u{fc}\nmode == 1", 2, 7, ""),
    ] {
        let here = dir.path().display().to_string();
        // The columns above are those of the text as it stands there.
        let column =
            if text.contains("{dir}/users\", ") { column + here.len() - "{dir}".len() } else { column };
        let path = dir.write("wrong.toml", text.replace("{dir}", &here));
        let output = with_config(&path, &["config", "check"]);
        refused_at(&output, &path, line, column, &message.replace("{dir}", &here));
    }
}

#[test]
fn a_file_that_is_no_text_or_not_there_is_refused() {
    let dir = TempDir::new("config");
    let path = dir.write("backstop.toml", b"mode = \"enforce\"\n# caf\xe9\n");
    refused_at(&with_config(&path, &["config", "check"]), &path, 2, 6, "not UTF-8");

    let path = dir.join("none.toml");
    let output = with_config(&path, &["config", "check"]);
    let expected = format!("backstop: can't read the configuration file {}: No such file", path.display());
    assert!(output.status == EX_CONFIG && output.stderr.starts_with(&expected), "{output:?}");
    let output = with_config(dir.path(), &["config", "check"]);
    assert!(output.status == EX_CONFIG && output.stderr.contains("Is a directory"), "{output:?}");
}

/// Everything that only the whole can tell is told at once.
#[test]
fn several_mistakes_are_told_together() {
    let dir = TempDir::new("config");
    let path = dir.write("wrong.toml", "listen = []\n[limits]\nsessions = 0\nlookup = \"1m\"\n");
    let output = with_config(&path, &["config", "check"]);
    for line in [1, 3, 4] {
        assert!(
            output.stderr.contains(&format!("{}:{line}:", path.display())),
            "line {line}: {}",
            output.stderr
        );
    }
}

/// A mistake stops the start, too, before anything listens; and a check of one recipient.
#[test]
fn nothing_starts_with_a_mistake() {
    let dir = TempDir::new("config");
    let path = dir.write("wrong.toml", "[http]\nlisten_on = \"127.0.0.1:0\"\n");
    for args in [&["serve"][..], &[], &["check", "--offline", "anna@example.test"]] {
        refused_at(&with_config(&path, args), &path, 2, 1, "unknown key `listen_on`; known here: listen");
    }
    // Asking the running server needs its socket and nothing else: it must be possible while the file is wrong.
    for args in [&["status"][..], &["reload"], &["check", "anna@example.test"]] {
        assert_eq!(with_config(&path, args).status, EX_UNAVAILABLE, "{args:?}");
    }
}

/// Each command says what to do where no server answers, and only `check` can do without.
#[test]
fn what_to_do_without_a_server_is_told() {
    let dir = TempDir::new("config");
    let path = full(&dir);
    for args in [
        &["block", "203.0.113.9"][..],
        &["release", "203.0.113.9"],
        &["blocked"],
        &["suspend", "a@example.com"],
        &["suspended"],
        &["status"],
        &["check", "a@example.com"],
    ] {
        let output = with_config(&path, args);
        assert_eq!(output.status, EX_UNAVAILABLE, "{args:?}: {output:?}");
        for words in ["no server answers at /", "`systemctl start backstop`", "--config FILE"] {
            assert!(output.stderr.contains(words), "{args:?}: {words}: {output:?}");
        }
        assert_eq!(output.stderr.contains("--offline"), args[0] == "check", "{args:?}: {output:?}");
    }
}

/// Somebody must always be able to write there.
#[test]
fn a_postmaster_is_no_trap() {
    let dir = TempDir::new("config");
    for (traps, wrong) in [
        ("\"Postmaster@example.com\"", true),
        ("\"Help\"", true),
        ("\"help@example.com\"", true),
        ("\"bait@example.com\"", false),
    ] {
        let text = format!("[recipients]\nexempt = [\"help\"]\n[defence.traps]\naddresses = [{traps}]\n");
        let path = dir.write("traps.toml", &text);
        let output = with_config(&path, &["config", "check"]);
        assert_eq!(output.stderr.contains("can be no trap"), wrong, "{traps}: {output:?}");
        assert_eq!(output.status == EX_CONFIG, wrong, "{traps}: {output:?}");
    }
}

#[test]
fn environment_variables_override_every_key() {
    let dir = TempDir::new("config");
    let path = full(&dir);
    let shown = shown(&with_config(&path, &["config", "show", "--json"]));
    assert!(shown.len() > 20, "{shown:?}");
    for item in &shown {
        let key = item["key"].as_str().expect("a key is a string");
        let variable = format!("BACKSTOP__{}", key.replace('.', "__").to_uppercase());
        // The same value, from there.
        let value = item["value"].as_str().map_or_else(|| item["value"].to_string(), str::to_owned);
        let output = run(&path, &[(&variable, &value)], &["config", "show", "--json"]);
        let overridden = self::shown(&output);
        let found =
            overridden.iter().find(|item| item["key"] == key).unwrap_or_else(|| panic!("{key} is gone"));
        assert_eq!(
            (&found["from"], &found["variable"]),
            (&"environment".into(), &variable.clone().into()),
            "{key}"
        );
        assert_eq!(found["value"], item["value"], "{key}");
        let others = overridden.iter().filter(|item| item["from"] == "environment").count();
        assert_eq!(others, 1, "{key}: more than this comes from the environment");
        // A wrong one is told by the variable's name, not by a line of the file.
        let output = run(&path, &[(&variable, "{}")], &["config", "check"]);
        let expected = format!("backstop: environment variable {variable}: found a table, expected ");
        assert_eq!(output.status, EX_CONFIG, "{key}: {output:?}");
        assert!(output.stderr.starts_with(&expected), "{key}: {}", output.stderr);
    }
}

#[test]
fn a_mistake_in_the_environment_names_the_variable() {
    let dir = TempDir::new("config");
    let path = full(&dir);
    for (variable, value, message) in [
        ("BACKSTOP__UNHEARD_OF", "x", "unknown key `unheard_of`"),
        ("BACKSTOP__HTTP__LISTNE", "x", "unknown key `listne`; known here: listen"),
        ("BACKSTOP__LISTEN", "inet:127.0.0.1:0", "expected a list"),
        ("BACKSTOP__LISTEN", "[\"unix:/x\", \"inet:x\"]", "`inet:x` is not a place to listen on"),
        ("BACKSTOP__LISTEN", "[]", "is empty"),
        ("BACKSTOP__LIMITS__LOOKUP", "20s", "at most 8s"),
        ("BACKSTOP__DOMAINS__FILES", "[\"/nonexistent/domains\"]", "/nonexistent/domains: No such file"),
        ("BACKSTOP__DOMAINS__NAMES", "[\"a b\"]", "is not a domain"),
        ("BACKSTOP__DIRECTORY__STAFF__FILE__PATH", "/nonexistent/users", "/nonexistent/users: No such file"),
        ("BACKSTOP__DIRECTORY__STAFF__FILE__FORMAT", "x", "`x` is not known here; known: addresses"),
        ("BACKSTOP__REPLIES__UNKNOWN-RECIPIENT__CODE", "250 2.0.0", "begins with 4 or 5"),
        ("BACKSTOP__HTTP", "x", "expected a table"),
    ] {
        let output = run(&path, &[(variable, value)], &["config", "check"]);
        assert_eq!(output.status, EX_CONFIG, "{variable}: {output:?}");
        let begin = format!("backstop: environment variable {variable}: ");
        assert!(
            output.stderr.starts_with(&begin) && output.stderr.contains(message),
            "{variable}: {}",
            output.stderr
        );
    }
}

/// Orchestrators set `SERVICE_PORT` and the like for every service (Kubernetes: "{SVCNAME}_SERVICE_HOST", `BACKSTOP_PORT`).
#[test]
fn variables_of_orchestrators_are_none_of_ours() {
    let dir = TempDir::new("config");
    let path = full(&dir);
    let theirs = [
        ("BACKSTOP_PORT", "tcp://10.0.0.11:8890"),
        ("BACKSTOP_SERVICE_HOST", "10.0.0.11"),
        ("BACKSTOP_PORT_8890_TCP_ADDR", "10.0.0.11"),
        ("BACKSTOP", "x"),
    ];
    assert_eq!(run(&path, &theirs, &["config", "check"]).status, 0);
    let args = ["config", "show", "--json"];
    assert_eq!(run(&path, &theirs, &args), run(&path, &[], &args));
}

#[test]
fn show_names_the_origin_of_each_value() {
    let dir = TempDir::new("config");
    let text = "mode = \"monitor\"\nhttp.listen = \"\"\n\n[limits]\n# more\nsessions = 7\n";
    let path = dir.write("backstop.toml", text);
    let output = run(&path, &[("BACKSTOP__LOG__FORMAT", "json")], &["config", "show"]);
    assert_eq!((output.status, output.stderr.as_str()), (0, ""));
    let here = path.display();
    for line in [
        format!("mode = \"monitor\"  # {here}:1"),
        format!("http.listen = \"\"  # {here}:2"),
        format!("limits.sessions = 7  # {here}:6"),
        "log.format = \"json\"  # BACKSTOP__LOG__FORMAT".to_owned(),
        "limits.lookup = \"3s\"  # default".to_owned(),
        "listen = [\"inet:127.0.0.1:8890\"]  # default".to_owned(),
    ] {
        assert!(output.stdout.lines().any(|shown| shown == line), "{line}\nis not in\n{}", output.stdout);
    }
}

/// What `config show` prints can be put into a file: the same comes out.
#[test]
fn what_is_shown_can_be_read_again() {
    let dir = TempDir::new("config");
    let path = full(&dir);
    let shown = with_config(&path, &["config", "show"]);
    let again = dir.write("again.toml", &shown.stdout);
    let args = ["config", "show", "--json"];
    assert_eq!(values(&with_config(&path, &args)), values(&with_config(&again, &args)));
}

#[test]
fn exit_statuses_of_the_command_line() {
    let dir = TempDir::new("config");
    let path = full(&dir);
    for (args, status) in [
        (&["--help"][..], 0),
        (&["check", "--help"], 0),
        (&["--version"], 0),
        (&["unheard-of"], EX_USAGE),
        (&["check"], EX_USAGE),
        (&["check", "a@example.com", "--client", "nowhere"], EX_USAGE),
        (&["--unheard-of"], EX_USAGE),
        (&["config"], EX_USAGE),
        (&["status"], EX_UNAVAILABLE),
        (&["reload"], EX_UNAVAILABLE),
        (&["check", "a@example.com"], EX_UNAVAILABLE),
    ] {
        let output = with_config(&path, args);
        assert_eq!(output.status, status, "{args:?}: {output:?}");
        // The answer on standard output, complaints on standard error: `backstop … | less` shows what was asked for.
        assert_eq!(output.stdout.is_empty(), status != 0, "{args:?}: {output:?}");
        assert_eq!(output.stderr.is_empty(), status == 0, "{args:?}: {output:?}");
    }
    let output = with_config(&path, &["status"]);
    assert!(output.stderr.contains(&dir.join("control.sock").display().to_string()), "{output:?}");
}

/// The server works by the file that `config check` takes.
#[test]
fn a_server_starts_with_the_whole_file() {
    let dir = TempDir::new("config");
    let text = fs::read_to_string(full(&dir)).expect("it was just written");
    let backstop = Backstop::builder(BACKSTOP).config(&text).start();
    assert_eq!(backstop.http_get("/live"), "live\n");
    let output = backstop.command(&["check", "nobody@example.com"]);
    assert_eq!(output.status, 1, "{output:?}");
}

/// `deploy/backstop.toml` with every commented key and table, and the files that it names.
fn full(dir: &TempDir) -> std::path::PathBuf {
    let lines = full_lines(dir);
    dir.write("backstop.toml", lines.join("\n"))
}

fn full_lines(dir: &TempDir) -> Vec<String> {
    dir.write("domains", "example.net\n");
    dir.write("recipients", "anna@example.com\n");
    dir.write("suspended", "unpaid@example.com\n");
    dir.write("traps", "bait@example.com\n");
    dir.write("ldap.password", "secret\n");
    dir.write("sql.password", "secret\n");
    dir.write("http.token", "secret\n");
    dir.write("corp-ca.pem", fs::read(Authority::new().file()).expect("it was just made"));
    let here = dir.path().display().to_string();
    let shipped = fs::read_to_string(repository("deploy/backstop.toml")).expect("it is shipped");
    let lines = shipped.lines().map(|line| {
        let line = match line.strip_prefix('#') {
            Some(rest) if rest.starts_with('[') || is_key(rest) => rest,
            _ => line,
        };
        let line = line.replace("/var/lib/backstop", &format!("{here}/state"));
        line.replace("/etc/backstop", &here).replace("/run/backstop", &here)
    });
    lines.collect()
}

/// `name = …` without a blank before the name, which a comment in words would have.
fn is_key(line: &str) -> bool {
    line.split_once(" = ")
        .is_some_and(|(key, _)| key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
}

#[track_caller]
fn refused_at(output: &CommandOutput, path: &Path, line: usize, column: usize, message: &str) {
    let begin = format!("backstop: {}:{line}:{column}: ", path.display());
    let fits = output.stderr.starts_with(&begin) && output.stderr.contains(message);
    assert!(
        output.status == EX_CONFIG && fits,
        "{begin}{message}\nwanted, but {}:\n{}",
        output.status,
        output.stderr
    );
    assert_eq!(output.stdout, "");
    assert!(output.stderr.trim_end().ends_with('^'), "no caret:\n{}", output.stderr);
}

fn caret(line: usize, text: &str, column: usize, width: usize) -> String {
    let margin = " ".repeat(line.to_string().len());
    format!("{line} | {text}\n{margin} | {}{}\n", " ".repeat(column - 1), "^".repeat(width))
}

fn defaults() -> CommandOutput {
    let mut command = command(&[]);
    command.args(["--config", "/dev/null", "config", "show", "--json"]);
    CommandOutput::of(&mut command)
}

fn shown(output: &CommandOutput) -> Vec<Value> {
    assert_eq!((output.status, output.stderr.as_str()), (0, ""));
    serde_json::from_str(&output.stdout).expect("--json prints JSON")
}

fn values(output: &CommandOutput) -> BTreeMap<String, Value> {
    let items = shown(output).into_iter();
    items.map(|item| (item["key"].as_str().expect("a key").to_owned(), item["value"].clone())).collect()
}

fn with_config(path: &Path, args: &[&str]) -> CommandOutput {
    run(path, &[], args)
}

fn run(path: &Path, env: &[(&str, &str)], args: &[&str]) -> CommandOutput {
    CommandOutput::of(command(env).args(args).arg("--config").arg(path))
}

/// The program without the variables that whoever runs this may have.
fn command(env: &[(&str, &str)]) -> Command {
    // A server that starts against expectation is stopped.
    let mut command = Command::new("timeout");
    command.args(["30", BACKSTOP]);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("BACKSTOP") {
            command.env_remove(name);
        }
    }
    command.envs(env.iter().copied());
    command
}

fn repository(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
