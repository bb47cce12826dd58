//! What the three databases have in common: a prepared query, asked with an address.
//!
//! What is asked for goes beside the query as parameters, never into its text.

use std::future::Future;

use futures_util::TryStreamExt;
use sqlx::{
    ColumnIndex, ConnectOptions, Connection, Either, Encode, Executor, IntoArguments, MySql, Postgres, Row,
    SqlStr, Sqlite, Statement, Type, mysql::MySqlConnectOptions, postgres::PgConnectOptions,
    sqlite::SqliteConnectOptions,
};

use super::{
    Error,
    error::MOST_ROWS,
    value::{self, Values, attributes},
};
use crate::policy::Attributes;

/// What the query's parameters stand for: the address, its local part, its domain.
pub(super) type Parameters = [String; 3];

/// A database that can be asked.
pub(super) trait Kind: Values {
    /// How to connect.
    type Options: ConnectOptions<Connection = Self::Connection>;

    /// The same with a password.
    fn with_password(options: Self::Options, password: &str) -> Self::Options;

    /// Before questions on a connection, which needs [`Kind::end`] after them, or has to be dropped.
    fn begin(_: &mut Self::Connection) -> impl Future<Output = Result<(), Error>> + Send {
        std::future::ready(Ok(()))
    }

    /// After questions on a connection, whatever came of them.
    fn end(_: &mut Self::Connection) -> impl Future<Output = Result<(), Error>> + Send {
        std::future::ready(Ok(()))
    }

    /// What the query's rows say; `None`: there are none.
    fn ask(
        connection: &mut Self::Connection,
        query: SqlStr,
        parameters: &Parameters,
    ) -> impl Future<Output = Result<Option<Attributes>, Error>> + Send;

    /// What the first row of the listing has for an address; `None`: there are no rows. The connection ends with it: the
    /// other rows may still be on their way.
    fn first(
        connection: Self::Connection,
        listing: SqlStr,
    ) -> impl Future<Output = Result<Option<Option<String>>, Error>> + Send;

    /// A number that is another one when anybody else has written; `None` where there is none to be had.
    fn version(_: &mut Self::Connection) -> impl Future<Output = Result<Option<i64>, Error>> + Send {
        std::future::ready(Ok(None))
    }
}

impl Kind for Postgres {
    type Options = PgConnectOptions;

    fn with_password(options: Self::Options, password: &str) -> Self::Options {
        options.password(password)
    }

    /// What is prepared outlives no transaction: a pooler (PgBouncer, `pool_mode = transaction`) gives the next one another
    /// session, where the driver's name for it may stand for somebody else's query, whose answer would be taken for ours.
    async fn begin(connection: &mut Self::Connection) -> Result<(), Error> {
        sqlx::raw_sql("begin read only").execute(connection).await.map(drop).map_err(Error::Query)
    }

    async fn end(connection: &mut Self::Connection) -> Result<(), Error> {
        connection.clear_cached_statements().await.map_err(Error::Query)?;
        sqlx::raw_sql("rollback").execute(connection).await.map(drop).map_err(Error::Query)
    }

    async fn ask(
        connection: &mut Self::Connection,
        query: SqlStr,
        parameters: &Parameters,
    ) -> Result<Option<Attributes>, Error> {
        ask::<Self>(connection, query, parameters).await
    }

    async fn first(connection: Self::Connection, listing: SqlStr) -> Result<Option<Option<String>>, Error> {
        first::<Self>(connection, listing).await
    }
}

impl Kind for MySql {
    type Options = MySqlConnectOptions;

    fn with_password(options: Self::Options, password: &str) -> Self::Options {
        options.password(password)
    }

    async fn ask(
        connection: &mut Self::Connection,
        query: SqlStr,
        parameters: &Parameters,
    ) -> Result<Option<Attributes>, Error> {
        ask::<Self>(connection, query, parameters).await
    }

    async fn first(connection: Self::Connection, listing: SqlStr) -> Result<Option<Option<String>>, Error> {
        first::<Self>(connection, listing).await
    }
}

impl Kind for Sqlite {
    type Options = SqliteConnectOptions;

    fn with_password(options: Self::Options, _: &str) -> Self::Options {
        options
    }

    async fn ask(
        connection: &mut Self::Connection,
        query: SqlStr,
        parameters: &Parameters,
    ) -> Result<Option<Attributes>, Error> {
        ask::<Self>(connection, query, parameters).await
    }

    async fn first(connection: Self::Connection, listing: SqlStr) -> Result<Option<Option<String>>, Error> {
        first::<Self>(connection, listing).await
    }

    /// <https://www.sqlite.org/pragma.html#pragma_data_version>
    async fn version(connection: &mut Self::Connection) -> Result<Option<i64>, Error> {
        let row = sqlx::query("pragma data_version").fetch_one(connection).await.map_err(Error::Query)?;
        row.try_get_unchecked(0).map(Some).map_err(Error::Query)
    }
}

/// Prepares the query, unless the connection has it prepared, and adds up what the rows say; no rows: nobody.
async fn ask<D>(
    connection: &mut D::Connection,
    query: SqlStr,
    parameters: &Parameters,
) -> Result<Option<Attributes>, Error>
where
    D: Values,
    for<'c> &'c mut D::Connection: Executor<'c, Database = D>,
    for<'t> &'t str: Encode<'t, D> + Type<D>,
    D::Arguments: IntoArguments<D>,
    usize: ColumnIndex<D::Row>,
{
    // The server finds out the types: an address is compared as the column it is compared with wants it.
    let statement = connection.prepare(query).await.map_err(Error::Query)?;
    let wanted = match statement.parameters() {
        Some(Either::Left(types)) => types.len(),
        Some(Either::Right(count)) => count,
        None => 0,
    };
    if wanted == 0 || wanted > parameters.len() {
        return Err(Error::Parameters(wanted));
    }
    if statement.columns().is_empty() {
        return Err(Error::NoColumns);
    }
    let mut question = statement.query();
    for parameter in parameters.iter().take(wanted) {
        question = question.bind(parameter.as_str());
    }
    let mut found: Result<Option<Attributes>, Error> = Ok(None);
    let (mut count, mut complete) = (0, false);
    let mut steps = connection.fetch_many(question);
    while let Some(step) = steps.try_next().await.map_err(Error::Query)? {
        let Either::Right(row) = step else {
            complete = true;
            continue;
        };
        count += 1;
        if count > MOST_ROWS {
            return Err(Error::Rows);
        }
        // What makes no sense is told when all has been read: then the connection can be used again.
        found = match (found, attributes::<D>(&row)) {
            (Ok(None), Ok(more)) => Ok(Some(more)),
            (Ok(Some(known)), Ok(more)) => Ok(Some(known.merge(more))),
            (Err(error), _) | (_, Err(error)) => Err(error),
        };
    }
    // The driver for SQLite panics in a thread of its own where a table has changed, and what one sees of it is the end.
    if complete { found } else { Err(Error::Incomplete) }
}

async fn first<D>(mut connection: D::Connection, listing: SqlStr) -> Result<Option<Option<String>>, Error>
where
    D: Values,
    for<'c> &'c mut D::Connection: Executor<'c, Database = D>,
    D::Arguments: IntoArguments<D>,
    usize: ColumnIndex<D::Row>,
{
    let statement = connection.prepare(listing).await.map_err(Error::Query)?;
    let row = connection.fetch_optional(statement.query()).await.map_err(Error::Query)?;
    row.map(|row| value::address::<D>(&row)).transpose()
}
