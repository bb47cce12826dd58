//! The units in deploy/systemd, judged by systemd itself.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use backstop_harness::TempDir;

/// systemd.exec(5): 0 is a service that may do nothing, 10 one that may do all.
const MOST_EXPOSURE: &str = "15"; // tenths: below 1.5

/// `systemd-analyze verify` exits with 0 for keys that it does not know: it may say nothing at all.
#[test]
fn systemd_has_no_objection() {
    let units = Units::new();
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no"]).args(units.paths());
    let output = verify.output().expect("systemd-analyze is there (tests/install)");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

/// It would say something.
#[test]
fn systemd_objects_to_what_it_does_not_know() {
    let units = Units::new();
    let path = &units.paths()[0];
    let text = fs::read_to_string(path).expect("it is ours").replace("WatchdogSec=", "WatchDogSec=");
    fs::write(path, text).expect("it is ours");
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(path).output();
    let output = output.expect("systemd-analyze is there (tests/install)");
    assert!(String::from_utf8_lossy(&output.stderr).contains("WatchDogSec"), "{output:?}");
}

#[test]
fn it_may_do_little() {
    let units = Units::new();
    let mut security = Command::new("systemd-analyze");
    security
        .args(["security", "--no-pager", "--offline=yes", "--threshold", MOST_EXPOSURE])
        .arg(&units.paths()[0]);
    let output = security.output().expect("systemd-analyze is there (tests/install)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// What other places say of the units is so.
#[test]
fn the_service_is_what_the_docs_say() {
    let service = fs::read_to_string(shipped("backstop.service")).expect("it is shipped");
    let lines: Vec<&str> = service.lines().collect();
    for line in [
        "Type=notify",
        // tests/bench measures it so
        "CPUSchedulingPolicy=batch",
        "ExecStart=/usr/bin/backstop",
        "ExecReload=/usr/bin/backstop reload",
        "User=backstop",
        "RuntimeDirectory=backstop",
        "StateDirectory=backstop",
        "MemoryDenyWriteExecute=yes",
    ] {
        assert!(lines.contains(&line), "{line}\n{service}");
    }
    assert!(service.contains("\nWatchdogSec="), "{service}");
    let socket = fs::read_to_string(shipped("backstop.socket")).expect("it is shipped");
    assert!(socket.contains("\nListenStream=127.0.0.1:8890\n"), "{socket}");
    assert!(socket.contains("\nFileDescriptorName=milter\n"), "{socket}");
}

/// Copies of the units whose program is one that is there, which is all that is not the same.
struct Units(TempDir);

impl Units {
    fn new() -> Self {
        let dir = TempDir::new("units");
        for name in NAMES {
            let text = fs::read_to_string(shipped(name)).expect("it is shipped");
            dir.write(name, text.replace("/usr/bin/backstop", "/bin/true"));
        }
        Self(dir)
    }

    fn paths(&self) -> [PathBuf; 2] {
        NAMES.map(|name| self.0.join(name))
    }
}

fn shipped(name: &str) -> String {
    format!("{}/deploy/systemd/{name}", env!("CARGO_MANIFEST_DIR"))
}

const NAMES: [&str; 2] = ["backstop.service", "backstop.socket"];
