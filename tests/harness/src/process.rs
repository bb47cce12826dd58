//! A server process: its log, its signals, its end.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, kill_process};

pub use rustix::process::Signal;

use crate::wait::{tail, wait_for, wait_until};

/// A running process, whose standard output and error go to a log file. It is stopped when dropped; if the test is
/// failing then, the end of the log is printed.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    guard: Child,
    log: PathBuf,
    last_signal: Signal,
}

impl Process {
    /// Starts `command`. `last_signal` is what it gets when this value is dropped (and
    /// KILL, when it is still there 5 s later), and what it gets when the test process dies before that.
    ///
    /// # Panics
    /// When the command cannot be started.
    #[must_use]
    pub fn spawn(name: &str, command: &mut Command, log: &Path, last_signal: Signal) -> Self {
        let file = open_log(log);
        let stdout = file.try_clone().expect("share a server's log");
        Self::begin(name, command.stdin(Stdio::null()).stdout(stdout).stderr(file), log, last_signal)
    }

    /// The same, but standard input and output are pipes to us.
    ///
    /// # Panics
    /// When the command cannot be started.
    pub(crate) fn spawn_piped(
        name: &str,
        command: &mut Command,
        log: &Path,
        last_signal: Signal,
    ) -> (Self, ChildStdin, ChildStdout) {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(open_log(log));
        let mut process = Self::begin(name, command, log, last_signal);
        let input = process.child.stdin.take().expect("it is a pipe");
        let output = process.child.stdout.take().expect("it is a pipe");
        (process, input, output)
    }

    fn begin(name: &str, command: &mut Command, log: &Path, last_signal: Signal) -> Self {
        let child = command.spawn().unwrap_or_else(|error| panic!("start {name}: {error}"));
        let guard = guard(&child, last_signal);
        Process { name: name.to_owned(), child, guard, log: log.to_owned(), last_signal }
    }

    /// The process' id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal; after STOP, waits until every thread has stopped.
    ///
    /// # Panics
    /// When the process has ended already.
    pub fn signal(&mut self, signal: Signal) {
        assert!(self.exited().is_none(), "{} has ended", self.name);
        kill_process(self.pid_t(), signal)
            .unwrap_or_else(|error| panic!("{signal:?} to {}: {error}", self.name));
        if signal == Signal::STOP {
            let what = format!("{} to stop", self.name);
            wait_until(Duration::from_secs(10), &what, || is_stopped(self.child.id()));
        }
    }

    /// The exit status, if the process has ended.
    ///
    /// # Panics
    /// When the kernel cannot tell.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("ask for a child's status")
    }

    /// Waits until the process has ended.
    ///
    /// # Panics
    /// When it has not after `timeout`.
    #[track_caller]
    pub fn wait_exit(&mut self, timeout: Duration) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        wait_for(timeout, &what, || self.exited())
    }

    /// What the process has printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        read_log(&self.log)
    }

    fn pid_t(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the end of {}'s output:\n{}\n---", self.name, tail(&self.log));
        }
        let _ = self.guard.kill();
        let _ = self.guard.wait();
        if let Ok(Some(_)) = self.child.try_wait() {
            return; // its id may be another's by now
        }
        let _ = kill_process(self.pid_t(), self.last_signal);
        let _ = kill_process(self.pid_t(), Signal::CONT);
        let start = Instant::now();
        while let Ok(None) = self.child.try_wait() {
            if start.elapsed() > Duration::from_secs(5) {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            sleep(Duration::from_millis(2));
        }
    }
}

fn open_log(log: &Path) -> File {
    File::options().create(true).append(true).open(log).expect("open a server's log")
}

/// A process that outlives us to stop `child`, when we are killed: it waits for the end of a pipe that we hold open. (The
/// kernel's own means, `PR_SET_PDEATHSIG`, is forgotten when a mail server changes its effective user.)
fn guard(child: &Child, signal: Signal) -> Child {
    let mut command = Command::new("sh");
    command
        .args(["-c", r#"read -r _; kill "-$0" "$1""#])
        .arg(signal.as_raw().to_string())
        .arg(child.id().to_string());
    // in a process group of its own: what kills ours shall not kill it
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("start a guard")
}

/// Whether all threads of a process are stopped: state `T` in /proc/PID/task/TID/stat (proc(5)), after the name in
/// parentheses.
fn is_stopped(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the process is there");
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    })
}

/// Runs a command to its end and returns its output.
///
/// # Panics
/// When it fails, with its output.
pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// A log's text; empty while there is none.
pub(crate) fn read_log(path: &Path) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
