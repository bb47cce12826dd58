//! Dovecot: passwd-files that `doveconf` names, as evidence of who exists where mail is handed to Dovecot; and its LMTP
//! socket, which can be asked for any of its users.
//!
//! The files only ever add recipients: a domain that is partial because its mail goes to Dovecot stays so. The socket is
//! offered to the admin, and never asked from here. Failure answer: a note.

use std::path::{Path, PathBuf};

use super::command::{CommandError, program, run};
use super::fuzz::commented;
use super::{Class, Evidence, Findings, Hint, How, Options, Place, Source, SourceId};

/// What `doveconf` says; `None` where it is not to be asked.
pub(super) async fn settings(options: &Options) -> Option<Result<String, CommandError>> {
    let doveconf = program(&DOVECONF)?;
    let arguments = match &options.dovecot {
        Place::Skip => return None,
        Place::At(path) => vec!["-c".to_owned(), path.display().to_string(), "-n".to_owned()],
        Place::Usual => vec!["-n".to_owned()],
    };
    Some(run(options, &doveconf, &arguments, b"").await)
}

/// Adds Dovecot's passwd-files to the domains that are delivered to it; offers its LMTP socket for these.
pub(super) fn find(settings: Result<String, CommandError>, findings: &mut Findings) {
    let text = match settings {
        Ok(text) => text,
        Err(error) => return findings.notes.push(format!("Dovecot: {error}")),
    };
    for (block, file) in passwd_files(&text) {
        let evidence = Evidence { what: format!("Dovecot {block}"), value: file.clone(), place: None };
        for at in 0..findings.domains.len() {
            let domain = &findings.domains[at];
            if domain.partial.is_empty() || domain.class == Class::Relay {
                continue;
            }
            let super::Pattern::Name(name) = domain.pattern.clone() else { continue };
            let Some((path, of_domain)) = expand(&file, &name) else { continue };
            if !path.is_file() {
                continue;
            }
            findings.watch.push(path.clone());
            let how = How::DovecotPasswd { path, domain: of_domain.then_some(name) };
            let id: SourceId = findings.source(Source {
                name: format!("passwd-file:{file}"),
                evidence: evidence.clone(),
                how,
            });
            findings.domains[at].sources.push(id);
        }
    }
    offer_lmtp(&lmtp_sockets(&text), findings);
}

/// A hint for the domains whose mail Postfix hands to one of Dovecot's sockets, where nobody else knows their users. Not
/// where Postfix has aliases that can't be seen: Dovecot does not know them.
fn offer_lmtp(sockets: &[PathBuf], findings: &mut Findings) {
    let mut hints = Vec::new();
    for socket in sockets {
        let handed = |path: &PathBuf| path == socket || is_same(path, socket);
        let domains = findings
            .domains
            .iter()
            .filter(|domain| domain.lmtp.as_ref().is_some_and(handed) && domain.lacks_own_table_only());
        let mut names: Vec<String> = domains.map(|domain| domain.pattern.to_string()).collect();
        names.dedup();
        if !names.is_empty() {
            hints.push(Hint::lmtp(&names, socket));
        }
    }
    findings.hints.extend(hints);
}

/// /var/run and /run, a link and where it leads.
fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    real(one).is_some_and(|one| Some(one) == real(other))
}

/// The unix sockets of the service `lmtp`: what `doveconf -n` lists, and the one that is there without being listed.
fn lmtp_sockets(text: &str) -> Vec<PathBuf> {
    let setting = |name: &str| {
        text.lines().find_map(|line| Some(line.strip_prefix(name)?.trim_start().strip_prefix('=')?.trim()))
    };
    // Without a word about them, IMAP, POP3 and LMTP are on where they are installed.
    let has_lmtp = |names: &str| names.trim_matches('"').split_whitespace().any(|name| name == "lmtp");
    if setting("protocols").is_some_and(|names| !has_lmtp(names)) {
        return Vec::new();
    }
    let base = Path::new(setting("base_dir").unwrap_or(BASE_DIR));
    let mut sockets = vec![base.join("lmtp")];
    let mut depth = 0;
    for line in text.lines().map(str::trim) {
        if depth == 0 && line == "service lmtp {" {
            depth = 1;
        } else if depth > 0 && line.ends_with('{') {
            depth += 1;
            let path = line.strip_prefix("unix_listener ").and_then(|rest| rest.strip_suffix('{'));
            sockets.extend(path.map(|path| base.join(path.trim())));
        } else if depth > 0 && line == "}" {
            depth -= 1;
        }
    }
    sockets.sort();
    sockets.dedup();
    sockets
}

/// The files of every `passdb` and `userdb` block of the driver `passwd-file`, with the block's kind.
fn passwd_files(text: &str) -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut block: Option<(String, bool, Option<String>)> = None;
    for line in text.lines().map(str::trim) {
        if line.starts_with("passdb") || line.starts_with("userdb") {
            let kind = line.get(..6).unwrap_or_default().to_owned();
            // 2.4: `passdb passwd-file {`, before it: a `driver = passwd-file` inside
            block = Some((kind, line.contains("passwd-file"), None));
        } else if line == "}" {
            if let Some((kind, true, Some(file))) = block.take() {
                files.push((kind, file));
            }
        } else if let Some((_, is_file, file)) = &mut block {
            let Some((name, value)) = line.split_once('=') else { continue };
            match name.trim() {
                "driver" => *is_file = value.trim() == "passwd-file",
                "args" => {
                    *file = value.split_whitespace().find(|word| word.starts_with('/')).map(str::to_owned);
                }
                "passwd_file_path" | "passdb_passwd_file_path" | "userdb_passwd_file_path" => {
                    *file = Some(value.trim().to_owned());
                }
                _ => {}
            }
        }
    }
    files
}

/// The path for one domain (`%d`, `%Ld`, `%{user | domain}`), and whether the domain is in it. `None`: other variables.
fn expand(file: &str, domain: &str) -> Option<(PathBuf, bool)> {
    let mut path = file.to_owned();
    for variable in ["%{user | domain | lower}", "%{user | domain}", "%{domain}", "%Ld", "%d"] {
        path = path.replace(variable, domain);
    }
    (!path.contains('%')).then(|| (PathBuf::from(&path), path != file))
}

/// Files and sockets are such as stand there, and comments do not matter. For tests/fuzz.
pub(super) fn fuzz_dovecot(text: &str) {
    let files = passwd_files(text);
    assert_eq!(passwd_files(&commented(text)), files, "with comments");
    for (block, file) in files {
        assert!(matches!(&*block, "passdb" | "userdb") && text.contains(&file), "{block}: {file:?}");
        if let Some((path, has_domain)) = expand(&file, "example.org") {
            assert_eq!(has_domain, path != Path::new(&file), "{file:?}");
            assert!(!file.contains("%n") && !file.contains("%u"), "{file:?} is of one user");
        }
    }
    let sockets = lmtp_sockets(text);
    assert_eq!(lmtp_sockets(&commented(text)), sockets, "with comments");
    for socket in &sockets {
        let name = socket.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        assert!(name == "lmtp" || text.contains(&name), "{socket:?}");
    }
}

/// Dovecot's default (`base_dir`), as packages build it.
const BASE_DIR: &str = "/run/dovecot";

const DOVECONF: [&str; 3] = ["/usr/bin/doveconf", "/usr/sbin/doveconf", "/usr/local/bin/doveconf"];

#[cfg(test)]
mod tests {
    use super::*;

    /// Forms of Dovecot 2.3 (`doveconf -n`) and 2.4.
    #[test]
    fn blocks() {
        let text = "mail_location = maildir:~/Maildir\npassdb {\n  args = scheme=CRYPT username_format=%u /etc/dovecot/users\n  \
            driver = passwd-file\n}\npassdb {\n  driver = pam\n}\nuserdb {\n  driver = passwd-file\n  args = /etc/vmail/%d/passwd\n}\n\
            userdb passwd-file {\n  passwd_file_path = /etc/vmail/%{user | domain}/users\n}\n";
        let files = passwd_files(text);
        let expected = [
            ("passdb", "/etc/dovecot/users"),
            ("userdb", "/etc/vmail/%d/passwd"),
            ("userdb", "/etc/vmail/%{user | domain}/users"),
        ];
        assert_eq!(files, expected.map(|(block, file)| (block.to_owned(), file.to_owned())));
        assert_eq!(expand("/etc/dovecot/users", "a.test"), Some(("/etc/dovecot/users".into(), false)));
        assert_eq!(expand("/v/%Ld/p", "a.test"), Some(("/v/a.test/p".into(), true)));
        assert_eq!(expand("/v/%{user | domain}/p", "a.test"), Some(("/v/a.test/p".into(), true)));
        assert_eq!(expand("/v/%n/p", "a.test"), None);
    }

    /// `doveconf -n` of Dovecot 2.3.
    #[test]
    fn sockets() {
        let paths = |text: &str| -> Vec<String> {
            lmtp_sockets(text).iter().map(|path| path.display().to_string()).collect()
        };
        let listeners = "protocols = imap lmtp\nservice auth {\n  unix_listener auth-userdb {\n    mode = 0600\n  }\n}\n\
            service lmtp {\n  inet_listener lmtp {\n    port = 24\n  }\n\
              unix_listener /var/spool/postfix/private/dovecot-lmtp {\n    mode = 0600\n  }\n}\n\
            service pop3 {\n  unix_listener pop3 {\n  }\n}\n";
        assert_eq!(paths(listeners), ["/run/dovecot/lmtp", "/var/spool/postfix/private/dovecot-lmtp"]);
        assert_eq!(paths("base_dir = /run/other\nprotocols = lmtp\n"), ["/run/other/lmtp"]);
        assert_eq!(paths("protocols = \" imap lmtp\"\n"), ["/run/dovecot/lmtp"], "as Debian's files make it");
        assert_eq!(paths(""), ["/run/dovecot/lmtp"]);
        assert_eq!(paths("protocols = imap pop3\n"), Vec::<String>::new());
    }
}
