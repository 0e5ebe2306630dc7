//! One test per script and protocol version.

use std::fs;

use crate::common::{Options, Program, Protocol};
use crate::runner::{differences, run_script, source_path};

macro_rules! scripts {
    ($($name:ident),* $(,)?) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];
        $(
            mod $name {
                use super::{Protocol, run_script};

                #[test]
                fn resp2() {
                    run_script(stringify!($name), Protocol::Resp2);
                }

                #[test]
                fn resp3() {
                    run_script(stringify!($name), Protocol::Resp3);
                }
            }
        )*
    };
}

scripts! {
    acl,
    acl_clients,
    strings_set,
    strings_numbers,
    strings_ranges,
    bitmaps,
    bitfield,
    keys,
    expiry,
    hash_fields,
    hash_whole,
    hyperloglog,
    hash_keys,
    lists,
    lists_blocking,
    sorted_sets_blocking,
    sets,
    sort,
    restore,
    scripting,
    sorted_sets_members,
    sorted_sets_ranges,
    sorted_sets_algebra,
    streams,
    streams_groups,
    functions,
    geo,
    connection,
    auth,
    server,
    pubsub,
    events,
    tracking,
    transactions,
}

#[test]
fn every_script_is_run() {
    for entry in fs::read_dir(source_path("scripts")).expect("the scripts") {
        let path = entry.expect("a directory entry").path();
        let name = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .expect("a file name");
        assert!(
            NAMES.contains(&name),
            "{name}.txt isn't listed in scripts.rs"
        );
    }
}

/// The suite sees a difference where there is one: here in a Redis with fewer databases and a smaller limit.
#[test]
fn differences_are_found() {
    let other = Options::new(Program::Oracle)
        .flag("databases", "8")
        .flag("proto-max-bulk-len", "1mb");
    let found = differences("connection", Protocol::Resp3, other.clone());
    assert!(
        found.iter().any(|text| text.contains("SELECT 15")),
        "{found:?}"
    );
    assert!(
        found[0].contains("tests/oracle/scripts/connection.txt:"),
        "{found:?}"
    );
    let found = differences("strings_ranges", Protocol::Resp2, other);
    assert!(
        found.iter().any(|text| text.contains("SETRANGE")),
        "{found:?}"
    );
}
