//! CPU time: nanoseconds that a process has run, in user space and in the kernel, as the scheduler counts them.

use std::time::Duration;

use nix::errno::Errno;
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Error;

/// What a process has used so far, with those of its threads that have ended.
///
/// # Errors
/// When the process is not there.
pub fn time(pid: u32) -> Result<Duration, Error> {
    let id = i32::try_from(pid).map(Pid::from_raw).map_err(|_| Errno::ESRCH);
    let time = id.and_then(clock_getcpuclockid).and_then(clock_gettime);
    time.map(Duration::from).map_err(|error| Error::io(format!("process {pid}"))(error.into()))
}

/// The CPUs that this process may use.
///
/// # Errors
/// When the system does not say.
pub fn usable() -> Result<Vec<usize>, Error> {
    let set = sched_getaffinity(None).map_err(|error| Error::io("CPUs")(error.into()))?;
    Ok((0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect())
}

/// Servers run on the first CPU that there is; this process, which drives them, on the last one. Gives the words before a
/// server's command that keep it to its CPU.
///
/// # Errors
/// When the system does not permit it.
pub fn part() -> Result<Vec<String>, Error> {
    let usable = usable()?;
    let (Some(first), Some(last)) = (usable.first(), usable.last()) else { return Ok(Vec::new()) };
    let mut set = CpuSet::new();
    set.set(*last);
    sched_setaffinity(None, &set).map_err(|error| Error::io("CPUs")(error.into()))?;
    Ok(["taskset", "-c", &first.to_string()].map(str::to_owned).to_vec())
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::thread;

    use super::*;

    #[test]
    fn what_ended_threads_have_used_counts() {
        let before = time(std::process::id()).unwrap();
        let work = thread::spawn(|| {
            let begun = time(std::process::id()).unwrap();
            let worked = Duration::from_millis(20);
            while time(std::process::id()).unwrap() < begun + worked {
                black_box((0..1000).sum::<u64>());
            }
        });
        work.join().unwrap();
        assert!(time(std::process::id()).unwrap() - before >= Duration::from_millis(20));
        assert!(time(u32::MAX).is_err());
    }
}
