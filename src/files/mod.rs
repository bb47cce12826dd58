//! Files whose content is kept current while mail flows: lists of recipients, domains, suspensions.
//!
//! A changed file is picked up by itself, but only after it lay still for [`QUIET`] and did not change
//! while it was read, so a half-written file is never believed. What looks like an accident (unreadable,
//! empty, much shorter than before) is *held back*: the old content stays, and a log line and a metric say
//! so, until the file is right again or somebody says `reload --accept`.
//!
//! Never: a read on an async worker thread, a line or file without a bound, content swapped in part.
//! On failure the last good content stays; where there never was any, [`Watched::current`] is `None`, which
//! its users must take for "could not find out".

mod ere;
mod hints;
mod judge;
mod keeper;
mod lines;
mod list;
mod loaded;
mod metrics;
mod origin;
mod settle;
mod stamp;
mod table;
mod turns;
mod watched;
mod words;

pub use hints::Hints;
pub use judge::Held;
pub use keeper::Keeper;
pub use lines::{LINE_LIMIT, Line, Lines, is_blank};
pub use list::read_words;
pub use loaded::{Fault, Faults, FileError, LoadError, Loaded, Text};
pub use metrics::Metrics;
pub use origin::{ago, read};
pub use settle::QUIET;
pub use table::{BadRule, First, Grammar, Matched, RESULT_LIMIT, Table, load_table};
pub use turns::{Turn, Turns};
pub use watched::{OpenError, Outcome, Spec, Status, Watched};
pub use words::{Unbalanced, first_word, trim, unquoted};

#[cfg(test)]
mod tests;
