//! Connections.

use super::value::{Field, Value};
use crate::node::Node;

/// The buffers of all connections.
#[derive(Clone, Copy, Debug, Default)]
pub struct Buffers {
    /// Connections.
    pub clients: usize,
    /// Those that wait for something other than their client.
    pub blocked: usize,
    /// Bytes of all buffers.
    pub total_bytes: usize,
    /// Bytes of the largest input buffer.
    pub max_input_bytes: usize,
    /// Bytes of the largest unsent output.
    pub max_output_bytes: usize,
}

impl Buffers {
    /// Asks every connection.
    pub fn gather(node: &Node) -> Self {
        let mut buffers = Buffers::default();
        for client in node.clients.all() {
            let sizes = client.buffers.sizes();
            buffers.clients += 1;
            buffers.blocked += usize::from(client.details.lock().blocked);
            buffers.total_bytes += client.buffer_bytes();
            buffers.max_input_bytes = buffers.max_input_bytes.max(sizes.query_capacity);
            buffers.max_output_bytes = buffers.max_output_bytes.max(sizes.output_bytes);
        }
        buffers
    }
}

pub(super) fn clients(node: &Node) -> Vec<Field> {
    let buffers = Buffers::gather(node);
    vec![
        Field::new("connected_clients", Value::count(buffers.clients)),
        Field::new("cluster_connections", Value::count(0)),
        Field::new("maxclients", Value::count(node.config.load().maxclients)),
        Field::new(
            "client_recent_max_input_buffer",
            Value::count(buffers.max_input_bytes),
        ),
        Field::new(
            "client_recent_max_output_buffer",
            Value::count(buffers.max_output_bytes),
        ),
        Field::new("blocked_clients", Value::count(buffers.blocked)),
        Field::new(
            "clients_in_queues",
            Value::count(node.engine.waiters().queued()),
        ),
        Field::new("tracking_clients", Value::count(node.tracking.clients())),
    ]
}
