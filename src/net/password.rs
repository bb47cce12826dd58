//! A password in a file, which may be changed while the program runs.
//!
//! Read for each new connection, off the runtime's threads, by one of those that block at a time: a disk that hangs must not
//! take them all, since mail needs them as well. Never shown. Failure: while the file can't be used, or not in time, the
//! password is what was in it before.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::Semaphore, time::timeout};

/// The password in a file of one line.
#[derive(Clone)]
pub struct Password(Arc<Kept>);

struct Kept {
    file: PathBuf,
    /// What could be read last.
    last: Mutex<Arc<str>>,
    /// Who reads has it until the disk answers, whether or not anybody still waits for that.
    reading: Arc<Semaphore>,
}

/// A password that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// The file can't be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Perhaps the password itself, which is not told.
    #[error("must be the absolute path of a file that holds the password")]
    Relative,
    /// An LDAP bind without a password is one without a name: whoever sends it sees what anybody sees (RFC 4513 §5.1.2).
    #[error("{}: is empty", .0.display())]
    Empty(PathBuf),
    /// More than a password.
    #[error("{}: holds more than one line", .0.display())]
    Lines(PathBuf),
}

impl Password {
    /// Reads the file; its last line break does not count.
    ///
    /// # Errors
    /// [`PasswordError`]
    pub fn open(file: &Path) -> Result<Self, PasswordError> {
        let last = Mutex::new(read(file)?.into());
        let reading = Arc::new(Semaphore::new(1));
        Ok(Self(Arc::new(Kept { file: file.to_owned(), last, reading })))
    }

    /// What is in the file now; while that can't be used, what was there before. Takes up to [`DISK`].
    pub async fn current(&self) -> Arc<str> {
        let found = timeout(DISK, self.read()).await.ok().flatten();
        let mut last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(password) = found {
            *last = password.into();
        }
        Arc::clone(&last)
    }

    async fn read(&self) -> Option<String> {
        let turn = Arc::clone(&self.0.reading).acquire_owned().await.ok()?;
        let kept = Arc::clone(&self.0);
        let found = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            read(&kept.file)
        });
        found.await.ok()?.ok()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Password").field(&self.0.file).finish()
    }
}

fn read(file: &Path) -> Result<String, PasswordError> {
    if !file.is_absolute() {
        return Err(PasswordError::Relative);
    }
    // A pipe in its place would be waited for, for ever and by one thread more each time.
    let read = match fs::metadata(file) {
        Ok(found) if !found.is_file() => Err(io::Error::other("not a file")),
        _ => fs::read_to_string(file),
    };
    let mut text = read.map_err(|error| PasswordError::Read { path: file.to_owned(), error })?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() {
        return Err(PasswordError::Empty(file.to_owned()));
    }
    if text.contains(['\n', '\0']) {
        return Err(PasswordError::Lines(file.to_owned()));
    }
    Ok(text)
}

/// How long a disk may take: a directory that is asked with the password has 2 s for all of it.
const DISK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_the_only_line_of_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        for (content, expected) in [
            ("secret", Ok("secret")),
            ("secret\n", Ok("secret")),
            ("secret\r\n", Ok("secret")),
            (" with blanks \n", Ok(" with blanks ")),
            ("", Err("is empty")),
            ("\n", Err("is empty")),
            ("secret\nmore\n", Err("more than one line")),
            ("\nsecret\n", Err("more than one line")),
            ("sec\0ret", Err("more than one line")),
        ] {
            fs::write(&file, content).unwrap();
            match (Password::open(&file), expected) {
                (Ok(password), Ok(expected)) => assert_eq!(&*password.current().await, expected),
                (Err(error), Err(told)) => assert!(error.to_string().contains(told), "{error}"),
                (found, _) => panic!("{content:?}: {found:?}"),
            }
        }
    }

    /// As if the disk had not answered the one who reads just now.
    #[tokio::test(start_paused = true)]
    async fn a_disk_that_hangs_has_one_reader() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        fs::write(&file, "one").unwrap();
        let password = Password::open(&file).unwrap();
        let reader = Arc::clone(&password.0.reading).acquire_owned().await.unwrap();
        fs::write(&file, "two").unwrap();
        let begun = tokio::time::Instant::now();
        assert_eq!(&*password.current().await, "one", "what was there before");
        assert_eq!(begun.elapsed(), DISK);
        drop(reader);
        assert_eq!(&*password.current().await, "two");
    }

    #[tokio::test]
    async fn it_is_read_again_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        fs::write(&file, "one two \r\n").unwrap();
        let password = Password::open(&file).unwrap();
        assert_eq!(&*password.current().await, "one two ");
        fs::write(&file, "two").unwrap();
        assert_eq!(&*password.current().await, "two");
        for unusable in ["", "\n"] {
            fs::write(&file, unusable).unwrap();
            assert_eq!(&*password.current().await, "two");
        }
        fs::remove_file(&file).unwrap();
        assert_eq!(&*password.current().await, "two");
        nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(&*password.current().await, "two", "nobody writes into a pipe");
        assert!(Password::open(&file).unwrap_err().to_string().contains("not a file"));
        assert!(!format!("{password:?}").contains("two"));
    }
}
