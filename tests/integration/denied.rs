//! A client on the deny list is refused when it connects, and nobody else is; not even there, once it is trusted.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use backstop_harness::{Backstop, Postfix, Sendmail, Smtp, free_port, wait_until};
use milter_protocol::command::{ClientAddress, Command, Connect};

use crate::mta::{Answer, Mta};
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

/// The MTA's settings can't be read for a while, as when its package is upgraded: whom it trusts is trusted yet.
#[test]
fn whom_the_mta_trusts_stays_trusted_while_its_settings_cannot_be_read() {
    let milter = format!("inet:127.0.0.1:{}", free_port());
    let postfix = Postfix::builder()
        .milter(&milter)
        .file("networks", "127.0.0.65\n")
        .main("mynetworks = 127.0.0.66, $config_directory/networks")
        .start();
    let settings = postfix.config_directory();
    let backstop = site::backstop()
        .listen(&milter)
        .env("MAIL_CONFIG", &settings.display().to_string())
        .env("BACKSTOP__DOMAINS__DETECT", "true")
        .env("BACKSTOP__CLIENT__DENIED", r#"["127.0.0.64/30"]"#)
        .start();
    // Postfix itself is in trouble meanwhile.
    let passes = || {
        [64, 65, 66].map(|last| {
            let address = ClientAddress::Inet(Ipv4Addr::new(127, 0, 0, last), 4711);
            let connect = Connect { host: b"client.example.org", address };
            Mta::connect(backstop.milter_port()).send(&Command::Connect(connect)) == Answer::Continue
        })
    };
    assert_eq!(passes(), [false, true, true]);
    let status = || backstop.command(&["status"]).stdout;
    for lost in ["networks", "main.cf"] {
        let (there, away) = (settings.join(lost), settings.join("away"));
        std::fs::rename(&there, &away).expect("it is there");
        assert_eq!(backstop.command(&["reload"]).status, 0);
        assert_eq!(passes(), [false, true, true], "without {lost}: {}", status());
        std::fs::rename(&away, &there).expect("it is there");
    }
    assert!(backstop.log().contains("what was found before stays"), "{}", backstop.log());
    // By itself it is seen that they are back, and what they say.
    let of_main = std::fs::read_to_string(settings.join("main.cf")).expect("it is there");
    std::fs::write(settings.join("main.cf"), of_main.replace("127.0.0.66,", "127.0.0.64,")).expect("written");
    wait_until(Duration::from_secs(60), "the MTA's settings to be seen", || passes() == [true, true, false]);
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
