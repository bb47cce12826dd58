//! What is remembered, on disk: one file that is replaced as a whole. A damaged one is moved aside.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::timeline::Timeline;

/// The place of the file. No other process uses it as long as this lives.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    _lock: File,
}

#[derive(Serialize)]
struct ToWrite<'a> {
    version: u32,
    history: &'a Timeline,
}

#[derive(Deserialize)]
struct AsRead {
    version: u32,
    history: Timeline,
}

impl Place {
    /// In this directory.
    ///
    /// # Errors
    /// If another process uses it, or nothing can be written there.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let lock = private().truncate(false).open(directory.join("history.lock"))?;
        lock.try_lock()?;
        Ok(Self { path: directory.join(NAME), _lock: lock })
    }

    /// What the file holds; `None`: there is none, or none that makes sense.
    pub(super) fn load(&self) -> Option<Timeline> {
        match read(&self.path) {
            Ok(found) => found,
            Err(error) => {
                let aside = self.path.with_extension("json.damaged");
                warn!(%error, path = %self.path.display(), aside = %aside.display(),
                    "what was remembered for reports can't be read, and begins anew");
                if let Err(error) = fs::rename(&self.path, &aside) {
                    warn!(%error, "it can't be moved aside");
                }
                None
            }
        }
    }

    /// Replaces the file.
    pub(super) fn save(&self, text: &[u8]) -> io::Result<()> {
        let new = self.path.with_extension("json.new");
        let mut file = private().truncate(true).open(&new)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        File::open(directory)?.sync_all()
    }
}

/// As it is to be written.
pub(super) fn encode(history: &Timeline) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&ToWrite { version: VERSION, history })
}

fn read(path: &Path) -> io::Result<Option<Timeline>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(io::Error::other("it is larger than any that is written"));
    }
    let AsRead { version, history } = serde_json::from_slice(&text)?;
    if version != VERSION {
        return Err(io::Error::other(format!("it is of version {version}, this is {VERSION}")));
    }
    Ok(Some(history))
}

/// Recipients and clients are nobody else's business.
fn private() -> fs::OpenOptions {
    let mut options = File::options();
    options.create(true).write(true).mode(0o600);
    options
}

const NAME: &str = "history.json";
/// What the file means; a change that an older one would not be read as raises it.
const VERSION: u32 = 1;
/// In bytes. The lists at their fullest, with the longest addresses in them, are less.
const LARGEST: u64 = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_back_and_only_one_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::open(directory.path()).unwrap();
        assert!(place.load().is_none());
        assert!(Place::open(directory.path()).is_err(), "another one has it");
        let timeline = Timeline::new(4711);
        place.save(&encode(&timeline).unwrap()).unwrap();
        let mut found = place.load().unwrap();
        found.mend(5000);
        assert_eq!(found.summary(5000, 3600).since, 4711);
        drop(place);
        assert!(Place::open(directory.path()).is_ok());
    }

    #[test]
    fn a_damaged_file_is_moved_aside() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::open(directory.path()).unwrap();
        let whole = encode(&Timeline::new(4711)).unwrap();
        let newer = String::from_utf8(whole.clone()).unwrap().replace("\"version\":1", "\"version\":2");
        for damaged in [b"", &whole[..whole.len() / 2], b"{}", b"\xff", newer.as_bytes()] {
            fs::write(&place.path, damaged).unwrap();
            assert!(place.load().is_none());
            assert_eq!(fs::read(directory.path().join("history.json.damaged")).unwrap(), damaged);
            assert!(!place.path.exists());
        }
    }
}
