//! Runs the MTA's own programs: no shell, a clean environment, bounded in time and output, killed when dropped.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::Options;

/// Why a program's answer is not there.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// There is no such program.
    #[error("{0} is not installed")]
    Missing(PathBuf),
    /// It could not be run.
    #[error("{0} could not be run: {1}")]
    Run(PathBuf, #[source] io::Error),
    /// It took too long.
    #[error("{0} took longer than {1:?}")]
    TooSlow(PathBuf, Duration),
    /// It printed too much.
    #[error("{0} printed more than {1} bytes")]
    TooLong(PathBuf, usize),
    /// It failed. What it printed on standard error is cut to one line.
    #[error("{0} failed: {1}")]
    Failed(PathBuf, String),
}

impl CommandError {
    /// The program failed and gave no reason: `postmap -q` does where it finds nothing.
    pub(super) fn is_silent(&self) -> bool {
        matches!(self, Self::Failed(_, reason) if reason.is_empty())
    }
}

/// Runs `program` and returns its standard output.
///
/// # Errors
/// When it is missing, fails, or goes over the limits of `options`.
pub(super) async fn run<A: AsRef<OsStr>>(
    options: &Options,
    program: &Path,
    arguments: &[A],
    input: &[u8],
) -> Result<String, CommandError> {
    match converse(options, program, arguments, input).await? {
        (stdout, true, _) => Ok(stdout),
        (_, false, stderr) => Err(CommandError::Failed(program.to_owned(), last_line(&stderr))),
    }
}

/// The same, for a program whose exit status means nothing: standard output, whether it succeeded, standard error.
///
/// # Errors
/// When it is missing, or goes over the limits of `options`.
pub(super) async fn converse<A: AsRef<OsStr>>(
    options: &Options,
    program: &Path,
    arguments: &[A],
    input: &[u8],
) -> Result<(String, bool, Vec<u8>), CommandError> {
    let limit = options.output;
    let answer = tokio::time::timeout(options.timeout, answer(program, arguments, input, limit)).await;
    let answer = answer.map_err(|_| CommandError::TooSlow(program.to_owned(), options.timeout))?;
    let (success, stdout, stderr) = answer.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => CommandError::Missing(program.to_owned()),
        _ => CommandError::Run(program.to_owned(), error),
    })?;
    if stdout.len() > limit {
        return Err(CommandError::TooLong(program.to_owned(), limit));
    }
    Ok((String::from_utf8_lossy(&stdout).into_owned(), success, stderr))
}

/// The first of `places` that is there.
pub(super) fn program(places: &[&str]) -> Option<PathBuf> {
    places.iter().map(PathBuf::from).find(|path| path.is_file())
}

async fn answer<A: AsRef<OsStr>>(
    program: &Path,
    arguments: &[A],
    input: &[u8],
    limit: usize,
) -> io::Result<(bool, Vec<u8>, Vec<u8>)> {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("LC_ALL", "C").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.current_dir("/").kill_on_drop(true).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut stdin = child.stdin.take().expect("standard input is piped");
    let stdout = child.stdout.take().expect("standard output is piped");
    let stderr = child.stderr.take().expect("standard error is piped");
    // a program that ends without reading its input closes the pipe: its exit status says what that means
    let write = async move {
        let _ = stdin.write_all(input).await;
    };
    let ((), stdout, stderr) = tokio::join!(write, read(stdout, limit + 1), read(stderr, STDERR));
    let (stdout, stderr) = (stdout?, stderr?);
    // standard output is at its end, or over the limit: then the rest is not waited for
    if stdout.len() > limit {
        return Ok((false, stdout, stderr));
    }
    Ok((child.wait().await?.success(), stdout, stderr))
}

async fn read(stream: impl AsyncRead + Unpin, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.take(limit as u64).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

/// The last line that says something, without control characters.
fn last_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    line.trim().chars().filter(|c| !c.is_control()).take(300).collect()
}

const STDERR: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn options(timeout: Duration, output: usize) -> Options {
        Options { timeout, output, ..Options::default() }
    }

    #[tokio::test]
    async fn bounds_hold() {
        let plain = options(Duration::from_secs(10), 1000);
        let cat = run(&plain, Path::new("/bin/cat"), &["-"], b"hello").await;
        assert_eq!(cat.unwrap(), "hello");
        let missing = run(&plain, Path::new("/nowhere/x"), &["-"], b"").await;
        assert!(matches!(missing, Err(CommandError::Missing(_))), "{missing:?}");
        let failed = run(&plain, Path::new("/bin/sh"), &["-c", "echo why >&2; exit 3"], b"").await;
        assert_eq!(failed.unwrap_err().to_string(), "/bin/sh failed: why");
        let long =
            run(&plain, Path::new("/bin/sh"), &["-c", "while :; do echo aaaaaaaaaaaa; done"], b"").await;
        assert!(matches!(long, Err(CommandError::TooLong(..))), "{long:?}");
        let slow = options(Duration::from_millis(50), 1000);
        let slow = run(&slow, Path::new("/bin/sleep"), &["60"], b"").await;
        assert!(matches!(slow, Err(CommandError::TooSlow(..))), "{slow:?}");
    }

    #[tokio::test]
    async fn environment_is_clean() {
        let plain = options(Duration::from_secs(10), 10_000);
        let env = run::<&str>(&plain, Path::new("/usr/bin/env"), &[], b"").await.unwrap();
        let mut lines: Vec<&str> = env.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
    }
}
