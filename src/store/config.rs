//! The configuration of the store, as written.

use std::{fmt, fs, io, path::PathBuf, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `[store]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `embedded:/DIRECTORY`
    pub url: Place,
}

/// Where the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Files in a directory of this host.
    Embedded(PathBuf),
}

/// Not the address of a store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a store is written embedded:/DIRECTORY, with an absolute path")]
pub struct PlaceError;

impl Config {
    /// The directory for the files of this process; made, if it is not there.
    ///
    /// # Errors
    /// When it can't be made or written to.
    pub fn directory(&self) -> io::Result<PathBuf> {
        let Place::Embedded(directory) = &self.url;
        fs::create_dir_all(directory)?;
        nix::unistd::access(directory, nix::unistd::AccessFlags::W_OK | nix::unistd::AccessFlags::X_OK)?;
        Ok(directory.clone())
    }
}

impl Default for Config {
    fn default() -> Self {
        Self { url: Place::Embedded("/var/lib/backstop".into()) }
    }
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let path = PathBuf::from(text.strip_prefix("embedded:").ok_or(PlaceError)?);
        if path.is_absolute() { Ok(Self::Embedded(path)) } else { Err(PlaceError) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Embedded(path) = self;
        write!(f, "embedded:{}", path.display())
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_read_back_as_written() {
        for text in ["embedded:/var/lib/backstop", "embedded:/"] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
        for text in ["", "embedded:", "embedded:state", "/var/lib/backstop", "redis//x"] {
            assert_eq!(text.parse::<Place>(), Err(PlaceError), "{text}");
        }
    }
}
