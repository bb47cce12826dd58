//! What is shipped besides the program: units, the package's scripts, the licences and the Rust of what is built in.

mod containers;
mod dependencies;
mod life;
mod units;
mod watchdog;
