//! Servers that answer as no server that can be installed does: they hang up, delay, change their mind. What real ones say
//! is tested against those, in tests/integration/next_hop.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use figment::{
    Figment,
    providers::{Format, Toml},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::directory::Why;

/// What the server does about a recipient.
#[derive(Clone, Copy)]
enum Does {
    Says(&'static str),
    Delays(Duration, &'static str),
    HangsUp,
}

use Does::*;

const YES: Does = Says("250 2.1.5 Ok");
const NO: Does = Says("550 5.1.1 User unknown");
const LATER: Does = Says("450 4.2.0 greylisted");
const LONG: Duration = Duration::from_secs(60);

/// A server, by what it does about each local part and how many recipients it saw on that connection before.
struct Hop {
    client: Arc<Client>,
    connections: Arc<AtomicUsize>,
    port: u16,
}

impl Hop {
    async fn start(settings: &str, does: impl Fn(&str, usize) -> Does + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (does, connections) = (Arc::new(does), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&connections);
        let tasks = TaskTracker::new();
        let each = tasks.clone();
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                each.spawn(serve(stream, Arc::clone(&does)));
            }
        });
        let toml = format!("host = '127.0.0.1:{port}'\n{settings}");
        let config: Config = Figment::from(Toml::string(&toml)).extract().unwrap();
        Self { client: Arc::new(Client::build("directory.x", &config).unwrap()), connections, port }
    }

    /// Whether it exists; an error: why that could not be found out.
    async fn ask(&self, local: &str) -> Result<bool, Why> {
        let address = Address::parse(format!("{local}@x.test")).unwrap();
        let found = self.client.look_up(&address).await;
        found.map(|found| found.is_some()).map_err(|failure| failure.why)
    }
}

async fn serve(stream: TcpStream, does: Arc<impl Fn(&str, usize) -> Does>) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let mut seen = 0;
    write.write_all(b"220 x.test ESMTP\r\n").await?;
    while let Some(line) = lines.next_line().await? {
        let text = match line.strip_prefix("RCPT TO:<").and_then(|rest| rest.split_once('@')) {
            None => "250 Ok",
            Some((local, _)) => {
                seen += 1;
                match does(local, seen - 1) {
                    Says(text) => text,
                    Delays(time, text) => {
                        tokio::time::sleep(time).await;
                        text
                    }
                    HangsUp => return Ok(()),
                }
            }
        };
        write.write_all(format!("{text}\r\n").as_bytes()).await?;
    }
    Ok(())
}

/// Who exists; everybody else is up to the test.
fn exists(local: &str) -> bool {
    local == "postmaster" || local.starts_with("user")
}

#[tokio::test]
async fn a_server_that_begins_to_refuse_everybody_makes_nobody_unknown() {
    const BANNED: Does = Says("550 too many unknown recipients from your host");
    let banned = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&banned);
    let hop = Hop::start("", move |local, _| match seen.load(Ordering::Relaxed) {
        true => BANNED,
        false if exists(local) => YES,
        false => NO,
    })
    .await;
    assert_eq!((hop.ask("nobody").await, hop.ask("user1").await), (Ok(false), Ok(true)));
    banned.store(true, Ordering::Relaxed);
    for local in ["user2", "nobody2"] {
        assert_eq!(hop.ask(local).await, Err(Why::Failed), "{local}");
    }
    assert!(!hop.client.is_well());
    banned.store(false, Ordering::Relaxed);
    assert_eq!((hop.ask("user2").await, hop.ask("nobody2").await), (Ok(true), Ok(false)));
    assert!(hop.client.is_well());

    // Only on connections that asked for three who do not exist.
    let hop = Hop::start("", |local, seen| match local {
        _ if seen >= 5 => BANNED,
        _ if exists(local) => YES,
        _ => NO,
    })
    .await;
    for number in 0..20 {
        assert_ne!(hop.ask(&format!("user{number}")).await, Ok(false), "user{number}");
        assert_ne!(hop.ask(&format!("nobody{number}")).await, Ok(true), "nobody{number}");
    }
}

/// As with Exim's usual order of conditions: postmaster is taken first, then banned clients are refused.
#[tokio::test]
async fn a_ban_that_spares_postmaster_makes_nobody_unknown() {
    let banned = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&banned);
    let hop = Hop::start("", move |local, _| match seen.load(Ordering::Relaxed) {
        _ if local == "postmaster" => YES,
        true => Says("550 you asked for too many"),
        false if exists(local) => YES,
        false => NO,
    })
    .await;
    assert_eq!((hop.ask("user1").await, hop.ask("nobody").await), (Ok(true), Ok(false)));
    banned.store(true, Ordering::Relaxed);
    for local in ["user2", "nobody2", "user3", "nobody3"] {
        assert_eq!(hop.ask(local).await, Err(Why::Failed), "{local}");
    }
    banned.store(false, Ordering::Relaxed);
    assert_eq!((hop.ask("nobody4").await, hop.ask("user4").await), (Ok(false), Ok(true)));
}

/// Whom it took last was deleted: nobody is unknown until it takes somebody else.
#[tokio::test]
async fn a_witness_who_is_gone_is_replaced() {
    let gone = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&gone);
    let hop = Hop::start("", move |local, _| match local {
        "user1" if seen.load(Ordering::Relaxed) => NO,
        _ if exists(local) => YES,
        _ => NO,
    })
    .await;
    assert_eq!((hop.ask("user1").await, hop.ask("nobody").await), (Ok(true), Ok(false)));
    gone.store(true, Ordering::Relaxed);
    // Nobody else is there to tell that from a ban.
    assert_eq!((hop.ask("user1").await, hop.ask("nobody2").await), (Err(Why::Failed), Err(Why::Failed)));
    assert_eq!((hop.ask("user2").await, hop.ask("nobody2").await), (Ok(true), Ok(false)));
    assert_eq!(hop.ask("user1").await, Ok(false));
}

/// Whom it took last is asked for again, and nobody says of himself that he is gone.
#[tokio::test]
async fn a_ban_makes_the_witness_himself_not_unknown() {
    let banned = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&banned);
    let hop = Hop::start("", move |local, _| match seen.load(Ordering::Relaxed) {
        _ if local == "postmaster" => YES,
        true => Says("550 you asked for too many"),
        false if exists(local) => YES,
        false => NO,
    })
    .await;
    for before in [&["user1"][..], &["user2"], &["user3", "user1"]] {
        banned.store(false, Ordering::Relaxed);
        for local in before {
            assert_eq!(hop.ask(local).await, Ok(true), "{local}");
        }
        banned.store(true, Ordering::Relaxed);
        for local in ["user1", "user2", "user3", "nobody"] {
            assert_eq!(hop.ask(local).await, Err(Why::Failed), "{local} behind {before:?}");
        }
    }
}

/// Who is put off was not taken: a no to somebody else says nothing then.
#[tokio::test]
async fn a_control_recipient_that_is_put_off_makes_nobody_unknown() {
    let hop = Hop::start("", |local, _| match local {
        "postmaster" => LATER,
        _ if exists(local) => YES,
        _ => NO,
    })
    .await;
    assert_eq!((hop.ask("nobody").await, hop.ask("user1").await), (Err(Why::PutOff), Ok(true)));
}

/// The refusal and the hang-up come together: nobody was taken after it.
#[tokio::test]
async fn a_server_that_hangs_up_after_each_refusal() {
    let hop = Hop::start("", |local, seen| match local {
        "postmaster" if seen > 0 => HangsUp,
        _ if exists(local) => YES,
        _ => NO,
    })
    .await;
    assert_eq!((hop.ask("nobody").await, hop.ask("user1").await), (Err(Why::PutOff), Ok(true)));
    assert!(hop.client.is_well());
}

#[tokio::test]
async fn a_recipient_that_it_chokes_on_is_nobody_elses_trouble() {
    for chokes in
        [HangsUp, Says("421 4.3.2 closing"), Says("what?"), Says("354 go on"), Says("250 a\r\n250 b")]
    {
        let hop = Hop::start("", move |local, _| match local {
            _ if local.starts_with("crash") => chokes,
            _ if exists(local) => YES,
            _ => NO,
        })
        .await;
        for number in 0..5 {
            assert_eq!(hop.ask(&format!("crash{number}")).await, Err(Why::PutOff));
            assert_eq!(hop.ask(&format!("user{number}")).await, Ok(true));
            assert_eq!(hop.ask(&format!("nobody{number}")).await, Ok(false));
            assert!(hop.client.is_well());
        }
    }
}

#[tokio::test]
async fn a_server_that_chokes_on_everybody_is_down() {
    for chokes in [HangsUp, Says("421 4.3.2 closing"), Says("what?")] {
        let hop = Hop::start("", move |_, _| chokes).await;
        assert!(hop.ask("user1").await.is_err());
        assert!(!hop.client.is_well());
        let before = hop.connections.load(Ordering::Relaxed);
        assert_eq!(hop.ask("user2").await, Err(Why::Down), "it is left alone for a moment");
        assert_eq!(hop.connections.load(Ordering::Relaxed), before);
    }
}

/// Exchange delays its refusals by five seconds (`TarpitInterval`).
#[tokio::test]
async fn a_server_that_delays_its_refusals_is_not_down() {
    let hop = Hop::start("deadline = '600ms'", |local, _| match local {
        _ if exists(local) => YES,
        _ => Delays(LONG, "550 5.1.1 User unknown"),
    })
    .await;
    assert_eq!(hop.ask("user1").await, Err(Why::TakesAll), "it is taken, and not put off for ever");
    assert!(hop.client.notices()[0].contains("neither takes nor refuses a random recipient"));
    for number in 0..4 {
        assert_eq!(hop.ask(&format!("nobody{number}")).await, Err(Why::TimedOut));
        assert_eq!(hop.ask(&format!("user{number}")).await, Err(Why::TakesAll));
    }
    assert!(hop.client.is_well());
}

/// As a server does whose user database hangs.
#[tokio::test]
async fn a_server_that_greets_and_then_is_silent_to_everybody_is_down() {
    let hangs = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&hangs);
    let hop = Hop::start("deadline = '400ms'", move |local, _| match seen.load(Ordering::Relaxed) {
        true => Delays(LONG, "250 2.1.5 Ok"),
        false if local.starts_with("slow") => Delays(LONG, "550 5.1.1 User unknown"),
        false if exists(local) => YES,
        false => NO,
    })
    .await;
    assert_eq!((hop.ask("nobody").await, hop.ask("user").await), (Ok(false), Ok(true)));
    // One recipient that it is silent about is nobody else's trouble.
    assert_eq!(hop.ask("slow").await, Err(Why::TimedOut));
    for number in 0..4 {
        assert_eq!(hop.ask(&format!("user{number}")).await, Ok(true));
        assert_eq!(hop.ask(&format!("slow{number}")).await, Err(Why::TimedOut));
    }
    assert!(hop.client.is_well());

    hangs.store(true, Ordering::Relaxed);
    let mut answers = Vec::new();
    while answers.last() != Some(&Err(Why::Down)) {
        assert!(answers.len() < 10, "it is never left alone: {answers:?}");
        answers.push(hop.ask("user").await);
    }
    assert!(!hop.client.is_well());
    hangs.store(false, Ordering::Relaxed);
    let begun = std::time::Instant::now();
    while hop.ask("user").await != Ok(true) {
        assert!(begun.elapsed() < LONG, "it is left alone for ever");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(hop.client.is_well());
}

#[tokio::test]
async fn those_who_wait_for_a_connection_blame_nobody() {
    let hop = Hop::start("deadline = '600ms'\nconnections = 1", |local, _| match local {
        _ if local.starts_with("slow") => Delays(LONG, "550 5.1.1 User unknown"),
        _ if exists(local) => YES,
        _ => NO,
    })
    .await;
    assert_eq!(hop.ask("user").await, Ok(true));
    let slow: Vec<String> = (0..6).map(|number| format!("slow{number}")).collect();
    let answers = futures_util::future::join_all(slow.iter().map(|local| hop.ask(local))).await;
    let count = |why| answers.iter().filter(|answer| **answer == Err(why)).count();
    assert_eq!((count(Why::TimedOut), count(Why::Busy)), (1, 5), "{answers:?}");
    assert!(hop.client.is_well());
    assert_eq!((hop.ask("user2").await, hop.ask("nobody").await), (Ok(true), Ok(false)));
}

/// Such a server takes everybody at the second try: its yes says nothing, and mail must not wait for that.
#[tokio::test]
async fn a_server_that_puts_a_random_recipient_off_vouches_for_nobody() {
    for put_off in [LATER, HangsUp, Says("421 4.7.0 too many")] {
        let hop = Hop::start("", move |local, _| match local {
            _ if local.starts_with("backstop") => put_off,
            "gone" => NO,
            _ => YES,
        })
        .await;
        for _ in 0..3 {
            assert_eq!(hop.ask("invented").await, Err(Why::TakesAll));
        }
        assert_eq!(hop.ask("gone").await, Ok(false));
        assert!(hop.client.is_well());
        assert_eq!(hop.client.notices().len(), 1);
    }
}

/// To open a pipe would wait for somebody who writes, in one thread more each second, until no file is read any more.
#[tokio::test]
async fn what_takes_the_place_of_a_transport_map_holds_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    let (map, other) = (dir.path().join("transport"), dir.path().join("other"));
    std::fs::write(&map, "y.test smtp:[192.0.2.1]\n").unwrap();
    let settings = format!("transport_map = '{}'", map.display());
    let hop = Hop::start(&settings, |local, _| if exists(local) { YES } else { NO }).await;
    type Make = fn(&std::path::Path);
    let pipe: Make = |path| nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let directory: Make = |path| std::fs::create_dir(path).unwrap();
    for (make, notice) in [(pipe, "not a file"), (directory, "not a file"), (|_| {}, "No such file")] {
        assert_eq!(hop.ask("user").await, Ok(true));
        make(&other);
        let _ = std::fs::remove_file(&map).or_else(|_| std::fs::remove_dir(&map));
        let _ = std::fs::rename(&other, &map);
        let begun = std::time::Instant::now();
        while !hop.client.notices().iter().any(|text| text.contains(notice)) {
            assert_eq!(hop.ask("user").await, Ok(true), "what the map said before counts");
            assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", hop.client.notices());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Nothing is known yet of the first one, as after a start: it may be slow for this recipient only, and know him.
#[tokio::test]
async fn behind_a_server_that_is_silent_another_ones_yes_counts_and_its_no_does_not() {
    let silent = Hop::start("", |_, _| Delays(LONG, "250 2.1.5 Ok")).await;
    let other = Hop::start("", |local, _| if exists(local) { YES } else { NO }).await;
    let dir = tempfile::tempdir().unwrap();
    let map = dir.path().join("transport");
    let servers = format!("x.test smtp:[127.0.0.1]:{}, [127.0.0.1]:{}\n", silent.port, other.port);
    std::fs::write(&map, servers).unwrap();
    let hop =
        Hop::start(&format!("deadline = '600ms'\ntransport_map = '{}'", map.display()), |_, _| NO).await;
    assert_eq!(hop.ask("user").await, Ok(true));
    assert_eq!(hop.ask("nobody").await, Err(Why::TimedOut));
    assert_eq!(hop.connections.load(Ordering::Relaxed), 0, "the map comes before `host`");
}
