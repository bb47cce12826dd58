//! `backstop report`, behind a real Postfix: what was refused, what would have been, and that it outlives the process.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use backstop_harness::{Backstop, Dns, Postfix, SASL_PASSWORD, SASL_USER, Signal, TempDir, wait_until};
use serde_json::{Value, json};

use crate::site;
use crate::standing::{answer, from};

const CLIENT: &str = "203.0.113.9";

#[test]
fn it_tells_what_was_refused_and_to_whom() {
    let (backstop, postfix) = site("enforce");
    let empty = report(&backstop, &[]);
    assert_eq!(
        (&empty["decisions"], &empty["unknown_recipients"], &empty["mode"]),
        (&json!([]), &json!([]), &json!("enforce"))
    );
    for (client, recipient, code) in [
        (CLIENT, "<ana@example.test>", 550),
        (CLIENT, "<Ana@Example.test>", 550),
        ("203.0.113.10", "<ana@example.test>", 550),
        ("198.51.100.1", "<nobody@example.test>", 550),
        ("198.51.100.1", "<unpaid@example.test>", 550),
        ("IPV6:2001:db8:1:2::9", "<nobody@mx.example.test>", 550),
        (CLIENT, "<anna@example.test>", 250),
    ] {
        assert_eq!(answer(&postfix, client, recipient), code, "{client} {recipient}");
    }
    // What comes from outside reaches the terminal escaped, and cut.
    let mut smtp = from(&postfix, "198.51.100.2");
    smtp.mail(&format!("<{}@elsewhere.test>", "x".repeat(60)));
    smtp.rcpt("<\"no\u{202e}body\"@example.test>");

    let told = report(&backstop, &[]);
    let counts = |reason: &str| {
        let of = told["decisions"].as_array().into_iter().flatten();
        of.filter(|count| count["reason"] == reason)
            .map(|count| count["times"].as_u64().unwrap_or(0))
            .sum::<u64>()
    };
    assert_eq!(
        (counts("unknown-recipient"), counts("suspended-recipient"), counts("ok")),
        (5, 1, 1),
        "{told:#}"
    );
    let unknown = &told["unknown_recipients"];
    assert_eq!((&unknown[0]["what"], &unknown[0]["times"]), (&json!("ana@example.test"), &json!(3)));
    assert_eq!(unknown[0]["similar"], json!(["anna@example.test"]));
    assert_eq!(unknown[0]["last"]["client"], "203.0.113.10");
    assert_eq!(unknown[0]["last"]["sender"], "<sender@elsewhere.test>");
    let listed = |list: &str| {
        let list = told[list].as_array().into_iter().flatten();
        list.map(|listed| (text_of(&listed["what"]), listed["times"].as_u64().unwrap_or(0)))
            .collect::<Vec<_>>()
    };
    for (client, times) in [(CLIENT, 2), ("203.0.113.10", 1), ("198.51.100.1", 2), ("2001:db8:1:2::/64", 1)] {
        assert!(listed("clients").contains(&(client.to_owned(), times)), "{client}: {told:#}");
    }
    for (network, times) in [("203.0.113.0/24", 3), ("198.51.100.0/24", 3), ("2001:db8:1::/48", 1)] {
        assert!(listed("networks").contains(&(network.to_owned(), times)), "{network}: {told:#}");
    }
    let refused = told["refused"].as_array().expect("a list");
    let of = |reason: &str, domain: &str| {
        let rule = refused.iter().find(|rule| rule["reason"] == reason && rule["domain"] == domain);
        rule.map_or(0, |rule| rule["times"].as_u64().unwrap_or(0))
    };
    assert_eq!(
        (of("unknown-recipient", "example.test"), of("suspended-recipient", "example.test")),
        (4, 1),
        "{told:#}"
    );
    assert_eq!(told["would_refuse"], json!([]));

    let text = backstop.command(&["report"]);
    assert_eq!(text.status, 0, "{text:?}");
    for words in [
        "mode: enforce\n",
        "\ndecisions\n",
        "  refused  unknown-recipient\n",
        "  ana@example.test  last ",
        "  like anna@example.test\n",
        "\nnetworks\n",
        "  people (file): up, ",
        "no\\u{202e}body",
    ] {
        assert!(text.stdout.contains(words), "{words}: {}", text.stdout);
    }
    assert!(!text.stdout.contains('\u{202e}') && !text.stdout.contains("only watched"), "{}", text.stdout);
    assert_eq!(report(&backstop, &["--top", "1"])["clients"].as_array().map(Vec::len), Some(1));

    // The hint is the admin's alone.
    let mut smtp = from(&postfix, CLIENT);
    smtp.mail("<sender@elsewhere.test>");
    assert!(!smtp.rcpt("<ana@example.test>").text.contains("anna"), "{}", smtp.transcript());
}

#[test]
fn monitor_mode_says_whether_it_looks_safe() {
    let (backstop, postfix) = site("monitor");
    assert_eq!(answer(&postfix, "198.51.100.7", "<guess@example.test>"), 250, "it passes");
    let watching =
        |told: &Value| (text_of(&told["watching"][0]["looks"]), told["watching"][0]["times"].as_u64());
    let told = report(&backstop, &[]);
    assert_eq!(watching(&told), ("early".to_owned(), Some(1)), "{told:#}");
    assert_eq!(told["watching"][0]["what"], "mode");

    // Somebody who writes to people here also writes to one whom nobody knows; so does a user.
    wait_until(SOON, "the client to be known", || {
        assert_eq!(answer(&postfix, CLIENT, "<bob@example.test>"), 250);
        let check = backstop.command(&["check", "bob@example.test", "--client", CLIENT]).stdout;
        check.contains("and 1 known recipients")
    });
    assert_eq!(answer(&postfix, CLIENT, "<carol@example.test>"), 250);
    let mut user = from(&postfix, CLIENT);
    assert_eq!(user.auth_plain(SASL_USER, SASL_PASSWORD).code, 235, "{}", user.transcript());
    user.mail("<anna@example.test>");
    assert_eq!(user.rcpt("<carol@example.test>").code, 250, "{}", user.transcript());

    let told = report(&backstop, &[]);
    assert_eq!(watching(&told), ("look".to_owned(), Some(3)), "{told:#}");
    let rule = &told["would_refuse"][0];
    let seen = (&rule["reason"], &rule["domain"], &rule["times"], &rule["insiders"], &rule["good"]);
    let expected = (&json!("unknown-recipient"), &json!("example.test"), &json!(3), &json!(1), &json!(1));
    assert_eq!(seen, expected, "{told:#}");
    assert_eq!(rule["samples"].as_array().map(Vec::len), Some(3));
    let stdout = backstop.command(&["report"]).stdout;
    for words in [
        "only watched: everything, since ",
        "  look at these before it is enforced: 1 of 3 were from insiders",
        "  would have been refused  unknown-recipient\n",
        " to carol@example.test  (an insider)\n",
        " to carol@example.test  (it also writes to recipients that exist)\n",
    ] {
        assert!(stdout.contains(words), "{words}: {stdout}");
    }

    // The directory was late: who is there by now would have been refused wrongly.
    let addresses = fs::read_to_string(backstop.path("addresses")).expect("the list is there");
    backstop.write("addresses", &format!("{addresses}carol@example.test\n"));
    wait_until(SOON, "carol to exist", || backstop.command(&["check", "carol@example.test"]).status == 0);
    let told = report(&backstop, &[]);
    assert_eq!(told["would_refuse"][0]["known_now"], json!(["carol@example.test"]), "{told:#}");
    assert!(backstop.command(&["report"]).stdout.contains("exists now: carol@example.test\n"));
}

/// A week can't be waited for: what the file tells of is made a week older.
#[test]
fn after_a_week_without_evidence_it_looks_safe() {
    let dir = TempDir::new("store");
    let store = format!("embedded:{}", dir.join("store").display());
    let start =
        || site::backstop().env("BACKSTOP__STORE__URL", &store).env("BACKSTOP__MODE", "monitor").start();
    let mut backstop = start();
    assert_eq!(answer(&postfix(&backstop), CLIENT, "<guess@example.test>"), 250);
    backstop.signal(Signal::TERM);
    assert!(backstop.wait_exit().success());
    drop(backstop);

    let file = dir.join("store/history.json");
    let text = fs::read_to_string(&file).expect("it was written");
    let mut written: Value = serde_json::from_str(&text).expect("JSON");
    let history = &mut written["history"];
    let week = 8 * 86_400;
    history["began"] = json!(history["began"].as_u64().expect("a time") - week);
    history["watched"]["mode"] = history["began"].clone();
    let today = history["days"]["buckets"][0].clone();
    let number = today["number"].as_u64().expect("a number");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_secs();
    let days = (number - 8..=number).map(|number| {
        let mut day = today.clone();
        // No day has run for longer than it is old.
        let seconds = 86_400.min(now - number * 86_400);
        (day["number"], day["seconds"]) = (json!(number), json!(seconds));
        day
    });
    history["days"]["buckets"] = days.collect();
    fs::write(&file, written.to_string()).expect("the file can be written");

    let backstop = start();
    let looks = |since: &str| {
        let told = report(&backstop, &["--since", since]);
        (text_of(&told["watching"][0]["looks"]), text_of(&told["would_refuse"][0]["judgement"]["looks"]))
    };
    assert_eq!(looks("8d"), ("safe".to_owned(), "safe".to_owned()));
    assert_eq!(looks("3d"), ("early".to_owned(), "early".to_owned()));
    let stdout = backstop.command(&["report", "--since", "8d"]).stdout;
    assert!(
        stdout.contains("  looks safe to enforce: in 8 days it would have refused no insider"),
        "{stdout}"
    );
}

/// One domain is only watched, the others are not.
#[test]
fn a_domain_that_is_only_watched_is_told_apart() {
    let backstop = site::backstop()
        .env("BACKSTOP__MONITOR__DOMAINS", r#"["example.test"]"#)
        .env("BACKSTOP__MONITOR__REASONS", r#"["suspended-recipient"]"#)
        .start();
    let postfix = postfix(&backstop);
    for (recipient, code) in
        [("<nobody@example.test>", 250), ("<nobody@mx.example.test>", 550), ("<unpaid@mx.example.test>", 250)]
    {
        assert_eq!(answer(&postfix, CLIENT, recipient), code, "{recipient}");
    }
    let told = report(&backstop, &[]);
    let watching: Vec<_> = told["watching"].as_array().into_iter().flatten().collect();
    let of = |what: &str| {
        watching.iter().find(|watching| watching["what"] == what).map(|watching| &watching["times"])
    };
    assert_eq!(of("domain:example.test"), Some(&json!(1)), "{told:#}");
    assert_eq!(of("reason:suspended-recipient"), Some(&json!(1)), "{told:#}");
    assert_eq!(told["refused"][0]["domain"], "mx.example.test");
    assert_eq!(told["would_refuse"].as_array().map(Vec::len), Some(2), "{told:#}");
}

#[test]
fn it_outlives_the_process() {
    let dir = TempDir::new("store");
    let store = format!("embedded:{}", dir.join("store").display());
    let start = || site::backstop().env("BACKSTOP__STORE__URL", &store).start();
    let times = |backstop: &Backstop| report(backstop, &[])["unknown_recipients"][0]["times"].clone();

    let mut backstop = start();
    let since = report(&backstop, &[])["since"].clone();
    assert_eq!(answer(&postfix(&backstop), CLIENT, "<nobody@example.test>"), 550);
    backstop.signal(Signal::TERM);
    assert!(backstop.wait_exit().success());
    drop(backstop);

    // Killed: what it had read is there still, and what came within a minute may be lost.
    let backstop = start();
    assert_eq!(times(&backstop), 1);
    assert_eq!(answer(&postfix(&backstop), CLIENT, "<nobody@example.test>"), 550);
    assert_eq!(times(&backstop), 2);
    drop(backstop);
    let backstop = start();
    let after = report(&backstop, &[]);
    assert!(
        after["unknown_recipients"][0]["times"].as_u64().is_some_and(|times| (1..=2).contains(&times)),
        "{after:#}"
    );
    assert_eq!(after["since"], since);
    drop(backstop);

    // A damaged file is moved aside, and a new one begun.
    let file = dir.join("store/history.json");
    let whole = fs::read(&file).expect("it was written");
    fs::write(&file, &whole[..whole.len() / 2]).expect("the file can be written");
    let mut backstop = start();
    backstop.wait_for_log("can't be read, and begins anew");
    assert_eq!(times(&backstop), Value::Null);
    assert_eq!(answer(&postfix(&backstop), CLIENT, "<nobody@example.test>"), 550);
    assert_eq!(times(&backstop), 1);
    backstop.signal(Signal::TERM);
    assert!(backstop.wait_exit().success());
    assert!(dir.join("store/history.json.damaged").exists() && file.exists());
}

/// A guesser's thousand addresses don't drive out the one that is written to again and again.
#[test]
fn a_flood_of_guesses_does_not_hide_the_others() {
    let backstop = site::backstop().env("BACKSTOP__DEFENCE__HARVEST__ENABLED", "false").start();
    let postfix = postfix(&backstop);
    for _ in 0..3 {
        assert_eq!(answer(&postfix, CLIENT, "<former@example.test>"), 550);
    }
    let mut guesser = from(&postfix, "198.51.100.66");
    for guess in 0..900 {
        if guess % 100 == 0 {
            guesser = from(&postfix, "198.51.100.66");
            guesser.mail("<>");
        }
        assert_eq!(
            guesser.rcpt(&format!("<guess{guess}@example.test>")).code,
            550,
            "{}",
            guesser.transcript()
        );
    }
    let told = report(&backstop, &[]);
    let first = &told["unknown_recipients"][0];
    assert_eq!((&first["what"], &first["times"]), (&json!("former@example.test"), &json!(3)), "{first:#}");
    assert_eq!((&told["at_least"], &told["missed"]), (&json!(true), &json!(0)));
    assert_eq!(told["clients"][0]["times"], 900);
}

#[test]
fn it_tells_of_the_greylist() {
    let dns = Dns::start();
    let backstop = site::backstop()
        .env("BACKSTOP__CLIENT__RESOLVER", &dns.address().to_string())
        .env("BACKSTOP__DEFENCE__GREYLIST__MODE", "all")
        .start();
    assert_eq!(answer(&postfix(&backstop), CLIENT, "<anna@example.test>"), 450);
    // What it has found is looked at each second.
    wait_until(SOON, "the greylist's counts", || report(&backstop, &[])["greylist"] == json!({ "first": 1 }));
    let stdout = backstop.command(&["report"]).stdout;
    assert!(
        stdout.contains("  put off  greylisted\n") && stdout.contains("\ngreylist: first 1\n"),
        "{stdout}"
    );
    assert!(stdout.contains("greylisted in example.test (put off)\n"), "{stdout}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let backstop = site::backstop().start();
    for (args, words) in [
        (&["--since", "yesterday"][..], "a duration is written like"),
        (&["--since", "0s"], "a second is the least"),
        (&["--top", "all"], "--top"),
        (&["x"], "unexpected argument"),
    ] {
        let output = backstop.command(&[&["report"], args].concat());
        assert_eq!((output.status, output.stdout.as_str()), (64, ""), "{args:?}: {output:?}");
        assert!(output.stderr.contains(words), "{args:?}: {output:?}");
    }
    assert_eq!(backstop.command(&["report", "--since", "520w"]).status, 0, "as far as it is remembered");
}

fn site(mode: &str) -> (Backstop, Postfix) {
    let backstop = site::backstop().env("BACKSTOP__MODE", mode).start();
    let postfix = postfix(&backstop);
    (backstop, postfix)
}

fn postfix(backstop: &Backstop) -> Postfix {
    Postfix::builder().milter(&backstop.for_postfix()).start()
}

#[track_caller]
fn report(backstop: &Backstop, args: &[&str]) -> Value {
    let output = backstop.command(&[&["report", "--json"], args].concat());
    assert_eq!(output.status, 0, "{output:?}");
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

const SOON: Duration = Duration::from_secs(30);
