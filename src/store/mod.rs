//! Where the state is that outlives the process.
//!
//! It knows places, not what is kept there. Where nothing can be written there is one warning, and state lives in memory.

mod config;

pub use config::{Config, Place, PlaceError};
