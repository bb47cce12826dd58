//! A replica with a feed and a directory that do as a test says; and its file on disks that fail.

mod copies;
mod kill;
mod model;
mod simulation;

use std::{
    collections::BTreeMap,
    fmt,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::{content::Content, held::Limits, *};
use crate::{
    address::{Address, Delimiters, candidates},
    directory::{
        Entry,
        remote::{Backend, Times, Told},
    },
    policy::Attributes,
    telemetry::Registry,
};

/// A feed that does what a test says.
pub(in crate::directory) struct Script(
    Box<dyn FnMut(Writer) -> BoxFuture<'static, (Writer, Failure)> + Send>,
);

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script")
    }
}

impl Script {
    pub(super) async fn run(&mut self, writer: &mut Writer) -> Failure {
        let taken = std::mem::replace(writer, Writer::in_memory());
        let (back, failure) = (self.0)(taken).await;
        *writer = back;
        failure
    }
}

/// What a directory on another server knows, and how often it was asked.
#[derive(Default)]
struct Server {
    known: Mutex<BTreeMap<String, Attributes>>,
    down: Mutex<bool>,
    asked: AtomicUsize,
}

fn config() -> directory::Config {
    let sql = serde_json::json!({
        "url": "sqlite:/nowhere", "query": "select 1", "listing": "select address from a", "source": "replica",
    });
    let sql = Some(serde_json::from_value(sql).unwrap());
    directory::Config { sql, ..directory::Config::default() }
}

/// A replica of a directory that is asked as `server` says.
fn replica(server: &Arc<Server>) -> Arc<Replica> {
    let content = Content::new("corp");
    content.load(None).unwrap();
    replica_of(server, content)
}

/// The same with content that is there.
fn replica_of(server: &Arc<Server>, content: Arc<Content>) -> Arc<Replica> {
    let metrics = Metrics::register(&Registry::default());
    let server = Arc::clone(server);
    let told = Told::at_once(move |address| {
        server.asked.fetch_add(1, Ordering::Relaxed);
        if *server.down.lock().unwrap() {
            return Err(Failure::new(Why::Down, std::io::Error::from(std::io::ErrorKind::ConnectionRefused)));
        }
        Ok(server.known.lock().unwrap().get(address.key_str()).copied())
    });
    let remote =
        Remote::new("corp", Backend::Told(told), Duration::from_secs(1), &Times::default(), true, &metrics);
    Arc::new(Replica {
        name: "corp".into(),
        remote: Arc::new(remote),
        content,
        stem: "corp".to_owned(),
        config: config(),
        feed: Mutex::new(None),
        limits: Limits { max_shrink: 0.1, confirmed_after: Duration::from_secs(300) },
        budget: Some(Budget::new(Instant::now())),
        opened: Instant::now(),
        metrics,
    })
}

fn recipient(text: &str) -> Recipient {
    Recipient { entry: Entry::parse(text.as_bytes()).unwrap(), attributes: Attributes::default() }
}

fn object(text: &str) -> (ObjectId, Vec<Recipient>) {
    (text.as_bytes().into(), vec![recipient(text)])
}

fn put(text: &str) -> Change {
    let (id, recipients) = object(text);
    Change::Put(id, recipients)
}

async fn writer(replica: &Replica) -> Writer {
    Writer::open(Arc::clone(&replica.content), replica.limits).await.unwrap()
}

async fn list(writer: &mut Writer, texts: &[&str]) {
    writer.begin_listing();
    writer.list(texts.iter().map(|text| object(text)).collect()).await.unwrap();
    writer.end_listing(None).await.unwrap();
}

async fn ask(replica: &Replica, text: &str) -> Answer {
    let (address, delimiters) = (Address::parse(text).unwrap(), Delimiters::new("+"));
    let forms: Vec<_> = candidates(&address, &delimiters).collect();
    replica.ask(&forms).await
}

const EXISTS: Answer = Answer::Exists(Attributes::PLAIN);

/// The address without its sub-address exists.
fn of_shorter() -> Answer {
    Answer::Exists(Attributes { form: 1, ..Attributes::default() })
}

#[tokio::test]
async fn who_is_known_needs_no_question_and_who_is_not_is_asked_for() {
    let server = Arc::new(Server::default());
    let replica = replica(&server);
    let asked = || server.asked.swap(0, Ordering::Relaxed);
    let mut writer = writer(&replica).await;
    list(&mut writer, &["joe@x", "ann@x", "bob"]).await;
    *server.down.lock().unwrap() = true;
    for (address, answer) in [("joe@x", EXISTS), ("JOE+tag@x", of_shorter()), ("bob@anywhere", EXISTS)] {
        assert_eq!(ask(&replica, address).await, answer, "{address}");
    }
    assert_eq!(asked(), 0);
    assert_eq!(ask(&replica, "new@x").await, Answer::Unknown(Why::Down), "nobody is absent unheard");
    *server.down.lock().unwrap() = false;
    server.known.lock().unwrap().insert("new@x".to_owned(), Attributes::default());
    asked();
    assert_eq!(ask(&replica, "new@x").await, EXISTS, "a new mailbox works at once");
    assert_eq!(ask(&replica, "new+tag@x").await, of_shorter(), "so it does with a sub-address");
    assert_eq!(ask(&replica, "nobody@x").await, Answer::Absent);
    assert_eq!(asked(), 4, "each form of each");

    // A live feed is believed for five seconds.
    let Some(ago) = Instant::now().checked_sub(Duration::from_secs(6)) else { unreachable!() };
    writer.current(ago, true);
    assert_eq!((ask(&replica, "nobody@x").await, asked()), (Answer::Absent, 1));
    writer.current(clock::now(), false);
    assert_eq!((ask(&replica, "nobody@x").await, asked()), (Answer::Absent, 1));
    writer.current(clock::now(), true);
    assert_eq!((ask(&replica, "nobody@x").await, asked()), (Answer::Absent, 0));
    assert_eq!((ask(&replica, "joe@x").await, asked()), (EXISTS, 0));
    writer.begin_listing();
    assert_eq!((ask(&replica, "nobody@x").await, asked()), (Answer::Absent, 1));
    writer.current(clock::now(), true);
    replica.content.fail(&"as a feed does");
    assert_eq!((ask(&replica, "nobody@x").await, asked()), (Answer::Absent, 1));
    assert_eq!(replica.state(), State::Stale);
}

/// What the one before told is of a server that may be another one now.
#[tokio::test]
async fn nothing_is_current_for_a_new_feed_before_it_says_so() {
    let replica = replica(&Arc::default());
    let mut first = writer(&replica).await;
    list(&mut first, &["joe@x"]).await;
    first.current(Instant::now(), true);
    assert!(replica.content.is_current());
    let mut second = writer(&replica).await;
    assert!(!replica.content.is_current());
    second.current(Instant::now(), true);
    assert!(replica.content.is_current());
}

#[tokio::test]
async fn what_is_told_of_it_is_what_it_is() {
    let server = Arc::new(Server::default());
    let replica = replica(&server);
    assert_eq!((replica.state(), replica.age()), (State::Empty, None));
    replica.content.fail(&"as a feed does");
    assert_eq!((replica.state(), replica.age()), (State::Down, None), "nothing was ever known");
    let mut writer = writer(&replica).await;
    list(&mut writer, &["joe@x"]).await;
    writer.current(clock::now(), false);
    assert_eq!(replica.state(), State::Up);

    // Somebody asked while the server was away, and nobody asks any more.
    *server.down.lock().unwrap() = true;
    assert_eq!(ask(&replica, "new@x").await, Answer::Unknown(Why::Down));
    assert_eq!(replica.state(), State::Stale);
    writer.current(clock::now(), true);
    assert_eq!(replica.state(), State::Up, "nobody has to be asked for");
    writer.current(clock::now(), false);
    assert_eq!(replica.state(), State::Stale);
    *server.down.lock().unwrap() = false;
    Arc::clone(replica.remote()).ask_again().await;
    assert_eq!((replica.state(), replica.notices()), (State::Up, vec![]));
}

#[tokio::test]
async fn while_something_is_held_back_the_content_grows_older() {
    let replica = replica(&Arc::default());
    let mut writer = writer(&replica).await;
    let ago =
        |seconds| Instant::now().checked_sub(Duration::from_secs(seconds)).expect("the host runs longer");
    let age = || replica.age().map_or(0, |age| age.as_secs());
    list(&mut writer, &["a@x", "b@x", "c@x"]).await;
    writer.current(ago(60), false);
    replica.content.fail(&"as a feed does");
    list(&mut writer, &["a@x"]).await;
    writer.current(ago(30), true);
    assert_eq!(replica.state(), State::Stale);
    assert!(replica.content.trouble().is_none(), "the feed works");
    assert!((60..90).contains(&age()), "{}", age());
    replica.reload(true);
    assert!((30..60).contains(&age()), "accepted: what was listed then: {}", age());
    assert_eq!(replica.state(), State::Up);
    list(&mut writer, &["a@x"]).await;
    writer.current(clock::now(), false);
    assert!(age() < 30);
}

/// The monotonic clock stands still while the host is suspended, and the other one may be put back.
#[test]
fn after_a_suspend_nothing_is_current() {
    let content = Content::new("corp");
    content.load(None).unwrap();
    content.complete.store(true, Ordering::Release);
    content.confirm(Instant::now(), true);
    let (now, wall, hour) = (Instant::now(), std::time::SystemTime::now(), Duration::from_secs(3600));
    assert!(content.is_current_at(now, wall));
    assert!(!content.is_current_at(now, wall + hour));
    assert!(!content.is_current_at(now + hour, wall));
    assert!(!content.is_current_at(now + hour, wall - hour));
}

#[tokio::test]
async fn an_attack_asks_fifty_questions_a_second() {
    let server = Arc::new(Server::default());
    let replica = replica(&server);
    let mut writer = writer(&replica).await;
    list(&mut writer, &["joe@x"]).await;
    let begun = Instant::now();
    let mut busy = 0;
    for n in 0..500 {
        match ask(&replica, &format!("u{n}@x")).await {
            Answer::Absent => {}
            Answer::Unknown(Why::Busy) => busy += 1,
            other => panic!("{other:?}"),
        }
        assert_eq!(ask(&replica, "joe@x").await, EXISTS);
    }
    let most = 50 + 50 * (begun.elapsed().as_secs() + 1);
    let asked = server.asked.load(Ordering::Relaxed) as u64;
    assert!(asked >= 50 && asked <= most, "{asked} of {most}");
    assert_eq!(busy + asked, 500);
}

#[tokio::test]
async fn a_list_that_was_never_complete_calls_nobody_absent() {
    let server = Arc::new(Server::default());
    let replica = replica(&server);
    let mut writer = writer(&replica).await;
    writer.begin_listing();
    writer.list(vec![object("joe@x")]).await.unwrap();
    writer.current(clock::now(), true);
    assert!(!replica.is_complete());
    assert_eq!(ask(&replica, "joe@x").await, EXISTS, "what was listed is in force");
    assert_eq!(ask(&replica, "ann@x").await, Answer::Unknown(Why::NoContent), "the list may have @x");
    writer.list(vec![object("@x")]).await.unwrap();
    writer.end_listing(None).await.unwrap();
    assert!(replica.is_complete());
    assert!(replica.catches_all(&Domain::parse("X").unwrap()));
    assert!(!replica.catches_all(&Domain::parse("y").unwrap()));
    writer.apply(vec![Change::Remove("@x".as_bytes().into())], None).await.unwrap();
    assert!(!replica.catches_all(&Domain::parse("x").unwrap()));
}

#[tokio::test]
async fn a_listing_that_comes_up_short_is_held_back_until_it_is_accepted() {
    let replica = replica(&Arc::default());
    let mut writer = writer(&replica).await;
    let names: Vec<String> = (0..20).map(|n| format!("u{n}@x")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    list(&mut writer, &names).await;
    list(&mut writer, &names[..18]).await;
    assert_eq!((replica.addresses(), replica.held()), (18, None), "a tenth may go");
    let mut short = names[..10].to_vec();
    short.push("new@x");
    for _ in 0..2 {
        list(&mut writer, &short).await;
        assert_eq!(
            replica.held(),
            Some(files::Held::Shrunk { from: 19, to: 11 }),
            "five minutes are not over"
        );
        assert_eq!(replica.addresses(), 19, "what is new counts");
    }
    assert!(replica.notices()[0].contains("it shrank from 19 to 11 entries"), "{:?}", replica.notices());
    assert_eq!(replica.reload(false), files::Outcome::Held(files::Held::Shrunk { from: 19, to: 11 }));
    writer.apply(vec![Change::Remove(names[17].as_bytes().into())], None).await.unwrap();
    assert_eq!(replica.addresses(), 18, "the directory's explicit word counts at once");
    assert_eq!(replica.reload(true), files::Outcome::Taken(11));
    assert_eq!((replica.addresses(), replica.held()), (11, None));

    list(&mut writer, &[]).await;
    assert_eq!(replica.held(), Some(files::Held::Empty));
    list(&mut writer, &short).await;
    assert_eq!((replica.addresses(), replica.held()), (11, None), "it was an accident");
    list(&mut writer, &[]).await;
    assert_eq!(replica.reload(true), files::Outcome::Taken(0));
}

#[tokio::test]
async fn a_listing_that_says_the_same_again_is_believed() {
    let mut replica = replica(&Arc::default());
    Arc::get_mut(&mut replica).unwrap().limits.confirmed_after = Duration::ZERO;
    let mut writer = writer(&replica).await;
    let names: Vec<String> = (0..20).map(|n| format!("u{n}@x")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    list(&mut writer, &names).await;
    list(&mut writer, &names[..10]).await;
    assert_eq!(replica.addresses(), 20);
    list(&mut writer, &names[10..]).await;
    assert_eq!(replica.addresses(), 20, "these are others");
    list(&mut writer, &names[11..]).await;
    assert_eq!((replica.addresses(), replica.held()), (9, None));
    // Objects that lost their addresses are no better than objects that are gone.
    for _ in 0..3 {
        writer.begin_listing();
        let bare = names[11..].iter().map(|name| (ObjectId::from(name.as_bytes()), Vec::new()));
        writer.list(bare.collect()).await.unwrap();
        writer.end_listing(None).await.unwrap();
        assert_eq!((replica.addresses(), replica.held()), (9, Some(files::Held::Empty)));
    }
}

#[tokio::test]
async fn who_wrote_before_can_not_undo_what_came_since() {
    let replica = replica(&Arc::default());
    let mut old = writer(&replica).await;
    list(&mut old, &["joe@x"]).await;
    let mut new = writer(&replica).await;
    old.apply(vec![put("ann@x")], None).await.unwrap_err();
    new.apply(vec![put("bob@x")], Some(vec![7])).await.unwrap();
    assert_eq!(replica.addresses(), 2);
    assert_eq!(writer(&replica).await.cookie(), Some(vec![7]));
}

/// The feed fails, panics, and then works.
#[tokio::test(start_paused = true)]
async fn a_feed_that_fails_or_panics_is_run_again() {
    let replica = replica(&Arc::default());
    let runs = Arc::new(AtomicUsize::new(0));
    let (done, mut worked) = tokio::sync::mpsc::unbounded_channel();
    let script = {
        let runs = Arc::clone(&runs);
        move || {
            let (runs, done) = (Arc::clone(&runs), done.clone());
            Feed::Scripted(Script(Box::new(move |mut writer| {
                let (run, done) = (runs.fetch_add(1, Ordering::Relaxed), done.clone());
                Box::pin(async move {
                    match run {
                        0 | 1 => {}
                        2 => panic!("as a parser does"),
                        _ => {
                            list(&mut writer, &["joe@x"]).await;
                            writer.current(clock::now(), true);
                            done.send(()).unwrap();
                            std::future::pending::<()>().await;
                        }
                    }
                    let failure = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
                    (writer, Failure::new(Why::Down, failure))
                })
            })))
        }
    };
    *replica.feed.lock().unwrap() = Some(script());
    let stop = CancellationToken::new();
    let tasks = tokio_util::task::TaskTracker::new();
    let task = tasks.spawn(Arc::clone(&replica).follow(None, stop.clone()));
    // The one that panicked is built anew, of the configuration.
    while runs.load(Ordering::Relaxed) < 3 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    while replica.content.trouble().is_none_or(|trouble| !trouble.text.contains("panicked")) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(replica.state(), State::Down);
    *replica.feed.lock().unwrap() = Some(script());
    worked.recv().await.unwrap();
    assert!(replica.content.trouble().is_none());
    assert!(replica.content.is_current());
    stop.cancel();
    task.await.unwrap();
    assert_eq!(ask(&replica, "joe@x").await, EXISTS, "what is known is known");
}

fn open(path: &Path) -> (Arc<Content>, u64) {
    let content = Content::new("corp");
    content.load(Some(path.to_owned())).unwrap();
    let (term, _) = content.begin_term().unwrap();
    (content, term)
}

fn apply(content: &Content, term: u64, changes: Vec<Change>, cookie: u8) {
    content.work(Some(term), |ledger| ledger.apply(content, changes, Some(vec![cookie]))).unwrap();
}

fn complete(content: &Content, term: u64, texts: &[&str]) {
    let limits = Limits { max_shrink: 0.1, confirmed_after: Duration::ZERO };
    let page: Vec<_> = texts.iter().map(|text| object(text)).collect();
    let done = content.work(Some(term), |ledger| {
        ledger.list(content, &page)?;
        ledger.end_listing(content, Some(vec![1]), limits)
    });
    assert_eq!(done.unwrap(), None);
}

fn knows(content: &Content, text: &str) -> bool {
    content.memory.find(&Address::parse(text).unwrap()).is_some()
}

fn cookie(content: &Content) -> Option<Vec<u8>> {
    content.work(None, |ledger| Ok(ledger.cookie.clone())).unwrap()
}

#[test]
fn age_and_state_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("r.redb");
    let (content, term) = open(&path);
    assert_eq!((content.is_complete(), content.age()), (false, None));
    complete(&content, term, &["joe@x", "@y"]);
    let Some(ago) = Instant::now().checked_sub(Duration::from_secs(3)) else { unreachable!() };
    content.confirm(ago, true);
    content.close();
    let (content, _) = open(&path);
    assert!(content.is_complete() && knows(&content, "joe@x"));
    assert!(content.memory.catches_all(&Domain::parse("y").unwrap()));
    assert!(content.age().is_some_and(|age| (3..60).contains(&age.as_secs())), "{:?}", content.age());
    assert!(!content.is_current(), "nobody tells changes yet");
    assert_eq!(cookie(&content), Some(vec![1]));
}

#[test]
fn a_damaged_file_is_moved_aside_and_nobody_is_forgotten_meanwhile() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("r.redb");
    let aside = directory.path().join("r.redb.damaged");
    // Whatever it is: the next start has no content and goes on.
    for junk in [vec![b'x'; 10], vec![0; 100_000], b"redb\x1a\x0a\xa9\x0d\x0a".repeat(10_000)] {
        std::fs::write(&path, junk).unwrap();
        let (content, term) = open(&path);
        assert!(!content.is_complete() && aside.exists());
        complete(&content, term, &["joe@x"]);
        content.close();
        std::fs::remove_file(&aside).unwrap();
    }
    let names: Vec<String> = (0..3000).map(|n| format!("u{n}@example.com")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (content, term) = open(&path);
    complete(&content, term, &names);
    content.close();
    let whole = std::fs::read(&path).unwrap();
    // A byte anywhere.
    for at in (4096..whole.len()).step_by(whole.len() / 23) {
        let mut bytes = whole.clone();
        for byte in &mut bytes[at..(at + 64).min(whole.len())] {
            *byte ^= 0x55;
        }
        std::fs::write(&path, &bytes).unwrap();
        let (content, _) = open(&path);
        if content.is_complete() {
            assert!(names.iter().all(|name| knows(&content, name)), "damaged at {at}");
        } else {
            assert!(aside.exists());
            std::fs::remove_file(&aside).unwrap();
        }
        content.close();
    }
    // In the middle of work: who is known stays known, and a listing puts everything right.
    std::fs::write(&path, &whole).unwrap();
    let (content, term) = open(&path);
    let lost = content.work(Some(term), |_| Err::<(), _>(store::StoreError::Garbled));
    assert!(lost.is_err() && aside.exists());
    assert!(content.is_complete() && names.iter().all(|name| knows(&content, name)));
    assert_eq!(cookie(&content), None);
    let (term, _) = content.begin_term().unwrap();
    complete(&content, term, &names[1..]);
    assert!(!knows(&content, names[0]) && content.memory.len() == 2999);
    content.close();
    let (content, _) = open(&path);
    assert!(content.is_complete() && content.memory.len() == 2999);
}

#[test]
fn without_a_disk_everything_is_in_memory_until_there_is_one() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("state");
    std::fs::write(&place, "no directory").unwrap();
    let path = place.join("r.redb");
    let (content, term) = open(&path);
    complete(&content, term, &["joe@x"]);
    assert!(content.disk.error().is_some());
    assert!(content.is_complete() && knows(&content, "joe@x"));
    std::fs::remove_file(&place).unwrap();
    std::fs::create_dir(&place).unwrap();
    apply(&content, term, vec![put("ann@x")], 9);
    assert_eq!(content.disk.error(), None);
    content.close();
    let (content, _) = open(&path);
    assert!(content.is_complete() && knows(&content, "joe@x") && knows(&content, "ann@x"));
    assert_eq!(cookie(&content), Some(vec![9]));
}

#[test]
fn a_file_that_another_process_has_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("r.redb");
    let (first, term) = open(&path);
    complete(&first, term, &["joe@x"]);
    let (second, other) = open(&path);
    assert!(!second.is_complete(), "what the other one knows is its own");
    complete(&second, other, &["ann@x"]);
    assert!(second.disk.error().is_some_and(|error| error.contains("another process")));
    apply(&first, term, vec![put("bob@x")], 2);
    first.close();
    second.close();
}
