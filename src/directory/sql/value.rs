//! What a column says, whatever its type: yes or no, or a text. A type that says neither is never guessed at.
//!
//! Values are read from their bytes as the wire has them, because the drivers decode each SQL type to one Rust type only, and
//! some (decimals, bits) to none without further libraries.

use std::str;

use sqlx::{
    Column, ColumnIndex, Database, MySql, Postgres, Row, Sqlite, TypeInfo, ValueRef,
    postgres::{PgTypeKind, PgValueFormat},
};

use super::error::Error;
use crate::policy::Attributes;

/// A value, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'r> {
    Null,
    Truth(bool),
    Text(&'r str),
    /// A text that is not UTF-8.
    Garbled,
    /// Something else.
    Other,
}

/// A database whose values can be read.
pub(super) trait Values: Database {
    /// The value in a column of a row.
    fn value(row: &Self::Row, column: usize) -> Result<Value<'_>, sqlx::Error>;
}

/// What the columns `suspended` and `restricted` say.
pub(super) fn attributes<D: Values>(row: &D::Row) -> Result<Attributes, Error>
where
    usize: ColumnIndex<D::Row>,
{
    let mut attributes = Attributes::default();
    for (at, column) in row.columns().iter().enumerate() {
        let name = column.name();
        if name.eq_ignore_ascii_case("suspended") {
            attributes.suspended |= truth::<D>(row, at, column)?;
        } else if name.eq_ignore_ascii_case("restricted") {
            attributes.restricted |= truth::<D>(row, at, column)?;
        }
    }
    Ok(attributes)
}

fn truth<D: Values>(row: &D::Row, at: usize, column: &D::Column) -> Result<bool, Error>
where
    usize: ColumnIndex<D::Row>,
{
    match D::value(row, at).map_err(Error::Query)? {
        Value::Null => Ok(false),
        Value::Truth(truth) => Ok(truth),
        Value::Text(text) => truth_of(text).ok_or_else(|| Error::Text {
            column: column.name().to_owned(),
            value: text.chars().take(40).collect(),
        }),
        Value::Garbled | Value::Other => {
            Err(Error::Type { column: column.name().to_owned(), kind: kind::<D>(row, at) })
        }
    }
}

/// What the column `address` holds, or else the first one; `None`: nothing.
pub(super) fn address<D: Values>(row: &D::Row) -> Result<Option<String>, Error>
where
    usize: ColumnIndex<D::Row>,
{
    let columns = row.columns();
    let at = columns.iter().position(|column| column.name().eq_ignore_ascii_case("address")).unwrap_or(0);
    match (D::value(row, at).map_err(Error::Query)?, columns.get(at)) {
        // One row that makes no sense is not all of them.
        (Value::Null | Value::Garbled, _) => Ok(None),
        (Value::Text(text), _) => Ok(Some(text.to_owned())),
        (_, column) => Err(Error::NoAddress {
            column: column.map_or_else(String::new, |column| column.name().to_owned()),
            kind: kind::<D>(row, at),
        }),
    }
}

/// The type of a value, for the admin.
pub(super) fn kind<D: Values>(row: &D::Row, at: usize) -> String
where
    usize: ColumnIndex<D::Row>,
{
    row.try_get_raw(at).map_or_else(|_| String::new(), |value| value.type_info().name().to_owned())
}

/// Whether a text means yes or no, as PostgreSQL's own booleans are written, or a number.
fn truth_of(text: &str) -> Option<bool> {
    let text = text.trim();
    let is = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is(&["t", "true", "y", "yes", "on", "1"]) {
        return Some(true);
    }
    if is(&["", "f", "false", "n", "no", "off", "0"]) {
        return Some(false);
    }
    let number: f64 = text.parse().ok()?;
    number.is_finite().then_some(number != 0.0)
}

impl Values for Postgres {
    fn value(row: &Self::Row, column: usize) -> Result<Value<'_>, sqlx::Error> {
        let value = row.try_get_raw(column)?;
        let Ok(bytes) = value.as_bytes() else { return Ok(Value::Null) };
        let kind = value.type_info();
        if value.format() == PgValueFormat::Text {
            return Ok(text(bytes));
        }
        Ok(match kind.name() {
            "BOOL" | "INT2" | "INT4" | "INT8" => Value::Truth(any(bytes)),
            "FLOAT4" | "FLOAT8" => float(bytes),
            "NUMERIC" => numeric(bytes),
            // a length in bits goes before them
            "BIT" | "VARBIT" => Value::Truth(any(bytes.get(4..).unwrap_or_default())),
            "TEXT" | "VARCHAR" | "CHAR" | "\"CHAR\"" | "NAME" | "UNKNOWN" => text(bytes),
            name if name.eq_ignore_ascii_case("citext") => text(bytes),
            _ if matches!(kind.kind(), PgTypeKind::Enum(_)) => text(bytes),
            _ => Value::Other,
        })
    }
}

impl Values for MySql {
    fn value(row: &Self::Row, column: usize) -> Result<Value<'_>, sqlx::Error> {
        let value = row.try_get_raw(column)?;
        if value.is_null() {
            return Ok(Value::Null);
        }
        let kind = value.type_info().into_owned();
        let bytes: &[u8] = row.try_get_unchecked(column)?;
        Ok(match kind.name() {
            "BOOLEAN" | "TINYINT" | "SMALLINT" | "MEDIUMINT" | "INT" | "BIGINT" | "TINYINT UNSIGNED"
            | "SMALLINT UNSIGNED" | "MEDIUMINT UNSIGNED" | "INT UNSIGNED" | "BIGINT UNSIGNED" | "BIT" => {
                Value::Truth(any(bytes))
            }
            "FLOAT" | "DOUBLE" => {
                let mut bytes = bytes.to_vec();
                bytes.reverse();
                float(&bytes)
            }
            "DECIMAL" | "CHAR" | "VARCHAR" | "TINYTEXT" | "TEXT" | "MEDIUMTEXT" | "LONGTEXT" | "ENUM"
            | "SET" | "BINARY" | "VARBINARY" | "TINYBLOB" | "BLOB" | "MEDIUMBLOB" | "LONGBLOB" => text(bytes),
            "NULL" => Value::Null,
            _ => Value::Other,
        })
    }
}

/// SQLite's values have types, its columns don't.
impl Values for Sqlite {
    fn value(row: &Self::Row, column: usize) -> Result<Value<'_>, sqlx::Error> {
        let value = row.try_get_raw(column)?;
        if value.is_null() {
            return Ok(Value::Null);
        }
        let kind = value.type_info().into_owned();
        Ok(match kind.name() {
            "INTEGER" | "BOOLEAN" => Value::Truth(row.try_get_unchecked::<i64, _>(column)? != 0),
            "REAL" => number(row.try_get_unchecked(column)?),
            "TEXT" => row.try_get_unchecked(column).map_or(Value::Garbled, Value::Text),
            _ => Value::Other,
        })
    }
}

fn any(bytes: &[u8]) -> bool {
    bytes.iter().any(|&byte| byte != 0)
}

fn text(bytes: &[u8]) -> Value<'_> {
    str::from_utf8(bytes).map_or(Value::Garbled, Value::Text)
}

/// IEEE 754, most significant byte first.
fn float<'r>(bytes: &[u8]) -> Value<'r> {
    if let Ok(bytes) = bytes.try_into() {
        number(f64::from_be_bytes(bytes))
    } else if let Ok(bytes) = bytes.try_into() {
        number(f32::from_be_bytes(bytes).into())
    } else {
        Value::Other
    }
}

fn number<'r>(number: f64) -> Value<'r> {
    if number.is_nan() { Value::Other } else { Value::Truth(number != 0.0) }
}

/// PostgreSQL's `numeric`: how many digits (of base 10 000), the weight of the first, the sign, the scale, and the digits;
/// nought has none.
fn numeric<'r>(bytes: &[u8]) -> Value<'r> {
    let word = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    match (word(0), word(4)) {
        (Some(digits), Some(POSITIVE | NEGATIVE)) => Value::Truth(digits > 0),
        (Some(_), Some(INFINITY | MINUS_INFINITY)) => Value::Truth(true),
        _ => Value::Other,
    }
}

const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const INFINITY: u16 = 0xd000;
const MINUS_INFINITY: u16 = 0xf000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_mean_yes_or_no() {
        for (text, truth) in [
            ("t", Some(true)),
            ("TRUE", Some(true)),
            ("y", Some(true)),
            ("Yes", Some(true)),
            ("on", Some(true)),
            ("1", Some(true)),
            ("1   ", Some(true)),
            ("2", Some(true)),
            ("-1", Some(true)),
            ("0.01", Some(true)),
            ("f", Some(false)),
            ("False", Some(false)),
            ("n", Some(false)),
            ("no", Some(false)),
            ("OFF", Some(false)),
            ("0", Some(false)),
            ("0.00", Some(false)),
            ("-0", Some(false)),
            ("", Some(false)),
            ("  ", Some(false)),
            ("unpaid", None),
            ("nan", None),
            ("inf", None),
            ("2024-01-01", None),
            ("\u{1}", None),
        ] {
            assert_eq!(truth_of(text), truth, "{text:?}");
        }
    }

    #[test]
    fn numbers_cut_short_are_nothing() {
        for bytes in [&[][..], &[0], &[0; 3], &[0; 5], &[0; 7], &[0; 9]] {
            assert_eq!(float(bytes), Value::Other);
        }
        assert_eq!(float(&(-0.0_f64).to_be_bytes()), Value::Truth(false));
        assert_eq!(float(&f32::NAN.to_be_bytes()), Value::Other);
        for length in 0..6 {
            assert_eq!(numeric(&[0; 8][..length]), Value::Other);
        }
        assert_eq!(numeric(&[0, 0, 0, 0, 0xc0, 0, 0, 0]), Value::Other, "not a number");
    }
}
