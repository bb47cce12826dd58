//! A client on the deny list is refused when it connects, and nobody else is; not even there, once it is trusted.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use backstop_harness::{Backstop, Postfix, Sendmail, Smtp};

use crate::site;

#[test]
fn on_postfix() {
    let backstop = backstop();
    let postfix = Postfix::builder().milter(&backstop.for_postfix()).start();
    let told = "Client not allowed to send mail here [denied-client]";
    refused(&backstop, (Ipv4Addr::LOCALHOST, postfix.port()).into(), (554, told));
}

#[test]
fn on_sendmail() {
    let backstop = backstop();
    let sendmail = Sendmail::builder().milter(&backstop.for_sendmail()).start();
    // Sendmail drops the text of a refusal at connect.
    refused(&backstop, sendmail.ipv4(), (550, "Command rejected"));
}

fn refused(backstop: &Backstop, mta: SocketAddr, (code, text): (u16, &str)) {
    let mut denied = from(mta, 66);
    assert_eq!(denied.banner().code, 554, "{}", denied.transcript());
    denied.ehlo("client.example.org");
    let reply = denied.mail("<sender@elsewhere.test>");
    assert!(reply.code == code && reply.text.contains(text), "{}", denied.transcript());
    let by_reason = || backstop.metric_by("backstop_decisions_total", &[("stage", "connect")], "reason");
    assert_eq!(by_reason().get("denied-client"), Some(&1.0));

    for neighbour in [67, 9] {
        let mut smtp = from(mta, neighbour);
        assert_eq!(smtp.banner().code, 220, "{}", smtp.transcript());
        smtp.ehlo("client.example.org");
        smtp.mail("<sender@elsewhere.test>");
        assert_eq!(smtp.rcpt("<anna@example.test>").code, 250, "{}", smtp.transcript());
    }
    assert_eq!(by_reason().get("denied-client"), Some(&1.0), "127.0.0.67 is on the list, and trusted");
}

fn from(mta: SocketAddr, last: u8) -> Smtp {
    Smtp::connect_from(Some(IpAddr::from(Ipv4Addr::new(127, 0, 0, last))), mta)
}

fn backstop() -> Backstop {
    site::backstop()
        .env("BACKSTOP__CLIENT__DENIED", r#"["127.0.0.64/30"]"#)
        .env("BACKSTOP__CLIENT__TRUSTED", r#"["127.0.0.67"]"#)
        .start()
}
