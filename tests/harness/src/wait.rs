//! Waiting on conditions.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Waits until `condition` holds.
///
/// # Panics
/// After `timeout`, with `what` in the message. The servers of the test print the end of their logs as they are dropped.
#[track_caller]
pub fn wait_until(timeout: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(timeout, what, || condition().then_some(()));
}

/// Waits until `probe` has a value, and returns it.
///
/// # Panics
/// After `timeout`, with `what` in the message.
#[track_caller]
pub fn wait_for<T>(timeout: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(start.elapsed() < timeout, "waited {timeout:?} in vain for {what}");
        sleep(POLL);
    }
}

/// The last 40 lines of a log file; a note instead of them when it cannot be read.
#[must_use]
pub fn tail(path: &Path) -> String {
    match std::fs::read(path) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(40)..].join("\n")
        }
        Err(error) => format!("(no {}: {error})", path.display()),
    }
}

const POLL: Duration = Duration::from_millis(5);
