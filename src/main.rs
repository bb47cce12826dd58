//! The program.

use std::process::ExitCode;

fn main() -> ExitCode {
    // No core file, and no other process of the same user, has what is in memory: passwords of directories (prctl(2),
    // PR_SET_DUMPABLE). The system knows no reason to refuse that.
    let _ = nix::sys::prctl::set_dumpable(false);
    backstop::cli::main()
}
