//! Hints from the kernel (inotify(7)) that a file may have changed.
//!
//! What tells of a change is an entry of a directory: the file's own, that of each symbolic link on the way to it, or
//! that of the first directory on the way that is missing. So directories are watched, for what is done to the
//! entries that matter. Never told: who only opens, reads or writes a file; a write is told when the file is closed.
//! Never woken: anybody but who waits here, and not for other files.
//!
//! Hints only: a network's file system has none, nor has who may watch nothing more. On failure, said once in the log,
//! [`Hints::changed`] never returns, and whoever waits for it looks at the files by the clock.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsString,
    future::pending,
    io::ErrorKind,
    path::{Component, Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use futures_util::StreamExt;
use inotify::{EventMask, EventOwned, EventStream, Inotify, WatchDescriptor, WatchMask, Watches};

/// Files that are watched.
#[derive(Debug)]
pub struct Hints {
    inotify: Option<(Watches, tokio::sync::Mutex<Events>)>,
    watched: Mutex<Watched>,
}

#[derive(Debug, Default)]
struct Watched {
    /// The entries of a directory that matter.
    names: HashMap<WatchDescriptor, HashSet<OsString>>,
    /// Directories that can't be watched, which was said.
    refused: HashSet<PathBuf>,
}

/// A buffer for dozens of events, and at least one with the longest name.
type Events = EventStream<[u8; 4096]>;

impl Hints {
    /// Nothing is watched yet.
    ///
    /// # Panics
    /// Outside of a runtime that has I/O.
    #[must_use]
    pub fn new() -> Self {
        let events = Inotify::init().and_then(|inotify| inotify.into_event_stream([0; 4096]));
        let events = events.inspect_err(|error| {
            tracing::warn!(%error, "no hints about changed files, they are looked at by the clock");
        });
        let inotify = events.ok().map(|events| (events.watches(), events.into()));
        Self { inotify, watched: Mutex::default() }
    }

    /// Watches these files, too, where they are now. What moves or goes on the way to them ends that: who was hinted
    /// at a change, and now and then who was not, says it again *before* looking at the files. Blocks.
    pub fn watch(&self, paths: &[PathBuf]) {
        let Some((watches, _)) = &self.inotify else { return };
        for (directory, name) in paths.iter().flat_map(|path| entries(path)) {
            let added = watches.clone().add(&directory, CHANGES);
            let mut watched = self.watched();
            match added {
                Ok(descriptor) => {
                    watched.names.entry(descriptor).or_default().insert(name);
                    watched.refused.remove(&directory);
                }
                Err(error) => {
                    if watched.refused.insert(directory.clone()) {
                        tracing::warn!(
                            ?directory,
                            %error,
                            "no hints about files in a directory, they are looked at by the clock"
                        );
                    }
                }
            }
        }
    }

    /// Waits until one of the files may have changed since it was watched.
    pub async fn changed(&self) {
        let Some((_, events)) = &self.inotify else { return pending().await };
        let mut events = events.lock().await;
        while let Some(event) = events.next().await {
            match event {
                Ok(event) if self.matters(&event) => return,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::warn!(%error, "no more hints about changed files, they are looked at by the clock");
                    break;
                }
            }
        }
        pending::<()>().await;
    }

    fn matters(&self, event: &EventOwned) -> bool {
        let mut watched = self.watched();
        if event.mask.contains(EventMask::IGNORED) {
            return watched.names.remove(&event.wd).is_some();
        }
        match &event.name {
            Some(name) => watched.names.get(&event.wd).is_some_and(|names| names.contains(name)),
            // The directory itself; or so much happened that the kernel does not know any more what.
            None => true,
        }
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Hints {
    fn default() -> Self {
        Self::new()
    }
}

/// The entries that decide what `path` leads to, as directory and name: each symbolic link on the way, and the file
/// itself or the first thing that is missing. A directory is named without links.
fn entries(path: &Path) -> Vec<(PathBuf, OsString)> {
    let mut found = Vec::new();
    let mut links = 0;
    let mut directory = PathBuf::from(".");
    // What is still to go, the next step last.
    let mut way = steps(path);
    while let Some(step) = way.pop() {
        let entry = directory.join(&step);
        if step == ".." || entry.parent().is_none() {
            directory = entry;
            continue;
        }
        match std::fs::read_link(&entry) {
            Ok(target) => {
                found.push((directory.clone(), step));
                links += 1;
                if links == LINKS {
                    break;
                }
                way.extend(steps(&target));
            }
            // Not a link, says readlink(2).
            Err(error) if error.kind() == ErrorKind::InvalidInput && !way.is_empty() => directory = entry,
            Err(_) => {
                found.push((directory, step));
                break;
            }
        }
    }
    found
}

/// The steps of a path, the first one last.
fn steps(path: &Path) -> Vec<OsString> {
    let steps = path.components().filter(|step| *step != Component::CurDir);
    let mut steps: Vec<_> = steps.map(|step| step.as_os_str().to_owned()).collect();
    steps.reverse();
    steps
}

/// What may give a path other content: a file or link that comes, goes, was written, or has other permissions, and the
/// same of the directory itself. Not that a file was opened, read or is being written, which is most of what happens.
const CHANGES: WatchMask = WatchMask::CLOSE_WRITE
    .union(WatchMask::MOVED_TO)
    .union(WatchMask::MOVED_FROM)
    .union(WatchMask::CREATE)
    .union(WatchMask::DELETE)
    .union(WatchMask::ATTRIB)
    .union(WatchMask::DELETE_SELF)
    .union(WatchMask::MOVE_SELF)
    .union(WatchMask::ONLYDIR);

/// As many as Linux follows (path_resolution(7)).
const LINKS: usize = 40;

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File, Permissions},
        io::{Read, Write},
        os::unix::fs::{PermissionsExt, symlink},
        time::Duration,
    };

    use futures_util::poll;
    use tokio::time::timeout;

    use super::*;

    /// A directory with `list` in it, which is watched.
    struct Scene {
        dir: tempfile::TempDir,
        fence: tempfile::TempDir,
        hints: Hints,
    }

    impl Scene {
        fn new() -> Self {
            let [dir, fence] = [(); 2].map(|()| tempfile::tempdir().unwrap());
            let scene = Self { dir, fence, hints: Hints::new() };
            fs::write(scene.path("list"), "a\n").unwrap();
            scene.watch();
            scene
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn watch(&self) {
            self.hints.watch(&[self.path("list")]);
        }

        /// What was told of until now: how many events, and how many of them are hints. The kernel tells in order,
        /// so that all came before one that is made here.
        async fn told(&self) -> (usize, usize) {
            let (watches, stream) = self.hints.inotify.as_ref().unwrap();
            let fence = watches.clone().add(self.fence.path(), WatchMask::CREATE).unwrap();
            let made = self.fence.path().join("made");
            File::create(&made).unwrap();
            fs::remove_file(&made).unwrap();
            let (mut stream, mut events, mut hints) = (stream.lock().await, 0, 0);
            loop {
                let event = timeout(PATIENCE, stream.next()).await.expect("an event").unwrap().unwrap();
                if event.wd == fence {
                    return (events, hints);
                }
                events += 1;
                hints += usize::from(self.hints.matters(&event));
            }
        }

        async fn hints_after(&self, change: impl FnOnce()) -> usize {
            assert_eq!(self.told().await.1, 0, "nothing before the change");
            change();
            self.told().await.1
        }
    }

    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn other_files_of_the_directory_are_nobodys_business() {
        let scene = Scene::new();
        let mut log = File::create(scene.path("log")).unwrap();
        scene.told().await;
        for _ in 0..100 {
            writeln!(log, "a line").unwrap();
            File::open(scene.path("log")).unwrap().read_to_end(&mut Vec::new()).unwrap();
            File::open(scene.path("list")).unwrap().read_to_end(&mut Vec::new()).unwrap();
            fs::read_dir(scene.dir.path()).unwrap().count();
        }
        assert_eq!(scene.told().await, (0, 0), "opened, read and written: not even an event");

        drop(log);
        fs::write(scene.path("other"), "a\n").unwrap();
        fs::rename(scene.path("other"), scene.path("another")).unwrap();
        fs::set_permissions(scene.path("another"), Permissions::from_mode(0o600)).unwrap();
        fs::remove_file(scene.path("another")).unwrap();
        fs::create_dir(scene.path("directory")).unwrap();
        let (events, hints) = scene.told().await;
        assert!(events > 5, "{events}");
        assert_eq!(hints, 0);
    }

    #[tokio::test]
    async fn each_way_to_change_a_file_is_told() {
        let scene = Scene::new();
        let path = scene.path("list");
        let mut open = File::options().append(true).open(&path).unwrap();
        assert_eq!(scene.hints_after(|| writeln!(open, "b").unwrap()).await, 0, "not done yet");
        assert!(scene.hints_after(|| drop(open)).await > 0, "written in place");
        let told = scene
            .hints_after(|| {
                fs::write(scene.path("new"), "b\n").unwrap();
                fs::rename(scene.path("new"), &path).unwrap();
            })
            .await;
        assert_eq!(told, 1, "replaced by a rename");
        for mode in [0o000, 0o644] {
            let permissions = Permissions::from_mode(mode);
            assert!(
                scene.hints_after(|| fs::set_permissions(&path, permissions).unwrap()).await > 0,
                "{mode:o}"
            );
        }
        assert!(scene.hints_after(|| fs::rename(&path, scene.path("away")).unwrap()).await > 0, "moved away");
        assert!(scene.hints_after(|| fs::hard_link(scene.path("away"), &path).unwrap()).await > 0, "linked");
        assert!(scene.hints_after(|| fs::remove_file(&path).unwrap()).await > 0, "removed");
        assert!(scene.hints_after(|| symlink("away", &path).unwrap()).await > 0, "a symbolic link");
        scene.watch();
        assert!(
            scene.hints_after(|| fs::write(scene.path("away"), "c\n").unwrap()).await > 0,
            "behind the link"
        );
        let permissions = Permissions::from_mode(0o750);
        let told = scene.hints_after(|| fs::set_permissions(scene.dir.path(), permissions).unwrap()).await;
        assert!(told > 0, "the directory may be entered");
    }

    /// How ConfigMaps are mounted: `list` → `..data/list`, `..data` → a directory with a date.
    #[tokio::test]
    async fn a_link_on_the_way_that_is_swapped_is_told() {
        let scene = Scene::new();
        fs::remove_file(scene.path("list")).unwrap();
        for version in ["..1", "..2"] {
            fs::create_dir(scene.path(version)).unwrap();
            fs::write(scene.path(version).join("list"), version).unwrap();
        }
        symlink("..1", scene.path("..data")).unwrap();
        symlink("..data/list", scene.path("list")).unwrap();
        scene.watch();
        scene.told().await;
        symlink("..2", scene.path("..new")).unwrap();
        let swap = || fs::rename(scene.path("..new"), scene.path("..data")).unwrap();
        assert_eq!(scene.hints_after(swap).await, 1);
        scene.watch();
        let write = || fs::write(scene.path("..2/list"), "new").unwrap();
        assert!(scene.hints_after(write).await > 0, "it is in the new directory now");
        assert!(scene.hints_after(|| fs::remove_dir_all(scene.path("..1")).unwrap()).await > 0);
        scene.watch();
        assert!(scene.hints_after(write).await > 0);
    }

    #[tokio::test]
    async fn a_directory_that_goes_and_comes_back_is_told() {
        let scene = Scene::new();
        let (directory, list) = (scene.path("a"), scene.path("a/b/list"));
        let watch = || scene.hints.watch(std::slice::from_ref(&list));
        watch();
        assert!(
            scene.hints_after(|| fs::create_dir_all(scene.path("a/b")).unwrap()).await > 0,
            "a step of the way"
        );
        watch();
        assert!(scene.hints_after(|| fs::write(&list, "a\n").unwrap()).await > 0, "the file");
        assert!(
            scene.hints_after(|| fs::rename(scene.path("a/b"), scene.path("c")).unwrap()).await > 0,
            "moved"
        );
        watch();
        assert!(
            scene.hints_after(|| fs::rename(scene.path("c"), scene.path("a/b")).unwrap()).await > 0,
            "back"
        );
        watch();
        assert!(scene.hints_after(|| fs::write(&list, "b\n").unwrap()).await > 0, "as before");
        assert!(scene.hints_after(|| fs::remove_dir_all(&directory).unwrap()).await > 0, "gone");
        watch();
        assert!(scene.hints_after(|| fs::create_dir(&directory).unwrap()).await > 0, "made again");
        watch();
        assert!(scene.hints_after(|| fs::create_dir(scene.path("a/b")).unwrap()).await > 0);
        watch();
        assert!(scene.hints_after(|| fs::write(&list, "c\n").unwrap()).await > 0, "as before");
        watch();
        assert_eq!(scene.hints.watched().names.len(), 3, "two hold a list, one is between: none is gone");
    }

    #[tokio::test]
    async fn who_waits_is_woken_by_a_watched_file_alone() {
        let scene = Scene::new();
        let other = || fs::write(scene.path("other"), "a\n").unwrap();
        other();
        let mut waiting = Box::pin(scene.hints.changed());
        let woken = poll!(&mut waiting);
        assert!(woken.is_pending(), "events of another file");
        other();
        fs::write(scene.path("list"), "b\n").unwrap();
        timeout(PATIENCE, waiting).await.expect("the file changed");
        let (events, _) = scene.told().await;
        assert_eq!(events, 0, "all was read at once");
    }

    /// More than /proc/sys/fs/inotify/max_queued_events.
    #[tokio::test]
    async fn too_many_events_at_once_are_a_hint() {
        let scene = Scene::new();
        let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        let limit: usize = limit.trim().parse().unwrap();
        let other = [scene.path("x"), scene.path("y")];
        fs::write(&other[0], "").unwrap();
        for at in 0..=limit / 2 {
            fs::rename(&other[at % 2], &other[1 - at % 2]).unwrap();
        }
        fs::write(scene.path("list"), "b\n").unwrap();
        timeout(PATIENCE, scene.hints.changed()).await.expect("what was lost may have been the file");
    }

    #[tokio::test]
    async fn who_can_have_no_hints_waits_in_vain() {
        let scene = Scene::new();
        let without = Hints { inotify: None, watched: Mutex::default() };
        without.watch(&[scene.path("list")]);
        fs::write(scene.path("list"), "b\n").unwrap();
        assert!(poll!(Box::pin(without.changed())).is_pending());

        // A way through a file, and a circle.
        symlink("circle", scene.path("circle")).unwrap();
        let hints = Hints::new();
        hints.watch(&[scene.path("list/x"), scene.path("circle"), PathBuf::from("/"), PathBuf::new()]);
        assert_eq!(hints.watched().refused, [scene.path("list")].into());
        fs::remove_file(scene.path("list")).unwrap();
        fs::create_dir(scene.path("list")).unwrap();
        hints.watch(&[scene.path("list/x")]);
        assert!(hints.watched().refused.is_empty(), "it can be now");
    }

    #[test]
    fn the_entries_that_decide() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let at = |path: &str| root.join(path);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::write(at("a/b/file"), "").unwrap();
        symlink("b", at("a/relative")).unwrap();
        symlink(at("a"), at("absolute")).unwrap();
        symlink("../absolute/relative/file", at("a/up")).unwrap();
        for (path, expected) in [
            ("a/b/file", vec![("a/b", "file")]),
            ("a/./b//file", vec![("a/b", "file")]),
            ("a/relative/file", vec![("a", "relative"), ("a/b", "file")]),
            ("absolute/b/file", vec![("", "absolute"), ("a/b", "file")]),
            ("a/up", vec![("a", "up"), ("", "absolute"), ("a", "relative"), ("a/b", "file")]),
            ("a/missing", vec![("a", "missing")]),
            ("a/missing/file", vec![("a", "missing")]),
        ] {
            // Compared as the directories that they are: one may be named through `..`.
            let found: Vec<_> = entries(&at(path))
                .into_iter()
                .map(|(directory, name)| (directory.canonicalize().unwrap(), name))
                .collect();
            let expected: Vec<_> = expected
                .into_iter()
                .map(|(directory, name)| (at(directory).canonicalize().unwrap(), OsString::from(name)))
                .collect();
            assert_eq!(found, expected, "{path}");
        }
        assert_eq!(entries(Path::new("Cargo.toml")), [(PathBuf::from("."), "Cargo.toml".into())]);
    }
}
