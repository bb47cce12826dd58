//! Configuration files.

use std::{fs, sync::LazyLock};

use backstop::{
    config::{Error, Loaded, load, show},
    readable::misleads,
};
use tempfile::TempDir;

/// What is taken can be shown, and what is shown is taken for the same; what is wrong is told in lines that can be printed. A
/// password that has no business in the file is never told.
pub(crate) fn run(bytes: &[u8]) {
    match read(bytes) {
        Ok(loaded) => {
            let shown = lines(&loaded);
            match read(shown.as_bytes()) {
                Ok(again) => assert_eq!(lines(&again), shown),
                Err(error) => panic!("{error}\nin what was shown:\n{shown}"),
            }
        }
        Err(error) => {
            let told = error.to_string();
            assert!(!told.is_empty());
            assert!(!told.chars().any(|c| misleads(c) && !matches!(c, '\n' | '\t')), "{told:?}");
        }
    }
    let place = MISPLACED[bytes.len() % MISPLACED.len()];
    if !bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes())
        && let Err(error) = read(&[bytes, place.as_bytes()].concat())
    {
        let told = error.to_string();
        assert!(!told.contains(SECRET), "{told}");
    }
}

fn read(bytes: &[u8]) -> Result<Loaded, Error> {
    static DIR: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().expect("room for a file"));
    let path = DIR.path().join("backstop.toml");
    fs::write(&path, bytes).expect("room for a file");
    load(Some(&path))
}

fn lines(loaded: &Loaded) -> String {
    let shown = show(loaded);
    assert!(shown.len() > 50, "every key has a value: {shown:?}");
    shown.iter().map(|value| format!("{value}\n")).collect()
}

const SECRET: &str = "hunter2";

/// Where people write one.
const MISPLACED: [&str; 3] = [
    "\n[store]\nurl = \"redis://user:hunter2@127.0.0.1\"\n",
    "\n[directory.other.ldap]\npassword = \"hunter2\"\n",
    "\n[directory.other.sql]\nurl = \"postgres://user:hunter2@127.0.0.1/mail\"\n",
];
