//! The effective configuration with the origin of each value.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

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
    /// The path of the key, with dots.
    pub key: String,
    /// As it would be written.
    pub value: Value,
    /// Where it comes from.
    #[serde(flatten)]
    pub origin: Origin,
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
        shown.push(Shown { key: path.join("."), value: value.clone(), origin });
    });
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
