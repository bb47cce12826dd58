//! What the page shows: the server's own facts, escaped, and masked where that is asked for.

use backstop_harness::wait_until;
use serde_json::Value;

use super::*;

/// Everything that a client may write, as one that means harm writes it.
const HOSTILE: &[&[u8]] = &[
    b"<script>alert(1)</script>@example.test",
    b"<\"><img src=x onerror=alert(2)>@example.test>",
    b"<'onmouseover='alert(3)@example.test>",
    b"<\"</details></section><h1>owned</h1>\"@example.test>",
    "<\u{202e}tset.elpmaxe@example.test>".as_bytes(),
    b"<\x1b[31mred@example.test>",
    b"<line\r\nbreak@example.test>",
    b"<\xff\xfe\xfd@example.test>",
    b"<&lt;b&gt;&#x41;@example.test>",
    "<anna@example.test\u{2066}\u{200b}>".as_bytes(),
];

#[test]
fn nothing_that_a_client_writes_becomes_part_of_the_page() {
    for addresses in ["plain", "masked"] {
        let backstop = site().config(&format!("{CONFIG}\n[http]\naddresses = \"{addresses}\"\n")).start();
        for hostile in HOSTILE {
            let _ = session(&backstop, CLIENT, hostile, hostile, &[hostile, b"<nobody@example.test>"]);
        }
        let port = backstop.http_port();
        wait_until(SOON, "the last decision", || get(port, "/part").body.contains("[unknown-recipient]"));
        for target in ["/", "/part", "/?since=day"] {
            let page = get(port, target).body;
            is_harmless(&page);
            // What is hostile in it is shown, so that somebody can see what it was.
            let is_shown = page.contains("&lt;script&gt;alert(1)&lt;/script&gt;@example.test");
            assert_eq!(is_shown, addresses == "plain", "{addresses} {target}");
        }
        for hostile in HOSTILE {
            let query: String = hostile.iter().map(|byte| format!("%{byte:02x}")).collect();
            let page =
                get(port, &format!("/?address={query}&helo={query}&from={query}&client={query}&x={query}"));
            assert_eq!(page.status, 400, "the client is no IP address");
            is_harmless(&page.body);
        }
    }
}

#[track_caller]
fn is_harmless(page: &str) {
    let lower = page.to_lowercase();
    for markup in
        ["<script>", "<img", "<h1>owned", "onerror=alert(2)>", "' onmouseover", "'onmouseover='alert(3)'"]
    {
        assert!(!lower.contains(markup), "{markup} in {page}");
    }
    assert_eq!(lower.matches("<script").count(), usize::from(lower.contains("<!doctype")), "{page}");
    // Within attributes nothing ends them: each has an even number of quotation marks.
    for tag in page.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').unwrap_or((tag, ""));
        assert!(tag.matches('"').count() % 2 == 0, "{tag}");
    }
    let misleading = |c: &char| {
        (c.is_control() && *c != '\n')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}')
    };
    assert_eq!(page.chars().find(misleading), None);
}

/// The thresholds are those of the alert BackstopReverseNdrAttack; one client alone is no distributed harvest.
#[test]
fn an_attack_is_the_first_thing_that_needs_a_look() {
    for (mode, becomes) in [
        ("enforce", "they are refused or put off"),
        ("monitor", "they PASS, as that is only watched, and may be bounced"),
    ] {
        let backstop = site().config(&format!("mode = \"{mode}\"\n{CONFIG}")).start();
        let port = backstop.http_port();
        let invented: Vec<String> =
            (0..160).map(|number| format!("<invented{number}@example.test>")).collect();
        let invented: Vec<&[u8]> = invented.iter().map(String::as_bytes).collect();
        let calm = get(port, "/part").body;
        assert!(!calm.contains("an attack is under way"), "{calm}");
        let _ = session(&backstop, CLIENT, b"bot.elsewhere.test", b"<forged@victim.test>", &invented);
        let notice = format!(
            "an attack is under way: 160 of 160 recipients in the last 5 minutes are unknown, or were asked for by blocked clients; \
             {becomes}"
        );
        wait_until(SOON, "the page to say so", || get(port, "/part").body.contains(&notice));
        let status: Value =
            serde_json::from_str(&backstop.command(&["status", "--json"]).stdout).expect("JSON");
        assert_eq!(status["notices"][0], notice, "{status:#}");
        let page = get(port, "/").body;
        assert!(section(&page, "notices").contains(&format!("<li><bdi>{notice}</bdi></li>")), "{page}");
    }
}

#[test]
fn it_shows_what_the_commands_say() {
    let backstop = site().config(&format!("{CONFIG}\n[http]\naddresses = \"plain\"\n")).start();
    let port = backstop.http_port();
    let answers = session(
        &backstop,
        CLIENT,
        b"bot.elsewhere.test",
        b"<forged@victim.test>",
        &[
            b"<anna@example.test>",
            b"<ana@example.test>",
            b"<ana@example.test>",
            b"<bob@watched.test>",
            b"<x@empty.test>",
        ],
    );
    assert!(
        matches!(answers[0], Answer::Continue) && matches!(answers[1], Answer::Refused(_)),
        "{answers:?}"
    );
    wait_until(SOON, "all of it", || {
        let part = get(port, "/part").body;
        section(&part, "top").contains("directory-unavailable")
            && part.matches("<details id=\"d-").count() == 5
            // Counted behind its answer.
            && get(port, "/").body.contains("<dt>Recipients decided</dt><dd>5<")
    });
    let page = get(port, "/").body;
    let status: Value = serde_json::from_str(&backstop.command(&["status", "--json"]).stdout).expect("JSON");
    let report: Value =
        serde_json::from_str(&backstop.command(&["report", "--json", "--since", "1h"]).stdout).expect("JSON");

    let state = section(&page, "state");
    assert!(state.contains(">ENFORCING<"), "{state}");
    assert!(state.contains("Domain <bdi>watched.test</bdi> is only watched"), "{state}");
    assert!(state.contains("<dt>Recipients decided</dt><dd>5<"), "{state}");
    assert_eq!(status["backscatter_prevented"], 2, "{status:#}");
    assert!(state.contains("<dt>Backscatter prevented</dt><dd>2<"), "{state}");
    let limit = status["sessions_limit"].as_u64().expect("a number");
    assert!(limit > 100 && page.contains(status["version"].as_str().expect("text")), "{status:#}");

    let directories = section(&page, "directories");
    for directory in status["directories"].as_array().expect("a list") {
        for text in ["name", "kind", "state"] {
            let text = directory[text].as_str().expect("text");
            assert!(directories.contains(text), "{text}: {directories}");
        }
    }
    let notices = section(&page, "notices");
    for notice in status["notices"].as_array().expect("a list") {
        let begin: String =
            notice.as_str().expect("text").chars().take_while(|c| c.is_alphanumeric() || *c == ' ').collect();
        assert!(notices.contains(&begin), "{notice}: {notices}");
    }

    let top = section(&page, "top");
    for count in report["decisions"].as_array().expect("a list") {
        let reason = count["reason"].as_str().expect("text");
        assert!(top.contains(&format!("href=\"#reason-{reason}\"")), "{reason}: {top}");
        assert!(top.contains(&format!("<td class=\"n\">{}</td>", count["times"])), "{count}: {top}");
    }
    for what in ["ana@example.test", "203.0.113.9", "203.0.113.0/24"] {
        assert!(top.contains(what), "{what}: {top}");
    }

    let minutes = section(&page, "minutes");
    for words in ["refused: 2 in three hours", "put off: 1 in", "only watched: 1 in", "passed: 1 in"] {
        assert!(minutes.contains(words), "{words}: {minutes}");
    }

    // Each decision with what was asked, as `check` says it.
    let recent = section(&page, "recent");
    let check = backstop.command(&["check", "ana@example.test", "--client", "203.0.113.9"]).stdout;
    assert!(check.contains("people: ana@example.test is absent"), "{check}");
    for words in [
        "people: ana@example.test is absent",
        "550 5.1.1 No such user here [unknown-recipient]",
        "forged@victim.test",
        "bot.elsewhere.test",
        "would be refused",
        "put off",
    ] {
        assert!(recent.contains(words), "{words}: {recent}");
    }

    assert_eq!(backstop.command(&["disable", "--for", "30m", "--reason", "a <test>"]).status, 0);
    wait_until(SOON, "the page to say so", || {
        let state = section(&get(port, "/part").body, "state").to_owned();
        state.contains(">DISABLED<") && state.contains("a &lt;test&gt;") && state.contains(" until ")
    });
    let _ = backstop.command(&["enable"]);
    backstop.write("backstop.toml", "mode = \"monitor\"\n[domains]\ndetect = false\n");
    let _ = backstop.command(&["reload"]);
    wait_until(SOON, "the page to say so", || {
        section(&get(port, "/part").body, "state").contains(">MONITOR MODE<")
    });
}

/// A mail log is not for everybody on a host, and neither is what stands in it, unless the admin says so.
#[test]
fn addresses_are_masked_unless_the_admin_wants_them() {
    let backstop = site().start();
    let port = backstop.http_port();
    let _ = session(
        &backstop,
        CLIENT,
        b"bot.elsewhere.test",
        b"<fake.sender@victim.test>",
        &[
            b"<anna@example.test>",
            b"<secret.name@example.test>",
            b"<\"quoted name\"@example.test>",
            b"<no.address",
        ],
    );
    wait_until(SOON, "all of it", || get(port, "/part").body.matches("<details id=\"d-").count() >= 3);
    for target in ["/", "/part", "/?since=day"] {
        let page = get(port, target).body;
        for hidden in ["fake", "sender@", "secret", "quoted", "name\"@", "anna@example.test</", "no.address"]
        {
            assert!(!page.contains(hidden), "{hidden} in {page}");
        }
        for shown in ["s…@example.test", "f…@victim.test", "a…@example.test", "203.0.113.9"] {
            assert!(page.contains(shown), "{shown} is not in {page}");
        }
    }
    // Who asks has typed it himself.
    let asked = get(port, "/?address=secret.name%40example.test&from=fake.sender%40victim.test");
    let explain = section(&asked.body, "explain");
    for shown in
        ["people: secret.name@example.test is absent", "fake.sender@victim.test", "[unknown-recipient]"]
    {
        assert!(explain.contains(shown), "{shown}: {explain}");
    }
    let recent = section(&asked.body, "recent");
    assert!(!recent.contains("secret.name"), "{recent}");
    // Who is named in a reason has not.
    let reason = "until secret.name@example.test is back";
    assert_eq!(backstop.command(&["disable", "--for", "30m", "--reason", reason]).status, 0);
    wait_until(SOON, "the page to say so", || {
        section(&get(port, "/part").body, "state").contains("until s…@example.test is back")
    });
}

#[test]
fn the_form_says_what_check_says() {
    let backstop = site().start();
    let port = backstop.http_port();
    for (query, args) in [
        ("address=anna%40example.test", &["check", "anna@example.test"][..]),
        (
            "address=nobody%40example.test&client=203.0.113.9",
            &["check", "nobody@example.test", "--client", "203.0.113.9"],
        ),
        ("address=nobody%40watched.test&from=%3C%3E", &["check", "nobody@watched.test", "--from", "<>"]),
        (
            "address=x%40empty.test&client=192.0.2.1&helo=a.test",
            &["check", "x@empty.test", "--client", "192.0.2.1", "--helo", "a.test"],
        ),
        ("address=x%40elsewhere.test", &["check", "x@elsewhere.test"]),
    ] {
        let response = get(port, &format!("/?{query}"));
        assert_eq!(response.status, 200, "{query}");
        let shown = section(&response.body, "explain").to_owned();
        let answer = shown.split_once("id=\"answer\"").unwrap_or_else(|| panic!("{shown}")).1;
        let json: Value = {
            let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
            serde_json::from_str(&backstop.command(&args).stdout).expect("JSON")
        };
        let escaped = |text: &str| {
            text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
        };
        let reason = json["reason"].as_str().expect("text");
        assert!(answer.contains(&format!("href=\"#reason-{reason}\"")), "{query}: {answer}");
        if let Some(reply) = json["reply"].as_str() {
            assert!(answer.contains(&escaped(reply)), "{reply}: {answer}");
        }
        for step in json["steps"].as_array().expect("a list") {
            let said = [&step["question"], &step["about"], &step["answer"]];
            for text in said.into_iter().chain(step["evidence"].as_array().expect("a list")) {
                let text = text.as_str().expect("text");
                // how old an answer is changes meanwhile
                let text = text.split(" [").next().unwrap_or(text);
                assert!(answer.contains(&escaped(text)), "{query}: {text}: {answer}");
            }
        }
    }
    for (query, field, words) in [
        ("address=", "address", "Address is missing"),
        ("address=a%40b&client=localhost", "client", "is no IP address"),
    ] {
        let response = get(port, &format!("/?{query}"));
        assert_eq!(response.status, 400, "{query}");
        let explain = section(&response.body, "explain");
        assert!(explain.contains(&format!("id=\"{field}-wrong\"")) && explain.contains(words), "{explain}");
    }
}

/// The page is for nobody if it is a load: it is made once a second, however many ask.
#[test]
fn many_readers_are_one_load() {
    let backstop = site().start();
    let port = backstop.http_port();
    let readers: Vec<_> = (0..40).map(|_| std::thread::spawn(move || get(port, "/part").status)).collect();
    let statuses: Vec<u16> = readers.into_iter().map(|reader| reader.join().expect("it reads")).collect();
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    assert!(matches!(
        session(&backstop, CLIENT, b"a", b"<>", &[b"<anna@example.test>"])[..],
        [Answer::Continue]
    ));
}

const CLIENT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
const SOON: Duration = Duration::from_secs(20);
