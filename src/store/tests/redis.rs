//! Redis: how it is reached, what it costs when it fails, and that several share it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use backstop_harness::Redis as Server;

use super::*;

pub(super) fn config(url: &str) -> Config {
    Config { url: url.parse().unwrap(), ..Config::default() }
}

/// Nobody waits longer than this for a server that is gone: the deadline, and what a busy host adds to it.
const DEADLINE: Duration = Duration::from_millis(250);
const BUSY: Duration = Duration::from_millis(400);

pub(super) async fn answers(store: &Store) -> bool {
    get(store, Table::Trusts, "anybody").await.is_ok()
}

#[tokio::test]
async fn it_is_reached_in_every_way_that_is_documented() {
    let plain = Server::start();
    let secured = Server::secured();
    let with_password = |url: &str, ca: bool| Config {
        password_file: Some(secured.password_file()),
        ca_file: ca.then(|| secured.ca_file()),
        ..config(url)
    };
    let user = secured.url().replace("://", "://backstop@");
    let good = [
        config(&plain.url()),
        config(&format!("{}/3", plain.url())),
        config(&format!("redis+unix:{}", plain.socket().display())),
        config(&format!("redis+unix:{}?db=2", plain.socket().display())),
        with_password(&secured.url(), true),
        with_password(&user, true),
        with_password(&secured.url().replace("127.0.0.1", "localhost"), true),
        with_password(&format!("redis+unix:{}?user=backstop", secured.socket().display()), false),
    ];
    for config in good {
        let store = Followed::open(&config).await;
        assert_eq!(store.store.notices(), [""; 0], "{}", config.url);
        store.store.keep(&[put(Table::Blocks, "x")]).await.unwrap_or_else(|e| panic!("{}: {e}", config.url));
        assert_eq!(store.metric("store_up"), 1.0);
        store.end().await;
    }
    assert_eq!(plain.command(&["-n", "3", "get", "backstop:blocks:x"]), "x");
    assert_eq!(plain.command(&["-n", "2", "get", "backstop:blocks:x"]), "x");

    let nobody = tempfile::tempdir().unwrap();
    let wrong = nobody.path().join("wrong");
    std::fs::write(&wrong, "wr0ng").unwrap();
    for (config, part) in [
        (config(&secured.url()), "certificate"),
        (Config { ca_file: Some(secured.ca_file()), ..config(&secured.url()) }, "uthentication"),
        (
            Config { password_file: Some(wrong), ..with_password(&secured.url(), true) },
            "authentication failed",
        ),
        (with_password(&secured.url().replace("rediss", "redis"), false), ""),
        (config(&format!("{}/99", plain.url())), "atabase"),
        (config("redis://127.0.0.1:1"), "refused"),
        (config("redis+unix:/nowhere/redis.sock"), "No such file"),
        (config("redis://host.invalid"), ""),
    ] {
        let store = Followed::open(&config).await;
        let notices = store.store.notices().join("\n");
        assert!(notices.contains(part) && !notices.contains("wr0ng"), "{}: {notices}", config.url);
        assert!(!notices.contains(Server::PASSWORD), "{}: {notices}", config.url);
        assert_eq!(store.metric("store_up"), 0.0, "{}", config.url);
        let error = get(&store.store, Table::Blocks, "x").await.unwrap_err();
        assert!(matches!(error, StoreError::Down(_)), "{error}");
        store.end().await;
    }
}

/// The user that docs/operations.md tells to make may do all that is needed.
#[tokio::test]
async fn the_documented_user_is_enough() {
    let server = Server::start();
    let docs = include_str!("../../../docs/operations.md");
    let line =
        docs.lines().find_map(|line| line.trim().strip_prefix("ACL SETUSER ")).expect("it is documented");
    let words: Vec<&str> = ["acl", "setuser"].into_iter().chain(line.split(' ')).collect();
    assert_eq!(server.command(&words), "OK");
    let directory = tempfile::tempdir().unwrap();
    let password = directory.path().join("password");
    std::fs::write(&password, "PASSWORD\n").unwrap();
    let url = format!("{}/1", server.url().replace("://", "://backstop@"));
    let store = Followed::open(&Config { password_file: Some(password.clone()), ..config(&url) }).await;
    assert_eq!(store.store.notices(), [""; 0]);
    let k = key(Table::Greylist, "a");
    let ops = [
        Op::PutNew { key: k.clone(), value: vec![], ttl: HOUR },
        Op::Add { key: key(Table::Harvest, "a"), by: 1, ttl: HOUR },
        put(Table::Blocks, "a"),
        Op::Remove(k),
    ];
    store.store.run(&ops).await.unwrap();
    store.store.keep(&ops).await.unwrap();
    assert_eq!(store.store.list(Table::Blocks).await.unwrap().len(), 1);
    let other =
        Followed::open(&Config { password_file: Some(password), prefix: "other:".into(), ..config(&url) })
            .await;
    assert_eq!(other.metric("store_up"), 0.0, "nothing but its own keys");
    for store in [store, other] {
        store.end().await;
    }
}

/// One round trip, seen from the server: nothing of one call comes between the parts of another.
#[tokio::test]
async fn one_call_is_one_transaction() {
    let server = Server::start();
    let store = Followed::open(&config(&server.url())).await;
    let calls = || -> u64 {
        let info = server.command(&["info", "commandstats"]);
        let line = info.lines().find_map(|line| line.strip_prefix("cmdstat_exec:calls=")).map(str::to_owned);
        line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
    };
    let before = calls();
    let add = |id: &str| Op::Add { key: key(Table::Harvest, id), by: 1, ttl: HOUR };
    let outcomes = store.store.run(&[add("a"), add("b"), put(Table::Passed, "c"), add("a")]).await.unwrap();
    assert_eq!(outcomes, [Outcome::Count(1), Outcome::Count(1), Outcome::Done, Outcome::Count(2)]);
    assert_eq!(calls() - before, 1);
    // What only reads needs none.
    let _ =
        store.store.run(&[Op::Get(key(Table::Trusts, "a")), Op::Get(key(Table::Blocks, "a"))]).await.unwrap();
    assert_eq!(calls() - before, 1);
    store.end().await;
}

#[tokio::test]
async fn everything_has_its_end_there() {
    let server = Server::start();
    let store = Followed::open(&config(&server.url())).await;
    let ttl = Duration::from_millis(150);
    let (k, count) = (key(Table::Blocks, "short"), key(Table::Harvest, "short"));
    let new = Op::PutNew { key: key(Table::Greylist, "short"), value: vec![1], ttl };
    let put = Op::Put { key: k.clone(), value: vec![], ttl };
    let add = Op::Add { key: count.clone(), by: 5, ttl };
    store.store.run(&[put, new, add.clone(), add]).await.unwrap();
    assert_eq!(store.store.list(Table::Harvest).await.unwrap()[0].value, b"10");
    for name in ["blocks:short", "harvest:short", "greylist:short"] {
        let left: i64 = server.command(&["pttl", &format!("backstop:{name}")]).parse().unwrap();
        assert!(left == -2 || (0..=150).contains(&left), "{name}: {left}");
    }
    until("its end", async || {
        let outcomes = store.store.run(&[Op::Get(k.clone()), Op::Count(count.clone())]).await.unwrap();
        outcomes == [Outcome::Value(None), Outcome::Count(0)]
    })
    .await;
    // As long or as short as can be.
    for ttl in [Duration::ZERO, Duration::MAX] {
        store.store.run(&[Op::Put { key: k.clone(), value: vec![], ttl }]).await.unwrap();
    }
    assert!(store.store.list(Table::Blocks).await.unwrap()[0].left > HOUR * 24 * 365 * 99);
    store.end().await;
}

#[tokio::test]
async fn a_killed_server_costs_nothing_and_is_found_when_it_is_back() {
    let mut server = Server::start();
    let store = Followed::open(&config(&server.url())).await;
    store.store.keep(&[put(Table::Blocks, "before")]).await.unwrap();
    assert_eq!(store.store.notices(), [""; 0]);
    server.kill();
    let begun = Instant::now();
    let error = get(&store.store, Table::Blocks, "before").await.unwrap_err();
    assert!(matches!(error, StoreError::Down(_)) && begun.elapsed() < DEADLINE + BUSY, "{error}");
    let begun = Instant::now();
    for _ in 0..1000 {
        assert!(!answers(&store.store).await);
        assert!(store.store.list(Table::Blocks).await.is_err());
    }
    assert!(begun.elapsed() < DEADLINE + BUSY, "{:?}", begun.elapsed());
    assert_eq!((store.metric("store_up"), store.metric("store_errors_total{what=\"run\"}")), (0.0, 1001.0));
    assert!(store.store.notices()[0].contains("out of use for"), "{:?}", store.store.notices());
    server.resume();
    until("it is back", async || answers(&store.store).await).await;
    // It says so, and does not bring back from memory what others may have taken back meanwhile.
    assert!(store.store.notices()[0].contains("lost what it was told"), "{:?}", store.store.notices());
    assert_eq!(get(&store.store, Table::Blocks, "before").await.unwrap(), None);
    assert_eq!(store.metric("store_up"), 1.0);
    store.end().await;
}

#[tokio::test]
async fn a_hung_server_costs_one_deadline() {
    let mut server = Server::start();
    let store = Followed::open(&config(&server.url())).await;
    assert!(answers(&store.store).await);
    server.freeze();
    let begun = Instant::now();
    assert!(!answers(&store.store).await);
    assert!((DEADLINE..DEADLINE + BUSY).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    // Also while the next attempt to connect hangs.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        let asked = Instant::now();
        assert!(!answers(&store.store).await);
        assert!(asked.elapsed() < BUSY / 4, "{:?}", asked.elapsed());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(store.metric("store_up"), 0.0);
    server.thaw();
    until("it is back", async || answers(&store.store).await).await;
    assert_eq!(store.store.notices(), [""; 0], "nothing was lost");
    store.end().await;
}

/// Nobody has to ask for it to be noticed.
#[tokio::test]
async fn a_server_that_takes_nothing_is_down() {
    let server = Server::start();
    let store = Followed::open(&config(&server.url())).await;
    for (setting, bad, good) in [("min-replicas-to-write", "1", "0"), ("maxmemory", "1", "0")] {
        server.command(&["config", "set", setting, bad]);
        until("it is down", async || store.metric("store_up") == 0.0).await;
        assert!(!answers(&store.store).await);
        server.command(&["config", "set", setting, good]);
        until("it is up", async || answers(&store.store).await).await;
    }
    // A server that loses its data without ending.
    server.command(&["flushall"]);
    until("it is noticed", async || store.store.notices().iter().any(|notice| notice.contains("lost"))).await;
    assert!(answers(&store.store).await);
    // What goes wrong with one key concerns nobody else.
    server.command(&["rpush", "backstop:blocks:strange", "x"]);
    let error = get(&store.store, Table::Blocks, "strange").await.unwrap_err();
    assert!(matches!(&error, StoreError::Refused(why) if why.contains("WRONGTYPE")), "{error}");
    assert!(answers(&store.store).await);
    assert_eq!(store.metric("store_up"), 1.0);
    store.end().await;
}

#[tokio::test]
async fn several_share_what_has_the_same_prefix() {
    let server = Server::start();
    let here = Followed::open(&config(&server.url())).await;
    let there = Followed::open(&config(&server.url())).await;
    let stranger = Followed::open(&Config { prefix: "other:".into(), ..config(&server.url()) }).await;
    here.store.keep(&[put(Table::Blocks, "192.0.2.1")]).await.unwrap();
    assert!(get(&there.store, Table::Blocks, "192.0.2.1").await.unwrap().is_some());
    assert!(get(&stranger.store, Table::Blocks, "192.0.2.1").await.unwrap().is_none());
    assert_eq!(stranger.store.list(Table::Blocks).await.unwrap(), []);
    // Counts of all, none lost.
    let add = [Op::Add { key: key(Table::Harvest, "c"), by: 1, ttl: HOUR }];
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..100 {
        let store = [&here, &there][n % 2].store.clone();
        let add = add.clone();
        tasks.spawn(async move { store.run(&add).await.unwrap()[0].count() });
    }
    let mut sums = tasks.join_all().await;
    sums.sort_unstable();
    assert_eq!(sums, (1..=100).collect::<Vec<_>>());
    // Of many who come first, one is first.
    let new = [Op::PutNew { key: key(Table::Greylist, "g"), value: vec![], ttl: HOUR }];
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..50 {
        let store = [&here, &there][n % 2].store.clone();
        let new = new.clone();
        tasks.spawn(async move { store.run(&new).await.unwrap().remove(0).value() });
    }
    assert_eq!(tasks.join_all().await.iter().filter(|before| before.is_none()).count(), 1);
    there.store.keep(&[Op::Remove(key(Table::Blocks, "192.0.2.1"))]).await.unwrap();
    assert!(get(&here.store, Table::Blocks, "192.0.2.1").await.unwrap().is_none());
    for store in [here, there, stranger] {
        store.end().await;
    }
}

#[tokio::test]
async fn a_long_table_is_listed_whole() {
    let server = Server::start();
    let store = Followed::open(&config(&server.url())).await;
    let others: Vec<Op> = (0..5000).map(|n| put(Table::Greylist, &format!("{n:05}"))).collect();
    store.store.keep(&others).await.unwrap();
    store.store.keep(&[put(Table::Trusts, "a"), put(Table::Trusts, "b")]).await.unwrap();
    for name in ["backstop:trusts2:x", "backstop:trust", "xbackstop:trusts:x"] {
        server.command(&["set", name, "x"]);
    }
    let list = store.store.list(Table::Greylist).await.unwrap();
    assert_eq!(list.len(), 5000);
    assert!(list.iter().enumerate().all(|(n, entry)| entry.id == format!("{n:05}").as_bytes()));
    let ids: Vec<_> =
        store.store.list(Table::Trusts).await.unwrap().into_iter().map(|entry| entry.id).collect();
    assert_eq!(ids, [b"a", b"b"]);
    store.end().await;
}

#[tokio::test]
async fn what_nobody_waits_for_comes_later_or_is_counted() {
    let mut server = Server::start();
    let store = Followed::open(&config(&server.url())).await;
    let add = || vec![Op::Add { key: key(Table::Harvest, "c"), by: 1, ttl: HOUR }];
    let lost = || store.metric("store_errors_total{what=\"later\"}");
    for _ in 0..1000 {
        store.store.later(add());
    }
    until("they are counted", async || server.command(&["get", "backstop:harvest:c"]) == "1000").await;
    assert_eq!(lost(), 0.0);
    server.kill();
    until("it is down", async || store.metric("store_up") == 0.0).await;
    for _ in 0..25_000 {
        store.store.later(add());
    }
    assert!(lost() >= 15_000.0, "{}", lost());
    server.resume();
    until("it is back", async || answers(&store.store).await).await;
    until("what was not lost came", async || {
        let count: f64 = server.command(&["get", "backstop:harvest:c"]).parse().unwrap_or(0.0);
        count + lost() == 25_000.0
    })
    .await;
    // What is told last is told before the process ends.
    store.store.later(vec![put(Table::Blocks, "last")]);
    store.end().await;
    assert_eq!(server.command(&["get", "backstop:blocks:last"]), "last");
}

/// Sixty sessions ask all the time while the server is killed, hangs and comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_no_question_takes_longer_than_the_deadline() {
    let mut server = Server::start();
    let store = Followed::open(&config(&server.url())).await;
    let stop = CancellationToken::new();
    let (asked, failed, slowest) = <(Arc<AtomicU64>, Arc<AtomicU64>, Arc<AtomicU64>)>::default();
    let mut sessions = tokio::task::JoinSet::new();
    for session in 0..60 {
        let (store, stop) = (store.store.clone(), stop.clone());
        let (asked, failed, slowest) = (Arc::clone(&asked), Arc::clone(&failed), Arc::clone(&slowest));
        sessions.spawn(async move {
            let id = format!("client {session}");
            let ops = [
                Op::Get(key(Table::Trusts, &id)),
                Op::Get(key(Table::Blocks, &id)),
                Op::Add { key: key(Table::Harvest, &id), by: 1, ttl: HOUR },
            ];
            while !stop.is_cancelled() {
                let begun = Instant::now();
                let answer = store.run(&ops).await;
                let took = u64::try_from(begun.elapsed().as_millis()).unwrap();
                slowest.fetch_max(took, Ordering::Relaxed);
                asked.fetch_add(1, Ordering::Relaxed);
                failed.fetch_add(answer.is_err().into(), Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
    }
    let failures = || failed.load(Ordering::Relaxed);
    for _ in 0..2 {
        let before = asked.load(Ordering::Relaxed);
        until("questions", async || asked.load(Ordering::Relaxed) > before + 1000).await;
        let well = failures();
        server.kill();
        until("failures", async || failures() > well + 1000).await;
        server.resume();
        until("it is back", async || answers(&store.store).await).await;
        let well = failures();
        server.freeze();
        until("failures", async || failures() > well + 1000).await;
        server.thaw();
        until("it is back", async || answers(&store.store).await).await;
    }
    let well = failures();
    let before = asked.load(Ordering::Relaxed);
    until("questions", async || asked.load(Ordering::Relaxed) > before + 1000).await;
    assert_eq!(failures(), well, "nothing is left of it");
    stop.cancel();
    sessions.join_all().await;
    let slowest = Duration::from_millis(slowest.load(Ordering::Relaxed));
    assert!(slowest < DEADLINE + BUSY, "{slowest:?}");
    store.end().await;
}
