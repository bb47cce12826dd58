//! Real files, changed as editors, scripts, crashes and Kubernetes change them.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::*;
use crate::telemetry::Registry;

/// A directory, a keeper at work, and one list.
struct Scene {
    dir: tempfile::TempDir,
    registry: Registry,
    keeper: Arc<Keeper>,
    stop: CancellationToken,
}

impl Scene {
    fn new() -> Self {
        let registry = Registry::default();
        let keeper = Arc::new(Keeper::new(Metrics::register(&registry)));
        let stop = CancellationToken::new();
        let (running, token) = (Arc::clone(&keeper), stop.clone());
        TaskTracker::new().spawn(async move { running.run(token).await });
        Self { dir: tempfile::tempdir().unwrap(), registry, keeper, stop }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file so that it appears at once.
    fn replace(&self, name: &str, content: &str) {
        let new = self.path(&format!("{name}.new"));
        fs::write(&new, content).unwrap();
        fs::rename(new, self.path(name)).unwrap();
    }

    fn open(&self, path: &Path) -> Result<Watched<Vec<String>>, OpenError> {
        let spec = Spec {
            name: "list".to_owned(),
            kind: "lines",
            paths: vec![path.to_owned()],
            report: Box::new(|_| {}),
        };
        self.keeper.open(spec, parse)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn parse(texts: &mut [Text]) -> Result<Loaded<Vec<String>>, LoadError> {
    let mut content = Vec::new();
    for text in texts {
        let mut lines = text.lines();
        while let Ok(Some(line)) = lines.next() {
            content.push(String::from_utf8_lossy(line.text).into_owned());
        }
    }
    assert!(!content.contains(&"panic".to_owned()), "the parser breaks");
    let entries = content.len() as u64;
    Ok(Loaded { content, entries, faults: Faults::default(), may_shrink: false })
}

fn numbers(count: usize) -> String {
    (0..count).map(|n| format!("{n}\n")).collect()
}

fn count(list: &Watched<Vec<String>>) -> Option<usize> {
    list.current().as_ref().map(|lines| lines.len())
}

/// Waits until something is so.
async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < Duration::from_secs(30), "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_is_picked_up_however_it_was_changed() {
    let scene = Scene::new();
    let path = scene.path("list");
    scene.replace("list", &numbers(20));
    let list = scene.open(&path).unwrap();
    assert_eq!(count(&list), Some(20));

    fs::write(&path, numbers(21)).unwrap();
    until("edited in place", || count(&list) == Some(21)).await;
    scene.replace("list", &numbers(22));
    until("replaced by a rename", || count(&list) == Some(22)).await;
    fs::remove_file(&path).unwrap();
    fs::write(&path, numbers(23)).unwrap();
    until("removed and made again", || count(&list) == Some(23)).await;
    // The same size, and the old time.
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, numbers(23).replace("7\n", "x\n")).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    until("changed behind the clock's back", || list.current().as_ref().unwrap()[7] == "x").await;
    assert!(scene.registry.page().contains("backstop_file_entries{list=\"list\"} 23"));
}

/// Nobody hints at that: it is seen by the clock.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_written_and_stays_open_is_picked_up() {
    use std::{io::Write, sync::atomic::AtomicUsize};
    let scene = Scene::new();
    let path = scene.path("list");
    fs::write(&path, numbers(20)).unwrap();
    let looks = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&looks);
    let report = Box::new(move |_: &Status| {
        seen.fetch_add(1, Ordering::SeqCst);
    });
    let spec = Spec { name: "list".to_owned(), kind: "lines", paths: vec![path.clone()], report };
    let list = scene.keeper.open(spec, parse).unwrap();
    until("watched, too", || looks.load(Ordering::SeqCst) > 1).await;
    let mut file = fs::File::options().append(true).open(&path).unwrap();
    writeln!(file, "20").unwrap();
    until("one more", || count(&list) == Some(21)).await;
    drop(file);
}

/// How ConfigMaps are mounted: `list` → `..data/list`, `..data` → a directory with a date.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_swapped_is_picked_up() {
    let scene = Scene::new();
    for (version, lines) in [("..1", 5), ("..2", 6)] {
        fs::create_dir(scene.path(version)).unwrap();
        fs::write(scene.path(version).join("list"), numbers(lines)).unwrap();
    }
    symlink("..1", scene.path("..data")).unwrap();
    symlink("..data/list", scene.path("list")).unwrap();
    let list = scene.open(&scene.path("list")).unwrap();
    assert_eq!(count(&list), Some(5));
    symlink("..2", scene.path("..new")).unwrap();
    fs::rename(scene.path("..new"), scene.path("..data")).unwrap();
    until("the other version", || count(&list) == Some(6)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_being_written_is_never_believed() {
    use std::io::Write;
    let scene = Scene::new();
    let path = scene.path("list");
    fs::write(&path, numbers(100)).unwrap();
    let list = scene.open(&path).unwrap();

    let done = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let (path, done) = (path.clone(), Arc::clone(&done));
        move || {
            let mut file = fs::File::create(path).unwrap();
            // Slowly, for longer than a file has to lie still; it passes 90 of 100 lines on its way.
            for n in 0..200 {
                writeln!(file, "{n}").unwrap();
                std::thread::sleep(Duration::from_millis(15));
            }
            done.store(true, Ordering::SeqCst);
        }
    });
    while !done.load(Ordering::SeqCst) {
        assert_eq!(count(&list), Some(100));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    writer.join().unwrap();
    until("the whole file", || count(&list) == Some(200)).await;
    assert_eq!(list.status().held, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn accidents_are_held_back_until_accepted_or_undone() {
    let scene = Scene::new();
    let path = scene.path("list");
    fs::write(&path, numbers(20)).unwrap();
    let list = scene.open(&path).unwrap();
    let held = || scene.registry.page().contains("backstop_file_held_back{list=\"list\"} 1");

    scene.replace("list", "");
    until("empty", || list.status().held == Some(Held::Empty)).await;
    assert!(held());
    assert_eq!(count(&list), Some(20));
    assert_eq!(scene.keeper.reload(false), [("list".to_owned(), Outcome::Held(Held::Empty))]);

    scene.replace("list", &numbers(17));
    until("shrunk", || list.status().held == Some(Held::Shrunk { from: 20, to: 17 })).await;
    assert_eq!(count(&list), Some(20));

    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    until("a directory", || {
        let error = FileError::NotAFile;
        list.status().held == Some(Held::Unreadable(LoadError::File { path: path.clone(), error }))
    })
    .await;
    assert_eq!(count(&list), Some(20));
    assert!(matches!(list.reload(true), Outcome::Held(_)), "what can't be read can't be accepted");

    fs::remove_dir(&path).unwrap();
    until("gone", || {
        matches!(list.status().held, Some(Held::Unreadable(LoadError::File { error: FileError::Io(_), .. })))
    })
    .await;
    assert!(list.status().stale > Duration::ZERO);

    scene.replace("list", &numbers(19));
    until("right again", || count(&list) == Some(19)).await;
    assert_eq!((list.status().held, list.status().stale), (None, Duration::ZERO));
    until("told", || !held()).await;

    scene.replace("list", &numbers(3));
    until("shrunk again", || list.status().held.is_some()).await;
    assert_eq!(scene.keeper.reload(true), [("list".to_owned(), Outcome::Taken(3))]);
    assert_eq!((count(&list), list.status().held), (Some(3), None));

    fs::write(&path, "").unwrap();
    until("empty", || list.status().held == Some(Held::Empty)).await;
    assert_eq!(list.reload(true), Outcome::Taken(0), "an empty list is a list, if somebody says so");
    assert_eq!(count(&list), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_content() {
    let scene = Scene::new();
    let path = scene.path("list");
    let missing = scene.open(&path).unwrap_err();
    assert!(matches!(
        missing.error,
        LoadError::File { error: FileError::Io(std::io::ErrorKind::NotFound), .. }
    ));
    let told =
        format!("{}: there is no such file; put it there, or take its path out of the", path.display());
    assert!(missing.to_string().contains(&told), "{missing}");

    fs::write(&path, "").unwrap();
    let list = scene.open(&path).unwrap();
    assert_eq!((count(&list), list.status().held), (None, Some(Held::Empty)));
    fs::write(&path, numbers(2)).unwrap();
    until("content", || count(&list) == Some(2)).await;
}

#[test]
fn what_is_no_file_or_too_large_is_an_error_and_never_waited_for() {
    let registry = Registry::default();
    let keeper = Keeper::new(Metrics::register(&registry));
    let dir = tempfile::tempdir().unwrap();
    let (pipe, huge) = (dir.path().join("pipe"), dir.path().join("huge"));
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::File::create(&huge).unwrap().set_len(5 << 30).unwrap();
    for (path, expected) in [
        (pipe, FileError::NotAFile),
        (dir.path().to_owned(), FileError::NotAFile),
        (huge, FileError::TooLarge),
        (PathBuf::from("/dev/zero"), FileError::NotAFile),
    ] {
        let spec = Spec {
            name: "list".to_owned(),
            kind: "lines",
            paths: vec![path.clone()],
            report: Box::new(|_| {}),
        };
        let error = keeper.open(spec, parse).unwrap_err().error;
        assert_eq!(error, LoadError::File { path, error: expected });
    }
}

/// A reload of the configuration opens every list again; that must not be a way around the judgement.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_opened_again_keeps_what_it_holds() {
    let scene = Scene::new();
    let path = scene.path("list");
    fs::write(&path, numbers(20)).unwrap();
    let list = scene.open(&path).unwrap();
    fs::write(&path, "").unwrap();
    until("held back", || list.status().held.is_some()).await;
    let notice = list.status().notice().expect("somebody should look");
    assert!(
        notice.ends_with(": it holds no entries; the old content stays until it is written again, or `backstop reload --accept`"),
        "{notice}"
    );
    let again = scene.open(&path).unwrap();
    assert_eq!(count(&again), Some(20));
    drop((list, again));
    let anew = scene.open(&path).unwrap();
    assert_eq!(count(&anew), None, "nobody held it any more");
    let notice = anew.status().notice().expect("it is empty");
    assert!(notice.ends_with(": it holds no entries"), "there is no old content: {notice}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parser_that_breaks_takes_nothing_else_down() {
    let scene = Scene::new();
    let path = scene.path("list");
    fs::write(&path, numbers(20)).unwrap();
    let list = scene.open(&path).unwrap();
    fs::write(&path, numbers(20) + "panic\n").unwrap();
    let reloading = list.clone();
    let reload = tokio::task::spawn_blocking(move || reloading.reload(false)).await;
    assert!(reload.is_err_and(|error| error.is_panic()));
    assert_eq!(count(&list), Some(20));
    fs::write(&path, numbers(21)).unwrap();
    until("content", || count(&list) == Some(21)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_see_whole_lists_only() {
    let scene = Scene::new();
    let path = scene.path("list");
    fs::write(&path, "a\n".repeat(500)).unwrap();
    let list = scene.open(&path).unwrap();
    let seen_b = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (list, seen_b) = (list.clone(), Arc::clone(&seen_b));
            std::thread::spawn(move || {
                while !seen_b.load(Ordering::SeqCst) {
                    let lines = list.current();
                    let lines = lines.as_ref().unwrap();
                    assert!(lines.iter().all(|line| *line == lines[0]) && lines.len() == 500);
                    if lines[0] == "b" {
                        seen_b.store(true, Ordering::SeqCst);
                    }
                }
            })
        })
        .collect();
    scene.replace("list", &"b\n".repeat(500));
    until("the other list", || seen_b.load(Ordering::SeqCst)).await;
    readers.into_iter().for_each(|reader| reader.join().unwrap());
}
