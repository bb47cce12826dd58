//! The milter on IPv6, as both MTAs write its address.

use std::net::Ipv4Addr;

use backstop_harness::{Postfix, Sendmail};

use crate::site;

#[test]
fn with_postfix() {
    let backstop = site::backstop().listen("inet6:[::1]:0").start();
    let postfix = Postfix::builder().milter(&backstop.for_postfix()).start();
    site::decides((Ipv4Addr::LOCALHOST, postfix.port()).into());
}

#[test]
fn with_sendmail() {
    let backstop = site::backstop().listen("inet6:[::1]:0").start();
    let sendmail = Sendmail::builder().milter(&backstop.for_sendmail()).start();
    site::decides(sendmail.ipv4());
}
