//! A process that is killed while it changes a replica, and while a copy of its index is written: the next one knows exactly what
//! is in the replica's file.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use super::super::{Change, ObjectId, Recipient, content::Content, copy, held::Limits};
use crate::{directory::Entry, policy::Attributes};

/// Object by number: its address, and whether it is suspended.
type Model = BTreeMap<u64, (String, bool)>;

/// What the directory is before the first turn.
fn begin() -> Model {
    (0..OBJECTS).map(|id| (id, (address(id, 0), id % 9 == 0))).collect()
}

fn address(id: u64, version: u64) -> String {
    format!("u{id}.{version}@d{}.example", id % 3)
}

/// What a turn does to objects.
fn turn(turn: u64) -> BTreeMap<u64, Option<(String, bool)>> {
    if is_listing(turn) {
        return (0..12).map(|n| ((turn * 3 + n) % OBJECTS, None)).collect();
    }
    let stands = |id: u64| Some((address(id, turn % 5), (turn + id).is_multiple_of(4)));
    let mut told: BTreeMap<_, _> =
        (0..3).map(|n| (turn * 7 + n * 131) % OBJECTS).map(|id| (id, stands(id))).collect();
    told.insert((turn * 13 + 5) % OBJECTS, None);
    told
}

/// It does so by listing everything else.
fn is_listing(turn: u64) -> bool {
    turn.is_multiple_of(60)
}

/// The same to what was there.
fn take(model: &mut Model, told: BTreeMap<u64, Option<(String, bool)>>) {
    for (id, stands) in told {
        match stands {
            Some(stands) => drop(model.insert(id, stands)),
            None => drop(model.remove(&id)),
        }
    }
}

fn object(id: u64) -> ObjectId {
    id.to_be_bytes().into()
}

fn recipients((address, suspended): &(String, bool)) -> Vec<Recipient> {
    let attributes = Attributes { suspended: *suspended, ..Attributes::default() };
    vec![Recipient { entry: Entry::parse(address.as_bytes()).unwrap(), attributes }]
}

fn number(cookie: &[u8]) -> u64 {
    u64::from_be_bytes(cookie.try_into().unwrap())
}

/// Not a test of its own: what is killed.
#[test]
fn changes_and_copies_until_it_is_killed() {
    let Some(path) = std::env::var_os(KILLED) else { return };
    let content = Content::new("test");
    content.load(Some(path.into())).unwrap();
    let (term, cookie) = content.begin_term().unwrap();
    let mut model = begin();
    let limits = Limits { max_shrink: 1.0, confirmed_after: Duration::ZERO };
    let list = |model: &Model, turn: u64| {
        let page: Vec<_> = model.iter().map(|(id, stands)| (object(*id), recipients(stands))).collect();
        let listed = content.work(Some(term), |ledger| {
            ledger.begin_listing();
            ledger.list(&content, &page)?;
            ledger.end_listing(&content, Some(turn.to_be_bytes().into()), limits)
        });
        assert_eq!(listed.unwrap(), None);
    };
    let begun = cookie.as_deref().map(number);
    if begun.is_none() {
        list(&model, 0);
    }
    (1..=begun.unwrap_or(0)).for_each(|done| take(&mut model, turn(done)));
    for now in begun.unwrap_or(0) + 1.. {
        println!("{}", now - 1);
        let told = turn(now);
        take(&mut model, told.clone());
        if is_listing(now) {
            list(&model, now);
            continue;
        }
        let changes = told.iter().map(|(id, stands)| match stands {
            Some(stands) => Change::Put(object(*id), recipients(stands)),
            None => Change::Remove(object(*id)),
        });
        let cookie = Some(now.to_be_bytes().into());
        content.work(Some(term), |ledger| ledger.apply(&content, changes.collect(), cookie)).unwrap();
    }
}

/// Exactly what the file's cookie says was told is known, whether it comes from a copy or not.
#[test]
fn a_kill_at_any_moment_leaves_what_was_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("r.redb");
    let (mut of_copy, mut half) = (0, 0);
    let (mut model, mut at) = (begin(), 0);
    for round in 0..ROUNDS {
        let done = kill(&path, round % 2 == 0);
        half += usize::from(copy::path_of_new(&path).exists());

        let content = Content::new("test");
        content.load(Some(path.clone())).unwrap();
        of_copy += usize::from(!content.sure.load(Ordering::Acquire));
        let unchecked = known(&content);
        let cookie = content.begin_term().unwrap().1;
        let now = number(&cookie.unwrap());
        assert!(now >= done && now >= at, "{now}, and {done} was told, {at} before");
        (at + 1..=now).for_each(|done| take(&mut model, turn(done)));
        at = now;
        compare(&content, &model);
        assert_eq!(unchecked, known(&content), "round {round}: it was so before the file was looked at");
        assert!(content.is_sure() && content.is_complete());
        content.close();
        assert!(!directory.path().join("r.redb.damaged").exists(), "a kill damages nothing");
    }
    assert!(of_copy > ROUNDS / 4, "{of_copy} of {ROUNDS} starts took a copy");
    assert!(half > 0, "some were killed while a copy was written");
}

/// Runs the process on the file and kills it: at a random moment, or while a copy is being written. Gives the last turn that it
/// said was done.
fn kill(path: &Path, in_copy: bool) -> u64 {
    // A copy that was begun before is no sign.
    let _ = std::fs::remove_file(copy::path_of_new(path));
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "directory::replica::tests::kill::changes_and_copies_until_it_is_killed",
            "--nocapture",
        ])
        .env(KILLED, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let first = lines.by_ref().find_map(|line| line.trim().parse::<u64>().ok()).expect("it says what it did");
    let begun = Instant::now();
    let moment = Duration::from_micros(RandomState::new().hash_one(0) % 300_000);
    let limit = if in_copy { Duration::from_secs(30) } else { moment };
    while begun.elapsed() < limit && !(in_copy && copy::path_of_new(path).exists()) {
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    lines.filter_map(|line| line.trim().parse::<u64>().ok()).last().unwrap_or(first)
}

/// All that is known.
fn known(content: &Content) -> BTreeMap<String, u8> {
    let mut known = BTreeMap::new();
    let told = content.memory.for_each(|key, bits| {
        known.insert(String::from_utf8(key.to_vec()).unwrap(), bits);
        Ok::<_, ()>(())
    });
    told.unwrap();
    known
}

/// The replica knows exactly this.
fn compare(content: &Content, model: &Model) {
    let mut expected: BTreeMap<String, u8> = BTreeMap::new();
    for (address, suspended) in model.values() {
        expected.insert(address.clone(), u8::from(*suspended));
    }
    assert_eq!(known(content), expected);
    assert_eq!(content.memory.len(), expected.len() as u64);
    for id in 0..OBJECTS {
        for version in 0..5 {
            let address = address(id, version);
            assert_eq!(content.memory.get(address.as_bytes()), expected.get(&address).copied(), "{address}");
        }
    }
}

const KILLED: &str = "BACKSTOP_TEST_KILLED";
const OBJECTS: u64 = 2000;
const ROUNDS: usize = 12;
