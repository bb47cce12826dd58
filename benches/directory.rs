//! What the index costs: `cargo bench --bench directory -- [--goals] [COUNT…]`, by default 10 thousand to 10 million addresses.
//!
//! Prints one table, and behind each of its rows one JSON line for each figure that has a goal; `--goals`: only those, by default
//! of 10 million. Addresses look like people's at a few domains, one of fifty has an attribute; look-ups are of random ones.
//! The files are in `TMPDIR`. Each start is in a process of its own, which holds nothing else.

use std::{
    alloc::System,
    fs::File,
    hint::black_box,
    io::{BufWriter, Write},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use backstop::{
    address::Address,
    directory::{
        Rehearsal,
        file::{Format, load_list},
    },
    files::{Keeper, Metrics, Spec},
    telemetry::Registry,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    if let Some(path) = std::env::var_os(CHILD) {
        return match Path::new(&path).extension() {
            Some(extension) if extension == "txt" => of_text(Path::new(&path)),
            _ => after_a_start(Path::new(&path)),
        };
    }
    let is_goals = std::env::args().any(|argument| argument == "--goals");
    let mut counts = counts();
    if counts.is_empty() {
        counts = if is_goals { vec![10_000_000] } else { vec![10_000, 100_000, 1_000_000, 10_000_000] };
    }
    if !is_goals {
        println!(
            "{:>9}  {:>9} {:>9} {:>6}  {:>8} {:>8} {:>8} {:>7} {:>7}  {:>7} {:>7}  {:>8} {:>9} {:>9}  {:>8} {:>6}",
            "addresses",
            "first",
            "again",
            "disk",
            "start",
            "checked",
            "without",
            "index",
            "memory",
            "known",
            "unknown",
            "change",
            "known",
            "unknown",
            "text",
            "peak"
        );
        println!(
            "{:>9}  {:>9} {:>9} {:>6}  {:>8} {:>8} {:>8} {:>7} {:>7}  {:>7} {:>7}  {:>8} {:>19}  {:>8} {:>6}",
            "",
            "listing",
            "listing",
            "B/addr",
            "",
            "",
            "the copy",
            "B/addr",
            "B/addr",
            "",
            "",
            "told",
            "after 1000 changes",
            "",
            "×index"
        );
    }
    for count in counts {
        row(count, is_goals);
    }
}

fn counts() -> Vec<u64> {
    std::env::args().skip(1).filter_map(|argument| argument.replace('_', "").parse().ok()).collect()
}

fn row(count: u64, is_goals: bool) {
    let directory = tempfile::tempdir().expect("a directory for the files");
    let path = directory.path().join("rehearsal.redb");
    // Long before it is read: what was written within the last second is waited for.
    let text = directory.path().join("rehearsal.txt");
    write_text(&text, count);
    let replica = Rehearsal::open(&path);
    let listed = time(|| replica.list((0..count).map(address)));
    let again = if is_goals { Duration::ZERO } else { time(|| replica.list((0..count).map(address))) };
    replica.wait_for_copy();
    let (there, ..) = replica.size();
    replica.close();
    let disk = size(&path) as f64 / there as f64;
    if !is_goals {
        print!("{there:>9}  {listed:>9.2?} {again:>9.2?} {disk:>6.0}  ");
        std::io::stdout().flush().expect("it can be printed");
    }
    let started = child(&path, count);
    let [
        start,
        checked,
        without,
        index,
        memory,
        known,
        unknown,
        allocations,
        changed,
        known_after,
        unknown_after,
    ] = started[..]
    else {
        panic!("a start says eleven numbers");
    };
    let [of_text, peak] = child(&text, count)[..] else { panic!("a text says two numbers") };
    if !is_goals {
        println!(
            "{start:>7.2}s {checked:>7.2}s {without:>7.2}s {index:>7.1} {memory:>7.1}  {known:>5.2}µs {unknown:>5.2}µs  {changed:>6.2}ms {known_after:>7.2}µs {unknown_after:>7.2}µs  {of_text:>7.2}s {peak:>6.2}",
        );
    }
    let mean = f64::midpoint(known, unknown);
    for (row, value, unit) in [
        ("index-bytes-per-address", memory, "B"),
        ("index-look-up", mean, "us"),
        ("index-look-up-allocations", allocations, ""),
        ("index-start-from-disk", start, "s"),
        ("index-start-from-text", of_text, "s"),
        ("index-text-peak-memory", peak, "×"),
        ("index-update", changed, "ms"),
    ] {
        println!("{{\"row\":\"{row}\",\"value\":{value:.3},\"unit\":\"{unit}\"}}");
    }
}

/// The numbers that a process of its own says of the file.
fn child(path: &Path, count: u64) -> Vec<f64> {
    let mut child = Command::new(std::env::current_exe().expect("it has a name"));
    let child = child.env(CHILD, path).arg(count.to_string()).output().expect("it can be run");
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    let told = String::from_utf8_lossy(&child.stdout).into_owned();
    told.split_whitespace().map(|number| number.parse().expect("numbers")).collect()
}

/// What there is after a start from the file.
fn after_a_start(path: &Path) {
    let count = counts()[0];
    let before = resident();
    let begun = Instant::now();
    let replica = Rehearsal::open(path);
    let start = begun.elapsed();
    let memory = resident().saturating_sub(before);
    let (there, index, _) = replica.size();
    let Looked { known, unknown, allocations } = look_ups(&replica, count);
    let checked = time(|| replica.check());

    const CHANGES: u64 = 1000;
    let changed = time(|| (0..CHANGES).for_each(|n| replica.add(address(count * 2 + n)))) / CHANGES as u32;
    let after = look_ups(&replica, count);
    replica.close();
    std::fs::remove_file(path.with_extension("index")).expect("there is a copy");
    let begun = Instant::now();
    let replica = Rehearsal::open(path);
    let without = begun.elapsed();
    replica.close();

    let each = |bytes: usize| bytes as f64 / there as f64;
    for seconds in [start, checked, without] {
        println!("{}", seconds.as_secs_f64());
    }
    println!("{} {}", each(index), each(memory));
    for micros in [known, unknown] {
        println!("{}", micros.as_secs_f64() * 1e6);
    }
    println!("{allocations}");
    println!("{}", changed.as_secs_f64() * 1e3);
    for micros in [after.known, after.unknown] {
        println!("{}", micros.as_secs_f64() * 1e6);
    }
}

/// What a list in a text file costs to read: seconds, and the most memory, in sizes of the index.
fn of_text(path: &Path) {
    let report = Box::new(|_: &_| ());
    let spec = Spec { name: "text".to_owned(), kind: "addresses", paths: vec![path.to_owned()], report };
    let keeper = Keeper::new(Metrics::register(&Registry::default()));
    let before = resident();
    let begun = Instant::now();
    let list = keeper.open(spec, |texts| load_list(texts, Format::Addresses)).expect("it can be read");
    let read = begun.elapsed();
    let size = list.current().as_ref().expect("it has content").size();
    let peak = peak().saturating_sub(before);
    println!("{} {}", read.as_secs_f64(), peak as f64 / size as f64);
}

fn write_text(path: &Path, count: u64) {
    let file = File::create(path).expect("it can be made");
    let mut lines = BufWriter::new(file);
    for address in (0..count).map(address) {
        writeln!(lines, "{address}").expect("it can be written");
    }
    lines.flush().expect("it can be written");
}

/// What look-ups cost: the time of one of a known address, and of an unknown one, and what all of them allocated.
struct Looked {
    known: Duration,
    unknown: Duration,
    allocations: usize,
}

fn look_ups(replica: &Rehearsal, count: u64) -> Looked {
    const LOOK_UPS: u64 = 200_000;
    // A thread's first look-up makes what the thread needs to read without a lock.
    black_box(replica.find(&address(0)));
    let mut allocations = 0;
    let mut time_of = |addresses: Vec<Address>, is_known: bool| {
        let (begun, counted) = (Instant::now(), Region::new(ALLOCATOR));
        for address in &addresses {
            assert_eq!(black_box(replica.find(black_box(address))).is_some(), is_known, "{address}");
        }
        let took = begun.elapsed();
        allocations += counted.change().allocations;
        took / u32::try_from(addresses.len()).unwrap_or(u32::MAX)
    };
    let random = |n: u64| mix(n ^ 0xfeed) % count;
    let known = time_of((0..LOOK_UPS).map(|n| address(random(n))).collect(), true);
    let unknown = time_of((0..LOOK_UPS).map(|n| address(count * 4 + random(n))).collect(), false);
    Looked { known, unknown, allocations }
}

/// The address of the person with this number.
fn address(n: u64) -> Address {
    const FIRST: [&str; 16] = [
        "anna", "bert", "chris", "dora", "emil", "franz", "gerda", "hans", "ines", "jo", "karl", "lea",
        "mia", "noah", "olga", "paul",
    ];
    const LAST: [&str; 16] = [
        "smith", "jones", "taylor", "brown", "williams", "wilson", "johnson", "davies", "patel", "wright",
        "walker", "white", "green", "hall", "wood", "clarke",
    ];
    const DOMAINS: [&str; 4] = ["example.com", "mail.example.com", "example.org", "lab.example.net"];
    let pick = |from: &[&'static str], bits: u64| from[(bits as usize) % from.len()];
    let hash = mix(n);
    let (first, last, domain) = (pick(&FIRST, hash), pick(&LAST, hash >> 8), pick(&DOMAINS, hash >> 16));
    let text =
        format!("{first}.{last}.{:x}@{domain}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15) & 0xff_ffff_ffff);
    Address::parse(text).expect("these are addresses")
}

/// Names the file, in the process that starts from it.
const CHILD: &str = "BACKSTOP_BENCH_FILE";

/// splitmix64
fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

fn time(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}

/// Bytes of this process in memory (proc(5), `statm`), with pages of 4096 bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or_default() * 4096
}

/// The most that it ever was (proc(5), `status`).
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.parse::<usize>().ok()).unwrap_or_default() * 1024
}

/// What the file takes on disk.
fn size(path: &Path) -> usize {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).map_or(0, |data| data.blocks() as usize * 512)
}
