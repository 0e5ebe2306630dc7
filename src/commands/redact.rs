//! Keeps passwords out of `MONITOR` and the slow log.

use coterie_protocol::{OwnedRequest, Request};

use super::spec::CommandSpec;
use crate::config::Config;

/// What is shown instead of a secret, as in Redis.
const REDACTED: &[u8] = b"(redacted)";

/// A copy of the request without its secrets, if it may have any.
pub fn redact(spec: &CommandSpec, request: Request<'_>) -> Option<OwnedRequest> {
    let mut arguments: Vec<&[u8]> = match spec.name {
        "auth" | "hello" | "config|set" => request.iter().collect(),
        _ => return None,
    };
    match spec.name {
        "auth" => arguments[1..].fill(REDACTED),
        "hello" => {
            for index in 2..arguments.len() {
                if arguments[index].eq_ignore_ascii_case(b"auth") {
                    let end = arguments.len().min(index + 3);
                    arguments[index + 1..end].fill(REDACTED);
                }
            }
        }
        _ => {
            for [name, value] in arguments[2..].as_chunks_mut::<2>().0 {
                if Config::is_secret(name) {
                    *value = REDACTED;
                }
            }
        }
    }
    Some(OwnedRequest::new(&arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_hidden_and_nothing_else() {
        let cases: [(&'static str, &str, &str); 6] = [
            ("auth", "AUTH secret", "AUTH (redacted)"),
            ("auth", "auth me secret", "auth (redacted) (redacted)"),
            (
                "hello",
                "HELLO 3 AUTH me secret SETNAME x",
                "HELLO 3 AUTH (redacted) (redacted) SETNAME x",
            ),
            ("hello", "HELLO 3 auth me", "HELLO 3 auth (redacted)"),
            (
                "config|set",
                "CONFIG SET maxmemory 1 requirepass secret",
                "CONFIG SET maxmemory 1 requirepass (redacted)",
            ),
            ("config|set", "CONFIG SET requirepass", "CONFIG SET requirepass"),
        ];
        for (name, text, expected) in cases {
            let spec = CommandSpec {
                name,
                ..CommandSpec::NEW
            };
            let words: Vec<&str> = text.split(' ').collect();
            let owned = redact(&spec, OwnedRequest::new(&words).request());
            let shown: Vec<&[u8]> = owned.iter().flat_map(|owned| owned.request().iter()).collect();
            assert_eq!(shown.join(&b' '), expected.as_bytes());
        }
    }
}
