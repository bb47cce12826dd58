//! The book holds together: every chapter is in its table of contents, every link leads somewhere, every reason has its
//! section, every example can be read, and all pages tell the same oldest Rust.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use backstop::policy::Reason;
use backstop_harness::{CommandOutput, TempDir};
use serde_json::Value;

use crate::BACKSTOP;

/// mdBook makes a page of what SUMMARY.md names, and of nothing else.
#[test]
fn every_chapter_is_in_the_table_of_contents_once() {
    let summary = read(&root().join("docs/SUMMARY.md"));
    let mut listed = Vec::new();
    for line in summary.lines().filter(|line| !line.is_empty() && !line.starts_with("# ")) {
        let entry = line.trim_start().trim_start_matches("- ");
        let links = links(entry);
        let [link] = links.as_slice() else { panic!("SUMMARY.md: mdBook can't read `{line}`") };
        assert!(
            entry == format!("[{}]({})", link.text, link.target),
            "SUMMARY.md: mdBook can't read `{line}`"
        );
        listed.push(link.target.clone());
    }
    let chapters: BTreeSet<String> = fs::read_dir(root().join("docs"))
        .expect("there are docs")
        .map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".md") && name != "SUMMARY.md")
        .collect();
    assert!(chapters.len() > 20, "{chapters:?}");
    let mut sorted = listed.clone();
    sorted.sort();
    assert_eq!(sorted, chapters.into_iter().collect::<Vec<_>>(), "docs/ and SUMMARY.md");
}

/// Files and `#anchors`, in the book and in everything that leads to it. (What is on other sites is not looked at: a test needs
/// no network.)
#[test]
fn every_link_leads_somewhere() {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    let mut anchors_of = BTreeMap::new();
    let pages = pages();
    for page in &pages {
        for link in links(&read(page)) {
            if ["https://", "http://", "mailto:"].iter().any(|begin| link.target.starts_with(begin)) {
                continue;
            }
            seen += 1;
            let (file, anchor) = link.target.split_once('#').unwrap_or((&link.target, ""));
            let file = if file.is_empty() {
                page.clone()
            } else {
                normal(&page.parent().expect("a page is in a directory").join(file))
            };
            let place = || format!("{}:{}: ({})", shown(page), link.line, link.target);
            if !file.exists() || !file.starts_with(root()) {
                wrong.push(format!("{} there is no such file", place()));
            } else if !anchor.is_empty() {
                let there = anchors_of.entry(file.clone()).or_insert_with(|| anchors(&read(&file)));
                if !there.contains(anchor) {
                    wrong.push(format!("{} that page has no such heading", place()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 200, "only {seen} links in {} pages", pages.len());
}

/// The word in brackets at the end of a refusal leads there. A reason that refuses tells both sides what to do.
#[test]
fn every_reason_has_its_section() {
    let text = read(&root().join("docs/decisions.md"));
    let (_, reasons) = text.split_once("\n## Reasons\n").expect("it has them");
    let mut sections: BTreeMap<&str, &str> = BTreeMap::new();
    for section in reasons.split("\n### ").skip(1) {
        let (name, body) = section.split_once('\n').expect("it has a text");
        assert!(sections.insert(name, body).is_none(), "{name} is there twice");
    }
    let known: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(sections.keys().copied().collect::<BTreeSet<_>>(), known);
    for (name, body) in sections {
        let refuses = !PASS.contains(&name);
        for side in ["*To the sender's postmaster:*", "*To the recipient's postmaster:*"] {
            assert_eq!(body.contains(side), refuses, "{name}: {side}");
        }
    }
}

/// Blocks of TOML are whole configurations, or a part of one, in words that the program knows.
#[test]
fn every_example_can_be_read() {
    let dir = TempDir::new("book");
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for page in pages() {
        let text = read(&page);
        for block in text.split("```toml\n").skip(1) {
            let (block, _) = block.split_once("```").expect("a block ends");
            // Files that it names are those of the reader.
            let path = dir.write("example.toml", block);
            let output = run(&["config", "check", "--config"], &path);
            let unknown = ["unknown key", "expected", "is not known here", "TOML", "duplicate"];
            if output.status != 0 && unknown.iter().any(|word| output.stderr.contains(word)) {
                wrong.push(format!("{}:\n{block}\n{}", shown(&page), output.stderr));
            }
            seen += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 20, "only {seen} examples");
}

/// What the pages say of the oldest Rust is what Cargo holds to, and no crate needs a later one. (That the code does with it:
/// `clippy::incompatible_msrv` in every run of the tests, and `.ci/msrv`, which builds with it.)
#[test]
fn the_oldest_rust_is_the_same_everywhere() {
    // Only what is built here was downloaded: crates for other systems would be asked of the network.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let metadata = CommandOutput::of(
        Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--locked", "--offline"])
            .args(["--filter-platform", &platform])
            .current_dir(root()),
    );
    assert_eq!(metadata.status, 0, "{}", metadata.stderr);
    let metadata: Value = serde_json::from_str(&metadata.stdout).expect("cargo prints JSON");
    let packages = metadata["packages"].as_array().expect("there are packages");
    let number = |version: &str| -> Vec<u32> {
        let parts = version.split('.').map(|part| part.parse().expect("a version is made of numbers"));
        parts.chain([0, 0]).take(3).collect()
    };
    let ours = packages.iter().find(|package| package["name"] == "backstop").expect("we are one of them");
    let ours = ours["rust_version"].as_str().expect("Cargo.toml names it");
    let later: Vec<&Value> = packages
        .iter()
        .filter(|package| {
            package["rust_version"].as_str().is_some_and(|theirs| number(theirs) > number(ours))
        })
        .map(|package| &package["name"])
        .collect();
    assert!(later.is_empty(), "these need a later Rust than {ours}: {later:?}");
    let mut places = 0;
    for page in pages() {
        let text = read(&page);
        for (_, rest) in text
            .match_indices("Rust 1.")
            .chain(text.match_indices("Rust (1."))
            .map(|(at, _)| text.split_at(at))
        {
            let told: String = rest
                .trim_start_matches(['R', 'u', 's', 't', ' ', '('])
                .chars()
                .take_while(|c| c.is_ascii_digit() || *c == '.')
                .collect();
            assert_eq!(told.trim_end_matches('.'), ours, "{}", shown(&page));
            places += 1;
        }
    }
    assert!(places >= 4, "only {places} pages name it");
}

struct Link {
    text: String,
    target: String,
    line: usize,
}

/// Links of a page, `[text](target)`, outside of code.
fn links(page: &str) -> Vec<Link> {
    let (mut found, mut in_code) = (Vec::new(), false);
    for (number, line) in prose(page) {
        in_code &= !line.is_empty();
        let line = without_code(line, &mut in_code);
        let mut rest = line.as_str();
        while let Some((before, after)) = rest.split_once("](") {
            let Some((target, end)) = after.split_once(')') else { break };
            let text = before.rsplit_once('[').map_or("", |(_, text)| text);
            found.push(Link { text: text.to_owned(), target: target.to_owned(), line: number });
            rest = end;
        }
    }
    found
}

/// The ids that mdBook and the usual forges give to headings: small letters, without punctuation, `-` for a blank; a number
/// where two are the same.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    let mut found = BTreeSet::new();
    for (_, line) in prose(page).filter(|(_, line)| line.starts_with('#')) {
        let title = line.trim_start_matches('#').trim();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        let id: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>().to_lowercase();
        let count = times.entry(id.clone()).or_insert(0);
        found.insert(if *count == 0 { id.clone() } else { format!("{id}-{count}") });
        *count += 1;
    }
    found
}

/// Lines with their numbers, but for blocks of code.
fn prose(page: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    page.lines().enumerate().filter_map(move |(index, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (!fenced && !fence && !line.starts_with("    ")).then_some((index + 1, line))
    })
}

/// A line without what is between backticks, which may go on in the next line; the text of a link may be code.
fn without_code(line: &str, in_code: &mut bool) -> String {
    let mut kept = String::new();
    for c in line.chars() {
        if c == '`' {
            *in_code ^= true;
        } else if !*in_code {
            kept.push(c);
        }
    }
    kept
}

/// Every page of ours.
fn pages() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![root().join("docs"), root().join("deploy"), root().join("tests/cases")];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(&dir).expect("it is a directory") {
            let path = entry.expect("it can be read").path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|end| end == "md") {
                found.push(path);
            }
        }
    }
    for name in ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "protocol/README.md"] {
        found.push(root().join(name));
    }
    found.sort();
    assert!(found.len() > 25, "{found:?}");
    found
}

/// Without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut found = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => _ = found.pop(),
            Component::CurDir => (),
            other => found.push(other),
        }
    }
    found
}

fn shown(page: &Path) -> String {
    page.strip_prefix(root()).unwrap_or(page).display().to_string()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[track_caller]
fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[track_caller]
fn run(args: &[&str], path: &Path) -> CommandOutput {
    CommandOutput::of(Command::new(BACKSTOP).args(args).arg(path))
}

/// Reasons that let pass, and so are never in a reply.
const PASS: [&str; 7] =
    ["ok", "no-directory", "not-local", "exempt", "mta-refused", "submission", "disabled"];
