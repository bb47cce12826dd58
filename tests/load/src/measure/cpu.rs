//! CPU time: nanoseconds that a process has run, in user space and in the kernel, as the scheduler counts them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Error;

/// What the threads of a process have used so far, without those that have ended.
///
/// # Errors
/// When the process is not there.
pub fn time(pid: u32) -> Result<Duration, Error> {
    Ok(threads(pid)?.values().sum())
}

/// What each thread of a process has used so far. That of one which runs just now is of its last tick.
///
/// # Errors
/// When the process is not there.
pub fn threads(pid: u32) -> Result<BTreeMap<OsString, Duration>, Error> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).map_err(Error::io(format!("process {pid}")))?;
    let times = threads.flatten().map(|thread| {
        // "time on the cpu, time waiting, timeslices" (Documentation/scheduler/sched-stats)
        let stat = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        let time = stat.split(' ').next().and_then(|time| time.parse().ok()).unwrap_or(0);
        (thread.file_name(), Duration::from_nanos(time))
    });
    Ok(times.collect())
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
