//! Configuration files.

use std::{fs, sync::LazyLock};

use backstop::config::{load, show};
use tempfile::TempDir;

/// What is taken can be shown; what is wrong is told in lines that can be printed.
pub(crate) fn run(bytes: &[u8]) {
    static DIR: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().expect("room for a file"));
    let path = DIR.path().join("backstop.toml");
    fs::write(&path, bytes).expect("room for a file");
    match load(Some(&path)) {
        Ok(loaded) => {
            let shown = show(&loaded);
            assert!(shown.len() > 50, "every key has a value: {shown:?}");
        }
        Err(error) => {
            let told = error.to_string();
            assert!(!told.is_empty());
            assert!(!told.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')), "{told:?}");
        }
    }
}
