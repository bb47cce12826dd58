//! Compiles what is in C: the filter on libmilter (`peers/libmilter.c`), and a loop (`peers/loop.c`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;

/// Compiles `peers/NAME.c` into `directory`.
///
/// # Errors
/// When there is no compiler, or no libmilter.
pub(crate) fn compile(name: &str, directory: &Path) -> Result<PathBuf, Error> {
    let source = format!("{}/peers/{name}.c", env!("CARGO_MANIFEST_DIR"));
    fs::create_dir_all(directory).map_err(Error::io("the directory for what is compiled"))?;
    let program = directory.join(name);
    let compiler = Command::new("cc")
        .args(["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(&program)
        .args([source.as_str(), "-Wl,--as-needed", "-lmilter", "-lpthread"])
        .output();
    let output = compiler.map_err(Error::io("cc (Debian: build-essential and libmilter-dev)"))?;
    if output.status.success() {
        return Ok(program);
    }
    Err(Error::Tool { tool: "cc", said: String::from_utf8_lossy(&output.stderr).into_owned() })
}
