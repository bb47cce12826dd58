//! What keeps a database from answering, and what follows from it. None of it ever means that a recipient is absent.

use std::{io, path::PathBuf};

use sqlx::{error::DatabaseError, mysql::MySqlDatabaseError, postgres::PgDatabaseError, sqlite::SqliteError};

use crate::directory::Why;

/// A question without an answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// No connection.
    #[error("can't connect: {said}{hint}", said = said(.0), hint = hint(.0))]
    Connect(sqlx::Error),
    /// The database's file is not there.
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    /// A connection broke, or the database refused the query.
    #[error("{said}", said = said(.0))]
    Query(sqlx::Error),
    /// Rows came, or none, and then neither an end nor an error.
    #[error("the answer ended before it was complete")]
    Incomplete,
    /// Nothing would tell one address from another, or more is wanted than there is.
    #[error(
        "the query has {0} parameters; it needs from one to three: the address, its local part, its domain"
    )]
    Parameters(usize),
    /// It gives no rows, as a `delete` does: to ask it would not be to look somebody up.
    #[error("the query gives no columns: it has to be a `select`")]
    NoColumns,
    /// Nobody gives them.
    #[error("the listing has {0} parameters, and takes none")]
    ListingParameters(usize),
    /// Not a recipient's rows: a condition is missing.
    #[error("the query gives more than {MOST_ROWS} rows for one address")]
    Rows,
    /// A column that counts, of a type that says neither yes nor no.
    #[error("the column {column:?} has the type {kind}, which says neither yes nor no")]
    Type { column: String, kind: String },
    /// A column that counts, with a text that says neither yes nor no.
    #[error("the column {column:?} holds {value:?}, which says neither yes nor no")]
    Text { column: String, value: String },
    /// A list without addresses.
    #[error("the column {column:?} has the type {kind}, which holds no addresses")]
    NoAddress { column: String, kind: String },
    /// Nobody whom it knew is to be found, so that nobody can be called unknown.
    #[error(
        "none of the recipients that were known is there any more: is the table being written, or hidden from this user?"
    )]
    Gone,
    /// The same, where nobody was known yet.
    #[error("the listing gives nobody, so that nobody can be called unknown")]
    Nobody,
    /// Nobody was found since the start, and there is no listing that could tell whether anybody is there.
    #[error(
        "nobody was found yet, so that nobody can be called unknown: that ends with the first recipient who is found; if it stays, the query is wrong, the table empty or hidden from this user"
    )]
    Unseen,
    /// It gave no row, and then did not tell in time whether it has recipients at all.
    #[error("no answer in time to whether any recipient is there")]
    Unsure,
    /// Too many ask at the same time.
    #[error("too many questions at once")]
    Busy,
    /// No answer within the deadline.
    #[error("no answer in time")]
    TimedOut,
    /// It is known to be down.
    #[error("{0} (it is tried again within seconds)")]
    Spared(String),
}

impl Error {
    /// For whoever needs to decide.
    pub(super) fn why(&self) -> Why {
        match self {
            Self::Busy => Why::Busy,
            Self::TimedOut | Self::Unsure => Why::TimedOut,
            Self::Spared(_) => Why::Down,
            // Nothing is wrong.
            Self::Unseen => Why::PutOff,
            // What TLS finds wrong comes as data that makes no sense.
            Self::Connect(sqlx::Error::Io(error)) if error.kind() != io::ErrorKind::InvalidData => Why::Down,
            Self::Connect(error) | Self::Query(error) => match fault(error) {
                Fault::Locked => Why::TimedOut,
                Fault::Closing => Why::Down,
                Fault::Data => Why::PutOff,
                Fault::Connection | Fault::Stale | Fault::Query => Why::Failed,
            },
            _ => Why::Failed,
        }
    }

    /// Whether the database is better spared for a while. A query that is wrong is no reason, and an address that the
    /// query chokes on even less: anybody can invent one.
    pub(super) fn is_down(&self) -> bool {
        match self {
            Self::Connect(_) | Self::File { .. } | Self::TimedOut => true,
            Self::Query(error) => matches!(fault(error), Fault::Connection | Fault::Closing | Fault::Locked),
            _ => false,
        }
    }

    /// Whether the query took too long, or waited for what somebody else has locked.
    pub(super) fn is_slow(&self) -> bool {
        match self {
            Self::TimedOut => true,
            Self::Query(error) => fault(error) == Fault::Locked,
            _ => false,
        }
    }

    /// Whether the connection is of no use any more. On another one, the question may well get an answer.
    pub(super) fn is_of_connection(&self) -> bool {
        match self {
            Self::Query(error) => matches!(fault(error), Fault::Connection | Fault::Closing | Fault::Stale),
            Self::Incomplete | Self::Rows => true,
            _ => false,
        }
    }
}

/// What it says. With PostgreSQL, the driver adds a line of the server's source, as if it were one of the query.
fn said(error: &sqlx::Error) -> String {
    match error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>()) {
        Some(error) => format!("error returned from database: {} ({})", error.message(), error.code()),
        None => error.to_string(),
    }
}

/// What helps against it.
fn hint(error: &sqlx::Error) -> &'static str {
    // Each driver wraps what the TLS library says in its own way.
    if error.to_string().contains("UnknownIssuer") {
        ": name the authority that signed the server's certificate in ca_file"
    } else {
        ""
    }
}

/// What a driver's error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The connection broke, or makes no sense any more.
    Connection,
    /// The server ends this connection, or all of them, or takes no more.
    Closing,
    /// What was prepared has been overtaken by a change of the tables.
    Stale,
    /// Somebody else has locked what is asked for.
    Locked,
    /// The query can't be answered for this address.
    Data,
    /// The query, or whoever asks, is wrong.
    Query,
}

fn fault(error: &sqlx::Error) -> Fault {
    match error {
        sqlx::Error::Database(error) => fault_of_database(&**error),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::Encode(_) => Fault::Query,
        _ => Fault::Connection,
    }
}

fn fault_of_database(error: &dyn DatabaseError) -> Fault {
    let code = error.code().unwrap_or_default();
    if let Some(error) = error.try_downcast_ref::<MySqlDatabaseError>() {
        return match error.number() {
            // ER_CON_COUNT_ERROR, ER_TOO_MANY_USER_CONNECTIONS, ER_SERVER_SHUTDOWN, ER_NORMAL_SHUTDOWN,
            // ER_CONNECTION_KILLED, ER_CLIENT_INTERACTION_TIMEOUT
            1040 | 1203 | 1053 | 1077 | 1927 | 4031 => Fault::Closing,
            // ER_UNKNOWN_STMT_HANDLER, ER_NEED_REPREPARE
            1243 | 1615 => Fault::Stale,
            // ER_LOCK_WAIT_TIMEOUT, ER_LOCK_DEADLOCK
            1205 | 1213 => Fault::Locked,
            // ER_CANT_AGGREGATE_2COLLATIONS, _3COLLATIONS, _NCOLLATIONS: characters that the column can't hold;
            // ER_INVALID_CHARACTER_STRING, ER_CANNOT_CONVERT_STRING
            1267 | 1270 | 1271 | 1300 | 3854 | 3988 => Fault::Data,
            _ if code.starts_with("22") => Fault::Data,
            _ if code.starts_with("08") => Fault::Connection,
            _ => Fault::Query,
        };
    }
    if error.try_downcast_ref::<SqliteError>().is_some() {
        // The low byte is the primary result code.
        return match code.parse::<u32>().map_or(0, |code| code & 0xff) {
            5 | 6 => Fault::Locked, // SQLITE_BUSY, SQLITE_LOCKED
            // SQLITE_READONLY, IOERR, CORRUPT, CANTOPEN, SCHEMA, NOTADB
            8 | 10 | 11 | 14 | 17 | 26 => Fault::Connection,
            _ => Fault::Query,
        };
    }
    // Appendix A of PostgreSQL's manual.
    match &*code {
        // "cached plan must not change result type"
        "0A000" | "26000" => Fault::Stale,
        "55P03" | "40001" | "40P01" => Fault::Locked,
        "57014" => Fault::Locked, // a statement_timeout or lock_timeout of the role
        code if code.starts_with("57P") || code.starts_with("53") => Fault::Closing,
        code if code.starts_with("08") => Fault::Connection,
        code if code.starts_with("22") => Fault::Data,
        _ => Fault::Query,
    }
}

/// More are no recipient's.
pub(super) const MOST_ROWS: usize = 1000;
