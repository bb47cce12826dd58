//! Directories on servers: slow ones, ones that are down, and what is remembered of them.

use super::*;

/// A server that hangs longer than all may take together: what the list knows counts, and nobody is absent.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_is_too_slow_takes_nothing_from_the_others() {
    use std::sync::mpsc;

    use crate::directory::remote::{Backend, Failure, Told};
    let (hold, held) = mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let told = Told::at_once(move |address| {
        if address.local() == "wrong" {
            return Err(Failure::new(Why::Failed, "the bind was refused"));
        }
        let _ = held.lock().unwrap().recv();
        Ok(None)
    });
    let metrics = Metrics::register(&Registry::default());
    let backend = Backend::Told(told);
    let remote =
        Remote::new("corp", backend, Duration::from_secs(60), &remote::Times::default(), false, &metrics);
    let mut site = Site::default();
    site.detected.domains.insert(
        domain("d.example"),
        DetectedDomain {
            directories: vec![found(listed(&["joe@d.example"])), found(Source::Remote(Arc::new(remote)))],
            partial: false,
        },
    );
    let directories = site.build().unwrap();
    let find = async |address: &str| {
        let limit = Duration::from_millis(20);
        directories.find_within(limit, &Address::parse(address).unwrap(), true).await
    };
    let told = |found: &Found| found.steps.last().unwrap().to_string();
    assert_eq!(
        told(&find("wrong@d.example").await),
        "found: wrong@d.example can't be told: the server's answer was an error (the bind was refused) [asked now]"
    );
    assert_eq!(find("joe@d.example").await.fact, EXISTS);
    let ann = find("ann@d.example").await;
    assert_eq!(ann.fact, CONTINUE);
    assert!(told(&ann).contains("ann@d.example can't be told: no answer in time"), "{}", told(&ann));
    drop(hold);
}

/// What one directory says against `joe` is nothing against a mailbox `joe+x` that another one has, or may have.
#[tokio::test]
async fn nothing_final_comes_from_a_shorter_form_while_a_longer_one_may_be_known() {
    use std::{
        sync::atomic::{AtomicBool, Ordering},
        time::Duration,
    };

    use crate::directory::remote::{Backend, Failure, Told};
    let remote = |name: &str, told: Told, on_unavailable| {
        let times =
            remote::Times { positive: Duration::ZERO, negative: Duration::ZERO, ..remote::Times::default() };
        let metrics = Metrics::register(&Registry::default());
        let remote = Remote::new(name, Backend::Told(told), Duration::from_secs(60), &times, false, &metrics);
        Arc::new(Directory { name: name.into(), source: Source::Remote(Arc::new(remote)), on_unavailable })
    };
    let down = || Err(Failure::new(Why::Down, "gone"));
    let (is_down, is_branch_down) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (corp, branch) = (Arc::clone(&is_down), Arc::clone(&is_branch_down));
    let corp = Told::at_once(move |address| match address.local() {
        _ if corp.load(Ordering::Relaxed) => down(),
        "joe" => Ok(Some(Attributes { suspended: true, ..Attributes::default() })),
        "sue" => Ok(Some(Attributes { restricted: true, ..Attributes::default() })),
        "ann" => Ok(Some(Attributes::default())),
        _ => Ok(None),
    });
    let branch = Told::at_once(move |address| match address.local() {
        _ if branch.load(Ordering::Relaxed) => down(),
        "joe+x" | "sue+x" | "sue" => Ok(Some(Attributes::default())),
        _ => Ok(None),
    });
    let mut site = Site::default();
    let directories =
        vec![remote("corp", corp, Unavailable::Defer), remote("branch", branch, Unavailable::Continue)];
    site.detected.domains.insert(domain("d.example"), DetectedDomain { directories, partial: false });
    let directories = site.build().unwrap();
    let exists = |suspended, restricted, unsure| {
        RecipientFact::Exists(Attributes { suspended, restricted, unsure, ..Attributes::default() })
    };
    let (suspended, restricted) = (exists(true, false, false), exists(false, true, false));
    let perhaps_restricted = exists(false, true, true);
    for (corp_down, branch_down, expected) in [
        (false, false, [suspended, EXISTS, suspended, restricted, EXISTS, restricted, EXISTS]),
        // Of `joe` himself one yes is enough, and whom the branch knew is still known.
        (false, true, [suspended, EXISTS, CONTINUE, restricted, EXISTS, EXISTS, EXISTS]),
        // What was known of `joe` may be over by now.
        (true, false, [DEFER, EXISTS, DEFER, perhaps_restricted, EXISTS, perhaps_restricted, EXISTS]),
    ] {
        is_down.store(corp_down, Ordering::Relaxed);
        is_branch_down.store(branch_down, Ordering::Relaxed);
        let addresses = ["joe", "joe+x", "joe+y", "sue", "sue+x", "sue+y", "ann"];
        for (local, expected) in addresses.into_iter().zip(expected) {
            let address = Address::parse(format!("{local}@d.example")).unwrap();
            let fact = directories.find(&address).await.fact;
            assert_eq!(fact, expected, "{local}, corp down: {corp_down}, branch down: {branch_down}");
        }
    }
}

/// A domain that is caught goes on to be while its server is down; but who was caught may be somebody by now.
#[tokio::test]
async fn who_was_caught_may_be_somebody_while_the_server_is_down() {
    use std::sync::atomic::{AtomicBool, Ordering};

    use crate::directory::remote::{Backend, Failure, Remote, Times, Told};
    let is_down = Arc::new(AtomicBool::new(false));
    let down = Arc::clone(&is_down);
    let backend = Backend::Told(Told::at_once(move |_| {
        let caught = Attributes { catch_all: true, ..Attributes::default() };
        if down.load(Ordering::Relaxed) { Err(Failure::new(Why::Down, "gone")) } else { Ok(Some(caught)) }
    }));
    let times = Times { positive: Duration::ZERO, ..Times::default() };
    let metrics = Metrics::register(&Registry::default());
    let remote = Remote::new("corp", backend, Duration::from_secs(60), &times, false, &metrics);
    let mut site = Site::default();
    let directories = vec![found(Source::Remote(Arc::new(remote)))];
    site.detected.domains.insert(domain("d.example"), DetectedDomain { directories, partial: false });
    let directories = site.build().unwrap();
    let address = Address::parse("joe@d.example").unwrap();
    for unsure in [false, true] {
        is_down.store(unsure, Ordering::Relaxed);
        let caught = Attributes { catch_all: true, unsure, ..Attributes::default() };
        assert_eq!(directories.find(&address).await.fact, RecipientFact::Exists(caught));
    }
}

/// What is remembered ends while it is told step by step: whoever was found then does not become nobody.
#[tokio::test]
async fn an_explained_answer_is_the_same_answer() {
    use crate::directory::remote::{Backend, Remote, Times, Told};
    let backend = Backend::Told(Told::at_once(|address| {
        Ok((address.local() == "joe").then_some(Attributes::default()))
    }));
    let times = Times { positive: Duration::from_micros(200), ..Times::default() };
    let metrics = Metrics::register(&Registry::default());
    let remote = Remote::new("corp", backend, Duration::from_secs(60), &times, false, &metrics);
    let mut site = Site::default();
    let directories = vec![found(Source::Remote(Arc::new(remote)))];
    site.detected.domains.insert(domain("d.example"), DetectedDomain { directories, partial: false });
    let directories = site.build().unwrap();
    let address = Address::parse("joe+tag@d.example").unwrap();
    for _ in 0..20_000 {
        assert_eq!(directories.explain(&address).await.fact, EXISTS);
    }
}

/// Reports look at hundreds of addresses at once: the server behind them is for mail.
#[tokio::test]
async fn without_time_no_server_is_asked() {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(std::sync::Mutex::new(String::new()));
    let heard = Arc::clone(&asked);
    let tasks = tokio_util::task::TaskTracker::new();
    let each = tasks.clone();
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let heard = Arc::clone(&heard);
            each.spawn(async move {
                let (read, mut write) = stream.split();
                write.write_all(b"220 x ESMTP\r\n").await?;
                let mut lines = BufReader::new(read).lines();
                while let Some(line) = lines.next_line().await? {
                    let said = if line.starts_with("RCPT") { "550 5.1.1 unknown\r\n" } else { "250 Ok\r\n" };
                    heard.lock().unwrap().push_str(&line);
                    write.write_all(said.as_bytes()).await?;
                }
                Ok::<_, std::io::Error>(())
            });
        }
    });
    let mut site = Site::of(&["example.test"]);
    let toml = format!("host = '127.0.0.1:{port}'");
    let smtp =
        figment::Figment::from(<figment::providers::Toml as figment::providers::Format>::string(&toml))
            .extract()
            .unwrap();
    site.directories.insert("next".to_owned(), Config { smtp: Some(smtp), ..Config::default() });
    let directories = site.build().unwrap();
    let [idle, real] = ["idle@example.test", "real@example.test"].map(|text| Address::parse(text).unwrap());
    let found = directories.find_within(Duration::ZERO, &idle, false).await;
    assert_eq!(found.fact, DEFER);
    directories.find_within(Duration::from_secs(10), &real, false).await;
    let asked = asked.lock().unwrap();
    assert!(asked.contains("real@") && !asked.contains("idle@"), "{asked}");
}
