//! What is in memory, passwords of directories for one, gets nowhere else.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use backstop_harness::Signal;

use crate::site;

#[test]
fn no_core_file_is_written() {
    let mut backstop = site::backstop().after("ulimit -c unlimited").start();
    backstop.signal(Signal::QUIT);
    let status = backstop.wait_exit();
    assert!(status.signal().is_some() && !status.core_dumped(), "{status:?}");
}

#[test]
fn others_of_the_same_user_can_not_look_into_it() {
    const USER: u32 = 64_124;
    let backstop = site::backstop().user(USER).start();
    let read = |file: &str| {
        let mut command = Command::new("setpriv");
        command.args([&format!("--reuid={USER}"), &format!("--regid={USER}"), "--clear-groups", "cat"]);
        let output = command.arg(format!("/proc/{}/{file}", backstop.pid())).output();
        output.expect("util-linux has setpriv")
    };
    for file in ["environ", "mem", "maps"] {
        let output = read(file);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("ermission denied") && output.stdout.is_empty(), "{file}: {output:?}");
    }
    assert!(read("status").status.success(), "what anybody may know");
}
