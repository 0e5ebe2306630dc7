//! Sums over all partitions: keys, expiries, tables.

use std::collections::BTreeMap;

use coterie_protocol::DatabaseId;

use super::value::{Field, Value};
use crate::node::Node;
use crate::store::{Keyspace, Partition, View};

/// Keys with an expiry that are looked at in each partition for the mean time they have left.
const TTL_SAMPLES: usize = 4;

/// One database.
#[derive(Clone, Copy, Debug, Default)]
pub struct DatabaseTotals {
    /// Keys, those counted too that expired and were not collected yet.
    pub keys: u64,
    /// Keys with an expiry.
    pub volatile: u64,
    /// Memory of the tables of keys, in bytes.
    pub table_bytes: usize,
    /// Memory of the tables of keys with an expiry, in bytes.
    pub volatile_table_bytes: usize,
    /// Milliseconds left until expiry of all keys that have one, estimated from a few of each partition.
    ttl_sum_ms: u128,
}

impl DatabaseTotals {
    /// Mean time until expiry of the keys that have one, in milliseconds.
    pub fn average_ttl_ms(&self) -> u64 {
        (self.ttl_sum_ms / u128::from(self.volatile.max(1))) as u64
    }

    fn add(&mut self, keyspace: &Keyspace, now_ms: u64) {
        self.keys += keyspace.len() as u64;
        self.volatile += keyspace.volatile_len() as u64;
        self.table_bytes += keyspace.table_bytes();
        self.volatile_table_bytes += keyspace.volatile_table_bytes();
        if keyspace.volatile_len() == 0 {
            return;
        }
        let (mut samples, mut left_ms) = (0, 0);
        keyspace.sample(rand::random(), TTL_SAMPLES, true, |entry| {
            samples += 1;
            let at = entry.expire_at().unwrap_or(now_ms);
            left_ms += u128::from(at.saturating_sub(now_ms));
        });
        let estimate = left_ms * keyspace.volatile_len() as u128;
        self.ttl_sum_ms += estimate.checked_div(samples).unwrap_or(0);
    }
}

/// All databases.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Databases with keys, by number.
    pub databases: BTreeMap<DatabaseId, DatabaseTotals>,
    /// Keys that expired and were removed since the start.
    pub expired: u64,
    /// What is remembered of keys and elements that are gone, until all replicas have forgotten them: keys that it is about.
    pub tombstones: u64,
}

impl Totals {
    /// Looks into every partition, one after the other.
    pub fn gather(node: &Node, data: &dyn View, now_ms: u64) -> Self {
        let mut totals = Totals::default();
        for id in node.engine.store().ids() {
            data.look(id, &mut |partition| totals.add(partition, now_ms));
        }
        totals
    }

    fn add(&mut self, partition: &Partition, now_ms: u64) {
        self.expired += partition.expired();
        self.tombstones += partition.tombstones() as u64;
        for database in partition.databases() {
            if let Some(keyspace) = partition.keyspace(database)
                && !keyspace.is_empty()
            {
                let sums = self.databases.entry(database).or_default();
                sums.add(keyspace, now_ms);
            }
        }
    }

    /// Keys of all databases.
    pub fn keys(&self) -> u64 {
        self.databases.values().map(|database| database.keys).sum()
    }

    /// Memory of all tables, in bytes.
    pub fn table_bytes(&self) -> usize {
        let bytes =
            |database: &DatabaseTotals| database.table_bytes + database.volatile_table_bytes;
        self.databases.values().map(bytes).sum()
    }
}

pub(super) fn keyspace(node: &Node, data: &dyn View) -> Vec<Field> {
    let totals = Totals::gather(node, data, node.now_ms());
    let field = |(number, database): (&DatabaseId, &DatabaseTotals)| {
        let values = vec![
            ("keys".into(), Value::count(database.keys)),
            ("expires".into(), Value::count(database.volatile)),
            ("avg_ttl".into(), Value::count(database.average_ttl_ms())),
        ];
        Field::of("db", number.to_string(), Value::Record(values))
    };
    totals.databases.iter().map(field).collect()
}
