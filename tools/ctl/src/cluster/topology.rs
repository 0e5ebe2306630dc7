//! The topology as `COTERIE.TOPOLOGY` tells it.

use coterie_protocol::Frame;

use crate::client::{Client, ClientError};

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topology {
    pub cluster: String,
    pub epoch: i64,
    /// The id of the node that leads the consensus.
    pub leader: Option<String>,
    pub has_quorum: bool,
    pub members: Vec<Member>,
    /// By partition, the nodes that hold it: indices of members, -1 for one that left.
    pub partitions: Vec<Vec<i64>>,
    pub moves: Vec<Move>,
}

/// A node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    pub id: String,
    pub address: String,
    pub zone: String,
    pub weight: i64,
    pub state: String,
    pub liveness: String,
}

/// A partition on its way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Move {
    pub partition: i64,
    pub to: Vec<i64>,
    pub step: String,
}

impl Topology {
    /// Asks a node.
    pub fn ask(client: &mut Client) -> Result<Topology, ClientError> {
        let answer = client.call(&["COTERIE.TOPOLOGY"])?;
        Topology::read(&answer).ok_or_else(|| client.unexpected())
    }

    fn read(frame: &Frame) -> Option<Topology> {
        let numbers = |frame: &Frame| list(frame)?.iter().map(integer).collect();
        let member = |frame: &Frame| {
            Some(Member {
                id: text(field(frame, "id")?)?,
                address: text(field(frame, "address")?)?,
                zone: text(field(frame, "zone")?)?,
                weight: integer(field(frame, "weight")?)?,
                state: text(field(frame, "state")?)?,
                liveness: text(field(frame, "liveness")?)?,
            })
        };
        let change = |frame: &Frame| {
            Some(Move {
                partition: integer(field(frame, "partition")?)?,
                to: numbers(field(frame, "to")?)?,
                step: text(field(frame, "step")?)?,
            })
        };
        let members = list(field(frame, "members")?)?;
        let partitions = list(field(frame, "partitions")?)?;
        let moves = list(field(frame, "moves")?)?;
        Some(Topology {
            cluster: text(field(frame, "cluster")?)?,
            epoch: integer(field(frame, "epoch")?)?,
            leader: text(field(frame, "leader")?),
            has_quorum: matches!(field(frame, "quorum")?, Frame::Boolean { data: true, .. }),
            members: members.iter().map(member).collect::<Option<_>>()?,
            partitions: partitions.iter().map(numbers).collect::<Option<_>>()?,
            moves: moves.iter().map(change).collect::<Option<_>>()?,
        })
    }

    /// The index of the one member whose id begins like this.
    pub fn find(&self, prefix: &str) -> Option<usize> {
        let prefix = prefix.to_ascii_lowercase();
        let members = self.members.iter().enumerate();
        let mut found = members.filter(|(_, member)| member.id.starts_with(&prefix));
        match (found.next(), found.next()) {
            (Some((index, _)), None) => Some(index),
            _ => None,
        }
    }

    /// How many partitions a node holds, or is to hold. One that left is looked for as well.
    pub fn held_by(&self, id: &str) -> usize {
        let index = self.members.iter().position(|member| member.id == id);
        let index = index.map_or(-1, |index| index as i64);
        let is_coming = |partition: usize| {
            let mut moves = self.moves.iter();
            moves.any(|it| it.partition == partition as i64 && it.to.contains(&index))
        };
        let partitions = self.partitions.iter().enumerate();
        partitions
            .filter(|(partition, holders)| holders.contains(&index) || is_coming(*partition))
            .count()
    }
}

fn field<'a>(frame: &'a Frame, name: &str) -> Option<&'a Frame> {
    let Frame::Map { data, .. } = frame else {
        return None;
    };
    let mut fields = data.iter();
    let named = |key: &Frame| text(key).as_deref() == Some(name);
    fields.find(|(key, _)| named(key)).map(|(_, value)| value)
}

fn list(frame: &Frame) -> Option<&[Frame]> {
    match frame {
        Frame::Array { data, .. } => Some(data),
        _ => None,
    }
}

/// The text of a bulk or verbatim string.
pub fn text(frame: &Frame) -> Option<String> {
    match frame {
        Frame::BlobString { data, .. } | Frame::VerbatimString { data, .. } => {
            Some(String::from_utf8_lossy(data).into_owned())
        }
        _ => None,
    }
}

fn integer(frame: &Frame) -> Option<i64> {
    match frame {
        Frame::Number { data, .. } => Some(*data),
        _ => None,
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Three nodes `aa…`, `bb…`, `cc…` and four partitions with two replicas each, of which the last moves from `aa` to
    /// `bb`.
    pub fn topology() -> Topology {
        let member = |letter: &str| Member {
            id: letter.repeat(40),
            address: "127.0.0.1:7001".into(),
            zone: String::new(),
            weight: 100,
            state: "normal".into(),
            liveness: "up".into(),
        };
        Topology {
            cluster: "7".into(),
            epoch: 5,
            leader: Some("b".repeat(40)),
            has_quorum: true,
            members: vec![member("a"), member("b"), member("c")],
            partitions: vec![vec![0, 1], vec![0, 1], vec![1, 2], vec![0, 2]],
            moves: vec![Move {
                partition: 3,
                to: vec![1, 2],
                step: "write-both-read-old".into(),
            }],
        }
    }

    #[test]
    fn a_node_holds_what_comes_and_what_goes() {
        let mut topology = topology();
        let held = |topology: &Topology| ["a", "b", "c"].map(|id| topology.held_by(&id.repeat(40)));
        assert_eq!(held(&topology), [3, 4, 2]);
        topology.partitions[0] = vec![-1, 1];
        topology.members.remove(0);
        assert_eq!(
            topology.held_by(&"a".repeat(40)),
            1,
            "left, and still written there"
        );
    }

    #[test]
    fn members_are_found_by_the_beginning_of_their_id() {
        let topology = topology();
        assert_eq!(topology.find("BB"), Some(1));
        assert_eq!(topology.find("d"), None);
        assert_eq!(topology.find(""), None, "it begins all of them");
    }

    #[test]
    fn what_is_no_topology_is_not_read() {
        assert_eq!(Topology::read(&Frame::Null), None);
        let answer = b"%1\r\n$7\r\ncluster\r\n$1\r\n7\r\n";
        let (frame, _) = coterie_protocol::frame::decode(answer).unwrap().unwrap();
        assert_eq!(Topology::read(&frame), None);
    }
}
