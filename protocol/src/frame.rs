//! Replies as a client reads them.

use redis_protocol::resp3::decode::complete::decode as decode_resp3;
pub use redis_protocol::resp3::types::OwnedFrame as Frame;

use redis_protocol::error::RedisProtocolError;

/// Reads one reply from the start of `bytes`, in RESP3 (RESP2's forms are read too, but for its nulls).
/// Returns it and its length; `None` if it is not complete.
///
/// For replies of a server one trusts: nesting and lengths are not limited.
///
/// # Errors
/// The bytes are no reply.
pub fn decode(bytes: &[u8]) -> Result<Option<(Frame, usize)>, RedisProtocolError> {
    decode_resp3(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ReplyWriter, RespVersion};

    #[test]
    fn reads_what_is_written() {
        let mut out = Vec::new();
        let mut reply = ReplyWriter::new(&mut out, RespVersion::Resp3);
        reply.array(2);
        reply.bulk(b"a");
        reply.null();
        let (frame, length) = decode(&out).unwrap().unwrap();
        assert_eq!(length, out.len());
        let Frame::Array { data, .. } = frame else {
            panic!("{frame:?}")
        };
        assert!(matches!(&data[0], Frame::BlobString { data, .. } if data == b"a"));
        assert!(matches!(data[1], Frame::Null));
        assert!(decode(&out[..out.len() - 1]).unwrap().is_none());
    }
}
