//! Suspensions from real files.

use std::{fs, path::PathBuf};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::*;
use crate::{
    address::{Delimiters, candidates},
    files,
    store::{self, Key, LONGEST, Op, Store, Table},
    telemetry::Registry,
};

fn suspensions(dir: &tempfile::TempDir, texts: &[&str]) -> Result<Suspensions, OpenError> {
    let write = |(n, text): (usize, &&str)| -> PathBuf {
        let path = dir.path().join(format!("toriss_suspensions{n}.txt"));
        fs::write(&path, text).unwrap();
        path
    };
    let files = texts.iter().enumerate().map(write).collect();
    build(&Config { files })
}

fn build(config: &Config) -> Result<Suspensions, OpenError> {
    let registry = Registry::default();
    let store = Store::in_memory(store::Metrics::register(&registry));
    let keeper = Keeper::new(files::Metrics::register(&registry));
    Suspensions::build(config, &keeper, Arc::new(Commanded::new(store)))
}

fn check(suspensions: &Suspensions, address: &str) -> Option<Suspension> {
    let address = Address::parse(address).unwrap();
    let delimiters = Delimiters::default();
    let forms: Vec<_> = candidates(&address, &delimiters).collect();
    forms
        .iter()
        .map(|form| &form.address)
        .filter(|form| form.domain() == address.domain())
        .find_map(|form| suspensions.check(form))
}

/// CRLF and any case, as Toriss writes it.
#[test]
fn addresses_local_parts_and_domains_are_suspended() {
    let dir = tempfile::tempdir().unwrap();
    let first =
        "\u{feff}Joe@Example.COM\r\n# unpaid\r\nANN   # everywhere\r\n\r\n@example.org\r\nbob.jones\r\n";
    let suspensions = suspensions(&dir, &[first, "example.net\n"]).unwrap();
    use Suspension::{Address, Domain, Local};
    for (address, expected) in [
        ("joe@example.com", Some(Address)),
        ("JOE@example.com.", Some(Address)),
        ("joe+news@example.com", Some(Address)),
        ("prvs=0123456789=joe@example.com", Some(Address)),
        ("joe@example.edu", None),
        ("jo@example.com", None),
        ("ann@anything.example", Some(Local)),
        ("anna@example.com", None),
        ("anyone@example.org", Some(Domain)),
        ("anyone@sub.example.org", None),
        ("anyone@example.net", Some(Domain)),
        ("bob.jones@example.com", Some(Local)),
        // A forwarder's tag for somebody elsewhere who happens to bear a suspended name.
        ("SRS0=abcd=xy=example.org=x@example.com", None),
    ] {
        assert_eq!(check(&suspensions, address), expected, "{address}");
    }
}

#[test]
fn without_files_nobody_is_suspended() {
    let dir = tempfile::tempdir().unwrap();
    let none = suspensions(&dir, &[]).unwrap();
    assert_eq!((check(&none, "joe@example.com"), none.is_empty()), (None, true));
    let empty = suspensions(&dir, &["# nobody\n"]).unwrap();
    assert_eq!((check(&empty, "joe@example.com"), empty.is_empty()), (None, true));
    assert_eq!(empty.notices(), [""; 0]);
}

/// Unlike a list of recipients, this one refuses those whom it names: shorter is safer.
#[test]
fn whoever_is_gone_from_the_file_is_let_in_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let suspensions = suspensions(&dir, &["joe\nann\nbob\n"]).unwrap();
    for (text, suspended) in [("ann\n", [false, true]), ("", [false, false])] {
        fs::write(dir.path().join("toriss_suspensions0.txt"), text).unwrap();
        suspensions.files.as_ref().unwrap().reload(false);
        assert_eq!(["joe@x", "ann@x"].map(|address| check(&suspensions, address).is_some()), suspended);
    }
}

#[test]
fn a_file_that_makes_no_sense_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert!(suspensions(&dir, &["joe@example.com until tomorrow\nann@example.com unpaid\n"]).is_err());
    assert!(build(&Config { files: vec![dir.path().join("missing")] }).is_err());
}

/// The one that says more comes first; either is enough.
#[tokio::test]
async fn files_and_commands_add_up() {
    let dir = tempfile::tempdir().unwrap();
    let suspensions = suspensions(&dir, &["joe@example.com\nann@example.com\n"]).unwrap();
    let text = Some("Ask the owner".to_owned());
    for what in ["joe@example.com", "bob@example.com"] {
        let record = Record { text: text.clone(), ..Record::default() };
        let subject = Subject::parse(what).unwrap();
        assert!(!suspensions.commanded().suspend(&subject, record).await.unwrap());
    }
    let texts = ["joe+x@example.com", "ann@example.com", "bob@example.com", "eve@example.com"]
        .map(|address| check(&suspensions, address).map(|found| found.text().map(str::to_owned)));
    assert_eq!(texts, [Some(text.clone()), Some(None), Some(text), None]);
    assert_eq!(suspensions.len(), 4);
    suspensions.commanded().resume(&Subject::parse("joe@example.com").unwrap()).await.unwrap();
    assert_eq!(check(&suspensions, "joe@example.com"), Some(Suspension::Address));
}

/// Who was resumed elsewhere would be refused for good by a list that nobody can bring up to date.
#[tokio::test]
async fn a_list_that_is_too_old_refuses_nobody_for_good() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "ann@example.com\n").unwrap();
    let config = Config { files: vec![dir.path().join("file")] };
    let mut redis = backstop_harness::Redis::start();
    let shared = Shared::open(&redis.url()).await;
    let registry = Registry::default();
    let keeper = Keeper::new(files::Metrics::register(&registry));
    let commanded = Arc::new(Commanded::new(shared.store.clone()));
    let suspensions = Suspensions::build(&config, &keeper, Arc::clone(&commanded)).unwrap();
    let notices = |seconds| commanded.notice_at(now() + Duration::from_secs(seconds));
    assert!(notices(0).unwrap().contains("could not be read yet"), "{:?}", notices(0));
    for what in ["joe@example.com", "ann@example.com", "@example.org"] {
        commanded.suspend(&Subject::parse(what).unwrap(), Record::default()).await.unwrap();
    }
    commanded.refresh().await.unwrap();
    redis.kill();
    while commanded.refresh().await.is_ok() {}
    let found = |address: &str, seconds| {
        let address = Address::parse(address).unwrap();
        suspensions.check_at(&address, now() + Duration::from_secs(seconds)).map(|found| found.is_doubtful())
    };
    for (address, soon, later) in [
        ("joe@example.com", Some(false), Some(true)),
        ("who@example.org", Some(false), Some(true)),
        // a file says so, too
        ("ann@example.com", Some(false), Some(false)),
        ("bob@example.com", None, None),
    ] {
        assert_eq!((found(address, 110), found(address, 125)), (soon, later), "{address}");
    }
    assert_eq!(notices(20), None);
    assert!(notices(110).unwrap().contains(" s ago: they stay, until"), "{:?}", notices(110));
    assert!(notices(125).unwrap().contains("put off, not refused"), "{:?}", notices(125));
    let shown =
        suspensions.check_at(&Address::parse("joe@example.com").unwrap(), now() + Duration::from_secs(125));
    assert!(shown.unwrap().to_string().ends_with("(that may be over: the store does not answer)"));

    // It comes back, with nothing in it.
    redis.resume();
    while commanded.refresh().await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(
        (found("joe@example.com", 0), found("ann@example.com", 0), notices(0)),
        (None, Some(false), None)
    );
    shared.end().await;
}

/// What this process knows is the truth, however long its disk fails.
#[tokio::test]
async fn a_list_of_this_process_alone_is_never_too_old() {
    let dir = tempfile::tempdir().unwrap();
    let shared = Shared::open(&format!("embedded:{}", dir.path().display())).await;
    for store in [shared.store.clone(), Store::in_memory(store::Metrics::register(&Registry::default()))] {
        let commanded = Commanded::new(store);
        commanded.suspend(&Subject::parse("joe@example.com").unwrap(), Record::default()).await.unwrap();
        let next_year = now() + Duration::from_secs(365 * 24 * 3600);
        assert!(!commanded.is_behind(next_year) && commanded.notice_at(next_year).is_none());
    }
    shared.end().await;
}

/// Another version may keep something of its own beside them.
#[tokio::test]
async fn what_is_no_address_is_no_suspension() {
    let store = Store::in_memory(store::Metrics::register(&Registry::default()));
    let key = Key::new(Table::Suspensions, "changes");
    store.keep(&[Op::Put { key, value: b"7".to_vec(), ttl: LONGEST }]).await.unwrap();
    let commanded = Commanded::new(store);
    commanded.refresh().await.unwrap();
    assert!(commanded.is_empty(), "{:?}", commanded.all());
}

/// As many changes as there were before the store lost all of them.
#[tokio::test]
async fn a_store_that_was_emptied_is_read_anew() {
    let redis = backstop_harness::Redis::start();
    let shared = Shared::open(&redis.url()).await;
    let [here, there] = [(); 2].map(|()| Commanded::new(shared.store.clone()));
    let find =
        |commanded: &Commanded, address| commanded.find(&Address::parse(address).unwrap(), now()).is_some();
    here.suspend(&Subject::parse("joe@example.com").unwrap(), Record::default()).await.unwrap();
    there.refresh().await.unwrap();
    assert!(find(&there, "joe@example.com"));
    redis.command(&["flushall"]);
    here.suspend(&Subject::parse("ann@example.com").unwrap(), Record::default()).await.unwrap();
    for commanded in [&here, &there] {
        commanded.refresh().await.unwrap();
        let found = ["joe@example.com", "ann@example.com"].map(|address| find(commanded, address));
        assert_eq!(found, [false, true]);
    }
    redis.command(&["flushall"]);
    there.refresh().await.unwrap();
    assert!(there.is_empty());
    shared.end().await;
}

/// A store that is followed, as in the process.
struct Shared {
    store: Store,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Shared {
    async fn open(url: &str) -> Self {
        let config = store::Config { url: url.parse().unwrap(), ..store::Config::default() };
        let store = Store::open(&config, store::Metrics::register(&Registry::default())).await.unwrap();
        let stop = CancellationToken::new();
        let task = TaskTracker::new().spawn({
            let (store, stop) = (store.clone(), stop.clone());
            async move { store.follow(stop).await }
        });
        Self { store, stop, task }
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}
