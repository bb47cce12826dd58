//! The effective configuration with the origin of each value.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::readable::misleads;

use super::{
    Loaded,
    error::Place,
    load::{environment, variable},
    locate::Part,
};

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "from")]
pub enum Origin {
    /// Nobody chose.
    Default,
    /// The configuration file.
    File {
        /// The file.
        path: String,
        /// From 1.
        line: usize,
    },
    /// An environment variable.
    Environment {
        /// Its name.
        variable: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Environment { variable } => f.write_str(variable),
        }
    }
}

/// One effective value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shown {
    /// The path of the key, with dots; a name that is more than letters, digits, `-` and `_` is in quotes, as in TOML.
    pub key: String,
    /// As it would be written.
    pub value: Value,
    /// Where it comes from.
    #[serde(flatten)]
    pub origin: Origin,
}

/// A line of TOML, with nothing in it that misleads who reads it.
impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.key, visible(&self.value))
    }
}

/// Every effective value, in the order of the keys. Secrets are in files of their own, so none is here.
///
/// # Panics
/// Never: a configuration has string keys only.
#[must_use]
pub fn show(loaded: &Loaded) -> Vec<Shown> {
    let whole = serde_json::to_value(&loaded.config).expect("a configuration can be written as JSON");
    let chosen = figment::Figment::from(environment());
    let mut shown = Vec::new();
    leaves(&whole, &mut Vec::new(), &mut |path, value| {
        let origin = if chosen.find_value(&path.join(".")).is_ok() {
            Origin::Environment { variable: variable(path) }
        } else {
            match loaded.source.as_ref().and_then(|source| source.find(path, Part::Key)) {
                Some(Place::File { path, line, .. }) => {
                    Origin::File { path: path.display().to_string(), line }
                }
                _ => Origin::Default,
            }
        };
        let key: Vec<String> = path.iter().map(|name| written(name)).collect();
        shown.push(Shown { key: key.join("."), value: value.clone(), origin });
    });
    shown
}

/// A name as TOML has it in a key.
fn written(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !name.is_empty() && name.chars().all(is_bare) { name.to_owned() } else { visible(&Value::from(name)) }
}

/// What a value is in JSON is the same in TOML, if what must not stand in a text there is escaped as there.
fn visible(value: &Value) -> String {
    let mut shown = String::new();
    for c in value.to_string().chars() {
        match u32::from(c) {
            _ if !misleads(c) => shown.push(c),
            code @ 0..=0xffff => shown += &format!("\\u{code:04x}"),
            code => shown += &format!("\\U{code:08x}"),
        }
    }
    shown
}

/// Every value that is set, with the path of its key.
pub(super) fn leaves(value: &Value, path: &mut Vec<String>, each: &mut impl FnMut(&[String], &Value)) {
    match value {
        Value::Null => {}
        Value::Object(map) => {
            for (key, value) in map {
                path.push(key.clone());
                leaves(value, path, each);
                path.pop();
            }
        }
        value => each(path, value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_toml() {
        let line = |name: &str, value: &str| {
            Shown { key: written(name), value: value.into(), origin: Origin::Default }.to_string()
        };
        for (name, value, expected) in [
            ("staff-1_x", "/x", "staff-1_x = \"/x\""),
            ("", "", "\"\" = \"\""),
            ("a.b c\"", "\t\u{7f}", "\"a.b c\\\"\" = \"\\t\\u007f\""),
            ("\u{e4}", "\u{202e}\u{e0001}\u{e4}", "\"\u{e4}\" = \"\\u202e\\U000e0001\u{e4}\""),
        ] {
            assert_eq!(line(name, value), expected);
            let read: toml_edit::DocumentMut = expected.parse().unwrap();
            assert_eq!(read[name].as_str(), Some(value), "{expected}");
        }
    }
}
