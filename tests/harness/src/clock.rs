//! A clock that is wrong.

use std::fs;

use crate::dir::TempDir;

/// The clock of a program, which jumps as one likes (libfaketime). What measures time by itself (`CLOCK_MONOTONIC`) goes on.
#[derive(Debug)]
pub struct Clock {
    dir: TempDir,
}

impl Clock {
    /// One that is right.
    ///
    /// # Panics
    /// When no file can be written.
    #[must_use]
    pub fn new() -> Self {
        let clock = Self { dir: TempDir::new("clock") };
        clock.set("+0");
        clock
    }

    /// From now on it is so far from the true time: `+1d`, `-3650d`, `+0`.
    ///
    /// # Panics
    /// When no file can be written.
    pub fn set(&self, offset: &str) {
        // The program may read it at any time.
        let next = self.dir.write("next", format!("{offset}\n"));
        fs::rename(next, self.dir.join("now")).expect("it was just written");
    }

    /// For [`BackstopBuilder::after`](crate::BackstopBuilder::after): the program goes by this clock.
    #[must_use]
    pub fn script(&self) -> String {
        format!(
            "export LD_PRELOAD=$(echo /usr/lib/*/faketime/libfaketime.so.1) FAKETIME_DONT_FAKE_MONOTONIC=1 \
             FAKETIME_NO_CACHE=1 FAKETIME_TIMESTAMP_FILE={}",
            self.dir.join("now").display()
        )
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}
