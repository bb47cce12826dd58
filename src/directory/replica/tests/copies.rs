//! The copy of the index, with changes, restarts, crashes and damage: whatever becomes of it, the replica knows what its file
//! says.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use proptest::prelude::*;

use super::super::{
    Answer, Change, ObjectId, Recipient,
    content::Content,
    copy,
    held::Limits,
    journal::Head,
    ledger::Ledger,
    store::{self, Store},
};
use super::{EXISTS, Server, ask, replica_of};
use crate::{
    address::{Address, Domain},
    directory::{Builder, Entry},
    policy::Attributes,
    store::disk::Disk,
};

const LIMITS: Limits = Limits { max_shrink: 1.0, confirmed_after: Duration::ZERO };

/// What happens to a replica and its files.
#[derive(Debug, Clone)]
enum Event {
    /// The object with this number stands for this address, suspended or not, or is gone.
    Tell(Vec<(u8, Option<(u8, bool)>)>),
    /// Everything is listed again, as it is.
    List,
    /// The copy under way is finished.
    Wait,
    Close,
    /// The process ends, whatever it does.
    Crash,
    /// The copy is put back as it was some time before, or in its place another one's.
    Old(prop::sample::Index),
    /// Some of the copy's bytes are others, or its end is missing.
    Damage(prop::sample::Index, Option<u8>),
    /// The replica's file is put back as it was, and the copy stays.
    Rewind,
}

struct Real {
    content: Arc<Content>,
    path: PathBuf,
    term: u64,
}

impl Real {
    fn open(path: &Path) -> Self {
        let content = Content::new("test");
        content.load(Some(path.to_owned())).unwrap();
        Self { content, path: path.to_owned(), term: 0 }
    }

    fn work<T>(&mut self, work: impl FnOnce(&mut Ledger, &Content) -> store::Result<T>) -> T {
        if self.term == 0 {
            self.term = self.content.begin_term().unwrap().0;
        }
        self.content.work(Some(self.term), |ledger| work(ledger, &self.content)).unwrap()
    }

    fn list(&mut self, known: &Model) {
        let page: Vec<_> = known.iter().map(|(id, (at, is))| (object(*id), recipients(*at, *is))).collect();
        self.work(|ledger, content| {
            ledger.begin_listing();
            ledger.list(content, &page)?;
            ledger.end_listing(content, None, LIMITS).map(drop)
        });
    }

    fn tell(&mut self, told: &[(u8, Option<(u8, bool)>)]) {
        let changes = told.iter().map(|(id, stands)| match stands {
            Some((at, is)) => Change::Put(object(*id), recipients(*at, *is)),
            None => Change::Remove(object(*id)),
        });
        let changes: Vec<_> = changes.collect();
        self.work(|ledger, content| ledger.apply(content, changes, None));
    }

    fn wait(&mut self) {
        self.work(Ledger::wait_for_copy);
    }

    /// The files as they are when the process ends now, copied to where the next one finds them.
    fn crash(self, to: &Path) -> Self {
        for (from, to) in [(self.path.clone(), to.to_owned()), (copy::path(&self.path), copy::path(to))] {
            if from.exists() {
                fs::copy(from, to).unwrap();
            }
        }
        self.content.close();
        Self::open(to)
    }
}

/// Object to address and whether it is suspended.
type Model = BTreeMap<u8, (u8, bool)>;

fn object(id: u8) -> ObjectId {
    vec![id].into()
}

fn address(number: u8) -> Address {
    Address::parse(format!("u{}@{}", number / 2, ["x", "y.example"][usize::from(number % 2)])).unwrap()
}

fn recipients(number: u8, suspended: bool) -> Vec<Recipient> {
    let attributes = Attributes { suspended, ..Attributes::default() };
    vec![Recipient { entry: Entry::Address(address(number)), attributes }]
}

/// Each address by its number, and whether it is suspended.
fn addresses(known: &Model) -> BTreeMap<u8, bool> {
    let mut addresses = BTreeMap::new();
    for (at, suspended) in known.values() {
        *addresses.entry(*at).or_insert(true) &= suspended;
    }
    addresses
}

/// Whether the replica knows exactly this, or how it is wrong.
fn compare(content: &Content, known: &Model) -> Result<(), String> {
    let expected = addresses(known);
    for number in 0..40 {
        let found = content.memory.find(&address(number)).map(|found| found.suspended);
        if found != expected.get(&number).copied() {
            return Err(format!("{}: {found:?}, and not {:?}", address(number), expected.get(&number)));
        }
    }
    let (len, expected) = (content.memory.len(), expected.len() as u64);
    if len == expected { Ok(()) } else { Err(format!("{len} addresses of {expected}")) }
}

fn event() -> impl Strategy<Value = Event> {
    let told = (0_u8..30, proptest::option::weighted(0.7, (0_u8..40, any::<bool>())));
    prop_oneof![
        6 => proptest::collection::vec(told, 1..5).prop_map(Event::Tell),
        1 => Just(Event::List),
        4 => Just(Event::Wait),
        3 => Just(Event::Close),
        3 => Just(Event::Crash),
        2 => any::<prop::sample::Index>().prop_map(Event::Old),
        2 => (any::<prop::sample::Index>(), proptest::option::of(1_u8..)).prop_map(|(at, by)| Event::Damage(at, by)),
        1 => Just(Event::Rewind),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_becomes_of_the_copy_the_replica_knows_what_its_file_says(events in proptest::collection::vec(event(), 1..30)) {
        let directory = tempfile::tempdir().unwrap();
        let file = |n: usize| directory.path().join(format!("r{n}.redb"));
        let mut starts = 0;
        let mut known: Model = (0..20).map(|n| (n, (n, n % 3 == 0))).collect();
        let mut real = Real::open(&file(0));
        real.list(&known);
        real.wait();
        let mut copies: Vec<Vec<u8>> = vec![fs::read(copy::path(&real.path)).unwrap()];
        let mut before: Option<(Vec<u8>, Model)> = None;
        for event in events {
            match &event {
                Event::Tell(told) => {
                    real.tell(told);
                    for (id, stands) in told {
                        match stands {
                            Some(stands) => drop(known.insert(*id, *stands)),
                            None => drop(known.remove(id)),
                        }
                    }
                }
                Event::List if known.is_empty() => {}
                Event::List => real.list(&known),
                Event::Wait => {
                    real.wait();
                    copies.extend(fs::read(copy::path(&real.path)));
                }
                Event::Close => {
                    real.content.close();
                    before = Some((fs::read(&real.path).unwrap(), known.clone()));
                    real = Real::open(&real.path);
                }
                Event::Crash => {
                    starts += 1;
                    real = real.crash(&file(starts));
                }
                Event::Old(which) => {
                    real.content.close();
                    fs::write(copy::path(&real.path), &copies[which.index(copies.len())]).unwrap();
                    real = Real::open(&real.path);
                }
                Event::Damage(at, by) => {
                    real.content.close();
                    let path = copy::path(&real.path);
                    if let Ok(mut bytes) = fs::read(&path) {
                        let at = at.index(bytes.len());
                        match by {
                            Some(by) => bytes[at] ^= by,
                            None => bytes.truncate(at),
                        }
                        fs::write(path, bytes).unwrap();
                    }
                    real = Real::open(&real.path);
                }
                Event::Rewind => if let Some((bytes, then)) = &before {
                    real.content.close();
                    fs::write(&real.path, bytes).unwrap();
                    known = then.clone();
                    real = Real::open(&real.path);
                }
            }
            prop_assert_eq!(compare(&real.content, &known), Ok(()), "after {:?}", event);
            prop_assert!(real.content.is_complete(), "after {:?}", event);
        }
    }
}

/// A replica of these with a whole copy, closed.
fn closed(path: &Path, known: &Model) {
    let mut real = Real::open(path);
    real.list(known);
    real.wait();
    real.content.close();
}

/// What a start would take from the copy: `None`, if it has to read the file.
fn used(path: &Path) -> Option<usize> {
    let (head, index) = copy::read(path).ok()??;
    let health = crate::store::disk::Health::new("test");
    let store = Store::open(Disk::open(Some(path.to_owned()), health), false).unwrap();
    store.since(head).unwrap().map(|_| index.len())
}

#[test]
fn a_start_takes_the_copy_and_what_came_since() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("r.redb");
    let mut known: Model = (0..20).map(|n| (n, (n, false))).collect();
    closed(&path, &known);
    assert_eq!(used(&path), Some(20));
    let mut real = Real::open(&path);
    assert_eq!(compare(&real.content, &known), Ok(()));
    assert!(real.content.is_complete());
    real.tell(&[(3, None), (4, Some((35, true)))]);
    known.remove(&3);
    known.insert(4, (35, true));
    // As a crash leaves it: nothing was closed.
    let real = real.crash(&directory.path().join("s.redb"));
    assert_eq!(compare(&real.content, &known), Ok(()));
    real.content.close();
    assert_eq!(used(&path), Some(20), "the copy is the same, and the rest is in the journal");
}

/// Any byte, and any length.
#[test]
fn a_damaged_copy_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("r.redb");
    closed(&path, &(0..20).map(|n| (n, (n, false))).collect());
    let whole = fs::read(copy::path(&path)).unwrap();
    for at in 0..whole.len() {
        for bit in [1, 0x80] {
            let mut bytes = whole.clone();
            bytes[at] ^= bit;
            fs::write(copy::path(&path), bytes).unwrap();
            assert!(copy::read(&path).is_err(), "byte {at}");
        }
        fs::write(copy::path(&path), &whole[..at]).unwrap();
        assert!(copy::read(&path).is_err(), "{at} bytes");
    }
    fs::write(copy::path(&path), [&whole[..], b"x"].concat()).unwrap();
    assert!(copy::read(&path).is_err());
    fs::write(copy::path(&path), &whole).unwrap();
    assert!(copy::read(&path).unwrap().is_some());
    // Half of the next one is no harm.
    fs::write(copy::path_of_new(&path), &whole[..whole.len() / 2]).unwrap();
    assert_eq!(used(&path), Some(20));
}

#[test]
fn a_copy_of_another_file_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let [one, other] = ["a.redb", "b.redb"].map(|name| directory.path().join(name));
    let known: Model = (0..20).map(|n| (n, (n, false))).collect();
    closed(&one, &known);
    closed(&other, &(0..20).map(|n| (n, (n + 1, true))).collect());
    fs::copy(copy::path(&other), copy::path(&one)).unwrap();
    assert_eq!(used(&one), None);
    let real = Real::open(&one);
    assert_eq!(compare(&real.content, &known), Ok(()));
}

/// What is known of these after a look at the file: where it is damaged nobody with an attribute.
fn left_of(content: &Content, known: &Model) -> Model {
    let mut left = known.clone();
    if !content.is_complete() {
        let suspended: Vec<u8> =
            addresses(known).into_iter().filter(|(_, is)| *is).map(|(at, _)| at).collect();
        left.retain(|_, (at, _)| !suspended.contains(at));
    }
    left
}

/// A damaged file is noticed before it is written to, also where a copy spared its reading: who is known stays known, unless he
/// may be refused for what is known, and everything is listed again.
#[test]
fn a_damaged_file_behind_a_whole_copy_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("r.redb");
    let known: Model = (0..200).map(|n| (n, (n % 40, n % 40 == 7))).collect();
    closed(&path, &known);
    let whole = fs::read(&path).unwrap();
    let new = fs::read(copy::path(&path)).unwrap();
    let mut lost = 0;
    for at in (4096..whole.len()).step_by(whole.len() / 61) {
        let mut bytes = whole.clone();
        let end = (at + 64).min(bytes.len());
        bytes[at..end].iter_mut().for_each(|byte| *byte ^= 0x55);
        fs::write(&path, bytes).unwrap();
        fs::write(copy::path(&path), &new).unwrap();
        let real = Real::open(&path);
        if real.content.complete.load(Ordering::Relaxed) {
            assert_eq!(compare(&real.content, &known), Ok(()), "damaged at {at}");
            real.content.begin_term().unwrap();
            let left = left_of(&real.content, &known);
            assert_eq!(compare(&real.content, &left), Ok(()), "damaged at {at}, and looked at");
        } else {
            assert_eq!(real.content.memory.len(), 0, "damaged at {at}");
        }
        real.content.close();
        lost += usize::from(fs::remove_file(directory.path().join("r.redb.damaged")).is_ok());
    }
    assert!(lost > 0, "some of it was damaged");
}

/// Both files, as a backup has them.
fn saved(path: &Path) -> (Vec<u8>, Vec<u8>) {
    (fs::read(path).unwrap(), fs::read(copy::path(path)).unwrap())
}

/// Of either file an older one may be put back, or both, from one time or from several: the replica's file says what counts.
#[test]
fn of_files_that_were_put_back_the_replicas_own_counts() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("r.redb");
    let mut known: Model = (0..20).map(|n| (n, (n, false))).collect();
    closed(&path, &known);
    // What was there, at several times: copies are as old as the first time, as the first one, and as the last.
    let mut times = vec![(saved(&path), known.clone())];
    let tell = |known: &mut Model, told: &[(u8, Option<(u8, bool)>)], waits: bool| {
        let mut real = Real::open(&path);
        real.tell(told);
        for (id, stands) in told {
            match stands {
                Some(stands) => drop(known.insert(*id, *stands)),
                None => drop(known.remove(id)),
            }
        }
        if waits {
            real.wait();
        }
        real.content.close();
        (saved(&path), known.clone())
    };
    times.push(tell(&mut known, &[(3, None), (4, Some((35, true)))], false));
    let many: Vec<_> = (5..14).map(|n| (n, Some((n, true)))).collect();
    times.push(tell(&mut known, &many, true));
    times.push(tell(&mut known, &[(3, Some((3, true))), (4, None), (5, None)], false));
    let copies: Vec<_> = times.iter().map(|((_, copy), _)| copy.clone()).collect();
    assert_eq!(copies[0], copies[1]);
    assert!(copies[1] != copies[2] && copies[2] == copies[3]);

    // The file's time by the copy's time: how many addresses the copy has that is used.
    let expected = [
        [Some(20), Some(20), None, None],
        [Some(20), Some(20), None, None],
        // What a copy has goes from the journal with the change that comes behind it.
        [Some(20), Some(20), Some(19), Some(19)],
        [None, None, Some(19), Some(19)],
    ];
    for (of_file, ((file, _), then)) in times.iter().enumerate() {
        for (of_copy, copy) in copies.iter().enumerate() {
            fs::write(&path, file).unwrap();
            fs::write(copy::path(&path), copy).unwrap();
            assert_eq!(used(&path), expected[of_file][of_copy], "file {of_file}, copy {of_copy}");
            fs::write(&path, file).unwrap();
            let mut real = Real::open(&path);
            assert_eq!(compare(&real.content, then), Ok(()), "file {of_file}, copy {of_copy}");
            // And it goes on from there, where the copy must not catch up with what another time said.
            let mut then = then.clone();
            real.tell(&[(19, Some((39, true))), (18, None)]);
            then.insert(19, (39, true));
            then.remove(&18);
            real.content.close();
            let real = Real::open(&path);
            assert_eq!(compare(&real.content, &then), Ok(()), "file {of_file}, copy {of_copy}, gone on");
            real.content.close();
        }
    }
}

/// `/dev/full` is a disk without room for anything.
#[test]
fn a_disk_that_is_full_costs_the_copy_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("r.redb");
    let mut known: Model = (0..20).map(|n| (n, (n, false))).collect();
    let mut real = Real::open(&path);
    let fill = || std::os::unix::fs::symlink("/dev/full", copy::path_of_new(&path)).unwrap();
    fill();
    real.list(&known);
    real.wait();
    assert!(!copy::path(&path).exists() && fs::symlink_metadata(copy::path_of_new(&path)).is_err());
    assert!(fs::metadata("/dev/full").is_ok(), "only the name of it went");
    let turn = |real: &mut Real, known: &mut Model, suspended: bool| {
        let told: Vec<_> = (0..9).map(|n| (n, Some((n, suspended)))).collect();
        real.tell(&told);
        known.extend(told.iter().map(|(id, stands)| (*id, stands.unwrap())));
        assert_eq!(compare(&real.content, known), Ok(()));
    };
    turn(&mut real, &mut known, true);
    real.content.close();

    // There is room again; and when that one is old there is none.
    let mut real = Real::open(&path);
    assert_eq!(compare(&real.content, &known), Ok(()));
    real.wait();
    assert!(copy::path(&path).exists());
    fill();
    turn(&mut real, &mut known, false);
    real.wait();
    turn(&mut real, &mut known, true);
    real.content.close();
    assert_eq!(used(&path), None, "the copy is older than the journal");
    let real = Real::open(&path);
    assert_eq!(compare(&real.content, &known), Ok(()));
}

/// Another process has the files: what they say is not this one's to tell, and its own goes into neither.
#[test]
fn a_copy_that_another_process_has_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("r.redb");
    let known: Model = (0..20).map(|n| (n, (n, n % 3 == 0))).collect();
    let mut first = Real::open(&path);
    first.list(&known);
    first.wait();
    let copied = fs::read(copy::path(&path)).unwrap();
    let mut second = Real::open(&path);
    assert_eq!(second.content.memory.len(), 0);
    assert!(!second.content.is_complete());
    let other: Model = (0..20).map(|n| (n, (n + 15, false))).collect();
    second.list(&other);
    second.wait();
    assert_eq!(compare(&second.content, &other), Ok(()));
    assert_eq!(fs::read(copy::path(&path)).unwrap(), copied);
    assert!(!copy::path_of_new(&path).exists());
    first.tell(&[(3, None)]);
    second.content.close();
    first.content.close();
    let known: Model = known.into_iter().filter(|(id, _)| *id != 3).collect();
    let third = Real::open(&path);
    assert_eq!(compare(&third.content, &known), Ok(()));
}

/// Damage to what the last change wrote: whatever is read is what went before it or behind it, never some of both, before
/// the file was looked at and then.
#[test]
fn damage_to_the_last_change_never_tells_half_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let [path, then] = ["r.redb", "s.redb"].map(|name| directory.path().join(name));
    let before: Model = (0..40).map(|n| (n, (n, n == 20))).collect();
    closed(&path, &before);
    let copied = fs::read(copy::path(&path)).unwrap();
    let old = fs::read(&path).unwrap();
    let mut real = Real::open(&path);
    real.tell(&[0, 1, 2, 3].map(|n| (n, Some((n, true)))));
    let last: Model = before.iter().map(|(id, (at, is))| (*id, (*at, *is || *id < 4))).collect();
    real.tell(&[(10, None), (11, None), (20, Some((20, false)))]);
    let mut behind: Model =
        last.iter().filter(|(id, _)| !(10..12).contains(*id)).map(|(&id, &is)| (id, is)).collect();
    behind.insert(20, (20, false));
    // As a crash leaves it.
    let new = fs::read(&path).unwrap();
    real.content.close();

    let is_one = |content: &Content| {
        [&behind, &last].iter().any(|known| compare(content, &left_of(content, known)).is_ok())
    };
    let pages = (0..new.len()).step_by(4096).filter(|&at| old.get(at..at + 4096) != new.get(at..at + 4096));
    let (mut damaged, mut lost) = (0, 0);
    for at in pages.flat_map(|page| [page, page + 40, page + 1500]).filter(|at| *at >= 4096) {
        let mut bytes = new.clone();
        let end = (at + 16).min(bytes.len());
        bytes[at..end].iter_mut().for_each(|byte| *byte ^= 0x55);
        fs::write(&then, bytes).unwrap();
        fs::write(copy::path(&then), &copied).unwrap();
        let content = Content::new("test");
        content.load(Some(then.clone())).unwrap();
        if content.is_complete() {
            assert!(is_one(&content), "damaged at {at}");
            content.begin_term().unwrap();
            assert!(is_one(&content), "damaged at {at}, and looked at");
        } else {
            assert_eq!(content.memory.len(), 0, "damaged at {at}");
        }
        content.close();
        damaged += 1;
        lost += usize::from(fs::remove_file(directory.path().join("s.redb.damaged")).is_ok());
    }
    assert!(damaged > 10 && lost > 0, "{lost} of {damaged}");
}

/// Puts a copy in the place of the replica's that has these instead, whole and of the right time.
fn forge(path: &Path, entries: &[(&str, bool)]) {
    let (head, _) = copy::read(path).unwrap().unwrap();
    let mut builder = Builder::default();
    for (text, suspended) in entries {
        let attributes = Attributes { suspended: *suspended, ..Attributes::default() };
        builder.add(&Entry::parse(text.as_bytes()).unwrap(), attributes);
    }
    copy::write(path, head, &builder.finish(), &AtomicBool::new(false)).unwrap();
}

/// No checksum tells a copy that was wrong from the start (by a fault of the program, or of the memory). Nobody is refused for
/// what it says, before it is compared with the file and then.
#[tokio::test]
async fn a_copy_that_is_not_what_the_file_says_refuses_nobody() {
    let right = [("joe@x", false), ("ann@x", false), ("sue@x", true), ("@y", false)];
    for wrong in [
        &[("joe@x", false), ("sue@x", true), ("@y", false)][..],
        &[("joe@x", false), ("ann@x", false), ("sue@x", true)],
        &[("joe@x", true), ("ann@x", true), ("sue@x", true), ("@y", true)],
        &[("joe@x", false), ("ann@x", false), ("sue@x", false), ("@y", false)],
        &[("joe@x", false), ("ann@x", false), ("sue@x", true), ("@y", false), ("bob@x", false)],
        &[("joe@x", false), ("amy@x", false), ("sue@x", true), ("@y", false)],
        &[],
        &right,
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r.redb");
        let mut real = Real::open(&path);
        real.work(|ledger, content| {
            ledger.begin_listing();
            let page = right.map(|(text, suspended)| {
                let attributes = Attributes { suspended, ..Attributes::default() };
                let entry = Entry::parse(text.as_bytes()).unwrap();
                (text.as_bytes().into(), vec![Recipient { entry, attributes }])
            });
            ledger.list(content, &page)?;
            ledger.end_listing(content, None, LIMITS)
        });
        real.wait();
        real.content.close();
        forge(&path, wrong);

        // The directory knows whom it told of, and nobody of @y by name.
        let server = Arc::new(Server::default());
        let told = right
            .map(|(text, suspended)| (text.to_owned(), Attributes { suspended, ..Attributes::default() }));
        server.known.lock().unwrap().extend(told);
        let replica = replica_of(&server, Content::new("corp"));
        replica.content.load(Some(path.clone())).unwrap();
        assert_eq!(replica.addresses(), wrong.len() as u64, "the copy is taken");
        for (is_down, is_checked) in [(true, false), (false, false), (false, true), (true, true)] {
            *server.down.lock().unwrap() = is_down;
            if is_checked {
                replica.content.begin_term().unwrap();
            }
            for address in ["joe@x", "ann@x", "any@y"] {
                let answer = match address {
                    "any@y" if replica.catches_all(&Domain::parse("y").unwrap()) => EXISTS,
                    _ => ask(&replica, address).await,
                };
                let is_known = is_checked || !is_down && address != "any@y";
                let in_doubt = match answer {
                    Answer::Unknown(_) => true,
                    Answer::Exists(known) => known.unsure,
                    Answer::Absent => false,
                };
                let is_right = answer == EXISTS || !is_known && in_doubt;
                assert!(is_right, "{address}: {answer:?}, down: {is_down}, checked: {is_checked}, {wrong:?}");
            }
            if is_checked {
                let suspended = Attributes { suspended: true, ..Attributes::default() };
                // The list is not current, so that this has to be confirmed.
                let answer = Answer::Exists(Attributes { unsure: is_down, ..suspended });
                assert_eq!(ask(&replica, "sue@x").await, answer);
                assert_eq!(replica.addresses(), 4);
            }
        }
        replica.content.work(None, |ledger| ledger.wait_for_copy(&replica.content)).unwrap();
        replica.content.close();
        assert_eq!(used(&path), Some(4), "the copy is made anew");
        let (_, index) = copy::read(&path).unwrap().unwrap();
        assert!(index.find(&Address::parse("ann@x").unwrap()).is_some());
    }
}

/// The file turns out to be damaged behind a copy that nobody can compare any more: whoever is known without an attribute stays
/// known, and nobody is refused.
#[test]
fn of_a_copy_that_can_not_be_compared_nothing_is_left_to_refuse_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("r.redb");
    let known: Model = (0..40).map(|n| (n, (n, n % 2 == 1))).collect();
    closed(&path, &known);
    let content = Content::new("test");
    content.load(Some(path.clone())).unwrap();
    assert!(content.is_complete() && !content.is_sure());
    // All but the first page, which is in use.
    let file = fs::File::options().write(true).open(&path).unwrap();
    let length = file.metadata().unwrap().len();
    file.write_all_at(&vec![0x55; usize::try_from(length).unwrap() - 4096], 4096).unwrap();
    content.begin_term().unwrap();
    assert!(directory.path().join("r.redb.damaged").exists());
    let check = |content: &Content| {
        assert!(!content.is_complete());
        for number in 0..40 {
            let found = content.memory.find(&address(number));
            assert_eq!(found, (number % 2 == 0).then(Attributes::default), "{number}");
        }
    };
    check(&content);
    content.close();
    let content = Content::new("test");
    content.load(Some(path)).unwrap();
    check(&content);
}

/// Nothing can be written for a long time, or a copy takes too long: the journal, which each change makes longer, has an end.
#[test]
fn a_journal_without_a_copy_has_an_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("r.redb");
    let mut known: Model = (0..20).map(|n| (n, (n, false))).collect();
    let mut real = Real::open(&path);
    real.list(&known);
    real.wait();
    real.content.disk.failed(&std::io::ErrorKind::StorageFull.into(), None);
    let mut longest = 0;
    for turn in 0..100_u8 {
        let told = [(turn % 20, Some((turn % 40, turn % 3 == 0)))];
        real.tell(&told);
        known.insert(told[0].0, told[0].1.unwrap());
        longest = longest.max(real.work(|ledger, _| ledger.journaled()));
        assert_eq!(compare(&real.content, &known), Ok(()));
    }
    assert!((20..50).contains(&longest), "{longest}");
    real.content.close();
    assert_eq!(used(&path), None, "the copy is of a time that no journal leads from");
    let mut real = Real::open(&path);
    assert_eq!(compare(&real.content, &known), Ok(()));
    real.wait();
    real.content.close();
    assert_eq!(used(&path), Some(addresses(&known).len()));
}

#[test]
fn a_head_reads_back() {
    let bytes: [u8; Head::LENGTH] = std::array::from_fn(|n| u8::try_from(n).unwrap());
    assert_eq!(Head::decode(&bytes).unwrap().encode(), bytes);
    for length in [0, 7, 23, 25] {
        assert_eq!(Head::decode(&vec![0; length]), None);
    }
}
