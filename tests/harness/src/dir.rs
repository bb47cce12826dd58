//! Directories that mail servers, which drop their privileges, can enter.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A temporary directory with mode 0755, removed when dropped.
///
/// With `HARNESS_KEEP=1` in the environment it stays, and says where it is.
#[derive(Debug)]
pub struct TempDir {
    dir: tempfile::TempDir,
}

impl TempDir {
    /// A new directory whose name begins with `backstop-` and `name`.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self::new_in(&std::env::temp_dir(), name)
    }

    /// As [`TempDir::new`], in /run: Sendmail takes no socket that is below a directory which anyone can write to, such as
    /// /tmp.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn in_run(name: &str) -> Self {
        Self::new_in(Path::new("/run"), name)
    }

    /// As [`TempDir::new`], in memory (/dev/shm): no disk keeps anybody waiting there who is measured.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn in_memory(name: &str) -> Self {
        Self::new_in(Path::new("/dev/shm"), name)
    }

    fn new_in(parent: &Path, name: &str) -> Self {
        let mut builder = tempfile::Builder::new();
        let dir = builder.prefix(&format!("backstop-{name}-")).tempdir_in(parent);
        let mut dir =
            dir.unwrap_or_else(|error| panic!("create a directory in {}: {error}", parent.display()));
        chmod(dir.path(), 0o755);
        if std::env::var_os("HARNESS_KEEP").is_some() {
            dir.disable_cleanup(true);
            eprintln!("{name}: keeping {}", dir.path().display());
        }
        TempDir { dir }
    }

    /// Where the directory is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The path of `name` below this directory.
    #[must_use]
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path().join(name)
    }

    /// Makes a directory (mode 0755), with those above it.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn mkdir(&self, name: &str) -> PathBuf {
        let path = self.join(name);
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("create {}: {error}", path.display()));
        for dir in path.ancestors().take_while(|dir| *dir != self.path()) {
            chmod(dir, 0o755);
        }
        path
    }

    /// Writes a file (mode 0644), with the directories above it; another file of that name is replaced at once (by
    /// rename).
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        if let Some(parent) =
            Path::new(name).parent().and_then(Path::to_str).filter(|parent| !parent.is_empty())
        {
            self.mkdir(parent);
        }
        let new = path.with_extension("new");
        fs::write(&new, content).unwrap_or_else(|error| panic!("write {}: {error}", new.display()));
        chmod(&new, 0o644);
        fs::rename(&new, &path).unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
        path
    }

    /// Writes a file as [`TempDir::write`] does, with a time of change one minute ago: Postfix' programs wait until a
    /// configuration file is two seconds old.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write_backdated(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.write(name, content);
        let file = File::options().append(true).open(&path).expect("the file was just written");
        file.set_modified(SystemTime::now() - Duration::from_secs(60)).expect("set a file's time");
        path
    }
}

/// Sets a file's mode.
pub(crate) fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .unwrap_or_else(|error| panic!("chmod {mode:o} {}: {error}", path.display()));
}
