//! What a replica costs: `cargo bench --bench directory -- [COUNT…]`, by default 10 thousand to 10 million addresses.
//!
//! Prints one table. Addresses look like people's at a few domains; look-ups are of random ones. `disk` is where the
//! file is: in `TMPDIR`.

use std::{
    hint::black_box,
    io::Write,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use backstop::{address::Address, directory::Rehearsal};

fn main() {
    if let Some(path) = std::env::var_os(CHILD) {
        return after_a_start(Path::new(&path));
    }
    let counts = std::env::args().skip(1).filter_map(|argument| argument.replace('_', "").parse().ok());
    let mut counts: Vec<u64> = counts.collect();
    if counts.is_empty() {
        counts = vec![10_000, 100_000, 1_000_000, 10_000_000];
    }
    println!(
        "{:>9}  {:>9} {:>9} {:>6}  {:>8} {:>7} {:>7}  {:>7} {:>7}  {:>8} {:>9} {:>9}",
        "addresses",
        "first",
        "again",
        "disk",
        "start",
        "index",
        "memory",
        "known",
        "unknown",
        "change",
        "known",
        "unknown"
    );
    println!(
        "{:>9}  {:>9} {:>9} {:>6}  {:>8} {:>7} {:>7}  {:>7} {:>7}  {:>8} {:>19}",
        "", "listing", "listing", "B/addr", "", "B/addr", "B/addr", "", "", "told", "after 1000 changes"
    );
    for count in counts {
        row(count);
    }
}

fn row(count: u64) {
    let directory = tempfile::tempdir().expect("a directory for the file");
    let path = directory.path().join("rehearsal.redb");
    let replica = Rehearsal::open(&path);
    let listed = time(|| replica.list((0..count).map(address)));
    let again = time(|| replica.list((0..count).map(address)));
    let (there, ..) = replica.size();
    replica.close();
    let disk = size(&path) as f64 / there as f64;
    print!("{there:>9}  {listed:>9.2?} {again:>9.2?} {disk:>6.0}  ");
    std::io::stdout().flush().expect("it can be printed");
    // In a process of its own, which holds nothing else.
    let mut child = Command::new(std::env::current_exe().expect("it has a name"));
    let child = child.env(CHILD, &path).arg(count.to_string()).status().expect("it can be run");
    assert!(child.success());
}

/// What there is after a start from the file.
fn after_a_start(path: &Path) {
    let count: u64 = std::env::args().nth(1).and_then(|count| count.parse().ok()).expect("the count");
    let before = resident();
    let begun = Instant::now();
    let replica = Rehearsal::open(path);
    let start = begun.elapsed();
    let memory = resident().saturating_sub(before);
    let (there, index, _) = replica.size();
    let (known, unknown) = look_ups(&replica, count);

    const CHANGES: u64 = 1000;
    let changed = time(|| (0..CHANGES).for_each(|n| replica.add(address(count * 2 + n)))) / CHANGES as u32;
    let (known_after, unknown_after) = look_ups(&replica, count);
    replica.close();

    let each = |bytes: usize| bytes as f64 / there as f64;
    println!(
        "{start:>8.2?} {:>7.1} {:>7.1}  {known:>7.0?} {unknown:>7.0?}  {changed:>8.1?} {known_after:>9.0?} {unknown_after:>9.0?}",
        each(index),
        each(memory),
    );
}

/// The time of one look-up of a known address, and of an unknown one.
fn look_ups(replica: &Rehearsal, count: u64) -> (Duration, Duration) {
    const LOOK_UPS: u64 = 200_000;
    let time_of = |addresses: Vec<Address>, is_known: bool| {
        let begun = Instant::now();
        for address in &addresses {
            assert_eq!(black_box(replica.find(black_box(address))).is_some(), is_known, "{address}");
        }
        begun.elapsed() / u32::try_from(addresses.len()).unwrap_or(u32::MAX)
    };
    let random = |n: u64| mix(n ^ 0xfeed) % count;
    let known = time_of((0..LOOK_UPS).map(|n| address(random(n))).collect(), true);
    let unknown = time_of((0..LOOK_UPS).map(|n| address(count * 4 + random(n))).collect(), false);
    (known, unknown)
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

/// What the file takes on disk.
fn size(path: &Path) -> usize {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).map_or(0, |data| data.blocks() as usize * 512)
}
