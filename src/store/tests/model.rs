//! Every backend does what the documentation of [`Op`] says, as a model of it does.

use std::{
    cell::Cell,
    collections::BTreeMap,
    sync::atomic::{AtomicU32, Ordering},
};

use backstop_harness::Redis as Server;
use proptest::{prelude::*, test_runner::TestRunner};
use tokio::runtime::Runtime;

use super::*;

/// As documented, with nothing of how it is done. Nothing ends while a test runs.
#[derive(Debug, Default)]
struct Model(BTreeMap<(Table, Vec<u8>), (Vec<u8>, Duration)>);

impl Model {
    fn run(&mut self, op: &Op) -> Outcome {
        let at = (op.key().table, op.key().id.to_vec());
        let there = self.0.get(&at).map(|(value, _)| value.clone());
        let count = || there.as_ref().map_or(0, |digits| String::from_utf8_lossy(digits).parse().unwrap());
        match op {
            Op::Get(_) => Outcome::Value(there),
            Op::Count(_) => Outcome::Count(count()),
            Op::Put { value, ttl, .. } => {
                self.0.insert(at, (value.clone(), *ttl));
                Outcome::Done
            }
            Op::PutNew { value, ttl, .. } => {
                self.0.entry(at).or_insert_with(|| (value.clone(), *ttl));
                Outcome::Value(there)
            }
            Op::Add { by, ttl, .. } => {
                let sum: u64 = count() + u64::from(*by);
                self.0.entry(at).or_insert_with(|| (Vec::new(), *ttl)).0 = sum.to_string().into_bytes();
                Outcome::Count(sum)
            }
            Op::Remove(_) => {
                self.0.remove(&at);
                Outcome::Done
            }
        }
    }
}

/// What is done with the store.
#[derive(Debug, Clone)]
enum Step {
    Run(Vec<Op>),
    Keep(Vec<Op>),
}

#[test]
fn in_memory() {
    let runtime = Runtime::new().unwrap();
    behaves(&runtime, &Store::in_memory(Metrics::register(&Registry::default())), 200);
}

#[test]
fn embedded_also_after_a_restart() {
    let runtime = Runtime::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let config = embedded(directory.path());
    let first = runtime.block_on(Followed::open(&config));
    behaves(&runtime, &first.store, 60);
    let list = |store: &Store| {
        let lists = Table::ALL.map(|table| runtime.block_on(store.list(table)).unwrap());
        lists.concat().into_iter().map(|entry| (entry.id, entry.value)).collect::<Vec<_>>()
    };
    let before = list(&first.store);
    assert!(before.len() > 100, "{}", before.len());
    runtime.block_on(first.end());
    let second = runtime.block_on(Followed::open(&config));
    assert_eq!(list(&second.store), before);
    behaves(&runtime, &second.store, 20);
    runtime.block_on(second.end());
}

#[test]
fn redis() {
    let runtime = Runtime::new().unwrap();
    let server = Server::start();
    let config = Config { url: server.url().parse().unwrap(), ..Config::default() };
    let store = runtime.block_on(Followed::open(&config));
    behaves(&runtime, &store.store, 100);
    runtime.block_on(store.end());
}

/// Cases one after the other on the same store, each with names of its own.
fn behaves(runtime: &Runtime, store: &Store, cases: u32) {
    static CASE: AtomicU32 = AtomicU32::new(0);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let compared = Cell::new(0);
    let outcome = TestRunner::new(config).run(&proptest::collection::vec(step(), 1..20), |steps| {
        let case = CASE.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        runtime.block_on(async {
            let mut model = Model::default();
            for step in steps {
                let (Step::Run(ops) | Step::Keep(ops)) = &step;
                let ops: Vec<Op> = ops.iter().map(|op| named(op, case)).collect();
                let expected: Vec<Outcome> = ops.iter().map(|op| model.run(op)).collect();
                match step {
                    Step::Run(_) => prop_assert_eq!(store.run(&ops).await.unwrap(), expected),
                    Step::Keep(_) => store.keep(&ops).await.unwrap(),
                }
                compared.set(compared.get() + ops.len());
            }
            for table in Table::ALL {
                let listed = store.list(table).await.unwrap();
                prop_assert!(listed.is_sorted_by(|a, b| a.id < b.id));
                let ours = listed.into_iter().filter(|entry| entry.id.starts_with(&case));
                let mut expected = model.0.iter().filter(|((of, _), _)| *of == table);
                for entry in ours {
                    let ((_, id), (value, ttl)) = expected.next().expect("it was put there");
                    prop_assert_eq!((&entry.id, &entry.value), (id, value));
                    prop_assert!(
                        entry.left <= *ttl && entry.left + Duration::from_secs(60) > *ttl,
                        "{entry:?}"
                    );
                }
                prop_assert_eq!(expected.next(), None);
            }
            Ok(())
        })
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    assert!(compared.get() > cases as usize, "{} were compared", compared.get());
}

/// The same about a name of this case's own.
fn named(op: &Op, case: [u8; 4]) -> Op {
    let mut op = op.clone();
    let (Op::Get(key)
    | Op::Put { key, .. }
    | Op::PutNew { key, .. }
    | Op::Add { key, .. }
    | Op::Count(key)
    | Op::Remove(key)) = &mut op;
    *key = Key::new(key.table, [&case[..], &key.id].concat());
    op
}

fn step() -> impl Strategy<Value = Step> {
    let ops = || proptest::collection::vec(op(), 0..6);
    prop_oneof![5 => ops().prop_map(Step::Run), 1 => ops().prop_map(Step::Keep)]
}

/// A name holds values or a count. Few names, so that they meet; some that mean something to SCAN, to the protocol or to C.
fn op() -> impl Strategy<Value = Op> {
    let table = || proptest::sample::select(&Table::ALL[..]);
    let ids: [&'static [u8]; 7] = [b"", b"a", b"a*", b"[b]?\\", b"\r\n$3", b"\0\xff", &[b'l'; 300]];
    let value_key =
        (table(), proptest::sample::select(ids.to_vec())).prop_map(|(table, id)| Key::new(table, id));
    let value_key = value_key.boxed();
    let count_key = (table(), 0..3).prop_map(|(table, n)| Key::new(table, format!("count {n}"))).boxed();
    let ttl = || (1000_u64..100_000).prop_map(Duration::from_secs);
    let value = || proptest::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        value_key.clone().prop_map(Op::Get),
        (value_key.clone(), value(), ttl()).prop_map(|(key, value, ttl)| Op::Put { key, value, ttl }),
        (value_key.clone(), value(), ttl()).prop_map(|(key, value, ttl)| Op::PutNew { key, value, ttl }),
        value_key.prop_map(Op::Remove),
        (count_key.clone(), any::<u32>(), ttl()).prop_map(|(key, by, ttl)| Op::Add { key, by, ttl }),
        count_key.clone().prop_map(Op::Count),
        count_key.clone().prop_map(Op::Get),
        count_key.prop_map(Op::Remove),
    ]
}
