//! What a start without a configuration file tells: what was found, and the lines for the MTA.

use crate::{
    config::Loaded,
    detect::{Findings, main_cf_lines, sendmail_mc_lines},
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
    let inet = listening.iter().find_map(|address| address.strip_prefix("inet:")).unwrap_or("127.0.0.1:8890");
    let (host, port) = inet.rsplit_once(':').unwrap_or((inet, "8890"));
    let host = if host == "127.0.0.1" { "localhost" } else { host };
    let postfix = main_cf_lines(&format!("inet:{host}:{port}"));
    let sendmail = sendmail_mc_lines(&format!("inet:{port}@{host}"));
    format!(
        "Postfix asks Backstop with these lines in main.cf, after `postfix reload`:\n\n{}\n\
         Sendmail with this line in sendmail.mc, after making sendmail.cf from it and a restart:\n\n{}",
        indent(&postfix),
        indent(&sendmail),
    )
}

fn indent(lines: &str) -> String {
    lines.lines().map(|line| format!("    {line}\n")).collect()
}
