//! Compiles the filter on libmilter (`peers/libmilter.c`).

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;

/// Compiles it into `directory`.
///
/// # Errors
/// When there is no compiler, or no libmilter.
pub(super) fn compile(directory: &Path) -> Result<PathBuf, Error> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/libmilter.c");
    let program = directory.join("libmilter");
    let compiler = Command::new("cc")
        .args(["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(&program)
        .args([source, "-lmilter", "-lpthread"])
        .output();
    let output = compiler.map_err(Error::io("cc (Debian: build-essential and libmilter-dev)"))?;
    if output.status.success() {
        return Ok(program);
    }
    Err(Error::Tool { tool: "cc", said: String::from_utf8_lossy(&output.stderr).into_owned() })
}
