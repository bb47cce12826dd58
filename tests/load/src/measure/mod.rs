//! What a server costs while it is driven.

pub mod callgrind;
pub mod clock;
pub mod cpu;
pub mod machine;
pub mod memory;
pub mod strace;
pub mod tree;

use crate::Error;

/// Ends with what a tool said, unless its exit status is 0.
pub(crate) fn run(tool: &'static str, command: &mut std::process::Command) -> Result<String, Error> {
    let output = command.output().map_err(Error::io(tool))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    Err(Error::Tool { tool, said: text(&output.stdout) + &text(&output.stderr) })
}
