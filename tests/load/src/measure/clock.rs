//! The time of a server that something makes slow: its clocks go as slowly (`peers/clock.c`), so that what it does by the clock,
//! each second or each minute, weighs what it weighs at full speed.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{Error, compile};

/// The clocks of one server.
#[derive(Debug)]
pub struct Clock {
    library: PathBuf,
    pace: PathBuf,
}

impl Clock {
    /// Clocks that are right until they are made slow. Their files are in `directory`.
    ///
    /// # Errors
    /// When there is no compiler, or the files can't be written.
    pub fn new(directory: &Path) -> Result<Self, Error> {
        // Of this process: another that measures with the same directory would change the pace in the middle of a count.
        let pace = directory.join(format!("clock.{}.pace", std::process::id()));
        let clock = Self { library: compile::library("clock", directory)?, pace };
        clock.slow(1)?;
        Ok(clock)
    }

    /// The words before a server's command that give it these clocks.
    #[must_use]
    pub fn launcher(&self) -> Vec<String> {
        let set = |name: &str, path: &Path| format!("{name}={}", path.display());
        vec!["env".to_owned(), set("LD_PRELOAD", &self.library), set("PACE", &self.pace)]
    }

    /// From now on the clocks are so many times as slow.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn slow(&self, times: i32) -> Result<(), Error> {
        // In place: the server has it mapped.
        let file = fs::File::options().write(true).create(true).truncate(false).open(&self.pace);
        let written =
            file.and_then(|file| std::os::unix::fs::FileExt::write_all_at(&file, &times.to_ne_bytes(), 0));
        written.map_err(Error::io("the clock's pace"))
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.pace);
    }
}
