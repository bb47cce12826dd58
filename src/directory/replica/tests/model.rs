//! A replica against a plain model of what it should know: random changes, listings and restarts, and a process that is
//! killed.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use proptest::prelude::*;

use super::super::{
    Change, Instant, ObjectId, Recipient,
    content::Content,
    held::{Held, Limits, Survey, judge},
};
use crate::{address::Address, directory::Entry, policy::Attributes};

const LIMITS: Limits = Limits { max_shrink: 0.3, confirmed_after: Duration::ZERO };

/// What happens to a replica.
#[derive(Debug, Clone)]
enum Event {
    Apply(Vec<Told>, Option<u8>),
    Begin,
    List(Vec<(u8, Stands)>),
    Keep(Vec<u8>),
    /// Every object as it is, but some.
    ListAllBut(BTreeSet<u8>),
    End(Option<u8>),
    Accept,
    Restart,
}

#[derive(Debug, Clone)]
enum Told {
    Put(u8, Stands),
    Remove(u8),
}

/// Address by number, and whether it is suspended.
type Stands = BTreeMap<u8, bool>;

/// The replica as the documentation has it, with no index and no disk.
#[derive(Debug, Default)]
struct Model {
    /// What each object stands for by the directory's latest word.
    objects: BTreeMap<u8, Stands>,
    /// What objects were listed without, until the listing is believed; and whether it was suspended.
    left: BTreeMap<(u8, u8), bool>,
    /// What the last complete listing did not have, and was not believed.
    doubted: BTreeSet<(u8, u8)>,
    seen: Option<BTreeSet<u8>>,
    cookie: Option<u8>,
    held: Option<Held>,
    complete: bool,
}

impl Model {
    fn happen(&mut self, event: &Event) {
        match event {
            Event::Apply(told, cookie) => {
                for told in told {
                    match told {
                        Told::Put(id, stands) => {
                            self.put(*id, stands);
                            if let Some(seen) = &mut self.seen {
                                seen.insert(*id);
                            }
                        }
                        Told::Remove(id) => self.put(*id, &Stands::new()),
                    }
                }
                self.cookie = cookie.or(self.cookie);
            }
            Event::Begin => self.seen = Some(BTreeSet::new()),
            Event::List(page) => {
                self.seen.get_or_insert_default();
                page.iter().for_each(|(id, stands)| self.list(*id, stands));
            }
            Event::ListAllBut(_) => unreachable!("it is made a page first"),
            Event::Keep(ids) => self.seen.get_or_insert_default().extend(ids),
            Event::End(cookie) => self.end(*cookie),
            Event::Accept => {
                if self.held.take().is_some() {
                    let doubted = std::mem::take(&mut self.doubted);
                    self.take_away(&doubted);
                    self.complete = true;
                }
            }
            Event::Restart => self.seen = None,
        }
    }

    fn put(&mut self, id: u8, stands: &Stands) {
        self.left.retain(|&(of, _), _| of != id);
        self.doubted.retain(|&(of, _)| of != id);
        self.objects.insert(id, stands.clone());
    }

    fn list(&mut self, id: u8, stands: &Stands) {
        self.seen.get_or_insert_default().insert(id);
        let before = self.objects.insert(id, stands.clone()).unwrap_or_default();
        self.left.extend(before.into_iter().map(|(address, suspended)| ((id, address), suspended)));
        let is_listed = |(of, address): &(u8, u8)| *of == id && stands.contains_key(address);
        self.left.retain(|row, _| !is_listed(row));
        self.doubted.retain(|row| !is_listed(row));
    }

    fn end(&mut self, cookie: Option<u8>) {
        let seen = self.seen.take().unwrap_or_default();
        let all: BTreeSet<(u8, u8)> = self.rows().map(|(row, _)| row).collect();
        let is_lost = |row: &(u8, u8)| !seen.contains(&row.0) || self.left.contains_key(row);
        let lost: BTreeSet<(u8, u8)> = all.iter().copied().filter(is_lost).collect();
        let stay: BTreeSet<u8> = all.difference(&lost).map(|row| row.1).collect();
        let gone = |rows: &mut dyn Iterator<Item = &(u8, u8)>| {
            rows.map(|row| row.1).filter(|address| !stay.contains(address)).collect::<BTreeSet<u8>>().len()
                as u64
        };
        let survey = Survey {
            had: self.addresses().len() as u64,
            lost: gone(&mut lost.iter()),
            newly: gone(&mut lost.difference(&self.doubted)),
        };
        self.held = judge(survey, self.held, LIMITS, Instant::now());
        if self.held.is_none() {
            self.take_away(&lost);
            self.doubted.clear();
            self.complete = true;
        } else {
            self.doubted = lost;
        }
        self.cookie = cookie;
    }

    fn take_away(&mut self, rows: &BTreeSet<(u8, u8)>) {
        for (id, stands) in &mut self.objects {
            stands.retain(|address, _| !rows.contains(&(*id, *address)));
        }
        self.left.retain(|row, _| !rows.contains(row));
    }

    fn rows(&self) -> impl Iterator<Item = ((u8, u8), bool)> {
        let own =
            self.objects.iter().flat_map(|(id, stands)| stands.iter().map(|(at, is)| ((*id, *at), *is)));
        own.chain(self.left.iter().map(|(row, suspended)| (*row, *suspended)))
    }

    fn addresses(&self) -> BTreeMap<u8, bool> {
        let mut all = BTreeMap::new();
        for ((_, address), suspended) in self.rows() {
            // While one object is not suspended, mail has somewhere to go.
            *all.entry(address).or_insert(true) &= suspended;
        }
        all
    }
}

/// The real one.
struct Real {
    content: Arc<Content>,
    path: PathBuf,
    term: u64,
}

impl Real {
    fn open(path: &Path) -> Self {
        let content = Content::new("test");
        content.load(Some(path.to_owned())).unwrap();
        let (term, _) = content.begin_term().unwrap();
        Self { content, path: path.to_owned(), term }
    }

    fn happen(&mut self, event: &Event) {
        let content = &self.content;
        let work = |work: &mut dyn FnMut(&mut super::ledger::Ledger) -> super::store::Result<()>| {
            content.work(Some(self.term), |ledger| work(ledger)).unwrap();
        };
        match event {
            Event::Apply(told, cookie) => {
                let changes = told.iter().map(|told| match told {
                    Told::Put(id, stands) => Change::Put(object(*id), recipients(stands)),
                    Told::Remove(id) => Change::Remove(object(*id)),
                });
                let changes: Vec<_> = changes.collect();
                work(&mut |ledger| ledger.apply(content, changes.clone(), cookie.map(|cookie| vec![cookie])));
            }
            Event::Begin => work(&mut |ledger| {
                ledger.begin_listing();
                Ok(())
            }),
            Event::List(page) => {
                let page: Vec<_> =
                    page.iter().map(|(id, stands)| (object(*id), recipients(stands))).collect();
                work(&mut |ledger| {
                    ledger.list(content, &page)?;
                    // What is new is in force; what has changed is when enough has.
                    for recipient in page.iter().flat_map(|(_, recipients)| recipients) {
                        let Entry::Address(address) = &recipient.entry else { unreachable!() };
                        assert!(content.memory.find(address).is_some(), "{address}");
                    }
                    ledger.commit(content)
                });
            }
            Event::ListAllBut(_) => unreachable!("it is made a page first"),
            Event::Keep(ids) => {
                let ids: Vec<_> = ids.iter().map(|id| object(*id)).collect();
                work(&mut |ledger| {
                    ledger.keep(&ids);
                    Ok(())
                });
            }
            Event::End(cookie) => {
                let cookie = cookie.map(|cookie| vec![cookie]);
                work(&mut |ledger| ledger.end_listing(content, cookie.clone(), LIMITS).map(drop));
            }
            Event::Accept => work(&mut |ledger| ledger.accept(content)),
            Event::Restart => {
                content.close();
                *self = Self::open(&self.path);
            }
        }
    }

    fn cookie(&self) -> Option<Vec<u8>> {
        self.content.work(None, |ledger| Ok(ledger.cookie.clone())).unwrap()
    }
}

fn object(id: u8) -> ObjectId {
    vec![id; 1 + usize::from(id % 3)].into()
}

fn address(number: u8) -> Address {
    Address::parse(name(number)).unwrap()
}

fn name(number: u8) -> String {
    format!("u{}@{}", number / 3, ["x", "xy", "y.example"][usize::from(number % 3)])
}

fn recipients(stands: &Stands) -> Vec<Recipient> {
    let recipients = stands.iter().map(|(number, suspended)| Recipient {
        entry: Entry::Address(address(*number)),
        attributes: Attributes { suspended: *suspended, ..Attributes::default() },
    });
    // The order is the directory's, and it may say things twice.
    recipients.clone().rev().chain(recipients.take(1)).collect()
}

fn stands() -> impl Strategy<Value = Stands> {
    proptest::collection::btree_map(0_u8..30, any::<bool>(), 0..4)
}

fn event() -> impl Strategy<Value = Event> {
    let told = prop_oneof![
        3 => (0_u8..20, stands()).prop_map(|(id, stands)| Told::Put(id, stands)),
        1 => (0_u8..20).prop_map(Told::Remove),
    ];
    prop_oneof![
        3 => (proptest::collection::vec(told, 0..6), any::<Option<u8>>()).prop_map(|(told, cookie)| Event::Apply(told, cookie)),
        1 => Just(Event::Begin),
        2 => proptest::collection::vec((0_u8..20, stands()), 0..8).prop_map(Event::List),
        1 => proptest::collection::vec(0_u8..20, 0..20).prop_map(Event::Keep),
        3 => proptest::collection::btree_set(0_u8..20, 0..4).prop_map(Event::ListAllBut),
        3 => any::<Option<u8>>().prop_map(Event::End),
        1 => Just(Event::Accept),
        1 => Just(Event::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_replica_knows_what_its_directory_told(events in proptest::collection::vec(event(), 1..25)) {
        let directory = tempfile::tempdir().unwrap();
        let mut real = Real::open(&directory.path().join("r.redb"));
        let mut model = Model::default();
        for event in events {
            let event = match event {
                Event::ListAllBut(but) => {
                    let page = model.objects.iter().filter(|(id, _)| !but.contains(id));
                    Event::List(page.map(|(id, stands)| (*id, stands.clone())).collect())
                }
                event => event,
            };
            model.happen(&event);
            real.happen(&event);
            let expected = model.addresses();
            for number in 0..30 {
                let found = real.content.memory.find(&address(number)).map(|found| found.suspended);
                prop_assert_eq!(found, expected.get(&number).copied(), "{} after {:?}", name(number), event);
            }
            prop_assert_eq!(real.content.memory.len(), expected.len() as u64);
            prop_assert_eq!(real.content.is_complete(), model.complete);
            prop_assert_eq!(real.cookie(), model.cookie.map(|cookie| vec![cookie]));
            let outcome = |held: Held| (held.from, held.to);
            prop_assert_eq!(real.content.held().map(outcome), model.held.map(outcome), "after {:?}", event);
            let mut keys = Vec::new();
            real.content.memory.for_each(|key, bits| {
                keys.push((String::from_utf8(key.to_vec()).unwrap(), bits == 1));
                Ok::<_, ()>(())
            }).unwrap();
            let mut all: Vec<_> = expected.into_iter().map(|(number, suspended)| (name(number), suspended)).collect();
            // An index has them in its own order.
            keys.sort();
            all.sort();
            prop_assert_eq!(keys, all);
        }
    }
}

/// The changes of one turn of the process that is killed; after `turn` of them object `n` stands for whatever the last
/// turn that it had part in said.
fn turn(turn: u64) -> Vec<Change> {
    let stands = |n: u64| {
        let text = format!("u{n}.{}@example.com", turn % 7);
        let entry = Entry::parse(text.as_bytes()).unwrap();
        vec![Recipient { entry, attributes: Attributes::default() }]
    };
    let id = |n: u64| -> ObjectId { n.to_be_bytes().into() };
    (0..5).map(|n| Change::Put(id((turn + n) % 50), stands((turn + n) % 50))).collect()
}

/// Not a test of its own: what is killed.
#[test]
fn writes_until_it_is_killed() {
    let Some(path) = std::env::var_os(KILLED) else { return };
    let real = Real::open(Path::new(&path));
    let begun = real.cookie().map_or(0, |cookie| u64::from_be_bytes(cookie.try_into().unwrap()));
    for now in begun + 1.. {
        let cookie = now.to_be_bytes().to_vec();
        let content = Arc::clone(&real.content);
        let page: Vec<_> = turn(now)
            .into_iter()
            .map(|change| match change {
                Change::Put(id, recipients) => (id, recipients),
                Change::Remove(id) => (id, Vec::new()),
            })
            .collect();
        // Now and then as a listing that ends later or never.
        let done = real.content.work(Some(real.term), |ledger| match now % 3 {
            0 => ledger.list(&content, &page),
            _ => ledger.apply(&content, (now - now % 3..=now).flat_map(turn).collect(), Some(cookie)),
        });
        done.unwrap();
        println!("{now}");
    }
}

#[test]
fn what_was_told_is_there_after_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("r.redb");
    let mut last = 0;
    for lines in [3, 1, 20, 57, 2] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "directory::replica::tests::model::writes_until_it_is_killed", "--nocapture"])
            .env(KILLED, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let told = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let numbers = told.filter_map(|line| line.trim().parse::<u64>().ok());
        let done = numbers.take(lines).last().expect("it writes until it is killed");
        child.kill().unwrap();
        child.wait().unwrap();

        let real = Real::open(&path);
        let cookie = real.cookie().map_or(0, |cookie| u64::from_be_bytes(cookie.try_into().unwrap()));
        // A listing has no cookie: up to two turns were one.
        assert!(cookie + 1 >= done && cookie >= last, "{cookie} of {done}, before {last}");
        let mut objects: BTreeMap<ObjectId, Vec<Recipient>> = BTreeMap::new();
        for change in (0..=cookie).flat_map(turn) {
            if let Change::Put(id, recipients) = change {
                objects.insert(id, recipients);
            }
        }
        for recipient in objects.values().flatten() {
            let Entry::Address(address) = &recipient.entry else { unreachable!() };
            assert!(real.content.memory.find(address).is_some(), "{address} after {cookie}");
        }
        let may_be: Vec<Recipient> = turn(cookie + 1)
            .into_iter()
            .chain(objects.into_iter().map(|(id, recipients)| Change::Put(id, recipients)))
            .flat_map(|change| if let Change::Put(_, recipients) = change { recipients } else { Vec::new() })
            .collect();
        let known = |key: &[u8]| may_be.iter().any(|recipient| &*recipient.entry.key() == key);
        real.content
            .memory
            .for_each(
                |key, _| if known(key) { Ok(()) } else { Err(String::from_utf8_lossy(key).into_owned()) },
            )
            .unwrap();
        let aside = directory.path().join("r.redb.damaged");
        assert!(!aside.exists(), "a kill damages nothing");
        real.content.close();
        last = cookie;
    }
}

const KILLED: &str = "BACKSTOP_TEST_KILLED";
