//! Compiles what is in C: the filter on libmilter (`peers/libmilter.c`), a loop (`peers/loop.c`), and a clock that is slow
//! (`peers/clock.c`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;

/// Compiles the program `peers/NAME.c` into `directory`.
///
/// # Errors
/// When there is no compiler, or no libmilter.
pub(crate) fn program(name: &str, directory: &Path) -> Result<PathBuf, Error> {
    compile(name, directory.join(name), &["-Wl,--as-needed", "-lmilter", "-lpthread"])
}

/// Compiles `peers/NAME.c` into `directory`, as a library that can be preloaded.
///
/// # Errors
/// When there is no compiler.
pub(crate) fn library(name: &str, directory: &Path) -> Result<PathBuf, Error> {
    compile(name, directory.join(format!("{name}.so")), &["-shared", "-fPIC"])
}

fn compile(name: &str, to: PathBuf, more: &[&str]) -> Result<PathBuf, Error> {
    let source = format!("{}/peers/{name}.c", env!("CARGO_MANIFEST_DIR"));
    if let Some(directory) = to.parent() {
        fs::create_dir_all(directory).map_err(Error::io("the directory for what is compiled"))?;
    }
    let compiler = Command::new("cc")
        .args(["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(&to)
        .arg(source)
        .args(more)
        .output();
    let output = compiler.map_err(Error::io("cc (Debian: build-essential and libmilter-dev)"))?;
    if output.status.success() {
        return Ok(to);
    }
    Err(Error::Tool { tool: "cc", said: String::from_utf8_lossy(&output.stderr).into_owned() })
}
