//! State in the memory of this process.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::{Entry, Op, Outcome, Table};

/// Each table by itself.
#[derive(Debug, Default)]
pub(super) struct Memory {
    tables: [Mutex<HashMap<Vec<u8>, Kept>>; Table::ALL.len()],
}

#[derive(Debug, Clone)]
struct Kept {
    value: Vec<u8>,
    until: Instant,
}

impl Memory {
    pub(super) fn run(&self, ops: &[Op]) -> Vec<Outcome> {
        let now = Instant::now();
        ops.iter().map(|op| self.one(op, now)).collect()
    }

    pub(super) fn list(&self, table: Table) -> Vec<Entry> {
        let now = Instant::now();
        let table = self.table(table);
        let kept = table.iter().filter(|(_, kept)| kept.until > now);
        let mut entries: Vec<Entry> = kept
            .map(|(id, kept)| Entry { id: id.clone(), value: kept.value.clone(), left: kept.until - now })
            .collect();
        entries.sort_by(|a, b| a.id.cmp(&b.id));
        entries
    }

    fn one(&self, op: &Op, now: Instant) -> Outcome {
        let (Op::Get(key)
        | Op::Put { key, .. }
        | Op::PutNew { key, .. }
        | Op::Add { key, .. }
        | Op::Count(key)
        | Op::Remove(key)) = op;
        let mut table = self.table(key.table);
        let id = key.id.as_slice();
        if table.get(id).is_some_and(|kept| kept.until <= now) {
            table.remove(id);
        }
        match op {
            Op::Get(_) => Outcome::Value(table.get(id).map(|kept| kept.value.clone())),
            Op::Put { value, ttl, .. } => {
                table.insert(id.to_vec(), Kept { value: value.clone(), until: now + *ttl });
                Outcome::Done
            }
            Op::PutNew { value, ttl, .. } => {
                let there = table.get(id).map(|kept| kept.value.clone());
                if there.is_none() {
                    table.insert(id.to_vec(), Kept { value: value.clone(), until: now + *ttl });
                }
                Outcome::Value(there)
            }
            Op::Add { by, ttl, .. } => {
                let kept = table
                    .entry(id.to_vec())
                    .or_insert_with(|| Kept { value: 0_u64.to_be_bytes().to_vec(), until: now + *ttl });
                let sum = count(&kept.value).saturating_add(u64::from(*by));
                kept.value = sum.to_be_bytes().to_vec();
                Outcome::Count(sum)
            }
            Op::Count(_) => Outcome::Count(table.get(id).map_or(0, |kept| count(&kept.value))),
            Op::Remove(_) => {
                table.remove(id);
                Outcome::Done
            }
        }
    }

    fn table(&self, table: Table) -> MutexGuard<'_, HashMap<Vec<u8>, Kept>> {
        self.tables[table as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count(value: &[u8]) -> u64 {
    value.try_into().map_or(0, u64::from_be_bytes)
}
