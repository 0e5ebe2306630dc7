//! Minimum-cost maximum flow, by successive shortest paths with several augmentations a search
//! (Ahuja, Magnanti and Orlin, "Network Flows", 1993, chapter 9).
//!
//! Costs may be negative where the network has no cycle of negative cost. Equal inputs give equal flows.

use std::collections::VecDeque;

/// Larger than the cost of any path.
const FAR: i128 = i128::MAX / 4;

/// The number of a vertex.
pub(super) type Vertex = usize;
/// The number of an edge as [`Network::edge`] gave it out.
pub(super) type Edge = usize;

struct Arc {
    to: Vertex,
    room: u32,
    cost: i128,
}

/// A directed network. Arc `2i` is edge `i`, arc `2i + 1` its way back.
pub(super) struct Network {
    arcs: Vec<Arc>,
    from: Vec<Vec<usize>>,
}

impl Network {
    pub(super) fn new() -> Network {
        Network {
            arcs: Vec::new(),
            from: Vec::new(),
        }
    }

    pub(super) fn vertex(&mut self) -> Vertex {
        self.from.push(Vec::new());
        self.from.len() - 1
    }

    /// Adds an edge that carries up to `capacity` units at `cost` each.
    pub(super) fn edge(&mut self, from: Vertex, to: Vertex, capacity: u32, cost: i128) -> Edge {
        let arc = self.arcs.len();
        self.arcs.push(Arc {
            to,
            room: capacity,
            cost,
        });
        self.arcs.push(Arc {
            to: from,
            room: 0,
            cost: -cost,
        });
        self.from[from].push(arc);
        self.from[to].push(arc + 1);
        arc / 2
    }

    /// What an edge carries.
    pub(super) fn flow(&self, edge: Edge) -> u32 {
        self.arcs[2 * edge + 1].room
    }

    /// Sends as much as possible, among the ways to do so one of the least cost. Returns the amount.
    pub(super) fn run(&mut self, source: Vertex, sink: Vertex) -> u32 {
        let mut total = 0;
        loop {
            let distances = self.distances(source);
            if distances[sink] >= FAR {
                return total;
            }
            total += self.augment(source, sink, &distances);
        }
    }

    /// The cost of the cheapest way from `source` to each vertex (Bellman-Ford with a queue).
    fn distances(&self, source: Vertex) -> Vec<i128> {
        let mut distances = vec![FAR; self.from.len()];
        let mut queued = vec![false; self.from.len()];
        let mut queue = VecDeque::from([source]);
        distances[source] = 0;
        while let Some(vertex) = queue.pop_front() {
            queued[vertex] = false;
            for &arc in &self.from[vertex] {
                let arc = &self.arcs[arc];
                let distance = distances[vertex] + arc.cost;
                if arc.room > 0 && distance < distances[arc.to] {
                    distances[arc.to] = distance;
                    if !queued[arc.to] {
                        queued[arc.to] = true;
                        queue.push_back(arc.to);
                    }
                }
            }
        }
        distances
    }

    /// Fills ways that are as cheap as the cheapest, until the search finds none. Finds at least one.
    fn augment(&mut self, source: Vertex, sink: Vertex, distances: &[i128]) -> u32 {
        let mut next = vec![0; self.from.len()];
        let mut on_path = vec![false; self.from.len()];
        let mut path: Vec<usize> = Vec::new();
        let mut vertex = source;
        let mut total = 0;
        on_path[source] = true;
        loop {
            if vertex == sink {
                total += self.fill(&path);
                for arc in path.drain(..) {
                    on_path[self.arcs[arc].to] = false;
                }
                vertex = source;
                continue;
            }
            let step = self.from[vertex][next[vertex]..].iter().position(|&arc| {
                let arc = &self.arcs[arc];
                arc.room > 0
                    && !on_path[arc.to]
                    && distances[arc.to] == distances[vertex] + arc.cost
            });
            match step {
                Some(skipped) => {
                    next[vertex] += skipped;
                    let arc = self.from[vertex][next[vertex]];
                    path.push(arc);
                    vertex = self.arcs[arc].to;
                    on_path[vertex] = true;
                }
                None => {
                    next[vertex] = self.from[vertex].len();
                    let Some(arc) = path.pop() else {
                        return total;
                    };
                    on_path[vertex] = false;
                    vertex = self.arcs[arc ^ 1].to;
                    next[vertex] += 1;
                }
            }
        }
    }

    fn fill(&mut self, path: &[usize]) -> u32 {
        let amount = path.iter().map(|&arc| self.arcs[arc].room).min();
        let amount = amount.unwrap_or(0);
        for &arc in path {
            self.arcs[arc].room -= amount;
            self.arcs[arc ^ 1].room += amount;
        }
        amount
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_cheaper_way_first_and_the_dearer_one_for_the_rest() {
        let mut network = Network::new();
        let [source, cheap, dear, sink] = std::array::from_fn(|_| network.vertex());
        network.edge(source, cheap, 5, 0);
        network.edge(source, dear, 5, 0);
        let to_cheap = network.edge(cheap, sink, 3, -7);
        let to_dear = network.edge(dear, sink, 9, 2);
        network.edge(cheap, dear, 1, 0);
        assert_eq!(network.run(source, sink), 9);
        assert_eq!((network.flow(to_cheap), network.flow(to_dear)), (3, 6));
    }

    #[test]
    fn undoes_a_step_that_turns_out_to_be_in_the_way() {
        // Workers a and b, tasks 1 and 2: a can do both, b only the one that is cheapest for a.
        let mut network = Network::new();
        let [source, a, b, one, two, sink] = std::array::from_fn(|_| network.vertex());
        network.edge(source, a, 1, 0);
        network.edge(source, b, 1, 0);
        let a_one = network.edge(a, one, 1, -10);
        let a_two = network.edge(a, two, 1, -1);
        let b_one = network.edge(b, one, 1, -1);
        network.edge(one, sink, 1, 0);
        network.edge(two, sink, 1, 0);
        assert_eq!(network.run(source, sink), 2);
        assert_eq!(
            [a_one, a_two, b_one].map(|edge| network.flow(edge)),
            [0, 1, 1]
        );
    }
}
