//! systemd's watchdog (sd_watchdog_enabled(3)): signs of life come while the process works, and none when it does not.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use backstop_harness::Signal;

use crate::site;

#[test]
fn signs_of_life_come_while_it_lives() {
    let builder = site::backstop();
    let path = builder.path("notify.sock");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out");
    let builder = builder.env("NOTIFY_SOCKET", &path.display().to_string()).env("WATCHDOG_USEC", "300000");
    let mut backstop = builder.start();
    let start = Instant::now();
    for _ in 0..5 {
        assert!(next_is_alive(&socket), "a sign of life is missing");
    }
    // A third of the time each, so that two may be late: the first is at once.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());

    backstop.signal(Signal::STOP);
    socket.set_read_timeout(Some(Duration::from_millis(900))).expect("a time-out");
    // One may have been under way.
    let after_the_end = (0..3).filter(|_| next_is_alive(&socket)).count();
    assert!(after_the_end < 3, "a process that stands still gives signs of life");
    backstop.signal(Signal::CONT);
    assert!(next_is_alive(&socket), "it goes on");
    backstop.signal(Signal::TERM);
    assert!(backstop.wait_exit().success(), "the watchdog does not keep it");
}

/// Without WATCHDOG_USEC nobody waits for any.
#[test]
fn nobody_is_told_who_does_not_ask() {
    let builder = site::backstop();
    let path = builder.path("notify.sock");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    let mut backstop = builder.env("NOTIFY_SOCKET", &path.display().to_string()).start();
    backstop.signal(Signal::TERM);
    assert!(backstop.wait_exit().success());
    socket.set_nonblocking(true).expect("it can be");
    let mut buffer = [0; 512];
    let mut told = String::new();
    while let Ok(length) = socket.recv(&mut buffer) {
        told.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    assert!(told.contains("READY=1") && told.contains("STOPPING=1"), "{told}");
    assert!(!told.contains("WATCHDOG"), "{told}");
}

/// Whether a sign of life comes before the time-out; what else is told is passed over.
fn next_is_alive(socket: &UnixDatagram) -> bool {
    let mut buffer = [0; 512];
    while let Ok(length) = socket.recv(&mut buffer) {
        if buffer[..length].starts_with(b"WATCHDOG=1") {
            return true;
        }
    }
    false
}
