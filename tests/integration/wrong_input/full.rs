//! Lines of ten gigabytes: read at the speed of the disk, in memory that does not grow.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use backstop_harness::TempDir;

use super::logs::{DATA, NO_LOG, gzip};
use super::{backstop, peak};

#[test]
fn a_line_of_ten_gigabytes() {
    let dir = TempDir::new("wrong");
    File::create(dir.join("sparse")).and_then(|file| file.set_len(TEN)).expect("a sparse file");
    // gzip(1): members one after the other are one file.
    let member = gzip(&vec![0; usize::try_from(TEN / 100).expect("it fits")]);
    dir.write("bomb.gz", member.repeat(100));
    for (what, name) in [("sparse", "sparse"), ("gzip", "bomb.gz")] {
        let path = dir.join(name).display().to_string();
        is_read(what, backstop(&["replay", "--config", "/dev/null", &path]).stdin(Stdio::null()));
    }
    let mut yes =
        Command::new("head").args(["-c", "10G", "/dev/zero"]).stdout(Stdio::piped()).spawn().expect("head");
    let pipe = yes.stdout.take().expect("it is piped");
    is_read("pipe", backstop(&["replay", "--config", "/dev/null", "-"]).stdin(pipe));
    assert!(yes.wait().expect("it ends").success(), "all of it was read");
}

#[track_caller]
fn is_read(what: &str, command: &mut Command) {
    let began = Instant::now();
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    let peak = peak(&mut child);
    let output = child.wait_with_output().expect("it ended");
    let (took, stderr) = (began.elapsed(), String::from_utf8_lossy(&output.stderr).into_owned());
    eprintln!("{what}: {took:?}, {peak} kB");
    assert_eq!(output.status.code(), Some(DATA), "{what}: {stderr}");
    assert!(stderr.contains(NO_LOG), "{what}: {stderr}");
    assert!((1..64 * 1024).contains(&peak), "{what}: {peak} kB");
    assert!(took < Duration::from_secs(120), "{what}: {took:?}");
}

const TEN: u64 = 10 << 30;
