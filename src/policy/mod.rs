//! The decision.
mod fact;

pub use fact::{Attributes, RecipientFact, Unavailable};
