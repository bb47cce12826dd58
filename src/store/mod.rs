//! State that outlives the process, and may be shared by several: small values by key, each until a set time.
//!
//! It knows tables and keys, not what they mean. Failure: a [`StoreError`], after a deadline at most; whoever asked goes
//! on as if nothing was known, and the metrics say so. Where nothing can be written there is one warning, and state
//! lives in memory.

mod config;
mod memory;
mod metrics;
mod op;

use std::sync::Arc;

pub use config::{Config, Place, PlaceError};
use memory::Memory;
pub use metrics::Metrics;
pub use op::{Entry, Key, Op, Outcome, Table};

/// Where state is kept. Cheap to clone; clones are the same store.
#[derive(Debug, Clone)]
pub struct Store {
    memory: Arc<Memory>,
    metrics: Metrics,
}

/// What was asked could not be found out, or what was told may be lost.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It was not told to the store in time, or not answered.
    #[error("the store does not answer: {0}")]
    Down(String),
}

impl Store {
    /// One that forgets everything with the process.
    #[must_use]
    pub fn in_memory(metrics: Metrics) -> Self {
        metrics.up.set(1);
        Self { memory: Arc::new(Memory::default()), metrics }
    }

    /// Carries out all of these, in order and in one round trip; an outcome for each, in the same order. In the memory of
    /// this process it answers without waiting.
    ///
    /// # Errors
    /// [`StoreError`]; then some of them may have been carried out.
    #[expect(clippy::unused_async, reason = "other stores wait")]
    pub async fn run(&self, ops: &[Op]) -> Result<Vec<Outcome>, StoreError> {
        Ok(self.memory.run(ops))
    }

    /// Carries out all of these some time soon; if that fails they are lost, and counted.
    pub fn later(&self, ops: Vec<Op>) {
        self.memory.run(&ops);
    }

    /// Carries out all of these; when this returns they are kept, whatever happens to the process.
    ///
    /// # Errors
    /// [`StoreError`]
    #[expect(clippy::unused_async, reason = "other stores wait")]
    pub async fn keep(&self, ops: &[Op]) -> Result<(), StoreError> {
        self.memory.run(ops);
        Ok(())
    }

    /// All of a table, in the order of the keys.
    ///
    /// # Errors
    /// [`StoreError`]
    #[expect(clippy::unused_async, reason = "other stores wait")]
    pub async fn list(&self, table: Table) -> Result<Vec<Entry>, StoreError> {
        Ok(self.memory.list(table))
    }
}
