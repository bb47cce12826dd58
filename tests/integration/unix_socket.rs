//! The milter on a unix socket.

use std::net::Ipv4Addr;

use backstop_harness::{Postfix, Sendmail, TempDir};

use crate::site;

#[test]
fn with_postfix() {
    let backstop = site::backstop().listen("unix:{dir}/milter.sock").start();
    let postfix = Postfix::builder().milter(&backstop.for_postfix()).start();
    site::decides((Ipv4Addr::LOCALHOST, postfix.port()).into());
}

#[test]
fn with_sendmail() {
    let dir = TempDir::in_run("socket");
    let backstop = site::backstop().listen(&format!("unix:{}", dir.join("milter.sock").display())).start();
    let sendmail = Sendmail::builder().milter(&backstop.for_sendmail()).start();
    site::decides(sendmail.ipv4());
}
