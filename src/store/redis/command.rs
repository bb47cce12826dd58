//! Operations as Redis has them: commands, and what their answers mean.
//!
//! A value is a string, a count the decimal number that INCRBY keeps; both have a time to live in milliseconds. Only
//! commands of Redis 2.6.12 are used, so that everything that speaks its protocol will do.

use redis::{Pipeline, Value};

use crate::store::{Evictions, Key, Op, Outcome, Table, op::lasting};

/// What the keys of a table begin with.
pub(super) fn table_prefix(prefix: &str, table: Table) -> String {
    format!("{prefix}{}:", table.as_str())
}

/// One round trip for all of these; gives an answer for each. Others see all of it done or nothing, where it changes
/// something.
pub(super) fn pipeline<'o>(prefix: &str, ops: impl IntoIterator<Item = &'o Op>) -> Pipeline {
    let mut pipeline = Pipeline::new();
    let mut changes = false;
    for op in ops {
        add(&mut pipeline, prefix, op);
        changes |= !op.is_read();
    }
    if changes && pipeline.len() > 1 {
        pipeline.atomic();
    }
    pipeline
}

/// Asks what Redis gave up.
pub(super) fn evictions() -> Pipeline {
    let mut pipeline = Pipeline::new();
    pipeline.cmd("INFO");
    pipeline
}

/// What it says to that: <https://redis.io/docs/latest/commands/info/>.
pub(super) fn read_evictions(answers: Vec<Value>) -> Option<Evictions> {
    let text: String = redis::from_redis_value(answers.into_iter().next()?).ok()?;
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.split_once(':').filter(|(key, _)| *key == name))
            .map(|(_, value)| value.trim())
    };
    let keeps = field("maxmemory") == Some("0") || field("maxmemory_policy") == Some("noeviction");
    Some(Evictions {
        run: field("run_id")?.to_owned(),
        count: field("evicted_keys")?.parse().ok()?,
        may_evict: !keeps,
    })
}

/// What the answers mean; `None` if they are not answers to this.
pub(super) fn outcomes(ops: &[Op], answers: Vec<Value>) -> Option<Vec<Outcome>> {
    (ops.len() == answers.len())
        .then(|| ops.iter().zip(answers).map(|(op, answer)| outcome(op, answer)).collect())
        .flatten()
}

fn add(pipeline: &mut Pipeline, prefix: &str, op: &Op) {
    let name = name(prefix, op.key());
    match op {
        Op::Get(_) | Op::Count(_) => pipeline.cmd("GET").arg(name),
        Op::Put { value, ttl, .. } => {
            pipeline.cmd("SET").arg(name).arg(&value[..]).arg("PX").arg(millis(*ttl))
        }
        Op::PutNew { value, ttl, .. } => {
            pipeline.cmd("GET").arg(&name);
            pipeline.cmd("SET").arg(name).arg(&value[..]).arg("PX").arg(millis(*ttl)).arg("NX").ignore()
        }
        // INCRBY leaves the time to live alone.
        Op::Add { by, ttl, .. } => {
            pipeline.cmd("SET").arg(&name).arg(0).arg("PX").arg(millis(*ttl)).arg("NX").ignore();
            pipeline.cmd("INCRBY").arg(name).arg(*by)
        }
        Op::Remove(_) => pipeline.cmd("DEL").arg(name),
    };
}

fn outcome(op: &Op, answer: Value) -> Option<Outcome> {
    match (op, answer) {
        (Op::Get(_) | Op::PutNew { .. }, Value::Nil) => Some(Outcome::Value(None)),
        (Op::Get(_) | Op::PutNew { .. }, Value::BulkString(value)) => Some(Outcome::Value(Some(value))),
        (Op::Count(_), Value::Nil) => Some(Outcome::Count(0)),
        (Op::Count(_), Value::BulkString(digits)) => {
            let count = std::str::from_utf8(&digits).ok().and_then(|digits| digits.parse().ok());
            Some(Outcome::Count(count.unwrap_or(0)))
        }
        (Op::Add { .. }, Value::Int(sum)) => Some(Outcome::Count(sum.try_into().unwrap_or(0))),
        (Op::Put { .. }, Value::Okay) | (Op::Remove(_), Value::Int(_)) => Some(Outcome::Done),
        _ => None,
    }
}

fn name(prefix: &str, key: &Key) -> Vec<u8> {
    [table_prefix(prefix, key.table).as_bytes(), &key.id].concat()
}

fn millis(ttl: std::time::Duration) -> u64 {
    u64::try_from(lasting(ttl).as_millis()).expect("a hundred years are few milliseconds")
}
