//! The lines from `deploy/` that an admin adds to the MTA's configuration. The harness configures the MTAs with these very
//! files; only the milter's address and, where a test asks for it, the time-outs are put in.

use std::path::{Path, PathBuf};

/// The settings of `deploy/postfix/main.cf.snippet` as `(name, value)`, for a milter at `address` (as Postfix writes it:
/// `inet:127.0.0.1:PORT`, `unix:/path`).
pub(crate) fn postfix(address: &str) -> Vec<(String, String)> {
    let text = read("deploy/postfix/main.cf.snippet");
    let settings =
        text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()).map(|line| {
            let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("not a setting: {line}"));
            (name.trim().to_owned(), replace(value.trim(), "inet:localhost:8890", address))
        });
    let settings: Vec<_> = settings.collect();
    assert!(
        settings.iter().any(|(_, value)| value == address),
        "the snippet does not name the milter:\n{text}"
    );
    settings
}

/// The lines of `deploy/sendmail/sendmail.mc.snippet`, for a milter at `address` (as Sendmail writes it:
/// `inet:PORT@127.0.0.1`, `unix:/path`); `timeouts` in place of the snippet's own, if given.
pub(crate) fn sendmail(address: &str, timeouts: Option<&str>) -> String {
    let text = read("deploy/sendmail/sendmail.mc.snippet");
    assert!(
        text.contains(SENDMAIL_ADDRESS) && text.contains(SENDMAIL_TIMEOUTS),
        "the snippet has changed:\n{text}"
    );
    let text = text.replace(SENDMAIL_ADDRESS, address);
    text.replace(SENDMAIL_TIMEOUTS, timeouts.unwrap_or(SENDMAIL_TIMEOUTS))
}

/// The lines of `deploy/dovecot/backstop-trust.conf`, for the script at this place.
pub(crate) fn dovecot(script: &Path) -> String {
    let text = read("deploy/dovecot/backstop-trust.conf");
    assert!(text.contains(DOVECOT_SCRIPT), "the snippet has changed:\n{text}");
    text.replace(DOVECOT_SCRIPT, &script.display().to_string())
}

/// The script `deploy/dovecot/backstop-trust`, for this program, this socket and this duration.
pub(crate) fn dovecot_script(backstop: &Path, socket: &Path, duration: &str) -> String {
    let mut text = read("deploy/dovecot/backstop-trust");
    let (backstop, socket) = (backstop.display().to_string(), socket.display().to_string());
    for (name, usual, value) in [
        ("for", "30m", duration),
        ("backstop", "/usr/local/bin/backstop", &backstop),
        ("socket", "/run/backstop/trust.sock", &socket),
    ] {
        let line = format!("\n{name}={usual}\n");
        assert!(text.contains(&line), "the script has changed:\n{text}");
        text = text.replace(&line, &format!("\n{name}='{value}'\n"));
    }
    text
}

/// A file of the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(path)
}

fn read(path: &str) -> String {
    let path = repository(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn replace(value: &str, from: &str, to: &str) -> String {
    if value == from { to.to_owned() } else { value.to_owned() }
}

const SENDMAIL_ADDRESS: &str = "inet:8890@localhost";
const SENDMAIL_TIMEOUTS: &str = "C:10s;S:30s;R:30s;E:5m";
const DOVECOT_SCRIPT: &str = "/usr/local/lib/backstop/backstop-trust";
