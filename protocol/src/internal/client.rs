//! What the native client and a node say to each other: bodies of service `Client`. No I/O.
//!
//! | body | fields |
//! | --- | --- |
//! | call for the topology | 1 `u8` |
//! | … its reply | see [`ClientTopology`] |
//! | call to execute | 2 `u8`, head, requests (one or more, up to the end of the body); both as in [`execute`] |
//! | … its reply | the node's epoch `u64`, the replies to the requests, in their order, in RESP3 |
//!
//! The node executes the requests of a call one after the other, like a pipeline of a Redis client, and those
//! of several calls on one connection begin in the order of calls. It does not matter which node is asked: one
//! that is no replica forwards them. An epoch later than the client's says that the client's topology is old.
//! Of the head, the node looks at database, levels and flags (RESP3 and partitions excepted).
//!
//! [`execute`]: super::execute

use std::net::SocketAddr;

use super::Fields;
use super::execute::{ExecuteHead, Malformed, put_head, put_request, take_head, take_request};
use crate::{ClusterId, Epoch, NodeId, PartitionId, Partitions, Request, Slot};

const TOPOLOGY: u8 = 1;
const EXECUTE: u8 = 2;

/// A call, as the node reads it.
#[derive(Debug, PartialEq, Eq)]
pub enum ClientCall<'a> {
    /// Wants to know the topology.
    Topology,
    /// Requests to be executed, the arguments of each.
    Execute(ExecuteHead, Vec<Vec<&'a [u8]>>),
}

/// The body of a call for the topology.
pub fn topology_call() -> Vec<u8> {
    vec![TOPOLOGY]
}

/// The start of the body of a call to execute; requests follow.
pub fn begin_execute(head: &ExecuteHead) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    out.push(EXECUTE);
    put_head(head, &mut out);
    out
}

/// Appends a request to the body of a call to execute.
pub fn add_request(request: Request<'_>, out: &mut Vec<u8>) {
    put_request(request.iter(), out);
}

/// Reads the body of a call.
///
/// # Errors
/// The body is none.
pub fn read_call(body: &[u8]) -> Result<ClientCall<'_>, Malformed> {
    read(body).ok_or(Malformed)
}

fn read(body: &[u8]) -> Option<ClientCall<'_>> {
    let mut fields = Fields(body);
    match fields.u8()? {
        TOPOLOGY => fields.0.is_empty().then_some(ClientCall::Topology),
        EXECUTE => {
            let head = take_head(&mut fields)?;
            let mut requests = vec![take_request(&mut fields)?];
            while !fields.0.is_empty() {
                requests.push(take_request(&mut fields)?);
            }
            Some(ClientCall::Execute(head, requests))
        }
        _ => None,
    }
}

/// The body of the reply to a call to execute.
pub fn executed(epoch: Epoch, replies: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + replies.len());
    out.extend_from_slice(&epoch.0.to_le_bytes());
    out.extend_from_slice(replies);
    out
}

/// Reads the reply to a call to execute: the node's epoch and the encoded replies.
///
/// # Errors
/// The body is none.
pub fn read_executed(body: &[u8]) -> Result<(Epoch, &[u8]), Malformed> {
    let mut fields = Fields(body);
    let epoch = fields.u64().ok_or(Malformed)?;
    Ok((Epoch(epoch), fields.0))
}

/// A node, as clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientMember {
    /// Its id.
    pub node: NodeId,
    /// Where it listens for nodes and native clients.
    pub internal: SocketAddr,
}

/// Who holds what, as much of it as a client needs.
///
/// | bytes | field |
/// | --- | --- |
/// | 16 | cluster |
/// | 8 | epoch |
/// | 2 | number of members |
/// | 20 + 1 + … each | node id, length of the next field, internal address as text |
/// | 2 | number of partitions, a power of two from 1 to 16384 |
/// | 1 + 2 · n each | number n of replicas, their places in the list of members |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTopology {
    /// The cluster.
    pub cluster: ClusterId,
    /// Which state of it.
    pub epoch: Epoch,
    /// The nodes.
    pub members: Vec<ClientMember>,
    partitions: Partitions,
    /// By partition: places of its replicas in `members`, the preferred coordinator first.
    replicas: Vec<Vec<u16>>,
}

impl ClientTopology {
    /// A topology of these members; `replicas` are their places in that list, by partition.
    ///
    /// `None` if the number of partitions is none, or a replica is no member.
    pub fn new(
        cluster: ClusterId,
        epoch: Epoch,
        members: Vec<ClientMember>,
        replicas: Vec<Vec<u16>>,
    ) -> Option<ClientTopology> {
        let partitions = Partitions::new(u16::try_from(replicas.len()).ok()?)?;
        let are_members = replicas
            .iter()
            .flatten()
            .all(|place| usize::from(*place) < members.len());
        let fits = replicas.iter().all(|those| those.len() <= 255);
        (are_members && fits && members.len() <= usize::from(u16::MAX)).then_some(ClientTopology {
            cluster,
            epoch,
            members,
            partitions,
            replicas,
        })
    }

    /// How the key space is divided.
    pub fn partitions(&self) -> Partitions {
        self.partitions
    }

    /// The replicas of a slot, the preferred coordinator first.
    pub fn replicas(&self, slot: Slot) -> impl Iterator<Item = &ClientMember> {
        self.replicas_of(self.partitions.partition_of(slot))
    }

    /// The replicas of a partition, the preferred coordinator first; none if there is no such partition.
    pub fn replicas_of(&self, partition: PartitionId) -> impl Iterator<Item = &ClientMember> {
        let places = self.replicas.get(partition.index()).into_iter().flatten();
        places.filter_map(|place| self.members.get(usize::from(*place)))
    }

    /// The body of the reply that tells it.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 * self.members.len() + 7 * self.replicas.len());
        out.extend_from_slice(&self.cluster.0.to_le_bytes());
        out.extend_from_slice(&self.epoch.0.to_le_bytes());
        out.extend_from_slice(&(self.members.len() as u16).to_le_bytes());
        for member in &self.members {
            let address = member.internal.to_string();
            out.extend_from_slice(&member.node.0);
            out.push(address.len() as u8);
            out.extend_from_slice(address.as_bytes());
        }
        out.extend_from_slice(&(self.replicas.len() as u16).to_le_bytes());
        for places in &self.replicas {
            out.push(places.len() as u8);
            for place in places {
                out.extend_from_slice(&place.to_le_bytes());
            }
        }
        out
    }

    /// Reads such a body.
    ///
    /// # Errors
    /// The body is none.
    pub fn decode(body: &[u8]) -> Result<ClientTopology, Malformed> {
        topology(body).ok_or(Malformed)
    }
}

fn topology(body: &[u8]) -> Option<ClientTopology> {
    let mut fields = Fields(body);
    let cluster = ClusterId(fields.u128()?);
    let epoch = Epoch(fields.u64()?);
    let mut members = Vec::new();
    for _ in 0..fields.u16()? {
        let node = NodeId(fields.array()?);
        let length = fields.u8()?;
        let address = std::str::from_utf8(fields.bytes(length.into())?).ok()?;
        members.push(ClientMember {
            node,
            internal: address.parse().ok()?,
        });
    }
    let mut replicas = Vec::new();
    for _ in 0..fields.u16()? {
        let count = fields.u8()?;
        let places: Option<_> = (0..count).map(|_| fields.u16()).collect();
        replicas.push(places?);
    }
    ClientTopology::new(cluster, epoch, members, replicas).filter(|_| fields.0.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::execute::tests::{heads, requests};
    use super::*;
    use crate::OwnedRequest;

    fn topologies() -> impl Strategy<Value = ClientTopology> {
        (1usize..6, 0u32..7, any::<(u128, u64)>()).prop_flat_map(|(count, power, (id, epoch))| {
            let members: Vec<_> = (0..count)
                .map(|number| ClientMember {
                    node: NodeId([number as u8; 20]),
                    internal: SocketAddr::from(([10, 0, 0, number as u8], 17_000)),
                })
                .collect();
            let places = prop::collection::vec(0..count as u16, 0..4);
            prop::collection::vec(places, 1usize << power).prop_map(move |replicas| {
                ClientTopology::new(ClusterId(id), Epoch(epoch), members.clone(), replicas).unwrap()
            })
        })
    }

    proptest! {
        #[test]
        fn calls_round_trip(head in heads(), calls in prop::collection::vec(requests(), 1..5)) {
            let mut body = begin_execute(&head);
            prop_assert!(read_call(&body).is_err(), "a call without requests");
            for arguments in &calls {
                add_request(OwnedRequest::new(arguments).request(), &mut body);
            }
            let borrowed = calls
                .iter()
                .map(|arguments| arguments.iter().map(Vec::as_slice).collect())
                .collect();
            prop_assert_eq!(read_call(&body), Ok(ClientCall::Execute(head, borrowed)));
            prop_assert!(read_call(&body[..body.len() - 1]).is_err());
        }

        #[test]
        fn replies_round_trip(epoch in any::<u64>(), replies in prop::collection::vec(any::<u8>(), 0..40)) {
            let body = executed(Epoch(epoch), &replies);
            prop_assert_eq!(read_executed(&body), Ok((Epoch(epoch), &replies[..])));
        }

        #[test]
        fn topologies_round_trip(topology in topologies()) {
            let body = topology.encode();
            prop_assert_eq!(ClientTopology::decode(&body), Ok(topology));
            for cut in 0..body.len() {
                prop_assert_eq!(ClientTopology::decode(&body[..cut]), Err(Malformed));
            }
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = (read_call(&body), read_executed(&body));
            let _ = ClientTopology::decode(&body);
        }
    }

    #[test]
    fn the_call_for_the_topology() {
        assert_eq!(read_call(&topology_call()), Ok(ClientCall::Topology));
        for wrong in [&[][..], &[0], &[1, 1], &[3]] {
            assert_eq!(read_call(wrong), Err(Malformed));
        }
    }

    #[test]
    fn keys_find_their_replicas() {
        let members: Vec<_> = (1..=2u8)
            .map(|number| ClientMember {
                node: NodeId([number; 20]),
                internal: SocketAddr::from(([127, 0, 0, 1], number.into())),
            })
            .collect();
        let new = |replicas| ClientTopology::new(ClusterId(1), Epoch(1), members.clone(), replicas);
        let topology = new(vec![vec![1, 0], vec![0]]).unwrap();
        let of = |slot| -> Vec<u16> {
            let slot = Slot::new(slot).unwrap();
            topology
                .replicas(slot)
                .map(|member| member.internal.port())
                .collect()
        };
        assert_eq!(
            [of(0), of(8191), of(8192), of(16383)],
            [vec![2, 1], vec![2, 1], vec![1], vec![1]]
        );
        assert_eq!(topology.replicas_of(PartitionId(2)).count(), 0);
        assert_eq!(new(vec![vec![2]]), None, "no such member");
        assert_eq!(new(vec![vec![]; 3]), None, "no power of two");
    }
}
