//! The arguments of a command as others may see them (`SLOWLOG`, `MONITOR`): without passwords.

use coterie_protocol::Request;

use super::spec::CommandSpec;
use crate::config::Config;

/// Stands in for a secret.
const REDACTED: &[u8] = b"(redacted)";

/// Settings of Redis that this server does not have, whose values are no less secret when a client sends them.
const FOREIGN_SECRETS: [&str; 4] = [
    "masterauth",
    "masteruser",
    "tls-key-file-pass",
    "tls-client-key-file-pass",
];

fn is_secret_setting(name: &[u8]) -> bool {
    let is = |secret: &&str| name.eq_ignore_ascii_case(secret.as_bytes());
    Config::is_secret(name) || FOREIGN_SECRETS.iter().any(is)
}

/// Which arguments are secret.
#[derive(Clone, Copy)]
enum Secrets {
    None,
    /// From the first index up to, not including, the second.
    Range(usize, usize),
    /// The value of every secret setting among the pairs of `CONFIG SET`.
    Settings,
}

impl Secrets {
    fn of(spec: &CommandSpec, request: Request<'_>) -> Self {
        match spec.name {
            "auth" => Secrets::Range(1, request.len()),
            "hello" => {
                let is_auth = |argument: &[u8]| argument.eq_ignore_ascii_case(b"auth");
                match request.iter().skip(2).position(is_auth) {
                    Some(position) => Secrets::Range(position + 3, position + 5),
                    None => Secrets::None,
                }
            }
            "acl|setuser" => Secrets::Range(2, request.len()),
            "config|set" => Secrets::Settings,
            _ => Secrets::None,
        }
    }

    fn hide(self, request: Request<'_>, index: usize) -> bool {
        match self {
            Secrets::None => false,
            Secrets::Range(first, end) => (first..end).contains(&index),
            Secrets::Settings => {
                index >= 3 && index % 2 == 1 && is_secret_setting(request.arg(index - 1))
            }
        }
    }
}

/// The arguments of a request, each secret replaced by `(redacted)` as in Redis.
pub fn redacted<'a>(
    spec: &CommandSpec,
    request: Request<'a>,
) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
    let secrets = Secrets::of(spec, request);
    (0..request.len()).map(move |index| {
        if secrets.hide(request, index) {
            REDACTED
        } else {
            request.arg(index)
        }
    })
}
