//! Threads for everything but the sessions of MTAs.

use std::io;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

/// With so many threads for tasks; `None`: one for each processor. Threads for what blocks come as they are needed, and stay: the
/// first of them is there from the start. Where the system gives no more (`TasksMax=`, `ulimit -u`), work waits for one of those
/// that there are; without any, tokio would panic.
pub(super) fn start(name: &str, workers: Option<usize>) -> io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder.thread_name(name).thread_keep_alive(Duration::MAX).enable_all();
    if let Some(workers) = workers {
        builder.worker_threads(workers);
    }
    let runtime = builder.build()?;
    drop(runtime.spawn_blocking(|| ()));
    Ok(runtime)
}
