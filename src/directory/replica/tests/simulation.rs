//! A replica that follows a directory in a world that is made up: people come, change and go, also while they are listed; the
//! feed is cut, hangs, loses its place; the process ends, with and without a farewell, and begins anew from its files.
//!
//! Whenever the replica says that it is current it knows what the directory knew within the last five seconds, unless
//! something is held back; nobody is absent, or suspended, who was not within that time; and in the end it knows all.
//!
//! The feed acts in even milliseconds and the rest of the world in odd ones: so nothing depends on which of two threads is
//! faster.

use std::{fs, path::PathBuf};

use tempfile::TempDir;
use tokio_util::task::TaskTracker;

use super::*;
use crate::{
    clock,
    tests::simulation::{Scene, all, twice},
};

#[test]
fn in_memory() {
    all(0..160, async |scene| play(scene, false).await);
}

#[test]
fn with_its_files() {
    all(0..80, async |scene| play(scene, true).await);
}

#[test]
fn the_same_again() {
    twice(0..10, async |scene| play(scene, false).await);
    twice(0..10, async |scene| play(scene, true).await);
}

mod full {
    use super::*;

    #[test]
    fn in_memory() {
        all(10_000..18_000, async |scene| play(scene, false).await);
    }

    #[test]
    fn with_its_files() {
        all(10_000..15_000, async |scene| play(scene, true).await);
    }
}

async fn play(scene: &mut Scene, has_files: bool) {
    let mut world = World::new(has_files);
    for _ in 0..10 {
        world.change(scene);
    }
    world.start();
    for _ in 0..60 {
        world.compare(scene);
        match scene.random.below(16) {
            0..7 => world.change(scene),
            7 => {
                let is_down = !world.source().is_down && scene.random.once_in(2);
                scene.tell(format_args!("the directory is down: {is_down}"));
                world.source().is_down = is_down;
                *world.server.down.lock().unwrap() = is_down;
            }
            8 => {
                scene.tell(format_args!("the feed is cut"));
                world.source().is_cut = true;
            }
            9 => {
                let hangs = scene.random.once_in(2);
                scene.tell(format_args!("the feed hangs: {hangs}"));
                world.source().hangs = hangs;
            }
            10 => {
                scene.tell(format_args!("the directory forgets what has changed"));
                let mut source = world.source();
                source.first = source.log.len();
            }
            11 => {
                let outcome = world.replica.reload(true);
                scene.tell(format_args!("what is held back is accepted: {outcome:?}"));
            }
            12 => {
                // The host was suspended, or somebody has set its clock; back as well.
                let hour = Duration::from_secs(3600);
                let is_ahead = scene.random.once_in(2);
                clock::stopped::set(if is_ahead { clock::wall() + hour } else { clock::wall() - hour });
                scene.tell(format_args!("the time of day is an hour ahead: {is_ahead}"));
                let was_set_back = world.set_back.is_some_and(|at| clock::since(at) < Duration::from_secs(6));
                let is_current = world.replica.content.is_current();
                assert!(
                    !is_ahead || was_set_back || !is_current,
                    "nobody heard of the directory for an hour"
                );
                if !is_ahead {
                    world.set_back = Some(clock::now());
                }
            }
            13 => {
                let is_crash = scene.random.once_in(2);
                scene.tell(format_args!("it begins anew, without a farewell: {is_crash}"));
                world.restart(is_crash).await;
            }
            _ => {}
        }
        world.ask(scene).await;
        let time = [1, 10, 100, 1000, 3000, 6000][scene.random.below(6)] * (1 + scene.random.below(4)) as u64;
        // What is held back may be confirmed after five minutes.
        let time = if scene.random.once_in(40) { 400_000 } else { time };
        pause(world.began, time | 1, 1).await;
    }
    world.heal(scene).await;
}

/// All of it.
struct World {
    began: Instant,
    source: Arc<Mutex<Source>>,
    server: Arc<Server>,
    replica: Arc<Replica>,
    /// Where it is written down, one directory after the other.
    stores: Vec<TempDir>,
    /// When somebody set the clock back.
    set_back: Option<Instant>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// What the directory knows.
#[derive(Debug)]
struct Source {
    objects: BTreeMap<u8, Stands>,
    /// What has become of which object, in order.
    log: Vec<(u8, Stands)>,
    /// What came before is forgotten.
    first: usize,
    /// Of each address: from when on it is there, and whether suspended.
    states: Vec<Vec<(Instant, Option<bool>)>>,
    is_down: bool,
    is_cut: bool,
    hangs: bool,
}

/// Addresses by their numbers, and whether it is suspended there.
type Stands = BTreeMap<usize, bool>;

impl World {
    fn new(has_files: bool) -> Self {
        let began = clock::now();
        let source = Source {
            objects: BTreeMap::new(),
            log: Vec::new(),
            first: 0,
            states: vec![vec![(began, None)]; ADDRESSES],
            is_down: false,
            is_cut: false,
            hangs: false,
        };
        let server = Arc::new(Server::default());
        let replica = replica_of(&server, Content::new("corp"));
        let stores = if has_files { vec![store()] } else { Vec::new() };
        Self {
            began,
            source: Arc::new(Mutex::new(source)),
            server,
            replica,
            stores,
            set_back: None,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    fn source(&self) -> std::sync::MutexGuard<'_, Source> {
        self.source.lock().unwrap()
    }

    /// Follows the directory from now on.
    fn start(&mut self) {
        let (source, began) = (Arc::clone(&self.source), self.began);
        let script = move |writer: Writer| {
            let source = Arc::clone(&source);
            let run = async move {
                let mut writer = writer;
                let failure = feed(&mut writer, &source, began).await;
                (writer, failure)
            };
            Box::pin(run) as BoxFuture<'static, _>
        };
        *self.replica.feed.lock().unwrap() = Some(Feed::Scripted(Script(Box::new(script))));
        self.stop = CancellationToken::new();
        let store = self.stores.last().map(|store| store.path().to_owned());
        self.tasks.spawn(Arc::clone(&self.replica).follow(store, self.stop.clone()));
    }

    /// The process ends, and another one begins.
    async fn restart(&mut self, is_crash: bool) {
        let files = is_crash.then(|| self.stores.last()).flatten().map(|store| {
            // Another thread writes the copy of the index. Just after a start nothing may be loaded yet.
            let content = &self.replica.content;
            let _ = content.work(None, |ledger| ledger.wait_for_copy(content));
            copied(store)
        });
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks = TaskTracker::new();
        self.replica.close();
        self.stores.extend(files);
        pause(self.began, 1, 0).await;
        self.replica = replica_of(&self.server, Content::new("corp"));
        self.start();
        pause(self.began, 1, 1).await;
    }

    /// Something becomes of an object, and of the addresses that it has or had.
    fn change(&self, scene: &mut Scene) {
        let random = &mut scene.random;
        let id = u8::try_from(random.below(12)).expect("below 12");
        let count = random.below(4);
        let stands: Stands = (0..count).map(|_| (random.below(ADDRESSES), random.once_in(3))).collect();
        scene.tell(format_args!("object {id} stands for {stands:?}"));
        let mut source = self.source();
        source.objects.insert(id, stands.clone());
        source.log.push((id, stands));
        let mut known = self.server.known.lock().unwrap();
        for number in 0..ADDRESSES {
            let of_objects: Vec<bool> =
                source.objects.values().filter_map(|stands| stands.get(&number)).copied().collect();
            let state = (!of_objects.is_empty()).then(|| of_objects.iter().all(|suspended| *suspended));
            if source.states[number].last().map(|last| last.1) != Some(state) {
                source.states[number].push((clock::now(), state));
                match state {
                    Some(suspended) => {
                        known.insert(name(number), Attributes { suspended, ..Attributes::default() })
                    }
                    None => known.remove(&name(number)),
                };
            }
        }
    }

    /// What the address was within the last seconds.
    fn lately(&self, number: usize) -> Vec<Option<bool>> {
        let source = self.source();
        let states = &source.states[number];
        let from = clock::now().checked_sub(Duration::from_secs(5)).unwrap();
        let first = states.iter().rposition(|(at, _)| *at <= from).unwrap_or(0);
        states[first..].iter().map(|(_, state)| *state).collect()
    }

    fn compare(&self, scene: &mut Scene) {
        let content = &self.replica.content;
        let (is_current, held) = (content.is_current(), content.held().is_some());
        let counts = (content.memory.len(), self.source().objects.len());
        scene.tell(format_args!("current {is_current}, held back {held}, {counts:?}"));
        if !is_current || held {
            return;
        }
        for number in 0..ADDRESSES {
            let found = content.memory.find(&address(number)).map(|found| found.suspended);
            let lately = self.lately(number);
            assert!(lately.contains(&found), "{}: {found:?}, and was {lately:?}", name(number));
        }
    }

    async fn ask(&self, scene: &mut Scene) {
        let number = scene.random.below(ADDRESSES);
        let is_complete = self.replica.is_complete();
        let answer = ask(&self.replica, &name(number)).await;
        let lately = self.lately(number);
        scene.tell(format_args!("{}: {answer:?}", name(number)));
        match answer {
            Answer::Absent => assert!(lately.contains(&None), "{} was {lately:?}", name(number)),
            Answer::Exists(found) if found.suspended && !found.unsure => {
                // Whether he is gone is in doubt while that is held back; that he is not suspended is not.
                let may_be_gone = self.replica.content.held().is_some();
                let may_be = |state: &Option<bool>| *state == Some(true) || may_be_gone && state.is_none();
                assert!(lately.iter().any(may_be), "{} was {lately:?}", name(number));
            }
            Answer::Exists(_) => {}
            Answer::Unknown(Why::Down) => assert!(self.source().is_down),
            // It may yet list all of a domain.
            Answer::Unknown(Why::NoContent) => assert!(!is_complete),
            Answer::Unknown(why) => panic!("{why:?}"),
        }
    }

    /// From now on nothing is wrong: in the end it knows everybody.
    async fn heal(&mut self, scene: &mut Scene) {
        {
            let mut source = self.source();
            (source.is_down, source.is_cut, source.hangs) = (false, false, false);
        }
        *self.server.down.lock().unwrap() = false;
        pause(self.began, 60_001, 1).await;
        if self.replica.content.held().is_some() {
            self.replica.reload(true);
        }
        pause(self.began, 60_001, 1).await;
        self.compare(scene);
        let content = &self.replica.content;
        assert!(content.is_current() && content.held().is_none(), "it is not current in the end");
        for number in 0..ADDRESSES {
            let found = content.memory.find(&address(number)).map(|found| found.suspended);
            assert_eq!(Some(&found), self.lately(number).last(), "{} in the end", name(number));
        }
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.replica.close();
    }
}

/// Follows the directory from where the writer is, until that fails.
async fn feed(writer: &mut Writer, source: &Mutex<Source>, began: Instant) -> Failure {
    match follow(writer, source, began).await {
        Ok(never) => match never {},
        Err(failure) => failure,
    }
}

async fn follow(
    writer: &mut Writer,
    source: &Mutex<Source>,
    began: Instant,
) -> Result<std::convert::Infallible, Failure> {
    source.lock().unwrap().is_cut = false;
    wait(source, began, 0).await?;
    let mut at = writer.cookie().map(|cookie| usize::from_le_bytes(cookie.try_into().unwrap()));
    let mut listed = clock::now();
    loop {
        let is_forgotten = at.is_none_or(|at| at < source.lock().unwrap().first);
        // What is held back is listed again, until that says the same.
        let is_due = writer.holds_back() && clock::since(listed) > Duration::from_secs(310);
        if is_forgotten || is_due {
            at = Some(list(writer, source, began).await?);
            listed = clock::now();
        }
        let begin = at.unwrap_or_default();
        let (told, end, as_of) = {
            let source = source.lock().unwrap();
            let end = source.log.len().min(begin + 3);
            let told = source.log[begin..end].iter().map(|(id, stands)| match stands.is_empty() {
                true => Change::Remove([*id].into()),
                false => Change::Put([*id].into(), recipients(stands)),
            });
            (told.collect(), end, clock::now())
        };
        writer.apply(told, Some(end.to_le_bytes().to_vec())).await?;
        at = Some(end);
        if end == source.lock().unwrap().log.len() {
            writer.current(as_of, true);
            wait(source, began, 2500).await?;
        } else {
            wait(source, began, 20).await?;
        }
    }
}

/// Lists everybody, page by page; gives the place in the log as of the begin.
async fn list(writer: &mut Writer, source: &Mutex<Source>, began: Instant) -> Result<usize, Failure> {
    let begin = source.lock().unwrap().log.len();
    writer.begin_listing();
    let mut next = 0;
    loop {
        let page: Vec<(u8, Stands)> = {
            let source = source.lock().unwrap();
            let there = source.objects.range(next..).filter(|(_, stands)| !stands.is_empty());
            there.take(3).map(|(id, stands)| (*id, stands.clone())).collect()
        };
        let Some((last, _)) = page.last() else { break };
        next = last + 1;
        writer.list(page.iter().map(|(id, stands)| ([*id].into(), recipients(stands))).collect()).await?;
        wait(source, began, 200).await?;
    }
    writer.end_listing(Some(begin.to_le_bytes().to_vec())).await?;
    Ok(begin)
}

/// Lets time pass, unless the directory goes away in it.
async fn wait(source: &Mutex<Source>, began: Instant, millis: u64) -> Result<(), Failure> {
    pause(began, millis, 0).await;
    loop {
        let (is_gone, hangs) = {
            let mut source = source.lock().unwrap();
            (source.is_down || std::mem::take(&mut source.is_cut), source.hangs)
        };
        if is_gone {
            return Err(Failure::new(Why::Down, "the directory is gone"));
        }
        if !hangs {
            return Ok(());
        }
        pause(began, 4000, 0).await;
    }
}

/// For about so long, until an even or an odd millisecond.
async fn pause(began: Instant, millis: u64, odd: u64) {
    let now = u64::try_from(clock::since(began).as_millis()).expect("not that long");
    let end = now + millis;
    let end = end + u64::from(end % 2 != odd);
    tokio::time::sleep_until((began + Duration::from_millis(end)).into()).await;
}

fn store() -> TempDir {
    // Each change waits for the disk, which memory does not have.
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// The files as they are when the process ends now.
fn copied(from: &TempDir) -> TempDir {
    let to = store();
    copy_all(from.path(), to.path());
    to
}

fn copy_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir(&to).unwrap();
            copy_all(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn recipients(stands: &Stands) -> Vec<Recipient> {
    let of = |(number, suspended): (&usize, &bool)| Recipient {
        entry: Entry::Address(address(*number)),
        attributes: Attributes { suspended: *suspended, ..Attributes::default() },
    };
    stands.iter().map(of).collect()
}

fn name(number: usize) -> String {
    format!("u{number}@x")
}

fn address(number: usize) -> Address {
    Address::parse(name(number)).unwrap()
}

const ADDRESSES: usize = 16;
