//! The system gives no more threads (`TasksMax=`, `ulimit -u`): what is done on one waits for those that there are.

use std::process::Command;
use std::time::Duration;

use backstop_harness::wait_until;

use super::{message, said};
use crate::site;

#[test]
fn everything_goes_on_without_another_thread() {
    let backstop = site::backstop().user(USER).start();
    let mut limit = Command::new("setpriv");
    limit.args([&format!("--reuid={USER}"), &format!("--regid={USER}"), "--clear-groups"]);
    limit.args(["prlimit", "--nproc=1:1", "--pid", &backstop.pid().to_string()]);
    assert!(limit.status().expect("util-linux has it").success());
    // Threads that have nothing to do for ten seconds end, if they may.
    std::thread::sleep(Duration::from_secs(11));
    let threads = || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", backstop.pid())).expect("it runs");
        tasks.count()
    };
    let left = threads();

    let answer = |recipient: &str| said(&mut message(backstop.milter_port(), [192, 0, 2, 77]), recipient);
    assert_eq!(answer("anna@example.test"), "continue");
    let mut people = std::fs::read_to_string(backstop.path("addresses")).expect("it is there");
    assert!(answer("late@example.test").starts_with("550 5.1.1"));
    people.push_str("late@example.test\n");
    backstop.write("addresses", &people);
    wait_until(SOON, "the list to be read again", || answer("late@example.test") == "continue");
    // Each on a thread that blocks, four at once.
    for command in
        [&["status"][..], &["check", "anna@example.test"], &["reload"], &["suspend", "late@example.test"]]
    {
        std::thread::scope(|scope| {
            let all = [(); 4].map(|()| scope.spawn(|| backstop.command(command)));
            for one in all {
                let output = one.join().expect("it ends");
                assert_eq!(output.status, 0, "{command:?}: {output:?}");
            }
        });
    }
    assert!(answer("late@example.test").starts_with("550 5.2.1"));
    assert_eq!(backstop.http("/").0, 200);
    assert!(threads() <= left, "the limit is none: {} threads, and {left} before", threads());
    assert!(!backstop.log().contains("panic"), "{}", backstop.log());
}

/// Nobody else's on this host.
const USER: u32 = 64_123;
const SOON: Duration = Duration::from_secs(20);
