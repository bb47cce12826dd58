//! `[directory.NAME.sql]`, as written.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::server::Server;

/// `[directory.NAME.sql]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `postgres://USER@HOST/DATABASE`, `mysql://USER@HOST/DATABASE` or `sqlite:/FILE`. A password does not belong in
    /// it.
    pub url: String,
    /// The password, in a file of one line (its absolute path). It is read again for each connection, so that it can be changed at any
    /// time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// PEM certificates of authorities that are trusted besides the system's. With it, the server's certificate is
    /// checked on this host as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// [The question](#the-query): gives a row if the recipient exists.
    pub query: String,
    /// [Gives every recipient](#the-listing). Needed for a replica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listing: Option<String>,
    /// `live` asks for each recipient and remembers the answer for a while; `replica` keeps the [whole
    /// list](#replicas).
    #[serde(default)]
    pub source: Mode,
    /// The longest that one question may take, connecting included; more than 0, at most 8 s.
    #[serde(default = "deadline", with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub deadline: Duration,
    /// Connections for questions, 1 to 64; a replica's listing has one more.
    #[serde(default = "connections")]
    pub connections: u32,
}

impl Config {
    /// Tells `say` which key can't be used, and why.
    pub(in crate::directory) fn check(&self, say: &mut dyn FnMut(&str, String)) {
        if let Err(error) = Server::new(self) {
            say(error.key(), error.to_string());
        }
        if self.query.trim().is_empty() {
            say("query", "is empty: it has to give a row for a recipient who exists".to_owned());
        } else if let Some((scheme, _)) = self.url.split_once(':')
            && !has_parameter(scheme, &self.query)
        {
            let message = "has no parameter ($1 in PostgreSQL, ? in MySQL, ?1 in SQLite), so that it would say the same \
                           of every address";
            say("query", message.to_owned());
        }
        match &self.listing {
            None if self.source == Mode::Replica => {
                say("source", "a replica needs `listing`, a query that gives every recipient".to_owned());
            }
            Some(listing) if listing.trim().is_empty() => {
                say("listing", "is empty: it has to give the address of every recipient".to_owned());
            }
            _ => {}
        }
        if self.deadline.is_zero() || self.deadline > LONGEST_DEADLINE {
            say("deadline", format!("must be more than 0 and at most {LONGEST_DEADLINE:?}"));
        }
        if !(1..=MOST_CONNECTIONS).contains(&self.connections) {
            say("connections", format!("must be from 1 to {MOST_CONNECTIONS}"));
        }
    }
}

/// `source`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// A question for each recipient, remembered for a while.
    #[default]
    Live,
    /// The whole list in memory and on disk, refreshed at an interval.
    Replica,
}

/// Whether the query has a parameter, as far as that can be told without understanding it: the answer is no only where there
/// is nothing outside of texts, names and comments that could be one. The database finds out the rest.
fn has_parameter(scheme: &str, query: &str) -> bool {
    let marks: &[char] = match scheme {
        "postgres" | "postgresql" => &['$'],
        "mysql" | "mariadb" => &['?'],
        "sqlite" => &['?', '$', ':', '@'],
        _ => return true,
    };
    let anywhere = query.contains(marks);
    // Backslashes in texts, texts between dollars, comments of MySQL's: each database has its own.
    if query.contains(['\\', '#']) || query.contains("$$") {
        return anywhere;
    }
    let mut rest = query;
    while let Some(at) = rest.find(|next: char| marks.contains(&next) || "'\"`-/".contains(next)) {
        let found = rest.get(at..).unwrap_or_default();
        let quotes = [("'", "'"), ("\"", "\""), ("`", "`"), ("--", "\n"), ("/*", "*/"), ("-", ""), ("/", "")];
        let Some((inside, close)) =
            quotes.iter().find_map(|(open, close)| Some((found.strip_prefix(open)?, close)))
        else {
            return true;
        };
        match inside.split_once(close) {
            _ if close.is_empty() => rest = inside,
            Some((_, after)) => rest = after,
            // It does not end as it should: it was not understood.
            None => return anywhere,
        }
    }
    false
}

fn deadline() -> Duration {
    Duration::from_secs(2)
}

fn connections() -> u32 {
    4
}

/// As long as all directories together may take.
const LONGEST_DEADLINE: Duration = Duration::from_secs(8);
/// Each MX host takes so many of what the database has.
const MOST_CONNECTIONS: u32 = 64;

#[cfg(test)]
mod tests {
    use figment::{
        Figment,
        providers::{Format, Toml},
    };

    use super::*;

    /// What is said of a configuration with these lines.
    fn said(lines: &str) -> Vec<(String, String)> {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in
            [("password", "secret\n"), ("empty", "\n"), ("mail.db", ""), ("no.pem", "no certificate")]
        {
            std::fs::write(dir.path().join(name), content).unwrap();
        }
        let lines = lines.replace("{dir}", &dir.path().display().to_string());
        let query = match lines {
            _ if lines.contains("query =") => "",
            _ if lines.contains("'postgres") => "query = 'select 1 from m where a = $1'",
            _ => "query = 'select 1 from m where a = ?'",
        };
        let figment = Figment::from(Toml::string(&format!("{lines}\n{query}")));
        let config: Config = figment.extract().unwrap();
        let mut found = Vec::new();
        config.check(&mut |key, message| found.push((key.to_owned(), message)));
        found
    }

    #[test]
    fn what_can_be_used_is_taken() {
        for lines in [
            "url = 'postgres://backstop@db.example.com/mail'",
            "url = 'postgresql://backstop@[2001:db8::1]:5433/mail?sslmode=require'\npassword_file = '{dir}/password'",
            "url = 'postgres:///mail'",
            "url = 'postgres://backstop@%2Frun%2Fpostgresql/mail'",
            "url = 'postgres:///mail?host=/run/postgresql&user=backstop&application_name=mx1'",
            "url = 'mysql://backstop@db.example.com/mail?sslmode=disabled'",
            "url = 'mariadb://backstop@127.0.0.1:3307/mail'\ndeadline = '8s'",
            "url = 'mysql://backstop@localhost/mail?socket=/run/mysqld/mysqld.sock'\nconnections = 64",
            "url = 'sqlite:{dir}/mail.db'",
            "url = 'sqlite://{dir}/mail.db'\nsource = 'replica'\nlisting = 'select a from m'",
            "url = 'sqlite:{dir}/mail.db'\nquery = 'select 1 from m where a = ?1 or b = ?3'",
        ] {
            assert_eq!(said(lines), [], "{lines}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_told() {
        for (lines, key, part) in [
            ("url = 'db.example.com'", "url", "postgres://"),
            ("url = ''", "url", "postgres://"),
            ("url = 'oracle://db/mail'", "url", "postgres://"),
            ("url = 'postgres://backstop:secret@db/mail'", "url", "password_file"),
            ("url = 'mysql://backstop:secret@db/mail'", "url", "password_file"),
            ("url = 'postgres://backstop@db/mail?sslmode=allow'", "url", "prefer"),
            ("url = 'postgres://backstop@db/mail?password=x'", "url", "password_file"),
            ("url = 'postgres://backstop@db/mail?sslmod=verify-full'", "url", "`sslmod` is not known"),
            ("url = 'postgres://backstop@db/mail?sslmode=verify_ful'", "url", "verify_ful"),
            ("url = 'postgres://backstop@db/mail?sslrootcert=/x'", "url", "ca_file"),
            ("url = 'mysql://backstop@db/mail?sslmode=on'", "url", "on"),
            ("url = 'mysql://db/mail'", "url", "names no user"),
            ("url = 'postgres://backstop@db:99999/mail'", "url", "port"),
            ("url = 'sqlite:mail.db'", "url", "absolute"),
            ("url = 'sqlite::memory:'", "url", "absolute"),
            ("url = 'sqlite:{dir}/mail.db?mode=rwc'", "url", "`mode` is not known"),
            ("url = 'sqlite:{dir}/none.db'", "url", "No such file"),
            ("url = 'sqlite:{dir}'", "url", "not a file"),
            ("url = 'sqlite:{dir}/mail.db'\nquery = 'select 1 where a = $1'", "query", "?1"),
            ("url = 'sqlite:{dir}/mail.db'\nquery = 'select 1 where a = ?2 or b = ?'", "query", "?1"),
            (
                "url = 'sqlite:{dir}/mail.db'\npassword_file = '{dir}/password'",
                "password_file",
                "no password",
            ),
            ("url = 'sqlite:{dir}/mail.db'\nca_file = '{dir}/no.pem'", "ca_file", "no connection"),
            ("url = 'postgres://b@db/m'\npassword_file = '{dir}/none'", "password_file", "No such file"),
            ("url = 'postgres://b@db/m'\npassword_file = '{dir}/empty'", "password_file", "is empty"),
            ("url = 'postgres://b@db/m'\nca_file = '{dir}/none'", "ca_file", "No such file"),
            ("url = 'postgres://b@db/m'\nca_file = '{dir}/no.pem'", "ca_file", "no certificate"),
            (
                "url = 'postgres://b@db/m?sslmode=require'\nca_file = '/etc/ssl/x.pem'",
                "ca_file",
                "verify-full",
            ),
            ("url = 'postgres://b@db/m'\nquery = ' '", "query", "is empty"),
            ("url = 'postgres://b@db/m'\nquery = 'select 1'", "query", "has no parameter"),
            ("url = 'mysql://b@db/m'\nquery = 'select 1 from m where a = $1'", "query", "has no parameter"),
            ("url = 'postgres://b@db/m'\nsource = 'replica'", "source", "listing"),
            ("url = 'postgres://b@db/m'\nsource = 'replica'\nlisting = ''", "listing", "is empty"),
            ("url = 'postgres://b@db/m'\ndeadline = '0s'", "deadline", "more than 0"),
            ("url = 'postgres://b@db/m'\ndeadline = '9s'", "deadline", "at most 8s"),
            ("url = 'postgres://b@db/m'\nconnections = 0", "connections", "from 1 to 64"),
            ("url = 'postgres://b@db/m'\nconnections = 65", "connections", "from 1 to 64"),
        ] {
            let said = said(lines);
            let [(place, message)] = &said[..] else { panic!("{lines}: {said:?}") };
            assert_eq!(place, key, "{lines}: {message}");
            assert!(message.contains(part), "{lines}: {message}");
            assert!(!message.contains("secret"), "{lines}: {message}");
        }
    }

    #[test]
    fn a_query_has_a_parameter_or_clearly_none() {
        for (scheme, query, has) in [
            ("postgres", "select 1 where a = $1", true),
            ("postgres", "select 1 where a = '$1'", false),
            ("postgres", "select '''', \"$1\"", false),
            ("postgres", "select 1 -- $1\n", false),
            ("postgres", "select 1 -- it's\n where a = $1", true),
            ("postgres", "select 1 - 1 /* ' $1 */ / 2", false),
            ("postgres", "select 1 /* ' */ where a = $1", true),
            ("postgres", r"select E'\'' where a = $1", true),
            ("postgres", "select $$it's$$ where a = $1", true),
            ("postgres", "select ?", false),
            ("mysql", "select 1 from `a?` where b = '?'", false),
            ("mysql", "select 1 # it's\n where a = ? -- it's", true),
            ("mariadb", "select $1", false),
            ("sqlite", "select ?1", true),
            ("sqlite", "select @address", true),
            ("sqlite", "select 1", false),
            ("oracle", "select 1", true),
        ] {
            assert_eq!(has_parameter(scheme, query), has, "{scheme}: {query}");
        }
    }
}
