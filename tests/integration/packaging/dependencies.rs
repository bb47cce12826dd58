//! What is built in, by what the crates say of themselves.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

/// `rust-version` is stated for all of the workspace, and nothing that is built in wants a later one. (That our own code keeps
/// to it is clippy's `incompatible_msrv`, with warnings as errors.)
#[test]
fn nothing_wants_a_later_rust_than_is_stated() {
    let packages = packages();
    let stated = packages.iter().find(|package| package["name"] == "backstop").map(rust_version);
    let stated = stated.flatten().expect("Cargo.toml has a rust-version");
    let later: Vec<_> = packages
        .iter()
        .filter(|package| rust_version(package).is_some_and(|version| version > stated))
        .map(|package| (&package["name"], &package["rust_version"]))
        .collect();
    assert!(later.is_empty(), "{stated:?}: {later:?}");
    for file in ["README.md", "CONTRIBUTING.md", "deploy/container/Dockerfile"] {
        let text =
            std::fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).expect("it is there");
        let wanted = format!("{}.{}", stated[0], stated[1]);
        let told = text.contains(&format!("Rust {wanted}"))
            || text.contains(&format!("Rust ({wanted}"))
            || text.contains(&format!("rust:{wanted}-"));
        assert!(told, "{file} tells another Rust than {wanted}");
    }
}

/// deny.toml lists what it may have; here that each crate can be had under one of those licences.
#[test]
fn every_licence_is_one_of_those_allowed() {
    let deny =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deny.toml")).expect("it is there");
    let deny: toml_edit::DocumentMut = deny.parse().expect("it is TOML");
    let allowed: Vec<&str> = deny["licenses"]["allow"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(toml_edit::Value::as_str)
        .collect();
    let packages = packages();
    assert!(packages.len() > 200, "{}", packages.len());
    for package in &packages {
        let licence = package["license"].as_str().unwrap_or_default();
        assert!(is_allowed(licence, &allowed), "{}: {licence:?} is not in deny.toml", package["name"]);
    }
    assert!(!is_allowed("GPL-3.0-only", &allowed) && !is_allowed("MIT AND GPL-3.0-only", &allowed));
    assert!(!is_allowed("", &allowed));
}

/// docs/dependencies.md says why each one.
#[test]
fn each_has_its_reason() {
    let read = |file: &str| {
        std::fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).expect("it is there")
    };
    let mut used = BTreeSet::new();
    for manifest in ["Cargo.toml", "protocol/Cargo.toml"] {
        let manifest: toml_edit::DocumentMut = read(manifest).parse().expect("it is TOML");
        let crates = manifest["dependencies"].as_table().expect("it has some");
        used.extend(crates.iter().map(|(name, _)| name.to_owned()));
    }
    let page = read("docs/dependencies.md");
    let rows = page.lines().filter(|line| line.starts_with("| `")).filter_map(|line| line.split('|').nth(1));
    let told: BTreeSet<String> =
        rows.flat_map(|names| names.split('`').skip(1).step_by(2)).map(str::to_owned).collect();
    assert_eq!(told, used);
}

mod full {
    use super::Command;

    /// cargo-deny's own judgement by deny.toml. Its list of known vulnerabilities is not asked: it would have to be fetched.
    #[test]
    fn cargo_deny_has_no_objection() {
        let cargo = |args: &[&str]| {
            let mut cargo = Command::new(env!("CARGO"));
            let output =
                cargo.args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo runs");
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned() + &errors)
        };
        let wanted = format!("cargo-deny {VERSION}");
        if cargo(&["deny", "--version"]).1.trim() != wanted {
            let (is_installed, said) =
                cargo(&["install", "--quiet", "--locked", "cargo-deny", "--version", VERSION]);
            assert!(is_installed, "{said}");
        }
        let (is_fine, said) = cargo(&["deny", "--locked", "check", "bans", "licenses", "sources"]);
        assert!(is_fine && said.contains("bans ok, licenses ok, sources ok"), "{said}");
    }

    const VERSION: &str = "0.20.2";
}

/// The file of licences that is in the package names every crate that the program has code of, as its line numbers tell.
#[test]
fn no_licence_of_what_is_linked_is_missing() {
    let mut licences = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/licences"));
    let output = licences.output().expect("it can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("it is UTF-8");
    let (list, texts) = text.split_once("\n======== 1 ========\n").expect("a list, and texts");
    let named: BTreeSet<String> = list
        .lines()
        .zip(list.lines().skip(1))
        .filter(|(_, next)| next.starts_with("  licence: "))
        .map(|(name, _)| name.replace(' ', "-"))
        .collect();
    let linked = linked();
    assert!(linked.len() > 150, "{linked:#?}");
    let missing: Vec<_> = linked.difference(&named).collect();
    assert!(missing.is_empty(), "{missing:?}");
    // Each number is that of a text.
    let numbers =
        list.lines().filter_map(|line| line.strip_prefix("  texts: ")).flat_map(str::split_whitespace);
    let last = numbers.map(|number| number.parse::<usize>().expect("a number")).max().expect("some");
    assert_eq!(texts.matches(" ========\n").count() + 1, last);
    for part in ["Permission is hereby granted", "Apache License", "Mozilla", "Public Suffix List", "SQLite"]
    {
        assert!(text.contains(part), "{part}");
    }
    assert!(!text.contains("/registry/"), "it tells where it was built");
}

/// Name and version of the crates whose sources the program's line numbers and messages name: `…/registry/src/INDEX/NAME-VERSION/…`.
fn linked() -> BTreeSet<String> {
    let mut grep = Command::new("grep");
    grep.env("LC_ALL", "C").args(["-aoE", "/registry/src/[^/]+/[A-Za-z0-9_.+-]+/", crate::BACKSTOP]);
    let output = grep.output().expect("grep is there");
    assert!(output.status.success(), "{output:?}");
    let places = String::from_utf8(output.stdout).expect("it is ASCII");
    places.lines().filter_map(|place| place.split('/').nth(4).map(str::to_owned)).collect()
}

/// SPDX: AND binds closer than OR; "/" is an old OR. Parentheses are only around an OR here.
fn is_allowed(licence: &str, allowed: &[&str]) -> bool {
    let licence = licence.replace('/', " OR ");
    let (mut parts, mut depth, mut part) = (Vec::new(), 0, String::new());
    for word in licence.replace('(', "( ").replace(')', " )").split_whitespace() {
        match word {
            "(" => depth += 1,
            ")" => depth -= 1,
            "AND" if depth == 0 => parts.push(std::mem::take(&mut part)),
            _ => part = format!("{part} {word}"),
        }
    }
    parts.push(part);
    parts.iter().all(|part| part.split(" OR ").any(|one| allowed.contains(&one.trim())))
}

fn rust_version(package: &Value) -> Option<[u32; 2]> {
    let text = package["rust_version"].as_str()?;
    let mut numbers = text.split('.').map(|number| number.parse().expect("a number"));
    Some([numbers.next().expect("a major version"), numbers.next().unwrap_or(0)])
}

/// All that the lock file has for this kind of host, with what is only for tests and builds.
fn packages() -> Vec<Value> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "metadata",
        "--format-version",
        "1",
        "--locked",
        "--filter-platform",
        "x86_64-unknown-linux-gnu",
    ]);
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let used: Vec<Value> = metadata["resolve"]["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .map(|node| node["id"].clone())
        .collect();
    let Value::Array(packages) = metadata["packages"].take() else { panic!("no packages") };
    packages.into_iter().filter(|package| used.contains(&package["id"])).collect()
}
