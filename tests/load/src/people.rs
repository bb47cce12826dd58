//! The addresses: those that every server under test knows, and those that an attacker guesses.
//!
//! Number `n` of each is always the same, so nothing has to be kept: known addresses have even numbers in them, unknown
//! ones odd numbers, and they look alike to the last digit.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::Error;

/// The domains that the addresses are in.
pub const DOMAINS: [&str; 4] = ["example.com", "mail.example.com", "example.org", "lab.example.net"];

/// The known address number `n`.
#[must_use]
pub fn known(n: u64) -> String {
    address(2 * n)
}

/// The unknown address number `n`.
#[must_use]
pub fn unknown(n: u64) -> String {
    address(2 * n + 1)
}

/// A file with the known addresses 0 to `count`, one a line, in `directory`; written unless it is there.
///
/// # Errors
/// When it can't be written.
pub fn file(directory: &Path, count: u64) -> Result<PathBuf, Error> {
    let path = directory.join(format!("addresses-{count}"));
    if path.exists() {
        return Ok(path);
    }
    // Whole or not at all.
    let new = directory.join(format!("addresses-{count}.{}", std::process::id()));
    let written = fs::create_dir_all(directory).and_then(|()| write(&new, count));
    let renamed = written.and_then(|()| fs::rename(&new, &path));
    renamed.map_err(Error::io(format!("write {}", path.display())))?;
    Ok(path)
}

/// A number that looks random: splitmix64.
#[must_use]
pub fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

fn write(path: &Path, count: u64) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for n in 0..count {
        writeln!(file, "{}", known(n))?;
    }
    file.into_inner()?.sync_all()
}

fn address(n: u64) -> String {
    // One half of the hash for both of a pair: a known and an unknown address may differ in the number alone.
    let hash = mix(n / 2);
    let pick = |from: &[&'static str], bits: u64| from[(bits % from.len() as u64) as usize];
    let (first, last) = (pick(&FIRST, hash), pick(&LAST, hash >> 16));
    format!("{first}.{last}{n}@{}", pick(&DOMAINS, hash >> 32))
}

const FIRST: [&str; 24] = [
    "anna", "bert", "chris", "dora", "emil", "franz", "gerda", "hans", "ines", "jo", "karl", "lea", "mia",
    "noah", "olga", "paul", "quentin", "rosa", "sven", "tina", "ute", "viktor", "wanda", "yusuf",
];

const LAST: [&str; 24] = [
    "smith", "jones", "taylor", "brown", "williams", "wilson", "johnson", "davies", "patel", "wright",
    "walker", "white", "green", "hall", "wood", "clarke", "mueller", "schmidt", "fischer", "weber", "rossi",
    "garcia", "nguyen", "kowalski",
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn nobody_is_known_and_unknown() {
        let known: HashSet<_> = (0..5000).map(known).collect();
        let unknown: HashSet<_> = (0..5000).map(unknown).collect();
        assert_eq!((known.len(), unknown.len()), (5000, 5000));
        assert!(known.is_disjoint(&unknown));
        assert!(known.iter().all(|address| DOMAINS.iter().any(|domain| address.ends_with(domain))));
    }

    #[test]
    fn the_file_has_the_known_ones() {
        let directory = backstop_harness::TempDir::new("people");
        let path = file(directory.path(), 100).unwrap();
        let lines: Vec<_> = fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
        assert_eq!(lines, (0..100).map(known).collect::<Vec<_>>());
        assert_eq!(file(directory.path(), 100).unwrap(), path);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left over");
    }
}
