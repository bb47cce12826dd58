//! Drives milters as an MTA does, and measures what they cost: the generator, the peers that Backstop is compared with,
//! the measures, and the table of all figures.
//!
//! Nothing here is part of the program. Failure: what can't be measured ends with an error that says why; a figure is
//! never made up, and an answer that is not the right one is counted.

mod compile;
pub mod count;
pub mod drive;
mod endpoint;
mod error;
pub mod figures;
pub mod measure;
pub mod peers;
pub mod people;
pub mod rows;
pub mod smtp;
pub mod table;
pub mod total;

pub use endpoint::{Endpoint, Listener, Transport};
pub use error::Error;
