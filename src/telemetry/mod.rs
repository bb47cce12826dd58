//! What the program tells of itself: log lines and metrics.
//!
//! Every part registers the metrics it owns in the one [`Registry`]; nothing in here knows who does.
//! A metric can't fail at run time: a name registered twice is a programming error and ends the start.

mod journal;
pub mod log;
mod metrics;
pub mod privacy;
mod rate;
mod secret;
mod stderr;
mod text;
mod visible;

pub use metrics::{Family, Followed, Registry};
pub use rate::{Few, Pace, Rate};
