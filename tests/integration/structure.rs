//! The house is in order: modules use only those below them, and the source holds nothing that the habits forbid.
//! docs/architecture.md tells of the order and why.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Low to high: each module and what it may use.
const ORDER: [(&str, &[&str]); 22] = [
    ("clock", &[]),
    ("readable", &[]),
    ("address", &[]),
    ("policy", &["address"]),
    ("telemetry", &["readable"]),
    ("net", &["telemetry"]),
    ("files", &["telemetry"]),
    ("probe", &["address", "net"]),
    ("store", &["clock", "telemetry", "net"]),
    ("detect", &["address", "net", "telemetry", "files"]),
    ("directory", &["clock", "address", "policy", "net", "telemetry", "files", "store", "detect"]),
    ("client", &["address", "policy", "net", "telemetry", "files"]),
    ("defence", &["clock", "readable", "address", "policy", "net", "telemetry", "files", "store"]),
    ("suspension", &["clock", "address", "policy", "telemetry", "files", "store"]),
    ("history", &["readable", "address", "policy", "telemetry"]),
    (
        "server",
        &[
            "clock",
            "readable",
            "address",
            "policy",
            "telemetry",
            "net",
            "files",
            "detect",
            "directory",
            "client",
            "defence",
            "suspension",
            "history",
        ],
    ),
    ("replay", &["policy", "files", "server"]),
    (
        "control",
        &[
            "address",
            "policy",
            "telemetry",
            "net",
            "files",
            "detect",
            "directory",
            "client",
            "defence",
            "suspension",
            "history",
            "server",
        ],
    ),
    ("http", &["readable", "address", "policy", "telemetry", "net", "history", "server", "control"]),
    // for the parts' `Config` types, and what these are made of
    (
        "config",
        &[
            "readable",
            "address",
            "policy",
            "telemetry",
            "net",
            "store",
            "directory",
            "client",
            "defence",
            "suspension",
            "server",
            "http",
            "control",
        ],
    ),
    (
        "daemon",
        &[
            "address",
            "policy",
            "telemetry",
            "net",
            "files",
            "store",
            "detect",
            "directory",
            "client",
            "defence",
            "suspension",
            "history",
            "server",
            "http",
            "control",
            "config",
            "replay",
        ],
    ),
    ("cli", &["readable", "address", "probe", "config", "control", "daemon", "replay"]),
];

#[test]
fn modules_use_only_what_is_below_them() {
    let mut wrong = Vec::new();
    let mut uses = 0;
    for (module, path, source) in sources() {
        let (_, may) = ORDER.iter().find(|(name, _)| *name == module).unwrap_or_else(|| {
            panic!("{}: the module `{module}` has no place in the order", path.display());
        });
        for used in used_modules(&source) {
            uses += 1;
            if used != module && !may.contains(&used.as_str()) {
                wrong.push(format!("{}: `{module}` uses `{used}`", path.display()));
            }
        }
    }
    assert!(uses > 100, "only {uses} uses were found: this test reads them wrongly");
    assert!(wrong.is_empty(), "against the order:\n{}", wrong.join("\n"));
}

#[test]
fn the_order_has_no_module_that_is_not_there_and_no_circle() {
    let there: BTreeSet<String> = sources().into_iter().map(|(module, ..)| module).collect();
    let listed: BTreeSet<String> = ORDER.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(listed, there);
    let place: BTreeMap<&str, usize> = ORDER.iter().enumerate().map(|(at, (name, _))| (*name, at)).collect();
    for (name, may) in ORDER {
        for used in may {
            assert!(place[used] < place[name], "`{name}` may not use `{used}`: it is above");
        }
    }
}

#[test]
fn no_source_holds_what_the_habits_forbid() {
    let mut wrong = Vec::new();
    let roots = ["src", "protocol/src", "tests/harness/src"];
    let files: Vec<PathBuf> = roots.iter().flat_map(|root| rust_files(&repository().join(root))).collect();
    assert!(files.len() > 80, "only {} files were found", files.len());
    for path in files {
        let source = without_tests(&code(&read(&path)));
        for (number, line) in source.lines().enumerate() {
            for forbidden in
                [".unwrap()", "todo!", "unimplemented!", "dbg!", "#[allow", "#![allow", "#[ignore"]
            {
                if line.contains(forbidden) {
                    wrong.push(format!("{}:{}: {forbidden}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "forbidden outside of tests:\n{}", wrong.join("\n"));
}

/// What is simulated reads the time in one place: `src/clock.rs`.
#[test]
fn what_is_simulated_reads_no_other_clock() {
    let simulated =
        ["defence/", "server/", "directory/replica/", "directory/remote/", "store/memory.rs", "store/mod.rs"];
    let mut files = 0;
    let mut wrong = Vec::new();
    for (_, path, source) in sources() {
        if !simulated.iter().any(|part| path.starts_with(part)) || path.ends_with("rehearsal.rs") {
            continue;
        }
        files += 1;
        for (number, line) in without_tests(&code(&source)).lines().enumerate() {
            // Where the process gets its own salt, the time is only a number.
            let is_salt = line.contains("hash_one(");
            let reads = ["Instant::now", "SystemTime::now", ".elapsed()"];
            if !is_salt && reads.iter().any(|read| line.contains(read)) {
                wrong.push(format!("src/{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(files > 40, "only {files} files were found");
    assert!(wrong.is_empty(), "clocks that no test can stop:\n{}", wrong.join("\n"));
}

/// Nothing that ships may depend on the place where it was written.
/// A file that no `mod` names is not compiled, and its tests don't run; nobody says so.
#[test]
fn every_file_is_compiled() {
    let mut forgotten = Vec::new();
    for root in
        ["src", "protocol/src", "tests/harness/src", "tests/load/src", "tests/fuzz/src", "tests/integration"]
    {
        let root = repository().join(root);
        for path in files(&root, &|path| path.extension().is_some_and(|extension| extension == "rs")) {
            let name = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
            let dir = path.parent().expect("it is in a directory");
            if dir.ends_with("bin") || dir == root && ["main", "lib"].contains(&name.as_str()) {
                continue;
            }
            // The module that it is, and where that one is named.
            let (module, above) = if name == "mod" {
                (
                    dir.file_name().expect("it has one").to_string_lossy().into_owned(),
                    dir.parent().expect("as well"),
                )
            } else {
                (name, dir)
            };
            // The last one has `mod tests { … }` in it.
            let namers = ["mod.rs", "lib.rs", "main.rs", "../mod.rs"].map(|file| above.join(file));
            let namers = namers.into_iter().chain([above.with_extension("rs")]);
            let is_named = namers.into_iter().filter(|namer| namer.is_file()).any(|namer| {
                code(&read(&namer)).lines().any(|line| line.trim_end().ends_with(&format!("mod {module};")))
            });
            if !is_named {
                forgotten.push(path.strip_prefix(repository()).expect("it is there").to_owned());
            }
        }
    }
    assert!(forgotten.is_empty(), "no `mod` names {forgotten:?}");
}

#[test]
fn no_file_names_this_checkout() {
    let here = repository().canonicalize().expect("the repository is there");
    let mut places = vec![here.display().to_string()];
    // The directory around it, too, unless that is one that every machine has.
    let parent = here.parent().unwrap_or(&here);
    if !["/", "/tmp", "/src", "/home", "/root", "/srv", "/opt", "/build"]
        .iter()
        .any(|&usual| parent == Path::new(usual))
    {
        places.push(format!("{}/", parent.display()));
    }
    let mut wrong = Vec::new();
    let files = files(repository(), &|_| true);
    assert!(files.len() > 100, "only {} files were found", files.len());
    for path in files {
        let Ok(text) = String::from_utf8(fs::read(&path).unwrap_or_default()) else { continue };
        for (number, line) in text.lines().enumerate() {
            if places.iter().any(|place| line.contains(place)) {
                wrong.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "places that others do not have:\n{}", wrong.join("\n"));
}

/// What the tests above take for granted about the reading of Rust.
#[test]
fn the_reader_sees_what_the_compiler_sees() {
    let source = r#"
        //! See [`crate::daemon`].
        use crate::{address::{Domain, parse::crate_like}, policy as rules, net::{self, Listener}};
        use crate::files;
        fn f() -> crate::server::Snapshot { "crate::http"; /* crate::cli */ crate::control::ask() }
        #[cfg(test)]
        mod tests { use crate::config; fn g() { None::<u8>.unwrap() } }
        fn h() { crate::telemetry::log() }
    "#;
    let used: Vec<String> = used_modules(source).into_iter().collect();
    assert_eq!(used, ["address", "control", "files", "net", "policy", "server", "telemetry"]);
    let rest = without_tests(&code(source));
    assert!(!rest.contains("unwrap") && rest.contains("fn h()"), "{rest}");
    assert_eq!(rest.lines().count(), source.lines().count(), "lines keep their numbers");
    assert_eq!(code("'\"' .unwrap() b'x' 'static").trim(), "' ' .unwrap() b' ' 'static");
    assert_eq!(code("r#\" \" .unwrap() \"# x").trim_start(), "x");
}

/// Each source file of the program with the module that it belongs to; the crate's own two files have none.
fn sources() -> Vec<(String, PathBuf, String)> {
    let src = repository().join("src");
    let files = rust_files(&src).into_iter().filter_map(|path| {
        let below = path.strip_prefix(&src).expect("it was found there").to_owned();
        let first =
            below.components().next().expect("a file has a name").as_os_str().to_string_lossy().into_owned();
        let module = first.trim_end_matches(".rs").to_owned();
        (!matches!(module.as_str(), "lib" | "main")).then(|| (module, below, read(&path)))
    });
    let files: Vec<_> = files.collect();
    assert!(files.len() > 60, "only {} files were found", files.len());
    files
}

/// The modules of this crate that are named outside of comments, strings and tests.
fn used_modules(source: &str) -> BTreeSet<String> {
    let source = without_tests(&code(source));
    let mut used = BTreeSet::new();
    for (at, _) in source.match_indices("crate::") {
        let begins_a_word = source[..at].chars().next_back().is_none_or(|c| !is_word(c));
        if !begins_a_word {
            continue;
        }
        let rest = source[at + "crate::".len()..].trim_start();
        match rest.strip_prefix('{') {
            None => {
                used.insert(rest.chars().take_while(|&c| is_word(c)).collect());
            }
            Some(group) => used.extend(first_words(group)),
        }
    }
    used
}

/// The first path segment of each item of a use group, whose opening brace is gone.
fn first_words(group: &str) -> Vec<String> {
    let (mut depth, mut words, mut word, mut ended) = (0, Vec::new(), String::new(), false);
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                words.push(std::mem::take(&mut word));
                ended = false;
            }
            c if depth == 0 && !ended && is_word(c) => word.push(c),
            c if c.is_whitespace() && word.is_empty() => {}
            _ => ended = true,
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

/// Blanks comments and the contents of strings and characters; the lines keep their numbers.
fn code(source: &str) -> String {
    let mut out = String::new();
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |at| at + 2)
        } else if let Some(hashes) = raw_string(rest, &out) {
            let end = format!("\"{}", "#".repeat(hashes));
            let from = 2 + hashes;
            rest[from..].find(&end).map_or(rest.len(), |at| from + at + end.len())
        } else if c == '"' {
            string_length(rest)
        } else if let Some(length) = character_length(rest) {
            out.push_str("' '");
            rest = &rest[length..];
            continue;
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        out.extend(rest[..length].chars().filter(|&c| c == '\n'));
        rest = &rest[length..];
    }
    out
}

/// The number of `#` of a raw string that begins here.
fn raw_string(rest: &str, before: &str) -> Option<usize> {
    let begins = before.chars().next_back().is_none_or(|c| !is_word(c) || c == 'b');
    let after = rest.strip_prefix('r').filter(|_| begins)?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].starts_with('"').then_some(hashes)
}

fn string_length(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The length of a character literal that begins here; a lifetime is none.
fn character_length(rest: &str) -> Option<usize> {
    let inner = rest.strip_prefix('\'')?;
    let first = inner.chars().next()?;
    if first == '\\' {
        return inner[2..].find('\'').map(|at| 1 + 2 + at + 1);
    }
    let after = 1 + first.len_utf8();
    rest[after..].starts_with('\'').then_some(after + 1)
}

/// Blanks the items behind `#[cfg(test)]`; the lines keep their numbers.
fn without_tests(code: &str) -> String {
    let mut out = String::new();
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        out.push_str(&rest[..at]);
        let item = &rest[at..];
        let (mut depth, mut length) = (0, item.len());
        for (at, c) in item.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 && matches!(c, '}' | ';') {
                length = at + 1;
                break;
            }
        }
        out.extend(item[..length].chars().filter(|&c| c == '\n'));
        rest = &item[length..];
    }
    out + rest
}

/// The Rust files below a directory, without the modules that are for tests only.
fn rust_files(dir: &Path) -> Vec<PathBuf> {
    files(dir, &|path| {
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let within = path.strip_prefix(dir).unwrap_or(path);
        path.extension().is_some_and(|extension| extension == "rs")
            && !matches!(stem, Some("tests" | "properties"))
            && !within.iter().any(|part| part == "tests")
    })
}

/// The files below a directory that `wanted` takes; not what was built or what git keeps for itself.
fn files(dir: &Path, wanted: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display())) {
        let path = entry.expect("a directory can be read to its end").path();
        if path.is_dir() {
            if !matches!(path.file_name().and_then(|name| name.to_str()), Some("target" | ".git")) {
                found.extend(files(&path, wanted));
            }
        } else if path.file_name().is_none_or(|name| name != ".git") && wanted(&path) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
