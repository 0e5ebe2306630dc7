//! The consensus library's calls to other nodes, and theirs to it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use coterie_protocol::NodeId;
use openraft::error::{
    Fatal, NetworkError, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable,
};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{EmptyNode, OptionalSend};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::types::{
    Channel, Raft, RaftRequest, RaftTransport, Snapshot, TransportError, TypeConfig, Vote,
};
use crate::topology::join::encode;

/// How long a node is left alone that is not reached.
const PAUSE: Duration = Duration::from_millis(200);

type CallError = RPCError<NodeId, EmptyNode, RaftError<NodeId>>;

/// Makes a [`Peer`] for each node.
pub(super) struct Network {
    pub(super) transport: Arc<dyn RaftTransport>,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: NodeId, _: &EmptyNode) -> Peer {
        Peer {
            target,
            transport: Arc::clone(&self.transport),
        }
    }
}

/// Another node.
pub(super) struct Peer {
    target: NodeId,
    transport: Arc<dyn RaftTransport>,
}

/// The other node could not do it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Failed(String);

impl Peer {
    async fn call<T: DeserializeOwned>(
        &self,
        request: &RaftRequest,
        time: Duration,
    ) -> Result<T, RPCError<NodeId, EmptyNode, RaftError<NodeId>>> {
        let call = self
            .transport
            .call(self.target, Channel::Raft, encode(request));
        let answer = match tokio::time::timeout(time, call).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(Unreachable::new(&error).into()),
            Err(_) => {
                let error = TransportError {
                    to: self.target,
                    reason: "no answer in time".to_owned(),
                };
                return Err(Unreachable::new(&error).into());
            }
        };
        let answer: Result<Result<T, String>, _> = postcard::from_bytes(&answer);
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(reason)) => Err(Unreachable::new(&Failed(reason)).into()),
            Err(error) => Err(NetworkError::new(&error).into()),
        }
    }
}

impl RaftNetwork<TypeConfig> for Peer {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<NodeId>, CallError> {
        self.call(&RaftRequest::Append(rpc), option.hard_ttl())
            .await
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<NodeId>,
        option: RPCOption,
    ) -> Result<VoteResponse<NodeId>, CallError> {
        self.call(&RaftRequest::Vote(rpc), option.hard_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<NodeId>, StreamingError<TypeConfig, Fatal<NodeId>>> {
        let request = RaftRequest::Snapshot {
            vote,
            meta: snapshot.meta,
            topology: *snapshot.snapshot,
        };
        tokio::select! {
            answer = self.call(&request, option.hard_ttl()) => answer.map_err(|error| match error {
                RPCError::Network(error) => StreamingError::Network(error),
                error => StreamingError::Unreachable(Unreachable::new(&error)),
            }),
            closed = cancel => Err(closed.into()),
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(PAUSE))
    }
}

/// Answers a call of another node's [`Peer`].
pub(super) async fn answer(raft: &Raft, request: &[u8]) -> Vec<u8> {
    match postcard::from_bytes(request) {
        Ok(RaftRequest::Append(request)) => reply(raft.append_entries(request).await),
        Ok(RaftRequest::Vote(request)) => reply(raft.vote(request).await),
        Ok(RaftRequest::Snapshot {
            vote,
            meta,
            topology,
        }) => {
            let snapshot = Snapshot {
                meta,
                snapshot: Box::new(topology),
            };
            reply(raft.install_full_snapshot(vote, snapshot).await)
        }
        Err(error) => reply::<(), _>(Err(error)),
    }
}

fn reply<T: Serialize, E: ToString>(result: Result<T, E>) -> Vec<u8> {
    encode(&result.map_err(|error| error.to_string()))
}
