//! What a start without a configuration file tells: what was found, and the lines for the MTA.

use crate::{
    config::Loaded,
    detect::{Findings, main_cf_lines, sendmail_mc_lines},
    net::Endpoint,
};

/// The text for standard output: for a person who tries it, not for the log. `None` where a file says what to do.
pub(super) fn text(loaded: &Loaded, findings: &Findings, listening: &[String]) -> Option<String> {
    if loaded.path().is_some() {
        return None;
    }
    let heading = "No configuration file: working with what was found on this host.";
    Some(format!("{heading}\n\n{findings}\n{}", mta_lines(listening)))
}

/// The lines that make the MTA ask a server that listens at one of these addresses.
pub(super) fn mta_lines(listening: &[String]) -> String {
    let found = listening.iter().find_map(|address| as_mtas_write(address));
    let (postfix, sendmail) = found.unwrap_or_else(|| tcp("inet", "localhost", "8890"));
    let (postfix, sendmail) = (main_cf_lines(&postfix), sendmail_mc_lines(&sendmail));
    format!(
        "Postfix asks Backstop with these lines in main.cf, after `postfix reload`:\n\n{}\n\
         Sendmail with this line in sendmail.mc, after making sendmail.cf from it and a restart:\n\n{}",
        indent(&postfix),
        indent(&sendmail),
    )
}

/// Whether an MTA asks a server at one of these addresses.
pub(super) fn is_asked(findings: &Findings, listening: &[String]) -> bool {
    let mut milters = findings.milters.iter().flat_map(|service| &service.milters);
    milters.any(|milter| listening.iter().any(|address| names(milter, address)))
}

/// Whether a milter in the MTA's configuration may be a server that is to listen there. It may, where the address is not
/// known before it listens.
pub(super) fn may_be(milter: &str, listen: &Endpoint) -> bool {
    match listen {
        Endpoint::Fd(_) => true,
        Endpoint::Inet { port: 0, .. } | Endpoint::Inet6 { port: 0, .. } => milter.starts_with("inet"),
        known => names(milter, &known.to_string()),
    }
}

/// Whether a milter in the MTA's configuration is a server at this address: the port, or the socket's path, tells.
fn names(milter: &str, address: &str) -> bool {
    match address.split_once(':') {
        Some(("inet" | "inet6", rest)) => {
            let port = rest.rsplit(':').next().unwrap_or_default();
            milter.ends_with(&format!(":{port}")) || milter.contains(&format!(":{port}@"))
        }
        Some(("unix", path)) => milter.split_once(':').is_some_and(|(_, named)| path.ends_with(named)),
        _ => false,
    }
}

/// An address as Postfix and as Sendmail write it; `None` for a socket that only systemd knows.
fn as_mtas_write(address: &str) -> Option<(String, String)> {
    let (kind, rest) = address.split_once(':')?;
    let (host, port) = rest.rsplit_once(':').unwrap_or((rest, ""));
    match kind {
        "inet" if matches!(host, "127.0.0.1" | "0.0.0.0") => Some(tcp(kind, "localhost", port)),
        "inet6" if host == "[::]" => Some(tcp(kind, "[::1]", port)),
        "inet" | "inet6" => Some(tcp(kind, host, port)),
        // Postfix' programs work in the queue directory, chrooted or not: only a relative path is right in both cases.
        "unix" => {
            let postfix = rest.strip_prefix("/var/spool/postfix/").map(|path| format!("unix:{path}"));
            Some((postfix.unwrap_or_else(|| address.to_owned()), address.to_owned()))
        }
        _ => None,
    }
}

/// Postfix knows one word for both families, Sendmail two. Sendmail 8.17 fails to connect to an IPv6 address in brackets:
/// "Invalid argument".
fn tcp(kind: &str, host: &str, port: &str) -> (String, String) {
    (format!("inet:{host}:{port}"), format!("{kind}:{port}@{}", host.trim_matches(['[', ']'])))
}

fn indent(lines: &str) -> String {
    lines.lines().map(|line| format!("    {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// postconf(5) smtpd_milters; Sendmail's README, "MAIL FILTER DEFINITIONS".
    #[test]
    fn who_asks_us() {
        let asks = |milter: &str| {
            let milters = vec![milter.to_owned()];
            let milter = crate::detect::MilterUse {
                service: String::new(),
                milters,
                when_away: String::new(),
                is_way_out: true,
            };
            Findings { milters: vec![milter], ..Findings::default() }
        };
        for (milter, listening, asked) in [
            ("inet:localhost:8890", "inet:127.0.0.1:8890", true),
            ("inet:localhost:9999", "inet:127.0.0.1:8890", false),
            ("inet:8890@localhost", "inet:127.0.0.1:8890", true),
            ("inet6:8890@::1", "inet6:[::1]:8890", true),
            ("unix:backstop/milter.sock", "unix:/var/spool/postfix/backstop/milter.sock", true),
            ("unix:/other.sock", "unix:/run/backstop.sock", false),
        ] {
            assert_eq!(is_asked(&asks(milter), &[listening.to_owned()]), asked, "{milter}");
        }
        for (milter, listen, may) in [
            ("inet:localhost:8890", "inet:127.0.0.1:8890", true),
            ("inet:localhost:9999", "inet:127.0.0.1:8890", false),
            ("inet:localhost:9999", "inet:127.0.0.1:0", true),
            ("unix:/run/other.sock", "inet:127.0.0.1:0", false),
            ("unix:/run/other.sock", "fd:milter", true),
        ] {
            assert_eq!(may_be(milter, &listen.parse().unwrap()), may, "{milter} {listen}");
        }
        assert!(!is_asked(&Findings::default(), &["inet:127.0.0.1:8890".to_owned()]));
    }

    #[test]
    fn addresses_are_written_as_the_mtas_read_them() {
        for (address, postfix, sendmail) in [
            ("inet:127.0.0.1:8890", "inet:localhost:8890", "inet:8890@localhost"),
            ("inet:0.0.0.0:1", "inet:localhost:1", "inet:1@localhost"),
            ("inet:192.0.2.1:1", "inet:192.0.2.1:1", "inet:1@192.0.2.1"),
            ("inet6:[::1]:1", "inet:[::1]:1", "inet6:1@::1"),
            ("inet6:[::]:1", "inet:[::1]:1", "inet6:1@::1"),
            ("unix:/run/b:c.sock", "unix:/run/b:c.sock", "unix:/run/b:c.sock"),
        ] {
            let text = mta_lines(&["fd:milter".to_owned(), address.to_owned(), "inet:10.0.0.1:9".to_owned()]);
            assert!(text.contains(&format!("smtpd_milters = {postfix}\n")), "{text}");
            assert!(text.contains(&format!("S={sendmail},")), "{text}");
        }
        assert!(mta_lines(&[]).contains("inet:localhost:8890"));
    }
}
