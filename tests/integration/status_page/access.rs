//! Who may ask, and what comes with each answer.

use backstop_harness::{Backstop, wait_until};

use super::*;

const PAGES: [&str; 7] = ["/", "/part", "/status.css", "/status.js", "/icon.svg", "/metrics", "/ready"];

#[test]
fn every_answer_keeps_others_out() {
    let backstop = site().start();
    let port = backstop.http_port();
    for target in PAGES.into_iter().chain(["/live", "/nothing", "/?address=x"]) {
        let response = get(port, target);
        let policy = response.header("content-security-policy");
        let [policy] = policy.as_slice() else { panic!("{target}: {}", response.head) };
        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        for word in ["base-uri 'none'", "frame-ancestors 'none'", "form-action 'self'", "script-src 'self'"] {
            assert!(policy.contains(word), "{target}: {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*') && !policy.contains("data:"), "{policy}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(response.header(name), [value], "{target}");
        }
        assert!(response.header("access-control-allow-origin").is_empty(), "{target}");
    }
}

/// What the page needs is its own, and nothing of it is written into the page.
#[test]
fn the_page_asks_nobody_else() {
    let backstop = site().start();
    let page = get(backstop.http_port(), "/").body;
    for foreign in ["http:", "https:", "<style", "style=", " on", "javascript:", "<script>"] {
        let found = page.match_indices(foreign).find(|(at, _)| {
            // of the attributes, those that begin with `on` are scripts
            foreign != " on"
                || page[at + 3..].starts_with(|c: char| c.is_ascii_lowercase()) && {
                    let rest = &page[at + 1..];
                    rest.find('=').is_some_and(|end| rest[..end].chars().all(|c| c.is_ascii_lowercase()))
                }
        });
        assert_eq!(found, None, "{foreign}");
    }
    for own in ["src=\"/status.js\"", "href=\"/status.css\"", "href=\"/icon.svg\""] {
        assert!(page.contains(own), "{own}");
    }
}

#[test]
fn methods_names_and_lengths() {
    let backstop = site().config("http.names = [\"mx1.example.com\"]\ndomains.detect = false\n").start();
    let port = backstop.http_port();
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "BREW"] {
        let response = request(port, method, "/", &["Host: localhost", "Content-Length: 0"]);
        assert_eq!((response.status, response.header("allow")), (405, vec!["GET, HEAD"]), "{method}");
    }
    let head = request(port, "HEAD", "/", &["Host: localhost"]);
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    for (host, status) in [
        ("localhost", 200),
        ("127.0.0.1:9890", 200),
        ("[::1]:9890", 200),
        ("mx1.example.com", 200),
        ("mx1.example.com:80", 200),
        ("evil.test", 421),
        ("mx1.example.com.evil.test", 421),
        ("", 421),
    ] {
        for target in PAGES.into_iter().chain(["/live", "/ready"]) {
            let response = request(port, "GET", target, &[&format!("Host: {host}")]);
            let is_for_machines = ["/metrics", "/live", "/ready"].contains(&target);
            assert_eq!(response.status, if is_for_machines { 200 } else { status }, "{host} {target}");
            assert!(!response.body.contains("evil"), "{}", response.body);
        }
    }
    let long = get(port, &format!("/?address={}", "x".repeat(5000)));
    assert_eq!(long.status, 414);
    let lines: Vec<String> = (0..300).map(|number| format!("X-{number}: {}", "x".repeat(100))).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).chain(["Host: localhost"]).collect();
    assert_eq!(request(port, "GET", "/", &lines).status, 431);
    let unknown = get(port, "/%3Cscript%3Ealert(1)%3C/script%3E");
    assert_eq!((unknown.status, unknown.body.as_str()), (404, "no such page\n"));
}

#[test]
fn another_site_gets_nothing() {
    let backstop = site().start();
    let port = backstop.http_port();
    let from = |target: &str, mode: &str, dest: &str| {
        let lines = ["Host: localhost", "Sec-Fetch-Site: cross-site", mode, dest];
        request(port, "GET", target, &lines)
    };
    for target in PAGES {
        let (script, frame) = ("Sec-Fetch-Mode: no-cors", "Sec-Fetch-Mode: navigate");
        assert_eq!(from(target, script, "Sec-Fetch-Dest: script").status, 403, "{target}");
        assert_eq!(from(target, frame, "Sec-Fetch-Dest: iframe").status, 403, "{target}");
    }
    // A link in a ticket opens the page, and fills in the form; who follows it asks by himself.
    let linked =
        from("/?address=anna%40example.test", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document");
    assert_eq!(linked.status, 200);
    assert!(linked.body.contains("value=\"anna@example.test\""), "{}", linked.body);
    assert!(linked.body.contains("A link on another site") && !linked.body.contains("id=\"answer\""));
}

#[test]
fn a_token_is_needed_where_there_is_one() {
    let backstop = with_token("correct horse", "");
    let port = backstop.http_port();
    let basic = |user: &str, password: &str| {
        use base64::{Engine, prelude::BASE64_STANDARD};
        format!("Authorization: Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
    };
    let right = [basic("", "correct horse"), basic("anybody", "correct horse")];
    let bearer = "Authorization: Bearer correct horse".to_owned();
    let wrong = [
        basic("", ""),
        basic("correct horse", ""),
        basic("", "correct hors"),
        basic("", "correct horse "),
        basic("", "Correct horse"),
        "Authorization: Bearer correct".to_owned(),
        "Authorization: Basic !!".to_owned(),
        "Authorization: correct horse".to_owned(),
        "X: y".to_owned(),
    ];
    for target in ["/", "/part", "/status.css", "/status.js", "/icon.svg", "/metrics", "/nothing"] {
        let status = if target == "/nothing" { 404 } else { 200 };
        for line in right.iter().chain([&bearer]) {
            assert_eq!(
                request(port, "GET", target, &["Host: localhost", line]).status,
                status,
                "{target} {line}"
            );
        }
        for line in &wrong {
            let response = request(port, "GET", target, &["Host: localhost", line]);
            assert_eq!(response.status, 401, "{target} {line}");
            assert_eq!(response.header("www-authenticate"), ["Basic realm=\"Backstop\", charset=\"UTF-8\""]);
            assert!(!response.body.contains("horse"), "{}", response.body);
        }
    }
    for target in ["/live", "/ready"] {
        assert_ne!(get(port, target).status, 401, "{target}");
    }
    // A changed token needs no reload; nobody is told of either.
    backstop.write("token", "battery staple\n");
    assert_eq!(request(port, "GET", "/", &["Host: localhost", &right[0]]).status, 401);
    assert_eq!(request(port, "GET", "/", &["Host: localhost", &basic("", "battery staple")]).status, 200);
    let shown = backstop.command(&["config", "show"]).stdout;
    for text in [backstop.log(), shown] {
        assert!(!text.contains("horse") && !text.contains("staple"), "{text}");
    }
}

/// Whoever has the name may be sent to the page's host by others; a reload puts what is changed in force.
#[test]
fn a_reload_changes_who_may_ask() {
    let backstop = site().start();
    let port = backstop.http_port();
    let ask = |host: &str| request(port, "GET", "/", &[&format!("Host: {host}")]).status;
    assert_eq!((ask("localhost"), ask("mx1.example.com")), (200, 421));
    backstop.write("token", "secret\n");
    let dir = backstop.path("");
    let config = format!(
        "[domains]\ndetect = false\n[http]\nnames = [\"mx1.example.com\"]\ntoken_file = \"{}/token\"\n",
        dir.display()
    );
    backstop.write("backstop.toml", &config);
    let _ = backstop.command(&["reload"]);
    assert_eq!((ask("mx1.example.com"), ask("mx2.example.com")), (401, 421));
    // A token that can't be read is no reason to do without.
    backstop.write("backstop.toml", &config.replace("/token\"", "/none\""));
    let refused = backstop.command(&["reload"]);
    assert!(refused.status != 0 && format!("{refused:?}").contains("No such file"), "{refused:?}");
    assert_eq!(ask("mx1.example.com"), 401);
}

#[test]
fn what_is_open_to_the_network_is_noted() {
    let dir = backstop_harness::TempDir::new("open");
    dir.write("token", "secret\n");
    let check = |toml: &str| {
        let path = dir.write("backstop.toml", toml.replace("{dir}", &dir.path().display().to_string()));
        let args = ["config", "check", "--config"];
        let mut command = std::process::Command::new(BACKSTOP);
        backstop_harness::CommandOutput::of(command.args(args).arg(path))
    };
    let detect = "domains.detect = false\ndomains.names = [\"example.test\"]\n";
    let noted = |toml: &str| check(&format!("{detect}{toml}")).stdout.contains("http.token_file");
    assert!(noted("http.listen = \"0.0.0.0:9890\"\n"));
    assert!(!noted("http.listen = \"127.0.0.1:9890\"\n"));
    assert!(!noted("http.listen = \"0.0.0.0:9890\"\nhttp.token_file = \"{dir}/token\"\n"));
    let missing = check("http.token_file = \"{dir}/none\"\n");
    assert!(missing.status == 78 && missing.stderr.contains("No such file"), "{missing:?}");
}

/// Directories are asked for each: a page that somebody reloads all the time must not become a load to them.
#[test]
fn explanations_are_limited() {
    let backstop = site().start();
    let port = backstop.http_port();
    let mut refused = None;
    wait_until(Duration::from_secs(20), "a refusal", || {
        let response = get(port, "/?address=anna%40example.test");
        match response.status {
            200 => false,
            503 => {
                refused = Some(response);
                true
            }
            other => panic!("{other}"),
        }
    });
    let refused = refused.expect("waited for it");
    assert!(refused.header("retry-after")[0].parse::<u64>().is_ok_and(|after| (1..60).contains(&after)));
    assert!(
        refused.body.contains("Too much was asked at once")
            && refused.body.contains("value=\"anna@example.test\"")
    );
    assert_eq!(get(port, "/").status, 200, "the page itself is there");
}

/// Whoever may connect at all may hold as many connections as he likes: an orchestrator that asks `/live` must not end a
/// process that works.
#[test]
fn who_only_holds_connections_keeps_nobody_out() {
    let backstop = site().start();
    let port = backstop.http_port();
    let mut held: Vec<TcpStream> = Vec::new();
    for _ in 0..3 {
        held.extend((0..128).map(|_| TcpStream::connect(("127.0.0.1", port)).expect("it listens")));
        for target in ["/live", "/metrics", "/"] {
            assert_eq!(get(port, target).status, 200, "{target}");
        }
    }
    let mut mta = Mta::connect(backstop.milter_port());
    mta.greet();
}

fn with_token(token: &str, more: &str) -> Backstop {
    let builder = site().file("token", &format!("{token}\n"));
    let config = format!("{more}\n{CONFIG}\n[http]\ntoken_file = \"{{dir}}/token\"\n");
    // The harness asks for nothing but /live until it runs.
    builder.config(&config).start()
}
