//! System calls, counted by strace(1).

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use backstop_harness::{Process, Signal, TempDir};

use crate::Error;

/// Counts the calls of a process, of all its threads, while `work` is done.
///
/// # Errors
/// When it can't be traced, or the work fails.
pub fn calls(pid: u32, work: impl FnOnce() -> Result<(), Error>) -> Result<BTreeMap<String, u64>, Error> {
    let directory = TempDir::new("strace");
    let (table, log) = (directory.join("table"), directory.join("log"));
    let mut command = Command::new("strace");
    command.args(["-c", "-f", "-o"]).arg(&table).args(["-p", &pid.to_string()]);
    let mut strace = Process::spawn("strace", &mut command, &log, Signal::INT);
    let begun = Instant::now();
    while !strace.log().contains("attached") {
        if strace.exited().is_some() || begun.elapsed() > PATIENCE {
            return Err(Error::Tool { tool: "strace", said: strace.log() });
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    work()?;
    strace.signal(Signal::INT);
    strace.wait_exit(PATIENCE);
    let text = fs::read_to_string(&table).map_err(Error::io("strace"))?;
    Ok(counts(&text))
}

/// The columns `calls` and `syscall` of strace's table.
fn counts(table: &str) -> BTreeMap<String, u64> {
    let rows = table.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (name, calls) = (words.last()?, words.get(3)?.parse().ok()?);
        (*name != "total" && words.len() >= 5).then(|| ((*name).to_owned(), calls))
    });
    rows.collect()
}

const PATIENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    // strace 6.1
    #[test]
    fn the_table_is_read() {
        let table = "% time     seconds  usecs/call     calls    errors syscall\n\
                     ------ ----------- ----------- --------- --------- ----------------\n\
                     60.00    0.000600           6       100        20 recvfrom\n\
                     40.00    0.000400           4        50           epoll_wait\n\
                     ------ ----------- ----------- --------- --------- ----------------\n\
                     100.00    0.001000           5       150        20 total\n";
        let expected = [("epoll_wait".to_owned(), 50), ("recvfrom".to_owned(), 100)];
        assert_eq!(counts(table), BTreeMap::from(expected));
    }
}
