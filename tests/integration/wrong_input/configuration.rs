//! A configuration that is none, or whose files can't be read.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use backstop_harness::{CommandOutput, TempDir};

use super::{ASKING, READING, as_nobody, backstop, each, is_told};
use crate::BACKSTOP;

const CONFIG: i32 = 78;
const NO_PERMISSION: i32 = 77;

#[test]
fn a_file_that_is_none() {
    let dir = TempDir::new("wrong");
    dir.write("broken", "[control]\nsocket = \"/x\n");
    dir.write("binary", [0xff, 0xfe, 0, 1, 0x1b, 2].repeat(1000));
    dir.write("nul", [0; 1000]);
    dir.write("deep", format!("a = {}", "[".repeat(100_000)));
    dir.write("type", "[control]\nsocket = 7\n");
    dir.write("steers", "[control]\nsocket = \"\u{1b}[2J\n");
    fs::File::create(dir.join("huge")).and_then(|file| file.set_len(10 << 30)).expect("a sparse file");
    symlink(dir.join("loop"), dir.join("loop")).expect("it is made");
    let rows = [
        ("missing", "missing: No such file"),
        (".", "Is a directory"),
        ("broken/x", "Not a directory"),
        ("broken", "broken:2:"),
        ("binary", "binary:1:1: not UTF-8"),
        ("nul", "nul:1:"),
        ("deep", "deep:1:"),
        ("type", "type:2:10: found the number 7, expected a path in quotes"),
        ("steers", "steers:2:"),
        ("huge", "larger than 4 MiB"),
        ("/dev/zero", "larger than 4 MiB"),
        ("loop", "Too many levels of symbolic links"),
    ];
    each(rows, |(name, told)| {
        let path = dir.join(name).display().to_string();
        for args in ASKING.iter().chain(&READING) {
            let args = [args, &["--config", &path][..]].concat();
            is_told(name, &args, &CommandOutput::of(&mut backstop(&args)), CONFIG, told);
        }
    });
}

/// What is wrong beside `[control]` does not keep anybody from asking the server.
#[test]
fn values_that_are_wrong() {
    let dir = TempDir::new("wrong");
    let list = dir.write("list", "anna@example.test\n");
    fs::set_permissions(&list, fs::Permissions::from_mode(0o600)).expect("root may");
    let program = dir.join("program");
    fs::copy(BACKSTOP, &program).expect("there is room");
    let file = |path: &Path| {
        format!("[directory.a]\ndomains = [\"a.test\"]\n[directory.a.file]\npath = \"{}\"\n", path.display())
    };
    let rows: Vec<(&str, String, &str)> = vec![
        ("unknown key", "[limitz]\n".to_owned(), ":1:2: unknown key `limitz`"),
        ("bad duration", "[limits]\nlookup = \"soon\"\n".to_owned(), ":2:10: "),
        ("bad domain", "[domains]\nnames = [\"exa mple\"]\n".to_owned(), "is not a domain"),
        ("bad address", "listen = [\"inet:8890\"]\n".to_owned(), ":1:"),
        ("missing file", file(&dir.join("none")), "none: No such file"),
        ("a directory", file(dir.path()), "is not a file"),
        ("a device", file(Path::new("/dev/zero")), "is not a file"),
        ("a file of root's", file(&list), "list: Permission denied"),
    ];
    let rows: Vec<(&str, PathBuf, &str)> = rows
        .into_iter()
        .map(|(what, text, told)| (what, dir.write(&what.replace(' ', "-"), text), told))
        .collect();
    each(rows, |(what, path, told)| {
        let path = path.display().to_string();
        for args in READING {
            let args = [args, &["--config", &path]].concat();
            is_told(what, &args, &CommandOutput::of(&mut as_nobody(&program, &args)), CONFIG, told);
        }
    });
}

#[test]
fn a_file_of_root_s() {
    let dir = TempDir::new("wrong");
    let config = dir.write("backstop.toml", "");
    fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).expect("root may");
    let program = dir.join("program");
    fs::copy(BACKSTOP, &program).expect("there is room");
    let config = config.display().to_string();
    each(ASKING.into_iter().chain(READING), |args| {
        let args = [args, &["--config", &config]].concat();
        let output = CommandOutput::of(&mut as_nobody(&program, &args));
        is_told("configuration", &args, &output, NO_PERMISSION, "Permission denied (os error 13); root may");
    });
}
