//! The file of a unix socket that is ours: who may connect, and its end.
//!
//! Never touches what somebody else has put in its place, nor what a link there leads to.

use std::{
    fs::{self, OpenOptions},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown},
    },
    path::{Path, PathBuf},
};

use nix::{libc, unistd::getegid};

/// The path and inode of a unix socket that we made.
#[derive(Debug)]
pub struct UnixFile {
    path: PathBuf,
    inode: u64,
}

impl UnixFile {
    /// The socket that was just bound here.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), inode: fs::symlink_metadata(path)?.ino() })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// From now on those may connect whom `mode` permits to write; `group` is the id of the group that owns it, `None`: the
    /// process' own. Who may connect neither before nor after can't meanwhile.
    ///
    /// # Errors
    /// When the file is not ours any more, or as chown(2) and chmod(2) report: a group that the process is not in needs root.
    pub fn permit(&self, mode: u32, group: Option<u32>) -> io::Result<()> {
        // Opened, what was looked at is what is changed, whatever happens to the name meanwhile.
        let file =
            OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(&self.path)?;
        let found = file.metadata()?;
        if found.ino() != self.inode || !found.file_type().is_socket() {
            return Err(io::Error::other("something else is in its place"));
        }
        // chmod(2) takes no such descriptor, but the name that proc(5) has for it.
        let name = format!("/proc/self/fd/{}", file.as_raw_fd());
        let group = group.unwrap_or_else(|| getegid().as_raw());
        if found.gid() != group {
            fs::set_permissions(&name, fs::Permissions::from_mode(mode & found.mode() & 0o700))?;
            let changed = chown(&name, None, Some(group));
            if changed.is_err() {
                fs::set_permissions(&name, fs::Permissions::from_mode(found.mode() & 0o777))?;
            }
            changed?;
        }
        fs::set_permissions(&name, fs::Permissions::from_mode(mode))
    }

    /// Removes it, unless a successor has bound the path anew.
    pub(super) fn remove(&self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::{fs::symlink, net::UnixListener};

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn who_may_connect_changes_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let _listener = UnixListener::bind(&path).unwrap();
        let file = UnixFile::of(&path).unwrap();
        for wanted in [0o600, 0o660, 0o620, 0o600] {
            file.permit(wanted, None).unwrap();
            assert_eq!(mode(&path), wanted);
        }
    }

    /// Whoever may write to the directory could put a link there, to a file that only we may change.
    #[test]
    fn what_somebody_put_in_its_place_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("socket"), dir.path().join("other"));
        let _listener = UnixListener::bind(&path).unwrap();
        let file = UnixFile::of(&path).unwrap();
        fs::rename(&path, dir.path().join("aside")).unwrap();
        fs::write(&other, "").unwrap();
        fs::set_permissions(&other, fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&other, &path).unwrap();
        assert!(file.permit(0o666, None).is_err());
        assert_eq!(mode(&other), 0o640);
        fs::remove_file(&path).unwrap();
        let _successor = UnixListener::bind(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(file.permit(0o666, None).is_err());
        file.remove();
        assert_eq!(mode(&path), 0o600, "a successor's is neither opened nor removed");
    }
}
