//! Memory.

use super::clients::Buffers;
use super::totals::Totals;
use super::value::{Field, Value};
use crate::memory::{ProcessMemory, allocator_name, total_system_bytes};
use crate::node::Node;
use crate::store::View;

/// Where the memory is, in bytes; for `INFO memory` and the `MEMORY` commands.
#[derive(Clone, Debug)]
pub struct MemoryFigures {
    /// As allocator and system see it.
    pub process: ProcessMemory,
    /// The most that was allocated at one time.
    pub peak: usize,
    /// What an idle server needs beside its data.
    pub startup: usize,
    /// Keys, values and tables: what `maxmemory` limits.
    pub dataset: usize,
    /// Buffers of connections.
    pub clients: usize,
    /// Log records that wait to be written to a file.
    pub log: usize,
    /// Sums over the databases.
    pub totals: Totals,
}

impl MemoryFigures {
    /// The present figures.
    pub fn gather(node: &Node, data: &dyn View) -> Self {
        let process = ProcessMemory::read();
        let (peak, startup) = node.note_memory(process.allocated);
        MemoryFigures {
            process,
            peak,
            startup,
            dataset: node.engine.store().allocated_bytes(),
            clients: Buffers::gather(node).total_bytes,
            log: node.engine.log().status().pending_bytes,
            totals: Totals::gather(node, data, node.now_ms()),
        }
    }

    /// What is allocated for anything but the data.
    pub fn overhead(&self) -> usize {
        self.process.allocated.saturating_sub(self.dataset)
    }

    /// The data's part of what was allocated since the start, in percent.
    pub fn dataset_percentage(&self) -> f64 {
        let grown = self.process.allocated.saturating_sub(self.startup);
        (ratio(self.dataset, grown) * 100.0).min(100.0)
    }

    /// What is allocated now, in percent of the most at one time.
    pub fn peak_percentage(&self) -> f64 {
        ratio(self.process.allocated, self.peak) * 100.0
    }

    /// Physical memory for each byte allocated. Mapped files don't count: they are no waste.
    pub fn fragmentation(&self) -> f64 {
        ratio(self.process.anonymous, self.process.allocated)
    }
}

/// A quotient; 0 where there is nothing to divide by.
pub fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

/// By how much one figure exceeds another; negative if it does not.
pub fn excess(larger: usize, smaller: usize) -> i64 {
    larger as i64 - smaller as i64
}

pub(super) fn memory(node: &Node, data: &dyn View) -> Vec<Field> {
    let config = node.config.load();
    let figures = MemoryFigures::gather(node, data);
    let process = figures.process;
    let bytes = |name, bytes: usize| Field::new(name, Value::count(bytes));
    let human = |name, bytes: usize| Field::new(name, Value::human(bytes as u64));
    let percent = |name, value: f64| Field::new(name, Value::text(format!("{value:.2}%")));
    let quotient = |name, value: f64| Field::new(name, Value::Decimal(value, 2));
    let difference = |name, value: i64| Field::new(name, Value::Integer(value));
    let system = total_system_bytes();
    vec![
        bytes("used_memory", process.allocated),
        human("used_memory_human", process.allocated),
        bytes("used_memory_rss", process.rss),
        human("used_memory_rss_human", process.rss),
        bytes("used_memory_rss_anonymous", process.anonymous),
        bytes("used_memory_peak", figures.peak),
        human("used_memory_peak_human", figures.peak),
        percent("used_memory_peak_perc", figures.peak_percentage()),
        bytes("used_memory_overhead", figures.overhead()),
        bytes("used_memory_startup", figures.startup),
        bytes("used_memory_dataset", figures.dataset),
        percent("used_memory_dataset_perc", figures.dataset_percentage()),
        bytes("allocator_allocated", process.allocated),
        bytes("allocator_active", process.active),
        bytes("allocator_resident", process.resident),
        Field::new("total_system_memory", Value::count(system)),
        Field::new("total_system_memory_human", Value::human(system)),
        bytes("number_of_cached_scripts", 0),
        Field::new("maxmemory", Value::count(config.maxmemory)),
        Field::new("maxmemory_human", Value::human(config.maxmemory)),
        Field::new(
            "maxmemory_policy",
            Value::text(config.maxmemory_policy.to_string()),
        ),
        quotient(
            "allocator_frag_ratio",
            ratio(process.active, process.allocated),
        ),
        difference(
            "allocator_frag_bytes",
            excess(process.active, process.allocated),
        ),
        quotient(
            "allocator_rss_ratio",
            ratio(process.resident, process.active),
        ),
        difference(
            "allocator_rss_bytes",
            excess(process.resident, process.active),
        ),
        quotient(
            "rss_overhead_ratio",
            ratio(process.anonymous, process.resident),
        ),
        difference(
            "rss_overhead_bytes",
            excess(process.anonymous, process.resident),
        ),
        quotient("mem_fragmentation_ratio", figures.fragmentation()),
        difference(
            "mem_fragmentation_bytes",
            excess(process.anonymous, process.allocated),
        ),
        bytes("mem_clients_normal", figures.clients),
        bytes("mem_aof_buffer", figures.log),
        Field::new("mem_allocator", Value::text(allocator_name())),
    ]
}
