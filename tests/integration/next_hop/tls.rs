//! STARTTLS to the next hop: where it is offered, always, never; certificates that are right and wrong.

use std::path::Path;
use std::process::Command;

use backstop_harness::{CommandOutput, Postfix, PostfixBuilder, TempDir};

use crate::next_hop::{asking, host, knowing};

#[test]
fn where_it_is_offered_any_certificate_will_do() {
    let inside = with_certificate("may").start();
    asks(&inside, "", 1);
    assert!(inside.maillog().contains("TLS connection established"), "{}", inside.maillog());

    let inside = with_certificate("may").start();
    asks(&inside, "tls = \"off\"", 1);
    assert!(!inside.maillog().contains("TLS connection established"), "{}", inside.maillog());

    asks(&knowing().start(), "", 1);
}

#[test]
fn a_server_that_wants_tls_gets_it_or_nothing() {
    let inside = with_certificate("encrypt").start();
    asks(&inside, "", 1);
    asks(&inside, "tls = \"off\"", 2);
}

#[test]
fn where_tls_fails_and_need_not_be_it_is_done_without() {
    let old = "smtpd_tls_protocols = !TLSv1.2 !TLSv1.3";
    let inside = with_certificate("may").main(old).start();
    asks(&inside, "", 1);
    let verify =
        format!("tls = \"verify\"\nca_file = \"{}\"", inside.config_directory().join("ca.pem").display());
    asks(&inside, &verify, 2);
}

#[test]
fn a_certificate_is_verified_where_that_is_asked() {
    let inside = with_certificate("may").start();
    let ca = |name: &str| {
        format!("tls = \"verify\"\nca_file = \"{}\"", inside.config_directory().join(name).display())
    };
    asks(&inside, &ca("ca.pem"), 1);
    assert!(inside.maillog().contains("TLS connection established"), "{}", inside.maillog());
    asks(&inside, &ca("other-ca.pem"), 2);
    asks(&inside, "tls = \"verify\"", 2);

    let other =
        format!("{}\nhosts = {{ \"example.test\" = \"ip6-localhost:{}\" }}", ca("ca.pem"), inside.port());
    let backstop = asking(&other).start();
    let check = backstop.command(&["check", "nobody@example.test", "--client", "192.0.2.1"]);
    assert_eq!(check.status, 2, "a certificate for another name: {}", check.stdout);

    let plain = knowing().start();
    asks(&plain, &ca("ca.pem"), 2);
}

/// Asks for somebody who does not exist; `status`: 1 it is said, 2 it can't be found out.
#[track_caller]
fn asks(inside: &Postfix, settings: &str, status: i32) {
    let backstop = asking(&format!("{}\n{settings}", host(inside))).start();
    let check = backstop.command(&["check", "nobody@example.test", "--client", "192.0.2.1"]);
    assert_eq!(check.status, status, "{settings}: {}{}", check.stdout, backstop.command(&["status"]).stdout);
}

/// A next hop with a certificate for 127.0.0.1 by `ca.pem`.
fn with_certificate(level: &str) -> PostfixBuilder {
    let dir = TempDir::new("certificates");
    for name in ["ca", "other-ca"] {
        openssl(
            &dir,
            &format!(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={name} -keyout {name}.key -out {name}.pem"
            ),
        );
    }
    openssl(
        &dir,
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=inside -keyout key.pem -out request.pem",
    );
    dir.write("extensions", "subjectAltName=IP:127.0.0.1,DNS:inside.example.test\n");
    openssl(
        &dir,
        "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -set_serial 7 -days 2 -extfile extensions -out cert.pem",
    );
    let mut postfix = knowing();
    for name in ["ca.pem", "other-ca.pem", "cert.pem", "key.pem"] {
        postfix = postfix.file(name, &std::fs::read_to_string(dir.join(name)).expect("openssl wrote it"));
    }
    postfix.main(&format!(
        "smtpd_tls_security_level = {level}\nsmtpd_tls_loglevel = 1\n\
         smtpd_tls_cert_file = $config_directory/cert.pem\nsmtpd_tls_key_file = $config_directory/key.pem"
    ))
}

fn openssl(dir: &TempDir, arguments: &str) {
    let directory: &Path = dir.path();
    let output = CommandOutput::of(Command::new("openssl").args(arguments.split(' ')).current_dir(directory));
    assert_eq!(output.status, 0, "openssl {arguments}: {}", output.stderr);
}
