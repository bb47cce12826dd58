//! The machine's file system: busybox, an init, and what is put into it. It is packed as the kernel takes it, as a cpio
//! archive.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use backstop_harness::TempDir;

use super::super::run;
use crate::Error;

/// The machine's file system.
#[derive(Debug)]
pub struct Image {
    root: TempDir,
}

impl Image {
    /// One whose `/run` is this script of busybox' shell, as root, with the loopback interface up.
    ///
    /// # Errors
    /// When it can't be written, or busybox is not there.
    pub fn new(script: &str) -> Result<Self, Error> {
        let image = Self { root: TempDir::new("image") };
        for directory in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
            image.root.mkdir(directory);
        }
        image.root.write("etc/passwd", "root:x:0:0:root:/:/bin/sh\n");
        image.root.write("etc/group", "root:x:0:\n");
        image.root.write("etc/hosts", "127.0.0.1 localhost machine\n");
        image.root.write("init", include_str!("init"));
        image.root.write("run", format!("#!/bin/sh\n{script}"));
        for script in ["init", "run"] {
            let runs = fs::set_permissions(image.root.join(script), Permissions::from_mode(0o755));
            runs.map_err(Error::io("make a file system"))?;
        }
        symlink("busybox", image.root.join("bin/sh")).map_err(Error::io("make a file system"))?;
        image.file(Path::new(BUSYBOX), BUSYBOX)?;
        Ok(image)
    }

    /// Copies a file to `to`, an absolute path in the machine.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn file(&self, from: &Path, to: &str) -> Result<(), Error> {
        let place = to.trim_start_matches('/');
        if let Some((directory, _)) = place.rsplit_once('/') {
            self.root.mkdir(directory);
        }
        fs::copy(from, self.root.join(place)).map_err(Error::io(from.display().to_string()))?;
        Ok(())
    }

    /// Copies a program to `to`, and the libraries that it is linked with to where they are here.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn program(&self, from: &Path, to: &str) -> Result<(), Error> {
        self.file(from, to)?;
        for library in libraries(&run("ldd", Command::new("ldd").arg(from))?) {
            self.file(Path::new(library), library)?;
        }
        Ok(())
    }

    /// Writes the archive into `directory`.
    pub(super) fn pack(&self, directory: &Path) -> Result<PathBuf, Error> {
        let archive = directory.join("image");
        let root = File::create(&archive).map_err(Error::io("pack a file system"))?;
        let mut shell = Command::new(BUSYBOX);
        shell.args(["sh", "-c", "busybox find . | busybox cpio -o -H newc"]).current_dir(self.root.path());
        let output = shell.stdout(root).stderr(Stdio::piped()).output().map_err(Error::io(BUSYBOX))?;
        match output.status.success() {
            true => Ok(archive),
            false => {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                Err(Error::Tool { tool: "cpio", said })
            }
        }
    }
}

/// The paths in what ldd(1) prints.
fn libraries(table: &str) -> Vec<&str> {
    table.split_whitespace().filter(|word| word.starts_with('/')).collect()
}

/// Debian's busybox-static: it needs no library.
const BUSYBOX: &str = "/bin/busybox";

#[cfg(test)]
mod tests {
    use super::*;

    // ldd 2.36
    #[test]
    fn libraries_are_found() {
        let table = "\tlinux-vdso.so.1 (0x00007f2a0b7f1000)\n\tlibmilter.so.1.0.1 => /lib/x86_64-linux-gnu/libmilter.so.1.0.1 \
                     (0x00007f8ea77b9000)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f2a0b7f3000)\n";
        let expected = ["/lib/x86_64-linux-gnu/libmilter.so.1.0.1", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(libraries(table), expected);
        assert_eq!(libraries("\tstatically linked\n"), [""; 0]);
    }
}
