//! The configuration of domains, recipients and directories, as written.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::file;
use crate::policy::Unavailable;

/// All `[directory.NAME]`, by name.
pub type Configs = BTreeMap<String, Config>;

/// `[directory.NAME]`: exactly one of the kinds, here `file`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// In charge of these; default: those in `[domains]` names and files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domains: Option<Vec<String>>,
    /// What becomes of mail while it can't tell.
    #[serde(default = "defer")]
    pub on_unavailable: Unavailable,
    /// `[directory.NAME.file]`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<file::Config>,
}

/// `[domains]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Domains {
    /// Ask the MTA on this host, too.
    pub detect: bool,
    /// `example.com`, or `.example.org` for its subdomains.
    pub names: Vec<String>,
    /// The same, one a line.
    pub files: Vec<PathBuf>,
}

/// `[recipients]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipients {
    /// Each of these characters separates a mailbox from its sub-address.
    pub delimiters: String,
    /// Local parts that the defences leave alone.
    pub exempt: Vec<String>,
    /// Domains that take everything.
    pub catch_all: Vec<String>,
}

impl Default for Domains {
    fn default() -> Self {
        Self { detect: true, names: Vec::new(), files: Vec::new() }
    }
}

impl Default for Recipients {
    fn default() -> Self {
        Self { delimiters: "+".to_owned(), exempt: vec!["abuse".to_owned()], catch_all: Vec::new() }
    }
}

fn defer() -> Unavailable {
    Unavailable::Defer
}
