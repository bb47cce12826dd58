//! What is shipped besides the program: units, the package's scripts, the licences and the Rust of what is built in.

mod dependencies;
mod life;
mod units;
mod watchdog;
