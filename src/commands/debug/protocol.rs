//! `DEBUG PROTOCOL`: a reply of each type.

use coterie_protocol::{ReplyWriter, RespVersion};

use super::{Outcome, answer};
use crate::commands::call::Control;
use crate::commands::error::CommandError;

const UNKNOWN: &str = "ERR Wrong protocol type name. Please use one of the following: \
    string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false";

/// What Redis answers for a double; no attempt at pi.
#[allow(clippy::approx_constant)]
const DOUBLE: f64 = 3.141;

pub(super) fn protocol(call: &mut Control<'_, '_>) -> Outcome {
    let resp = call.session.resp;
    let write: fn(&mut ReplyWriter<'_>) = match &*call.request.arg(2).to_ascii_lowercase() {
        b"string" => |reply| reply.bulk(b"Hello World"),
        b"integer" => |reply| reply.integer(12_345),
        b"double" => |reply| reply.double(DOUBLE),
        b"null" => |reply| reply.null(),
        b"array" => |reply| {
            reply.array(3);
            (0..3).for_each(|number| reply.integer(number));
        },
        b"set" => |reply| {
            reply.set(3);
            (0..3).for_each(|number| reply.integer(number));
        },
        b"map" => |reply| {
            reply.map(3);
            for number in 0..3 {
                reply.integer(number);
                reply.boolean(number == 1);
            }
        },
        b"attrib" => attribute,
        b"push" if resp == RespVersion::Resp2 => {
            return Err(CommandError::line(
                "ERR RESP2 is not supported by this command",
            ));
        }
        b"push" => |reply| {
            reply.push(2);
            reply.bulk(b"server-cpu-usage");
            reply.integer(42);
            reply.bulk(b"Some real reply following the push reply");
        },
        b"verbatim" => |reply| reply.verbatim("txt", b"This is a verbatim\nstring"),
        b"true" => |reply| reply.boolean(true),
        b"false" => |reply| reply.boolean(false),
        b"bignum" => |reply| reply.big_number("1234567999999999999999999999999999999"),
        _ => return Err(CommandError::line(UNKNOWN)),
    };
    Ok(answer(resp, write))
}

fn attribute(reply: &mut ReplyWriter<'_>) {
    // RESP2 has no attributes: the reply goes without.
    if reply.version() == RespVersion::Resp3 {
        reply.raw(b"|1\r\n");
        reply.bulk(b"key-popularity");
        reply.array(2);
        reply.bulk(b"key:123");
        reply.integer(90);
    }
    reply.bulk(b"Some real reply following the attribute");
}
