//! An emulated machine whose clock counts instructions: each instruction of its one processor takes a nanosecond, and
//! nothing else takes time. The CPU time of a process in it is its number of instructions, those in the kernel included,
//! and the same again whatever else runs on this machine. docs/performance.md tells what that is worth.
//!
//! It is QEMU with `-icount`, Debian's kernel and a file system in memory. It has no disk and no network but its own
//! loopback. What doesn't end, or not well, is an error with the end of the console's text.

mod image;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use backstop_harness::{Process, Signal, TempDir};

use crate::Error;
pub use image::Image;

/// An emulated machine.
#[derive(Debug)]
pub struct Machine {
    kernel: PathBuf,
}

impl Machine {
    /// The machine with the kernel that `tests/bench` unpacked.
    ///
    /// # Errors
    /// When it is not there.
    pub fn find() -> Result<Self, Error> {
        let kernel = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/harness/kernel/vmlinuz");
        match kernel.canonicalize() {
            Ok(kernel) => Ok(Self { kernel }),
            Err(error) => Err(Error::io(format!("{} (tests/load/install)", kernel.display()))(error)),
        }
    }

    /// Starts it with `image`, and waits until it is switched off. What the image's `/run` printed is returned.
    ///
    /// # Errors
    /// When that takes longer than `within`, or `/run` failed.
    pub fn run(&self, image: &Image, within: Duration) -> Result<String, Error> {
        let directory = TempDir::new("machine");
        let archive = image.pack(directory.path())?;
        let mut command = Command::new("qemu-system-x86_64");
        command.args(MACHINE).arg("-kernel").arg(&self.kernel).arg("-initrd").arg(&archive);
        command.args(["-append", KERNEL]);
        let mut process = Process::spawn("qemu", &mut command, &directory.join("console"), Signal::KILL);
        let begun = Instant::now();
        while process.exited().is_none() {
            if begun.elapsed() > within {
                let said = format!("it is not done within {within:?}: {}", end_of(&process.log()));
                return Err(Error::Tool { tool: "the machine", said });
            }
            sleep(Duration::from_millis(50));
        }
        said(&process.log()).ok_or_else(|| Error::Tool { tool: "the machine", said: end_of(&process.log()) })
    }
}

/// What `/run` printed, if it ended well.
fn said(console: &str) -> Option<String> {
    let console = console.replace('\r', "");
    let (_, said) = console.split_once(&format!("{BEGUN}\n"))?;
    let (said, _) = said.split_once(&format!("{DONE}\n"))?;
    Some(said.to_owned())
}

fn end_of(console: &str) -> String {
    let lines: Vec<_> = console.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// `shift=0`: an instruction takes 2^0 ns. `sleep=off`: when all sleep, the clock jumps to whatever is next. The date and
/// what is random are always the same. Copies by `rep movsb` are switched off: a processor counts one instruction, QEMU
/// one for each byte.
const MACHINE: [&str; 22] = [
    "-nodefaults",
    "-no-reboot",
    "-display",
    "none",
    "-serial",
    "stdio",
    "-machine",
    "pc",
    "-accel",
    "tcg,thread=single",
    "-icount",
    "shift=0,sleep=off",
    "-smp",
    "1",
    "-m",
    "2G",
    "-cpu",
    "max,-erms,-fsrm",
    "-rtc",
    "base=2026-01-01,clock=vm",
    "-seed",
    "1",
];

/// The processor's counter is the clock (its rate is told, so that it need not be found out), and no other one watches it.
const KERNEL: &str = "console=ttyS0 quiet panic=-1 tsc=reliable tsc_early_khz=1000000";

/// What [`Image`]'s init prints before and after `/run`.
const BEGUN: &str = "machine: begun";
const DONE: &str = "machine: done";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_ended_well_counts() {
        let console = "[    0.1] hello\r\nmachine: begun\r\none\r\ntwo\r\nmachine: done\r\n[    8.2] reboot: Power down\r\n";
        assert_eq!(said(console).as_deref(), Some("one\ntwo\n"));
        assert_eq!(said(&console.replace("done", "failed")), None);
        assert_eq!(said("[    0.1] Kernel panic\r\n"), None);
    }
}
