//! File descriptors of the test process.

use std::os::fd::AsFd;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of open files to `wanted`, as far as this process may, and returns what it is then.
#[must_use]
pub fn allow_open_files(wanted: u64) -> u64 {
    let limits = getrlimit(Resource::Nofile);
    let current = limits.current.unwrap_or(u64::MAX);
    let raised = wanted.min(limits.maximum.unwrap_or(u64::MAX));
    if raised > current && setrlimit(Resource::Nofile, Rlimit { current: Some(raised), ..limits }).is_ok() {
        return raised;
    }
    current
}

/// Programs that are started from now on inherit the descriptor, as those that systemd starts inherit a socket.
///
/// # Panics
/// When the kernel refuses.
pub fn let_children_have(descriptor: &impl AsFd) {
    fcntl_setfd(descriptor, FdFlags::empty()).expect("the descriptor is open");
}
