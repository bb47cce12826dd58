//! The rows of the table.

pub mod mtas;
