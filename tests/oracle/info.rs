//! `INFO`: the fields that tools read are there, have the oracle's kind of value, and are true.

use std::collections::BTreeMap;

use crate::common::{Connection, Protocol, Server, wait_until};
use crate::runner::report;

/// What redis-cli, redis_exporter, RedisInsight and client libraries look for.
const FIELDS: &[(&str, &[&str])] = &[
    (
        "Server",
        &[
            "redis_version",
            "redis_mode",
            "os",
            "arch_bits",
            "process_id",
            "run_id",
            "tcp_port",
            "uptime_in_seconds",
            "uptime_in_days",
            "hz",
            "executable",
            "config_file",
        ],
    ),
    (
        "Clients",
        &[
            "connected_clients",
            "blocked_clients",
            "maxclients",
            "client_recent_max_input_buffer",
            "client_recent_max_output_buffer",
        ],
    ),
    (
        "Memory",
        &[
            "used_memory",
            "used_memory_human",
            "used_memory_rss",
            "used_memory_peak",
            "used_memory_peak_human",
            "maxmemory",
            "maxmemory_human",
            "maxmemory_policy",
            "mem_fragmentation_ratio",
            "mem_allocator",
            "total_system_memory",
            "used_memory_dataset",
            "used_memory_overhead",
        ],
    ),
    (
        "Persistence",
        &[
            "loading",
            "rdb_changes_since_last_save",
            "rdb_bgsave_in_progress",
            "rdb_last_save_time",
            "rdb_last_bgsave_status",
            "aof_enabled",
            "aof_rewrite_in_progress",
        ],
    ),
    (
        "Stats",
        &[
            "total_connections_received",
            "total_commands_processed",
            "instantaneous_ops_per_sec",
            "total_net_input_bytes",
            "total_net_output_bytes",
            "instantaneous_input_kbps",
            "instantaneous_output_kbps",
            "rejected_connections",
            "expired_keys",
            "evicted_keys",
            "keyspace_hits",
            "keyspace_misses",
            "total_error_replies",
        ],
    ),
    (
        "Replication",
        &["role", "connected_slaves", "master_repl_offset"],
    ),
    ("CPU", &["used_cpu_sys", "used_cpu_user"]),
    ("Cluster", &["cluster_enabled"]),
];

type Section = BTreeMap<String, String>;

/// The sections of `INFO <arguments>`.
fn info(connection: &mut Connection, arguments: &str) -> BTreeMap<String, Section> {
    let text = connection.run(&format!("INFO {arguments}")).text();
    let mut sections = BTreeMap::new();
    let mut name = String::new();
    for line in text.split("\r\n").filter(|line| !line.is_empty()) {
        if let Some(title) = line.strip_prefix("# ") {
            name = title.to_owned();
            sections.insert(name.clone(), Section::new());
        } else {
            let (field, value) = line
                .split_once(':')
                .unwrap_or_else(|| panic!("a line without a colon: {line}"));
            let section = sections
                .get_mut(&name)
                .expect("a field comes after a section's title");
            section.insert(field.to_owned(), value.to_owned());
        }
    }
    sections
}

fn number(connection: &mut Connection, section: &str, field: &str) -> u64 {
    let sections = info(connection, section);
    let value = sections.values().find_map(|fields| fields.get(field));
    let value = value.unwrap_or_else(|| panic!("INFO {section} lacks {field}"));
    value
        .parse()
        .unwrap_or_else(|e| panic!("{field}:{value}: {e}"))
}

/// Number, decimal number, or text.
fn kind(value: &str) -> &'static str {
    if value.parse::<i64>().is_ok() {
        "integer"
    } else if value.parse::<f64>().is_ok() {
        "decimal"
    } else {
        "text"
    }
}

#[test]
fn sections_and_fields() {
    let (subject, oracle) = (Server::subject(), Server::oracle());
    let (ours, theirs) = (
        info(&mut subject.connect(), ""),
        info(&mut oracle.connect(), ""),
    );
    let mut differences = Vec::new();
    for (section, fields) in FIELDS {
        for field in *fields {
            let find = |sections: &BTreeMap<String, Section>| {
                sections
                    .get(*section)
                    .and_then(|fields| fields.get(*field))
                    .cloned()
            };
            match (find(&ours), find(&theirs)) {
                (None, _) => differences.push(format!("{section}: {field} is missing")),
                (_, None) => panic!("the oracle has no {field} in {section}"),
                (Some(our), Some(their)) if kind(&our) != kind(&their) => {
                    differences.push(format!("{section}: {field} is {our}, the oracle's {their}"));
                }
                _ => {}
            }
        }
    }
    report(&differences);
}

/// `HELLO` describes the server as the oracle does, but for the connection's number and the version's last part.
#[test]
fn hello_fields() {
    let (subject, oracle) = (Server::subject(), Server::oracle());
    for version in [2, 3] {
        let describe = |server: &Server| -> Vec<(String, String)> {
            let mut connection = server.connect();
            if version == 3 {
                connection.set_protocol(Protocol::Resp3);
            }
            let reply = connection.run(&format!("HELLO {version}"));
            let fields = reply.items();
            let pairs = fields.chunks_exact(2).map(|pair| {
                let value = match pair[0].text().as_str() {
                    "id" => pair[1].kind().to_owned(),
                    "version" => pair[1].text().chars().take(2).collect(),
                    _ => pair[1].to_string(),
                };
                (pair[0].text(), value)
            });
            pairs.collect()
        };
        assert_eq!(describe(&subject), describe(&oracle), "HELLO {version}");
    }
}

#[test]
fn values_are_true() {
    let subject = Server::subject();
    let mut c = subject.connect();
    assert_eq!(
        number(&mut c, "server", "process_id"),
        u64::from(subject.pid())
    );
    assert_eq!(
        number(&mut c, "server", "tcp_port"),
        u64::from(subject.port())
    );
    c.run("CONFIG RESETSTAT");
    let commands = number(&mut c, "stats", "total_commands_processed");
    c.run("SET hit 1");
    c.run("GET hit");
    c.run("GET hit");
    c.run("GET miss");
    c.run("INCR hit x");
    assert_eq!(number(&mut c, "stats", "keyspace_hits"), 2);
    assert_eq!(number(&mut c, "stats", "keyspace_misses"), 1);
    assert_eq!(number(&mut c, "stats", "total_error_replies"), 1);
    assert!(number(&mut c, "stats", "total_commands_processed") >= commands + 4);
    assert!(number(&mut c, "stats", "total_net_input_bytes") > 0);
    assert!(number(&mut c, "stats", "total_net_output_bytes") > 0);

    let connections = number(&mut c, "stats", "total_connections_received");
    let more: Vec<_> = (0..3).map(|_| subject.connect()).collect();
    wait_until("three more clients", || {
        number(&mut c, "clients", "connected_clients") == 4
    });
    assert_eq!(
        number(&mut c, "stats", "total_connections_received"),
        connections + 3
    );
    drop(more);
    wait_until("they leave", || {
        number(&mut c, "clients", "connected_clients") == 1
    });

    let before = number(&mut c, "memory", "used_memory");
    // Not by SET: the query buffer of a large argument counts as well.
    c.run("SETRANGE big 3999999 x");
    let after = number(&mut c, "memory", "used_memory");
    assert!(
        (4_000_000..8_000_000).contains(&(after - before)),
        "used_memory {before} then {after}"
    );
    assert!(number(&mut c, "memory", "used_memory_peak") >= after);
    c.run("DEL big");
    wait_until("the value's memory is free", || {
        number(&mut c, "memory", "used_memory") < before + 1_000_000
    });

    c.run("SET soon v PX 1");
    wait_until("the key expires", || {
        number(&mut c, "stats", "expired_keys") >= 1
    });

    let keyspace = info(&mut c, "keyspace");
    assert!(
        keyspace["Keyspace"]["db0"].starts_with("keys=1,expires=0,"),
        "{keyspace:?}"
    );
}

#[test]
fn command_statistics() {
    let subject = Server::subject();
    let mut c = subject.connect();
    c.run("CONFIG RESETSTAT");
    c.run("SET k abc");
    c.run("GET k");
    c.run("GET k");
    c.run("INCR k");
    c.run("GET");
    let statistics = info(&mut c, "commandstats");
    let get = &statistics["Commandstats"]["cmdstat_get"];
    assert!(
        get.starts_with("calls=2,usec=") && get.contains("rejected_calls=1,failed_calls=0"),
        "{get}"
    );
    let incr = &statistics["Commandstats"]["cmdstat_incr"];
    assert!(
        incr.starts_with("calls=1,") && incr.contains("rejected_calls=0,failed_calls=1"),
        "{incr}"
    );
    let errors = info(&mut c, "errorstats");
    assert_eq!(errors["Errorstats"]["errorstat_ERR"], "count=2");
}
