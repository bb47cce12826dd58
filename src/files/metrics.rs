//! The metrics of files, by the name of the list they make up.

use prometheus::IntGaugeVec;

use crate::telemetry::Registry;

/// Gauges of all watched lists; made once, cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(super) held_back: IntGaugeVec,
    pub(super) bad_lines: IntGaugeVec,
    pub(super) entries: IntGaugeVec,
}

impl Metrics {
    /// Registers the gauges.
    pub fn register(registry: &Registry) -> Self {
        let label = &["list"];
        Self {
            held_back: registry.gauges(
                "file_held_back",
                "1 while a file is unreadable, empty or much shorter than before and its old content is in use.",
                label,
            ),
            bad_lines: registry.gauges("file_bad_lines", "Lines of a file that were skipped because they could not be understood.", label),
            entries: registry.gauges("file_entries", "Entries of a file that are in use.", label),
        }
    }
}
