//! `MEMORY STATS`: numbers under Redis' names.

use coterie_protocol::ReplyWriter;

use crate::report::MemoryFigures;
use crate::report::totals::DatabaseTotals;

enum Number {
    Bytes(i64),
    Ratio(f64),
}

/// Writes the reply.
pub fn write(reply: &mut ReplyWriter<'_>, figures: &MemoryFigures) {
    let (before, after) = (allocation(figures), dataset(figures));
    reply.map(before.len() + figures.totals.databases.len() + after.len());
    write_numbers(reply, &before);
    for (number, database) in &figures.totals.databases {
        reply.bulk_display(format_args!("db.{number}"));
        let tables = tables(database);
        reply.map(tables.len());
        write_numbers(reply, &tables);
    }
    write_numbers(reply, &after);
}

fn write_numbers(reply: &mut ReplyWriter<'_>, numbers: &[(&str, Number)]) {
    for (name, number) in numbers {
        reply.bulk(name.as_bytes());
        match number {
            Number::Bytes(bytes) => reply.integer(*bytes),
            Number::Ratio(ratio) => reply.double(*ratio),
        }
    }
}

fn bytes(bytes: usize) -> Number {
    Number::Bytes(bytes as i64)
}

fn allocation(figures: &MemoryFigures) -> Vec<(&'static str, Number)> {
    vec![
        ("peak.allocated", bytes(figures.peak)),
        ("total.allocated", bytes(figures.process.allocated)),
        ("startup.allocated", bytes(figures.startup)),
        ("clients.normal", bytes(figures.clients)),
        ("aof.buffer", bytes(figures.log)),
    ]
}

fn tables(database: &DatabaseTotals) -> Vec<(&'static str, Number)> {
    vec![
        ("overhead.hashtable.main", bytes(database.table_bytes)),
        (
            "overhead.hashtable.expires",
            bytes(database.volatile_table_bytes),
        ),
    ]
}

fn dataset(figures: &MemoryFigures) -> Vec<(&'static str, Number)> {
    use crate::report::{excess, ratio};
    let process = &figures.process;
    let keys = figures.totals.keys() as usize;
    let per_key = figures.dataset.checked_div(keys).unwrap_or(0);
    vec![
        ("overhead.total", bytes(figures.overhead())),
        ("keys.count", bytes(keys)),
        ("keys.bytes-per-key", bytes(per_key)),
        ("dataset.bytes", bytes(figures.dataset)),
        (
            "dataset.percentage",
            Number::Ratio(figures.dataset_percentage()),
        ),
        ("peak.percentage", Number::Ratio(figures.peak_percentage())),
        ("allocator.allocated", bytes(process.allocated)),
        ("allocator.active", bytes(process.active)),
        ("allocator.resident", bytes(process.resident)),
        (
            "allocator-fragmentation.ratio",
            Number::Ratio(ratio(process.active, process.allocated)),
        ),
        (
            "allocator-fragmentation.bytes",
            Number::Bytes(excess(process.active, process.allocated)),
        ),
        (
            "allocator-rss.ratio",
            Number::Ratio(ratio(process.resident, process.active)),
        ),
        (
            "allocator-rss.bytes",
            Number::Bytes(excess(process.resident, process.active)),
        ),
        (
            "rss-overhead.ratio",
            Number::Ratio(ratio(process.anonymous, process.resident)),
        ),
        (
            "rss-overhead.bytes",
            Number::Bytes(excess(process.anonymous, process.resident)),
        ),
        ("fragmentation", Number::Ratio(figures.fragmentation())),
        (
            "fragmentation.bytes",
            Number::Bytes(excess(process.anonymous, process.allocated)),
        ),
    ]
}
