//! The file: what is in it after the process was killed, and what becomes of it when the disk does not do as it should.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use super::*;

/// What was kept is there however the process ended, and of what was told in passing at most the last second is lost.
#[test]
fn a_process_that_is_killed_loses_a_second() {
    if let Some(directory) = std::env::var_os(VICTIM) {
        return talk_until_killed(Path::new(&directory));
    }
    killed(4, "a_process_that_is_killed_loses_a_second");
}

mod full {
    use super::*;

    #[test]
    fn so_does_one_that_is_killed_again_and_again() {
        if let Some(directory) = std::env::var_os(VICTIM) {
            return talk_until_killed(Path::new(&directory));
        }
        killed(12, "full::so_does_one_that_is_killed_again_and_again");
    }
}

/// Runs this test again in a process that is killed, so many times, at times that differ.
fn killed(rounds: usize, test: &str) {
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (mut kept, mut told) = (0_u64, 0_u64);
    for round in 0..rounds {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("store::tests::embedded::{test}"), "--nocapture", "--include-ignored"])
            .env(VICTIM, directory.path())
            .env("VICTIM_FROM", kept.max(told).to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // What it says, and when: it is believed in the order in which it comes.
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let begun = Instant::now();
        let mut says: Vec<(Instant, u64)> = Vec::new();
        let last = Duration::from_millis(1300 + 137 * (round as u64 % 7));
        while begun.elapsed() < last {
            let line = lines.next().expect("it talks until it is killed").unwrap();
            match line.split_once(' ') {
                Some(("kept", number)) => kept = number.parse().unwrap(),
                Some(("told", number)) => says.push((Instant::now(), number.parse().unwrap())),
                _ => {}
            }
        }
        child.kill().unwrap();
        let end = Instant::now();
        child.wait().unwrap();
        let old = says.iter().rfind(|(when, _)| end - *when > Duration::from_millis(1000));
        told = old.map_or(told, |(_, number)| *number);
        assert!(says.len() > 3 && told > 0 && kept > 0, "round {round}: {says:?}");

        runtime.block_on(async {
            let store = Followed::open(&embedded(directory.path())).await;
            assert!(store.store.notices().is_empty(), "{:?}", store.store.notices());
            let count = |table| {
                let store = &store.store;
                async move { store.list(table).await.unwrap().len() as u64 }
            };
            assert!(count(Table::Suspensions).await >= kept, "round {round}: kept {kept}");
            assert!(count(Table::Greylist).await >= told, "round {round}: told {told}");
            let sum = store.store.run(&[Op::Count(key(Table::Harvest, "sum"))]).await.unwrap()[0].count();
            assert!(sum >= told, "round {round}: {sum} of {told}");
            kept = count(Table::Suspensions).await;
            told = count(Table::Greylist).await;
            store.end().await;
        });
    }
    assert!(!directory.path().join("store.redb.damaged").exists(), "the file was good each time");
}

/// Numbers what it does, and says so when it is done.
fn talk_until_killed(directory: &Path) {
    let from: u64 = std::env::var("VICTIM_FROM").unwrap().parse().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = Followed::open(&embedded(directory)).await;
        let mut out = std::io::stdout();
        for number in from + 1.. {
            let sum = Op::Add { key: key(Table::Harvest, "sum"), by: 1, ttl: HOUR };
            store.store.run(&[put(Table::Greylist, &number.to_string()), sum]).await.unwrap();
            writeln!(out, "told {number}").unwrap();
            if number % 3 == 0 {
                store.store.keep(&[put(Table::Suspensions, &number.to_string())]).await.unwrap();
                let count = store.store.list(Table::Suspensions).await.unwrap().len();
                writeln!(out, "kept {count}").unwrap();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}

#[tokio::test]
async fn what_is_over_is_gone_after_a_restart_and_what_was_removed_too() {
    let directory = tempfile::tempdir().unwrap();
    let config = embedded(directory.path());
    let store = Followed::open(&config).await;
    let short = Op::Put { key: key(Table::Blocks, "short"), value: vec![], ttl: Duration::from_millis(300) };
    store.store.keep(&[short, put(Table::Blocks, "long"), put(Table::Blocks, "released")]).await.unwrap();
    store.store.keep(&[Op::Remove(key(Table::Blocks, "released"))]).await.unwrap();
    // Without a chance to write down its end.
    store.abandon().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let store = Followed::open(&config).await;
    let left: Vec<_> =
        store.store.list(Table::Blocks).await.unwrap().into_iter().map(|entry| entry.id).collect();
    assert_eq!(left, [b"long".to_vec()]);
    let left = store.store.list(Table::Blocks).await.unwrap()[0].left;
    assert!(left < HOUR && left > HOUR - Duration::from_secs(60), "{left:?}");
    store.end().await;
}

/// Low counts are not written down; what was written before must not come back in their place.
#[tokio::test]
async fn a_count_that_was_removed_does_not_come_back_by_being_begun_anew() {
    let directory = tempfile::tempdir().unwrap();
    let config = embedded(directory.path());
    let add = |id: &str, by| Op::Add { key: key(Table::Harvest, id), by, ttl: HOUR };
    let remove = |id: &str| Op::Remove(key(Table::Harvest, id));
    let store = Followed::open(&config).await;
    store.store.keep(&[add("released", 50), add("again", 50), add("gone", 50), add("low", 2)]).await.unwrap();
    let released = [remove("released"), remove("again"), remove("gone"), remove("low")];
    store
        .store
        .keep(&[&released[..], &[add("released", 1), add("again", 7), add("low", 1)]].concat())
        .await
        .unwrap();
    store.end().await;
    let store = Followed::open(&config).await;
    let counts = ["released", "again", "gone", "low"].map(|id| Op::Count(key(Table::Harvest, id)));
    let counts: Vec<_> = store.store.run(&counts).await.unwrap().iter().map(Outcome::count).collect();
    assert_eq!(counts, [0, 7, 0, 0]);
    store.end().await;
}

#[tokio::test]
async fn a_second_process_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let config = embedded(directory.path());
    let first = Followed::open(&config).await;
    first.store.keep(&[put(Table::Blocks, "first")]).await.unwrap();
    let second = Followed::open(&config).await;
    let notices = second.store.notices();
    assert!(notices.len() == 1 && notices[0].contains("another process has it"), "{notices:?}");
    assert_eq!((second.metric("store_up"), second.metric("store_unsaved")), (1.0, 1.0));
    second.store.keep(&[put(Table::Blocks, "second")]).await.unwrap();
    assert_eq!(get(&second.store, Table::Blocks, "second").await.unwrap(), Some(b"second".to_vec()));
    assert_eq!(get(&second.store, Table::Blocks, "first").await.unwrap(), None);
    second.end().await;
    first.store.keep(&[put(Table::Blocks, "more")]).await.unwrap();
    first.end().await;
    let third = Followed::open(&config).await;
    assert!(third.store.notices().is_empty());
    let ids: Vec<_> =
        third.store.list(Table::Blocks).await.unwrap().into_iter().map(|entry| entry.id).collect();
    assert_eq!(ids, [b"first".to_vec(), b"more".to_vec()]);
    third.end().await;
}

#[tokio::test]
async fn where_no_directory_can_be_made_state_lives_in_memory() {
    let store = Followed::open(&embedded(Path::new("/proc/nowhere"))).await;
    let notices = store.store.notices();
    assert!(notices.len() == 1 && notices[0].contains("gone with the process"), "{notices:?}");
    store.store.keep(&[put(Table::Trusts, "a")]).await.unwrap();
    assert!(get(&store.store, Table::Trusts, "a").await.unwrap().is_some());
    assert_eq!((store.metric("store_up"), store.metric("store_unsaved")), (1.0, 1.0));
    store.end().await;
}

#[tokio::test]
async fn while_the_disk_fails_state_is_in_memory_and_is_written_when_it_works() {
    let directory = tempfile::tempdir().unwrap();
    let config = embedded(directory.path());
    // Its disk is not there yet.
    let disk = directory.path().join("disk");
    std::os::unix::fs::symlink(disk.join("file"), directory.path().join("store.redb")).unwrap();
    let store = Followed::open(&config).await;
    let kept = store.store.keep(&[put(Table::Suspensions, "a")]).await;
    assert!(matches!(&kept, Err(StoreError::Unsaved(why)) if why.contains("No such file")), "{kept:?}");
    assert!(get(&store.store, Table::Suspensions, "a").await.unwrap().is_some(), "but it is in force");
    assert!(store.store.notices()[0].contains("can't be written"), "{:?}", store.store.notices());
    until("the metric", async || store.metric("store_unsaved") == 1.0).await;
    assert_eq!(store.metric("store_up"), 1.0);
    fs::create_dir(&disk).unwrap();
    until("the disk", async || store.store.keep(&[]).await.is_ok()).await;
    assert!(store.store.notices().is_empty());
    store.abandon().await;
    let store = Followed::open(&config).await;
    assert!(get(&store.store, Table::Suspensions, "a").await.unwrap().is_some());
    until("the metric", async || store.metric("store_unsaved") == 0.0).await;
    store.end().await;
}

/// On a disk that really is full, in a mount namespace of its own.
#[test]
fn on_a_full_disk_state_is_in_memory_until_there_is_room() {
    if let Some(directory) = std::env::var_os(VICTIM) {
        return on_a_small_disk(Path::new(&directory));
    }
    let directory = tempfile::tempdir().unwrap();
    let test = "store::tests::embedded::on_a_full_disk_state_is_in_memory_until_there_is_room";
    let script =
        "mount -t tmpfs -o size=256k none \"$1\"; exec \"$0\" --exact \"$2\" --nocapture --include-ignored";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--", "sh", "-ec", script]).arg(std::env::current_exe().unwrap());
    let output = command.arg(directory.path()).arg(test).env(VICTIM, directory.path()).output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    assert!(!directory.path().join("store.redb").exists(), "its disk was its own");
}

fn on_a_small_disk(directory: &Path) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = Followed::open(&embedded(directory)).await;
        let large =
            |n: u32| Op::Put { key: key(Table::Senders, &n.to_string()), value: vec![7; 4096], ttl: HOUR };
        let mut told = 0;
        let error = loop {
            told += 1;
            assert!(told < 1000, "the disk takes everything");
            match store.store.keep(&[large(told)]).await {
                Ok(()) => {}
                Err(error) => break error,
            }
        };
        assert!(matches!(&error, StoreError::Unsaved(why) if why.contains("No space left")), "{error}");
        store.store.run(&[large(told + 1)]).await.unwrap();
        assert_eq!(store.store.list(Table::Senders).await.unwrap().len() as u32, told + 1);
        let room = ["-o", "remount,size=64m"];
        assert!(Command::new("mount").args(room).arg(directory).status().unwrap().success());
        until("the disk", async || store.store.keep(&[]).await.is_ok()).await;
        assert!(store.store.notices().is_empty());
        store.abandon().await;
        let store = Followed::open(&embedded(directory)).await;
        assert_eq!(store.store.list(Table::Senders).await.unwrap().len() as u32, told + 1);
        store.end().await;
    });
}

/// Whatever is in the file: no panic, no wrong entry, and from then on it works.
#[tokio::test]
async fn a_damaged_file_is_moved_aside() {
    let directory = tempfile::tempdir().unwrap();
    let config = embedded(directory.path());
    let path = directory.path().join("store.redb");
    let store = Followed::open(&config).await;
    let ops: Vec<Op> = (0..200).map(|n| put(Table::Suspensions, &format!("user{n}@example.com"))).collect();
    store.store.keep(&ops).await.unwrap();
    store.end().await;
    let good = fs::read(&path).unwrap();
    let mut moved = 0;
    for damage in 0..40 {
        let mut bytes = good.clone();
        let at = bytes.len() * damage / 40;
        match damage % 4 {
            0 => bytes.truncate(at),
            1 => bytes[at..at + 512].fill(0),
            2 => bytes[at] ^= 0xff,
            _ => bytes[at..at + 4096].fill(0x5a),
        }
        let _ = fs::remove_file(directory.path().join("store.redb.damaged"));
        fs::write(&path, &bytes).unwrap();
        let store = Followed::open(&config).await;
        for entry in store.store.list(Table::Suspensions).await.unwrap() {
            assert_eq!(entry.id, entry.value, "damage {damage}");
        }
        store
            .store
            .keep(&[put(Table::Blocks, "new")])
            .await
            .unwrap_or_else(|error| panic!("{damage}: {error}"));
        store.end().await;
        moved += usize::from(directory.path().join("store.redb.damaged").exists());
        let store = Followed::open(&config).await;
        assert!(get(&store.store, Table::Blocks, "new").await.unwrap().is_some(), "damage {damage}");
        store.end().await;
    }
    assert!(moved > 5, "{moved} of 40 were noticed");
}

/// What was given up is gone from the file, and so it is known there.
#[test]
fn what_was_given_up_is_known_to_the_next_process() {
    let directory = tempfile::tempdir().unwrap();
    let open = |capacity| {
        Embedded::open_with(directory.path(), Memory::with_capacity(true, move |_| capacity)).unwrap()
    };
    let store = open(6400);
    let many = |n: u32| -> Vec<Op> { (0..n).map(|n| put(Table::Senders, &n.to_string())).collect() };
    store.run(&many(1000));
    let before = store.memory.evictions(Table::Senders);
    store.write();
    drop(store);
    let store = open(6400);
    assert!(store.memory.evictions(Table::Senders).is_none_since(&before.to_bytes()), "a restart is nothing");
    store.run(&many(10_000));
    let after = store.memory.evictions(Table::Senders);
    store.write();
    drop(store);
    let store = open(64_000);
    assert!(!store.memory.evictions(Table::Senders).is_none_since(&before.to_bytes()));
    assert!(store.memory.evictions(Table::Senders).is_none_since(&after.to_bytes()));
    drop(store);
    // What does not fit when it is loaded, as chance spreads it in another way.
    assert!(!open(640).memory.evictions(Table::Senders).is_none_since(&after.to_bytes()));
}

#[tokio::test]
async fn what_is_there_is_counted_by_table() {
    let directory = tempfile::tempdir().unwrap();
    let store = Followed::open(&embedded(directory.path())).await;
    store.store.later((0..7).map(|n| put(Table::Passed, &n.to_string())).collect::<Vec<_>>());
    until("the count", async || store.registry.page().contains("store_entries{table=\"passed\"} 7\n")).await;
    assert_eq!(store.metric("store_entries{table=\"blocks\"}"), 0.0);
    assert_eq!(store.metric("store_evicted{table=\"passed\"}"), 0.0);
    store.end().await;
}

const VICTIM: &str = "BACKSTOP_TEST_VICTIM";
