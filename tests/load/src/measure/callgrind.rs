//! Instructions in user space, counted by valgrind's callgrind: the same work is the same number, however busy the machine
//! is. What the kernel does is not in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::run;
use crate::Error;

/// A server that runs below callgrind, which counts only when it is told.
#[derive(Debug)]
pub struct Callgrind {
    pid: u32,
    output: PathBuf,
    dumps: u32,
}

/// The words before a server's command that make callgrind count it; its files begin with `output`.
#[must_use]
pub fn launcher(output: &Path) -> Vec<String> {
    let output = format!("--callgrind-out-file={}", output.display());
    ["valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no", &output].map(str::to_owned).to_vec()
}

impl Callgrind {
    /// The server `pid`, which was started by [`launcher`] with the same `output`.
    #[must_use]
    pub fn new(pid: u32, output: &Path) -> Self {
        Self { pid, output: output.to_owned(), dumps: 0 }
    }

    /// From now on it counts, which makes the server fifty times as slow.
    ///
    /// # Errors
    /// When callgrind does not answer.
    pub fn begin(&self) -> Result<(), Error> {
        self.control("--instr=on")?;
        self.control("--zero")
    }

    /// The instructions since the last call, or since it began to count. The counts of each function are in the file whose
    /// name ends in the number of the call; callgrind_annotate(1) shows them.
    ///
    /// # Errors
    /// When callgrind does not answer.
    pub fn count(&mut self) -> Result<u64, Error> {
        self.control("--dump")?;
        self.dumps += 1;
        let path = PathBuf::from(format!("{}.{}", self.output.display(), self.dumps));
        let begun = Instant::now();
        loop {
            let dump = fs::read_to_string(&path).unwrap_or_default();
            if let Some(total) = total(&dump) {
                return Ok(total);
            }
            if begun.elapsed() > PATIENCE {
                let said = format!("no count in {}", path.display());
                return Err(Error::Tool { tool: "callgrind", said });
            }
            sleep(Duration::from_millis(5));
        }
    }

    fn control(&self, order: &str) -> Result<(), Error> {
        let mut command = Command::new("callgrind_control");
        let said = run("callgrind_control", command.arg(order).arg(self.pid.to_string()))?;
        if said.contains("Error") || said.contains("No active") {
            return Err(Error::Tool { tool: "callgrind_control", said });
        }
        Ok(())
    }
}

/// The sum in a dump; it is the last line that is written.
fn total(dump: &str) -> Option<u64> {
    let line = dump.lines().rev().find_map(|line| line.strip_prefix("totals: "))?;
    line.split(' ').next()?.parse().ok()
}

const PATIENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_read() {
        assert_eq!(total("version: 1\nsummary: 17\n\nfn=(1)\n3 4\n\ntotals: 4711\n"), Some(4711));
        assert_eq!(total("version: 1\nsummary: 17\n\nfn=(1)\n3 4\n"), None, "half written");
    }
}
