//! Memory: what a process holds, as the kernel counts it.

use std::fs;

use crate::Error;

/// Bytes that a process has in memory (proc(5), `VmRSS`). What the kernel holds for its sockets is not in it.
///
/// # Errors
/// When the process is not there.
pub fn resident(pid: u32) -> Result<u64, Error> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).map_err(Error::io(path))?;
    let found = field(&status, "VmRSS");
    found.ok_or_else(|| Error::Tool { tool: "/proc", said: format!("no VmRSS: {status}") })
}

/// A field of /proc/PID/status, in bytes.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read() {
        let status = "Name:\tbackstop\nVmPeak:\t  9000 kB\nVmRSS:\t   12 kB\nThreads:\t3\n";
        assert_eq!(field(status, "VmRSS"), Some(12 * 1024));
        assert_eq!(field(status, "Threads"), None);
    }
}
