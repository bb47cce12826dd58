//! Mail that comes while Backstop starts waits for it, however long lists and the MTA's programs take.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use backstop_harness::{Postfix, Sendmail, free_port, is_listening, wait_until};

use crate::site;

#[test]
fn with_postfix() {
    let port = free_port();
    let postfix = Postfix::builder().milter(&format!("inet:127.0.0.1:{port}")).start();
    waits((Ipv4Addr::LOCALHOST, postfix.port()).into(), port);
}

#[test]
fn with_sendmail() {
    let port = free_port();
    let sendmail = Sendmail::builder().milter(&format!("inet:{port}@127.0.0.1")).start();
    waits(sendmail.ipv4(), port);
}

fn waits(mta: SocketAddr, port: u16) {
    let builder = site::backstop().listen(&format!("inet:127.0.0.1:{port}"));
    // A list that is being written is waited for, for seconds.
    let list = builder.path("addresses");
    let content = fs::read(&list).expect("the list is there");
    let write = || fs::write(&list, &content).expect("the list can be written");
    write();
    let is_written = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_written.load(Ordering::SeqCst) {
                write();
                thread::sleep(Duration::from_millis(100));
            }
        });
        let starting = scope.spawn(|| builder.start());
        wait_until(Duration::from_secs(10), "an open port", || is_listening(port));
        assert!(!starting.is_finished(), "it has no list yet");
        let session = scope.spawn(move || site::decides(mta));
        // Not for the session: nothing tells when that waits for Backstop, and it is answered either way.
        is_written.store(true, Ordering::SeqCst);
        let _backstop = starting.join().expect("it starts");
        session.join().expect("it is answered");
    });
}
