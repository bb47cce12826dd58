//! What hashes of addresses are made with: a file that the admin made, or one that is made once.
//!
//! Failure: a file that is named has to be there; where none can be made, the secret is one of this process.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use ring::{
    hmac,
    rand::{SecureRandom, SystemRandom},
};

use super::privacy::key;

/// The file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Perhaps the secret itself, which is not told.
    #[error("must be the absolute path of a file that holds the secret")]
    Relative,
    /// It can't be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Whoever has a hash could try all of them.
    #[error("{}: holds fewer than {SHORTEST} bytes; `openssl rand -hex 32` makes a good one", .0.display())]
    Short(PathBuf),
}

/// The key in a file; blanks around it do not count.
///
/// # Errors
/// [`SecretError`]
pub(super) fn read(path: &Path) -> Result<hmac::Key, SecretError> {
    if !path.is_absolute() {
        return Err(SecretError::Relative);
    }
    let failed = |error| SecretError::Read { path: path.to_owned(), error };
    let metadata = fs::metadata(path).map_err(failed)?;
    // Who reads a pipe may wait for ever.
    if !metadata.is_file() {
        return Err(failed(io::Error::other("not a file")));
    }
    let mut secret = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(LONGEST).read_to_end(&mut secret).map_err(failed)?;
    let secret = secret.trim_ascii();
    if secret.len() < SHORTEST { Err(SecretError::Short(path.to_owned())) } else { Ok(key(secret)) }
}

/// The key of this host: in a file of the directory, which is made if it is not there. Else of this process, with the reason.
pub(super) fn of_host(directory: &Path) -> (hmac::Key, Option<SecretError>) {
    let path = directory.join(NAME);
    let made = fs::create_dir_all(directory).and_then(|()| make(&path));
    let error = match made {
        Ok(()) => match read(&path) {
            Ok(key) => return (key, None),
            Err(error) => error,
        },
        Err(error) => SecretError::Read { path, error },
    };
    static OF_PROCESS: OnceLock<hmac::Key> = OnceLock::new();
    (OF_PROCESS.get_or_init(|| key(&random())).clone(), Some(error))
}

/// Whole, or not at all; who comes first makes it.
fn make(path: &Path) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let new = path.with_extension(format!("new-{}", std::process::id()));
    let _ = fs::remove_file(&new);
    let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&new)?;
    let digits: String = random().iter().map(|byte| format!("{byte:02x}")).collect();
    let linked = file
        .write_all(format!("{digits}\n").as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::hard_link(&new, path));
    let _ = fs::remove_file(&new);
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    }
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).expect("the system's random numbers do not fail on Linux");
    bytes
}

const NAME: &str = "log.key";
const SHORTEST: usize = 16;
const LONGEST: u64 = 4096;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::telemetry::privacy::hash;

    #[test]
    fn it_is_made_once_and_nobody_else_reads_it() {
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("state");
        let (first, error) = of_host(&below);
        assert!(error.is_none(), "{error:?}");
        let (second, _) = of_host(&below);
        assert_eq!(hash(b"a@b", &first), hash(b"a@b", &second));
        let mode = fs::metadata(below.join(NAME)).unwrap().permissions().mode();
        assert_eq!((mode & 0o777, fs::read_dir(&below).unwrap().count()), (0o600, 1));
        let (other, _) = of_host(&directory.path().join("other"));
        assert_ne!(hash(b"a@b", &first), hash(b"a@b", &other));
    }

    #[test]
    fn two_hosts_with_the_same_file_have_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        fs::write(&path, "0123456789abcdef\n").unwrap();
        let first = read(&path).unwrap();
        fs::write(&path, "0123456789abcdef").unwrap();
        assert_eq!(hash(b"a@b", &first), hash(b"a@b", &read(&path).unwrap()));
        for short in ["", "\n", "0123456789abcde\n   "] {
            fs::write(&path, short).unwrap();
            assert!(matches!(read(&path), Err(SecretError::Short(_))));
        }
        assert!(matches!(read(directory.path()), Err(SecretError::Read { .. })));
        assert!(matches!(read(Path::new("/nowhere/x")), Err(SecretError::Read { .. })));
    }

    /// Even root can't make a directory below a file.
    #[test]
    fn where_none_can_be_made_it_lasts_as_long_as_the_process() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let ((first, error), (second, _)) = (of_host(file.path()), of_host(file.path()));
        assert!(error.is_some());
        assert_eq!(hash(b"a@b", &first), hash(b"a@b", &second));
    }
}
