//! The milter on IPv6, as both MTAs write its address.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use backstop_harness::{Postfix, Sendmail, Smtp};

use crate::site;

#[test]
fn with_postfix() {
    let backstop = site::backstop().listen("inet6:[::1]:0").start();
    let postfix = Postfix::builder().milter(&backstop.for_postfix()).start();
    decides((Ipv4Addr::LOCALHOST, postfix.port()).into());
}

#[test]
fn with_sendmail() {
    let backstop = site::backstop().listen("inet6:[::1]:0").start();
    let sendmail = Sendmail::builder().milter(&backstop.for_sendmail()).start();
    decides(sendmail.ipv4());
}

fn decides(mta: SocketAddr) {
    let mut smtp = Smtp::connect_from(Some(IpAddr::from(Ipv4Addr::new(127, 0, 0, 9))), mta);
    smtp.ehlo("mail.elsewhere.test");
    smtp.mail("<sender@elsewhere.test>");
    assert_eq!(smtp.rcpt("<nobody@example.test>").code, 550, "{}", smtp.transcript());
    assert_eq!(smtp.rcpt("<anna@example.test>").code, 250, "{}", smtp.transcript());
}
