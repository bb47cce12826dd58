//! Servers that die, hang, come back, or cut connections.

use std::time::Instant;

use backstop_harness::{free_port, wait_until};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_is_not_noticed() {
    let (mut first, second) = (Slapd::start(), Slapd::start());
    for slapd in [&first, &second] {
        slapd.add(&person("anna"));
    }
    let client = client(&reader(&first, &[first.url(), second.url()]));
    for _ in 0..20 {
        assert_eq!(ask(&client, "anna@example.test").await, EXISTS);
    }
    assert!(!second.log().contains("mail=anna"), "the first that works is asked");
    first.kill();
    for _ in 0..20 {
        assert_eq!(ask(&client, "anna@example.test").await, EXISTS);
        assert_eq!(ask(&client, "nobody@example.test").await, ABSENT);
    }
    first.restart();
    wait_until(Duration::from_secs(20), "the first server to be asked again", || {
        let before = first.log().matches("SRCH base").count();
        let asked = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(ask(&client, "anna@example.test"))
        });
        assert_eq!(asked, EXISTS);
        first.log().matches("SRCH base").count() > before
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_costs_a_share_of_one_deadline() {
    let (mut first, second) = (Slapd::start(), Slapd::start());
    for slapd in [&first, &second] {
        slapd.add(&person("anna"));
    }
    let client = client(&reader(&first, &[first.url(), second.url()]));
    // With an open connection, and without one.
    for is_open in [true, false] {
        if is_open {
            assert_eq!(ask(&client, "anna@example.test").await, EXISTS);
        }
        first.pause();
        let start = Instant::now();
        assert_eq!(ask(&client, "anna@example.test").await, EXISTS);
        let took = start.elapsed();
        assert!(took < Duration::from_millis(1500), "{took:?}");
        let start = Instant::now();
        for _ in 0..10 {
            assert_eq!(ask(&client, "anna@example.test").await, EXISTS);
        }
        let took = start.elapsed();
        assert!(took < Duration::from_millis(500), "it was not remembered: {took:?}");
        if is_open {
            first.resume();
            wait_until(Duration::from_secs(20), "the first server to be trusted again", || {
                let before = first.log().matches("SRCH base").count();
                let asked = tokio::task::block_in_place(|| {
                    tokio::runtime::Handle::current().block_on(ask(&client, "anna@example.test"))
                });
                assert_eq!(asked, EXISTS);
                first.log().matches("SRCH base").count() > before
            });
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_server_hangs_and_returns() {
    let mut slapd = Slapd::start();
    slapd.add(&person("anna"));
    let client = client(&format!("{}deadline = \"500ms\"", reader(&slapd, &[slapd.url()])));
    assert_eq!(ask(&client, "anna@example.test").await, EXISTS);
    slapd.pause();
    let questions = (0..300).map(|_| ask(&client, "anna@example.test"));
    for answer in futures_util::future::join_all(questions).await {
        let (why, said) = answer.unwrap_err();
        assert!(matches!(why, Why::TimedOut | Why::Busy), "{why:?} {said}");
    }
    let start = Instant::now();
    let (why, said) = ask(&client, "anna@example.test").await.unwrap_err();
    assert!(why == Why::Down && said.contains("no answer in time"), "{why:?} {said}");
    assert!(start.elapsed() < Duration::from_millis(100), "nobody waits for a server that is known to hang");
    slapd.resume();
    until_it_exists(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_are_down_until_one_returns() {
    let mut slapd = Slapd::start();
    slapd.add(&person("anna"));
    let nowhere = format!("ldap://127.0.0.1:{}", free_port());
    let client = client(&reader(&slapd, &[nowhere, slapd.url()]));
    assert_eq!(ask(&client, "anna@example.test").await, EXISTS);
    slapd.stop();
    for _ in 0..50 {
        let (why, said) = ask(&client, "anna@example.test").await.unwrap_err();
        assert_eq!(why, Why::Down, "{said}");
    }
    slapd.restart();
    until_it_exists(&client).await;
    assert_eq!(ask(&client, "nobody@example.test").await, ABSENT);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_the_server_cut_are_replaced_unnoticed() {
    let mut slapd = Slapd::builder().idle_timeout(1).start();
    slapd.add(&person("anna"));
    let client = client(&reader(&slapd, &[slapd.url()]));
    let questions = (0..40).map(|_| ask(&client, "anna@example.test"));
    assert!(futures_util::future::join_all(questions).await.iter().all(|answer| *answer == EXISTS));
    wait_until(Duration::from_secs(20), "slapd to cut four connections", || {
        slapd.log().matches("closed (idletimeout)").count() >= 4
    });
    assert_eq!(ask(&client, "anna@example.test").await, EXISTS);
    // Cut while questions are under way.
    for _ in 0..3 {
        slapd.restart();
        for _ in 0..8 {
            assert_eq!(ask(&client, "anna@example.test").await, EXISTS);
            assert_eq!(ask(&client, "nobody@example.test").await, ABSENT);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_questions_share_a_few_connections() {
    let mut slapd = Slapd::start();
    slapd.seed(1000);
    let before = slapd.log().matches(" ACCEPT ").count();
    let client = client(&format!("{}connections = 3", reader(&slapd, &[slapd.url()])));
    let addresses: Vec<String> = (0..1000).map(|index| format!("a{index:06}@example.test")).collect();
    let questions = addresses.iter().map(|address| ask(&client, address));
    assert!(futures_util::future::join_all(questions).await.iter().all(|answer| *answer == EXISTS));
    assert_eq!(slapd.log().matches(" ACCEPT ").count() - before, 3);
}

/// One question that takes long does not call the server dead.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_question_leaves_the_others_alone() {
    let slapd = Slapd::builder().errors().start();
    slapd.add(&format!(
        "{}\n{}objectClass: errAuxObject\nerrCode: 0\nerrSleepTime: 5\n",
        person("anna"),
        person("slow")
    ));
    let client = client(&format!("{}deadline = \"1s\"\nconnections = 1", reader(&slapd, &[slapd.url()])));
    assert_eq!(ask(&client, "anna@example.test").await, EXISTS);
    let slow = ask(&client, "slow@example.test");
    let others = async {
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(1200) {
            assert_eq!(ask(&client, "anna@example.test").await, EXISTS);
        }
    };
    let (slow, ()) = tokio::join!(slow, others);
    let (why, said) = slow.unwrap_err();
    assert!(why == Why::TimedOut && said.contains("no answer to this question"), "{said}");
}

async fn until_it_exists(client: &Client) {
    let start = Instant::now();
    while ask(client, "anna@example.test").await != EXISTS {
        assert!(start.elapsed() < Duration::from_secs(20), "it never came back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
