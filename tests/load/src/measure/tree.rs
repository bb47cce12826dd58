//! CPU time of a process and all that it started: of those that live as the scheduler counts it, of those that have ended as
//! it was added to their parents (proc(5), `cutime` and `cstime`), which the kernel tells in hundredths of a second.

use std::fs;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;

use super::cpu;
use crate::Error;

/// What a process and its descendants have used so far.
///
/// # Errors
/// When the process is not there. A descendant that ends meanwhile is no error.
pub fn time(pid: u32) -> Result<Duration, Error> {
    let own = cpu::time(pid)? + of_the_dead(pid)?;
    Ok(children(pid).into_iter().map(|child| time(child).unwrap_or_default()).sum::<Duration>() + own)
}

/// The descendants that have ended, and were waited for.
fn of_the_dead(pid: u32) -> Result<Duration, Error> {
    let stat =
        fs::read_to_string(format!("/proc/{pid}/stat")).map_err(Error::io(format!("process {pid}")))?;
    // Behind the name in parentheses, which may hold anything: state is field 3, cutime and cstime are 16 and 17.
    let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ');
    let ticks: u64 = fields.skip(13).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_nanos(ticks * 1_000_000_000 / clock_ticks_per_second()))
}

fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.map(|thread| fs::read_to_string(thread.path().join("children")).unwrap_or_default());
    lists.flat_map(|list| list.split(' ').filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()).collect()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn what_a_dead_grandchild_used_counts() {
        // The inner shell counts to a number, ends, and is waited for; then the outer one says so and stays.
        let script = "sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done'; echo done; read line";
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = shell.spawn().unwrap();
        let mut said = [0; 5];
        std::io::Read::read_exact(shell.stdout.as_mut().unwrap(), &mut said).unwrap();
        let (own, all) = (cpu::time(shell.id()).unwrap(), time(shell.id()).unwrap());
        drop(shell.stdin.take());
        shell.wait().unwrap();
        assert!(all > own + Duration::from_millis(20), "{own:?} of {all:?}");
    }
}
