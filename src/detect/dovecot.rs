//! Dovecot: passwd-files that `doveconf` names, as evidence of who exists where mail is handed to Dovecot.
//!
//! They only ever add recipients: a domain that is partial because its mail goes to Dovecot stays so. Failure answer: a
//! note.

use std::path::PathBuf;

use super::command::{program, run};
use super::{Class, Evidence, Findings, How, Options, Place, Source, SourceId};

/// Looks for Dovecot's passwd-files and adds them to the domains that are delivered to it.
pub(super) async fn find(options: &Options, findings: &mut Findings) {
    let Some(doveconf) = program(&DOVECONF) else { return };
    let arguments = match &options.dovecot {
        Place::Skip => return,
        Place::At(path) => vec!["-c".to_owned(), path.display().to_string(), "-n".to_owned()],
        Place::Usual => vec!["-n".to_owned()],
    };
    let text = match run(options, &doveconf, &arguments, b"").await {
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
}
