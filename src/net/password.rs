//! A password in a file, which may be changed while the program runs.
//!
//! Read for each new connection, off the runtime's threads. Never shown. Failure: while the file can't be used, the password
//! is what was in it before.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// The password in a file of one line.
#[derive(Clone)]
pub struct Password(Arc<Kept>);

struct Kept {
    file: PathBuf,
    /// What could be read last.
    last: Mutex<Arc<str>>,
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
        Ok(Self(Arc::new(Kept { file: file.to_owned(), last })))
    }

    /// What is in the file now; while that can't be used, what was there before.
    pub async fn current(&self) -> Arc<str> {
        let kept = Arc::clone(&self.0);
        let found = tokio::task::spawn_blocking(move || read(&kept.file)).await;
        let mut last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(Ok(password)) = found {
            *last = password.into();
        }
        Arc::clone(&last)
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Password").field(&self.0.file).finish()
    }
}

fn read(file: &Path) -> Result<String, PasswordError> {
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
