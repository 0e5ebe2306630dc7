//! Coterie: a Redis-compatible, durable, distributed key-value database.
pub mod wal;
