//! Keeps secrets that stand where they should not out of what is said about a mistake.
//!
//! A password has a file of its own. Who writes it into the configuration anyway is told of the mistake, and what is told
//! goes to the log, the terminal and the status page.

use std::borrow::Cow;

/// The text, up to and from what may be a secret: the password in a URL (`redis://name:password@host`, `?password=…`), and
/// what stands behind a key that sounds like one. Rather too much is left out than too little.
pub(super) fn veiled(text: &str) -> Cow<'_, str> {
    let Some(secret) = [in_userinfo(text), behind_key(text)].into_iter().flatten().reduce(join) else {
        return text.into();
    };
    format!("{}…{}", &text[..secret.0], &text[secret.1..]).into()
}

/// The same for a line of the file, in which the sign between key and value may be missing.
pub(super) fn veiled_line(line: &str) -> Cow<'_, str> {
    let begin = line.len() - line.trim_start().len();
    let end = line[begin..].find([' ', '\t', ':', '=']).map_or(line.len(), |at| begin + at);
    let rest = line[end..].trim_start();
    if rest.is_empty() || rest.starts_with('=') || !is_secret(&line[begin..end]) {
        return veiled(line);
    }
    format!("{}…", &line[..end]).into()
}

/// Whether the key sounds like one.
fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRETS.iter().any(|word| key.contains(word))
}

/// Where it begins and ends, in bytes.
type Span = (usize, usize);

fn join(one: Span, other: Span) -> Span {
    (one.0.min(other.0), one.1.max(other.1))
}

/// Between the colon behind a scheme and the last `@`: one that is in the password has to be left out, too (RFC 3986 §3.2.1).
fn in_userinfo(text: &str) -> Option<Span> {
    let authority = text.find("://")? + "://".len();
    let end = authority + text[authority..].rfind('@')?;
    let colon = authority + text[authority..end].find(':')?;
    Some((colon + 1, end))
}

/// From the sign behind the key to the end: where a value ends is not to be known in a line that may be broken.
fn behind_key(text: &str) -> Option<Span> {
    let signs = text.match_indices('=').find(|&(at, _)| {
        let before = text[..at].trim_end().trim_end_matches(['"', '\'']);
        let begin =
            before.rfind(|c: char| !c.is_alphanumeric() && c != '_' && c != '-').map_or(0, |at| at + 1);
        let key = before.get(begin..).unwrap_or_default();
        let names_file = key.ends_with("_file") && text[at..].contains('/');
        !names_file && is_secret(key)
    });
    signs.map(|(at, _)| (at + 1, text.len()))
}

const SECRETS: [&str; 7] = ["key", "passw", "passphrase", "pw", "secret", "token", "credential"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_secret_is_left_out() {
        for (text, shown) in [
            ("url = \"postgres://backstop:hunter2@db/mail\"", "url = \"postgres://backstop:…@db/mail\""),
            ("url = \"redis://:hun@ter:2@[::1]:6379/0\"", "url = \"redis://:…@[::1]:6379/0\""),
            ("url = 'redis://u:hunter2' or \"2@h", "url = 'redis://u:…@h"),
            (
                "found the text \"redis://u:hunter2@h\", expected a table",
                "found the text \"redis://u:…@h\", expected a table",
            ),
            ("url = \"mysql://u@db/mail?password=hunter2&x=y\"", "url = \"mysql://u@db/mail?password=…"),
            ("bind_password = \"hunter2\"", "bind_password =…"),
            ("\tBIND-PASSWD=\"hunter2\" # old", "\tBIND-PASSWD=…"),
            (
                "sql = { url = \"postgres://u@h/d\", \"password\" = 'hunter2' }",
                "sql = { url = \"postgres://u@h/d\", \"password\" =…",
            ),
            ("sql = { url = \"postgres://u:hun@h/d\", password = 'ter2' }", "sql = { url = \"postgres://u:…"),
            ("password_file = \"hunter2\"", "password_file =…"),
            ("token = [\"hunter2\"]", "token =…"),
        ] {
            assert_eq!(veiled(text), shown);
        }
    }

    #[test]
    fn a_line_may_be_without_a_sign() {
        for (line, shown) in [
            ("bind-pw 'hunter2'", "bind-pw…"),
            ("  password: hunter2", "  password…"),
            ("secret \"hunter2\"", "secret…"),
            ("password hunter=2", "password…"),
            ("password", "password"),
        ] {
            assert_eq!(veiled_line(line), shown);
        }
    }

    #[test]
    fn all_else_is_shown() {
        for text in [
            "",
            "=",
            "é = 'ü'",
            "url = \"postgres://backstop@db:5432/mail\"",
            "password_file = \"/etc/backstop/ldap.password\"",
            "listen = [\"inet:8890@[::1]\"]",
            "servers = [\"ldaps://dc1.example.com:636\", \"ldaps://dc2.example.com\"]",
            "bind_dn = \"cn=backstop,dc=example,dc=com\"",
            "unknown key `password`; known here: url, password_file, ca_file",
            "query = \"select 1 from m where a = $1\"",
        ] {
            assert_eq!(veiled(text), text);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_password_is_seen(before in "[a-z =\"'{}é]{0,20}", secret in "[A-Z0-9@:/=\"'é]{4,20}", after in "[a-z =\"'{}#]{0,20}") {
            let written = |text: String| assert!(!veiled(&text).contains(&secret), "{text}: {}", veiled(&text));
            written(format!("{before}redis://name:{secret}@host{after}"));
            written(format!("{before} password = \"{secret}\"{after}"));
        }
    }
}
