//! Which database to ask: what the URL, the password file and the CA file say, checked.
//!
//! It connects nowhere. What travels to another host is encrypted, and that host proves who it is, unless the URL's `sslmode`
//! says otherwise in so many words: the drivers' own default gives in to a server, or to somebody in between, that wants
//! it in the clear.

use std::{fs, io, net::IpAddr, path::PathBuf, str::FromStr, time::Duration};

use sqlx::{
    ConnectOptions,
    mysql::{MySqlConnectOptions, MySqlSslMode},
    postgres::{PgConnectOptions, PgSslMode},
    sqlite::SqliteConnectOptions,
};
use url::Url;

use super::Config;
use crate::net::{Password, PasswordError, TlsError, TlsOptions, client_config};

/// A database, and how to get to it. Without the password, which is read for each connection.
#[derive(Debug)]
pub(super) enum Server {
    Postgres(PgConnectOptions),
    MySql(MySqlConnectOptions),
    Sqlite(SqliteConnectOptions),
}

/// A setting that can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum SettingError {
    #[error(
        "is written postgres://USER@HOST/DATABASE, mysql://USER@HOST/DATABASE or sqlite:/FILE, with an absolute path"
    )]
    Form,
    #[error("{0}")]
    Url(#[from] url::ParseError),
    #[error("{0}")]
    Value(sqlx::Error),
    #[error(
        "whoever sees the configuration would see the password: write it into a file, and name that in password_file"
    )]
    PasswordInUrl,
    #[error("`{key}` is not known after the question mark; known: {known}")]
    Parameter { key: String, known: String },
    #[error("name the authorities to trust in ca_file")]
    CaInUrl,
    #[error("sslmode=allow would never encrypt: write prefer, or disable")]
    Allow,
    #[error("names no user: mysql://USER@HOST/DATABASE")]
    NoUser,
    #[error("{}: {error}", path.display())]
    Database { path: PathBuf, error: io::Error },
    #[error("{} is not a file", .0.display())]
    NotAFile(PathBuf),
    #[error("with SQLite, write the parameters ?1 (the address), ?2 (its local part) and ?3 (its domain)")]
    SqliteParameters,
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error("a file has no password")]
    NeedlessPassword,
    #[error("{0}")]
    Ca(TlsError),
    #[error("there is no connection to secure")]
    NeedlessCa,
    #[error("certificates are checked with sslmode=verify-full (the default) or verify-ca only")]
    UncheckedCa,
}

impl Server {
    /// The database and the password for it. Reads the password and CA files, to see whether they can be used.
    pub(super) fn new(config: &Config) -> Result<(Self, Option<Password>), SettingError> {
        let server = match config.url.split_once(':').map(|(scheme, _)| scheme) {
            Some("postgres" | "postgresql") => Self::Postgres(postgres(config)?),
            Some("mysql" | "mariadb") => Self::MySql(mysql(config)?),
            Some("sqlite") => Self::Sqlite(sqlite(config)?),
            _ => return Err(SettingError::Form),
        };
        let password = config.password_file.as_deref().map(Password::open).transpose()?;
        if let Some(path) = &config.ca_file {
            let options = TlsOptions { ca_file: Some(path.clone()), ..TlsOptions::default() };
            client_config(&options).map_err(SettingError::Ca)?;
        }
        Ok((server, password))
    }
}

impl SettingError {
    /// The key of the configuration that is wrong.
    pub(super) fn key(&self) -> &'static str {
        match self {
            Self::Form
            | Self::Url(_)
            | Self::Value(_)
            | Self::PasswordInUrl
            | Self::Parameter { .. }
            | Self::CaInUrl
            | Self::Allow
            | Self::NoUser
            | Self::Database { .. }
            | Self::NotAFile(_) => "url",
            Self::SqliteParameters => "query",
            Self::Password(_) | Self::NeedlessPassword => "password_file",
            Self::Ca(_) | Self::NeedlessCa | Self::UncheckedCa => "ca_file",
        }
    }
}

fn postgres(config: &Config) -> Result<PgConnectOptions, SettingError> {
    let url = parse(&config.url, &POSTGRES_PARAMETERS)?;
    let mut options = PgConnectOptions::from_url(&url).map_err(SettingError::Value)?;
    if let Some(address) = ipv6(options.get_host()) {
        options = options.host(&address);
    }
    let mode = match parameter(&url, "sslmode") {
        Some(_) if matches!(options.get_ssl_mode(), PgSslMode::Allow) => return Err(SettingError::Allow),
        Some(_) => options.get_ssl_mode(),
        // Whoever names an authority wants it asked, on this host as well.
        None if config.ca_file.is_some() => PgSslMode::VerifyFull,
        None if options.get_socket().is_some() || is_here(options.get_host()) => PgSslMode::Prefer,
        None => PgSslMode::VerifyFull,
    };
    if let Some(path) = &config.ca_file {
        if !matches!(mode, PgSslMode::VerifyCa | PgSslMode::VerifyFull) {
            return Err(SettingError::UncheckedCa);
        }
        options = options.ssl_root_cert(path);
    }
    if options.get_application_name().is_none() {
        options = options.application_name("backstop");
    }
    // PgBouncer refuses it, and no number with a fraction is of interest here.
    let options = options.extra_float_digits(None);
    Ok(options.ssl_mode(mode).statement_cache_capacity(STATEMENTS).disable_statement_logging())
}

fn mysql(config: &Config) -> Result<MySqlConnectOptions, SettingError> {
    let url = parse(&config.url, &MYSQL_PARAMETERS)?;
    if url.username().is_empty() {
        return Err(SettingError::NoUser);
    }
    let mut options = MySqlConnectOptions::from_url(&url).map_err(SettingError::Value)?;
    if let Some(address) = ipv6(options.get_host()) {
        options = options.host(&address);
    }
    let mode = match parameter(&url, "sslmode") {
        Some(_) => options.get_ssl_mode(),
        None if config.ca_file.is_some() => MySqlSslMode::VerifyIdentity,
        None if options.get_socket().is_some() || is_here(options.get_host()) => MySqlSslMode::Preferred,
        None => MySqlSslMode::VerifyIdentity,
    };
    if let Some(path) = &config.ca_file {
        if !matches!(mode, MySqlSslMode::VerifyCa | MySqlSslMode::VerifyIdentity) {
            return Err(SettingError::UncheckedCa);
        }
        options = options.ssl_ca(path);
    }
    // The query means what it means in every other client: the driver would change the SQL mode and the time zone.
    let options = options.pipes_as_concat(false).no_engine_substitution(false).timezone(None);
    Ok(options.ssl_mode(mode).statement_cache_capacity(STATEMENTS).disable_statement_logging())
}

fn sqlite(config: &Config) -> Result<SqliteConnectOptions, SettingError> {
    if config.password_file.is_some() {
        return Err(SettingError::NeedlessPassword);
    }
    if config.ca_file.is_some() {
        return Err(SettingError::NeedlessCa);
    }
    if let Some((_, parameters)) = config.url.split_once('?') {
        let key = parameters.split(['=', '&']).next().unwrap_or_default().to_owned();
        return Err(SettingError::Parameter { key, known: "nothing".to_owned() });
    }
    let options = SqliteConnectOptions::from_str(&config.url).map_err(SettingError::Value)?;
    let path = options.get_filename();
    if !path.is_absolute() {
        return Err(SettingError::Form);
    }
    match fs::File::open(path).and_then(|file| file.metadata()) {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Err(SettingError::NotAFile(path.to_owned())),
        Err(error) => return Err(SettingError::Database { path: path.to_owned(), error }),
    }
    if !are_numbered_alike(&config.query) {
        return Err(SettingError::SqliteParameters);
    }
    // A little less than the deadline, so that the reason is known: somebody writes, and does not come to an end.
    let patience = config.deadline.min(Duration::from_secs(60)) * 3 / 4;
    Ok(options
        .read_only(true)
        .busy_timeout(patience)
        .statement_cache_capacity(STATEMENTS)
        .disable_statement_logging())
}

/// The URL, if it holds nothing but what we know: the drivers would skip over a misspelt `sslmode`.
fn parse(text: &str, known: &[&str]) -> Result<Url, SettingError> {
    let url = Url::parse(text)?;
    if url.cannot_be_a_base() {
        return Err(SettingError::Form);
    }
    if url.password().is_some() || parameter(&url, "password").is_some() {
        return Err(SettingError::PasswordInUrl);
    }
    for (key, _) in url.query_pairs() {
        if matches!(&*key, "sslrootcert" | "ssl-root-cert" | "sslca" | "ssl-ca") {
            return Err(SettingError::CaInUrl);
        }
        if !known.contains(&&*key) {
            return Err(SettingError::Parameter { key: key.into_owned(), known: known.join(", ") });
        }
    }
    Ok(url)
}

fn parameter(url: &Url, name: &str) -> Option<String> {
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// What is between the brackets of an IPv6 address, which the drivers take for a part of it.
fn ipv6(host: &str) -> Option<String> {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).map(str::to_owned)
}

/// Whether what is sent to this host stays on this one.
fn is_here(host: &str) -> bool {
    host.starts_with('/')
        || host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether the driver and SQLite agree on which parameter is which. The driver takes `$9` for the ninth, which nobody gives,
/// and counts each bare `?` from one, whatever numbers stand before it.
fn are_numbered_alike(query: &str) -> bool {
    let mut rest = query.split('?').skip(1).map(|rest| rest.starts_with(|next: char| next.is_ascii_digit()));
    let first = rest.next();
    !query.contains('$') && rest.all(|numbered| Some(numbered) == first)
}

/// There are two queries at most.
const STATEMENTS: usize = 4;
const POSTGRES_PARAMETERS: [&str; 8] =
    ["sslmode", "sslcert", "sslkey", "host", "user", "dbname", "application_name", "options"];
const MYSQL_PARAMETERS: [&str; 4] = ["sslmode", "sslcert", "sslkey", "socket"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::sql::Mode;

    fn server(url: &str) -> Server {
        let config = Config {
            url: url.to_owned(),
            password_file: None,
            ca_file: None,
            query: "select 1".to_owned(),
            listing: None,
            source: Mode::Live,
            deadline: Duration::from_secs(2),
            connections: 1,
        };
        Server::new(&config).unwrap().0
    }

    #[test]
    fn what_leaves_this_host_is_encrypted_unless_the_url_says_otherwise() {
        for (rest, postgres, mysql) in [
            ("b@db.example.com/m", "VerifyFull", "VerifyIdentity"),
            ("b@192.0.2.1/m", "VerifyFull", "VerifyIdentity"),
            ("b@[2001:db8::1]/m", "VerifyFull", "VerifyIdentity"),
            ("b@localhost.example.com/m", "VerifyFull", "VerifyIdentity"),
            ("b@db.example.com/m?sslmode=disabled", "", "Disabled"),
            ("b@db.example.com/m?sslmode=disable", "Disable", ""),
            ("b@db.example.com/m?sslmode=prefer", "Prefer", ""),
            ("b@db.example.com/m?sslmode=verify-ca", "VerifyCa", ""),
            ("b@localhost/m?sslmode=verify-full", "VerifyFull", ""),
            ("b@localhost/m", "Prefer", "Preferred"),
            ("b@127.0.0.2/m", "Prefer", "Preferred"),
            ("b@[::1]/m", "Prefer", "Preferred"),
            ("b@%2Frun%2Fpostgresql/m", "Prefer", ""),
            ("b@db/m?host=/run/postgresql", "Prefer", ""),
            ("b@db/m?socket=/run/mysqld.sock", "", "Preferred"),
        ] {
            if !postgres.is_empty() {
                let Server::Postgres(options) = server(&format!("postgres://{rest}")) else {
                    panic!("{rest}")
                };
                assert_eq!(format!("{:?}", options.get_ssl_mode()), postgres, "{rest}");
            }
            if !mysql.is_empty() {
                let Server::MySql(options) = server(&format!("mysql://{rest}")) else { panic!("{rest}") };
                assert_eq!(format!("{:?}", options.get_ssl_mode()), mysql, "{rest}");
            }
        }
    }

    #[test]
    fn an_ipv6_address_has_no_brackets() {
        let Server::Postgres(options) = server("postgres://b@[::1]:5433/m") else { panic!() };
        assert_eq!((options.get_host(), options.get_port()), ("::1", 5433));
        let Server::MySql(options) = server("mysql://b@[::1]/m") else { panic!() };
        assert_eq!((options.get_host(), options.get_port()), ("::1", 3306));
    }

    #[test]
    fn sqlite_parameters_are_numbered_or_counted_but_not_both() {
        for (query, alike) in [
            ("select 1", true),
            ("select ?", true),
            ("select ?, ?, ?", true),
            ("select ?1, ?3, ?2, ?1", true),
            ("select ?1, ?", false),
            ("select ?, ?2", false),
            ("select $1", false),
            ("select $9", false),
        ] {
            assert_eq!(are_numbered_alike(query), alike, "{query}");
        }
    }
}
