//! `MEMORY DOCTOR`: what the figures mean, and what helps.

use std::fmt::Write;

use crate::node::Node;
use crate::report::{MemoryFigures, human_bytes};

/// Below this the figures of allocator and system say little, in bytes.
const DATASET_MIN: usize = 16 << 20;
/// Factors from which a ratio is worth a remark.
const PEAK_RATIO: f64 = 1.5;
const FRAGMENTATION_RATIO: f64 = 1.4;
/// Bytes of buffers for each client from which they are worth a remark.
const CLIENT_BYTES: usize = 200 << 10;
/// Part of `maxmemory` from which it is worth a remark, in percent.
const NEAR_LIMIT_PERCENT: u64 = 95;

/// A text for people.
pub fn advice(figures: &MemoryFigures, node: &Node) -> String {
    let remarks = remarks(figures, node);
    if remarks.is_empty() && figures.dataset < DATASET_MIN {
        return format!(
            "There is little data ({}): too little to judge how memory is used.\n",
            human_bytes(figures.dataset as u64)
        );
    }
    if remarks.is_empty() {
        return "No problem with memory was found.\n".into();
    }
    let mut text = String::from("What was found:\n\n");
    for remark in remarks {
        let _ = writeln!(text, "- {remark}");
    }
    text
}

fn remarks(figures: &MemoryFigures, node: &Node) -> Vec<String> {
    let mut remarks = Vec::new();
    let limit = node.config.load().maxmemory;
    let dataset = figures.dataset as u64;
    if limit > 0 && dataset.saturating_mul(100) / limit >= NEAR_LIMIT_PERCENT {
        remarks.push(format!(
            "The data takes {} of the {} that maxmemory allows: keys are evicted or writes refused.",
            human_bytes(dataset),
            human_bytes(limit)
        ));
    }
    if figures.dataset >= DATASET_MIN {
        remarks.extend(allocator_remarks(figures));
    }
    let clients = node.clients.len().max(1);
    if figures.clients / clients > CLIENT_BYTES {
        remarks.push(format!(
            "The buffers of {clients} clients take {}: they send large requests, or do not read their replies. \
             CLIENT LIST tells which ('qbuf', 'omem').",
            human_bytes(figures.clients as u64)
        ));
    }
    remarks
}

fn allocator_remarks(figures: &MemoryFigures) -> Vec<String> {
    let mut remarks = Vec::new();
    let (allocated, peak) = (figures.process.allocated as f64, figures.peak as f64);
    if peak > allocated * PEAK_RATIO {
        remarks.push(format!(
            "At its peak the server used {}, now it uses {}. If the process is still large, 'MEMORY PURGE' \
             returns what is free.",
            human_bytes(figures.peak as u64),
            human_bytes(figures.process.allocated as u64)
        ));
    }
    if figures.fragmentation() > FRAGMENTATION_RATIO {
        remarks.push(format!(
            "The process holds {:.2} bytes of physical memory for each byte in use: memory that was freed and \
             not yet returned. 'MEMORY PURGE' returns it.",
            figures.fragmentation()
        ));
    }
    remarks
}
