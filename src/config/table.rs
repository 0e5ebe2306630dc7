//! The table of all parameters: the one place where a setting is named, documented and given its default and range.

use super::Origin;
use super::error::ValueError;
use super::kind::{Kind, integer, memory, natural};
use super::parameter::Change::{AtStart, Live};
use super::parameter::{Alias, Parameter};
use super::values::{
    ChannelDefault, DebugCommand, Durability, Field, LogFormat, LogLevel, MaxmemoryPolicy,
    MemoryLimit, OutputBufferLimits, Redirect, Secret,
};
use crate::events::EventClasses;
use crate::topology::Quorum;

/// The group of parameters that only tests set.
pub(super) const TESTS: &str = "Tests";

/// Turns a field's name into a parameter's: `tcp_backlog` is `tcp-backlog`.
const fn kebab<const LENGTH: usize>(field: &str) -> [u8; LENGTH] {
    let mut name = [0; LENGTH];
    let mut index = 0;
    while index < LENGTH {
        let byte = field.as_bytes()[index];
        name[index] = if byte == b'_' { b'-' } else { byte };
        index += 1;
    }
    name
}

/// Makes the struct, its defaults and the table from rows of
/// `/// documentation`, `field: type = "default", kind, when it can change, aliases…;`.
macro_rules! parameters {
    ($($group:literal { $(
        $(#[doc = $doc:literal])+
        $field:ident: $type:ty = $default:literal, $kind:expr, $change:expr $(, $alias:expr)*;
    )+ })+) => {
        /// All settings of a server. A clone is a consistent snapshot; share it behind an atomic pointer.
        ///
        /// A parameter is named like its field, with `-` for `_`.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Config {
            $($(
                $(#[doc = $doc])+
                #[doc = concat!("\n\nDefault: `\"", $default, "\"`.")]
                pub $field: $type,
            )+)+
            pub(super) origin: Origin,
        }

        impl Default for Config {
            fn default() -> Self {
                Self {
                    $($($field: Field::parse(&$kind, $default, None)
                        .expect("a default in the table is a valid value"),)+)+
                    origin: Origin::default(),
                }
            }
        }

        /// The rows of the table.
        pub(super) static PARAMETERS: &[Parameter] = &[$($(Parameter {
            name: {
                const FIELD: &str = stringify!($field);
                const NAME: [u8; FIELD.len()] = kebab(FIELD);
                match str::from_utf8(&NAME) {
                    Ok(name) => name,
                    Err(_) => panic!("a field's name is ASCII"),
                }
            },
            group: $group,
            doc: concat!($($doc, "\n"),+),
            default: $default,
            kind: $kind,
            change: $change,
            secret: <$type as Field>::SECRET,
            aliases: &[$($alias),*],
            get: |config| config.$field.to_text(&$kind),
            set: |config, text| {
                config.$field = Field::parse(&$kind, text, Some(&config.$field))?;
                Ok(())
            },
        },)+)+];
    };
}

/// The largest memory size Redis accepts for what it keeps in a signed number.
const LARGEST: u64 = i64::MAX as u64;
const MEGABYTE: u64 = 1 << 20;
const GIGABYTE: u64 = 1 << 30;

parameters! {
    "Network" {
        /// Addresses to listen on. A leading `-` means that it is no error if the address is not available;
        /// `*` is all IPv4 addresses, `::*` all IPv6 addresses.
        bind: Vec<String> = "127.0.0.1 -::1", Kind::List, AtStart;
        /// TCP port for clients; 0 listens on no TCP port.
        port: u16 = "6379", integer(0, 65_535), AtStart;
        /// Path of a Unix socket to listen on as well; empty for none.
        unixsocket: Option<std::path::PathBuf> = "", Kind::Text, AtStart;
        /// File mode of the Unix socket, in octal; 0 leaves it to the process' umask.
        unixsocketperm: u32 = "0", Kind::Octal, AtStart;
        /// Length of the queue of connections that the system has accepted and the server has not.
        tcp_backlog: u32 = "511", natural(), AtStart;
        /// Seconds after which a silent connection is probed (TCP keep-alive); 0 never probes.
        tcp_keepalive: u32 = "300", natural(), Live;
        /// Seconds after which an idle client is disconnected; 0 never does.
        timeout: u32 = "0", natural(), Live;
        /// Largest number of clients connected at the same time; more are refused with an error.
        maxclients: u32 = "10000", integer(1, u32::MAX as i64), Live;
        /// Threads that serve clients; 0 is one for each core.
        threads: usize = "0", integer(0, 1024), AtStart;
    }
    "Security" {
        /// Refuse clients from other machines as long as no password is set.
        protected_mode: bool = "yes", Kind::Bool, Live;
        /// Password of the default user; empty lets everyone in.
        requirepass: Secret = "", Kind::Text, Live;
        /// Whether new users may use every channel, or none until they are given some.
        acl_pubsub_default: ChannelDefault = "resetchannels", Kind::Keyword(ChannelDefault::WORDS), Live;
        /// File of users, one a line, that is read at start and by ACL LOAD, and written by ACL SAVE; empty for none. Its
        /// users replace the default user and its password.
        aclfile: Option<std::path::PathBuf> = "", Kind::Text, AtStart;
        /// Users beside those of the default, each a text of a name and its rules ("alice on >secret ~app:* +@all"), where
        /// there is no aclfile. CONFIG REWRITE writes the users there are.
        user: Vec<String> = "", Kind::Lines, AtStart;
        /// Number of refused commands and logins that ACL LOG remembers.
        acllog_max_len: u64 = "128", integer(0, i64::MAX), Live;
        /// Who may use the DEBUG command: nobody, everyone, or clients on this machine.
        enable_debug_command: DebugCommand = "no", Kind::Keyword(DebugCommand::WORDS), AtStart;
    }
    "Limits of clients" {
        /// Largest bulk string in a request, and largest string value, in bytes.
        proto_max_bulk_len: u64 = "512mb", memory(MEGABYTE, LARGEST), Live;
        /// Largest amount of unprocessed input of one client, in bytes; a client above it is disconnected.
        client_query_buffer_limit: u64 = "1gb", memory(MEGABYTE, LARGEST), Live;
        /// Unsent output at which a client is disconnected, for each class of clients: at once above the hard
        /// limit, after a number of seconds above the soft limit; 0 is no limit.
        client_output_buffer_limit: OutputBufferLimits =
            "normal 0 0 0 replica 256mb 64mb 60 pubsub 32mb 8mb 60", Kind::OutputBufferLimits, Live;
        /// Memory that the buffers of all clients together may use, in bytes or in percent of maxmemory; above it the
        /// largest clients are disconnected. 0 is no limit.
        maxmemory_clients: MemoryLimit = "0", Kind::MemoryOrPercent, Live;
        /// Keys that the server remembers to have been read by clients with CLIENT TRACKING; beyond that number, clients
        /// are told to forget some. 0 is no limit.
        tracking_table_max_keys: u64 = "1000000", integer(0, i64::MAX), Live;
    }
    "Data" {
        /// Number of databases that SELECT can choose from.
        databases: u32 = "16", integer(1, 65_536), AtStart;
        /// Number of partitions the keys are divided into. Fixed when the data directory is created.
        partitions: u16 = "256", Kind::PowerOfTwo { max: 16_384 }, AtStart;
        /// Number of fields up to which OBJECT ENCODING tells that a hash is a listpack, and HSCAN returns it at once.
        hash_max_listpack_entries: u64 = "512", integer(0, i64::MAX), Live,
            Alias { name: "hash-max-ziplist-entries", spellings: &[] };
        /// Length of the longest field or value, in bytes, up to which a hash is a listpack.
        hash_max_listpack_value: u64 = "64", memory(0, LARGEST), Live,
            Alias { name: "hash-max-ziplist-value", spellings: &[] };
        /// Number of members up to which OBJECT ENCODING tells that a set of integers is an intset.
        set_max_intset_entries: u64 = "512", integer(0, i64::MAX), Live;
        /// Taken and shown, without an effect: size of a part of a list in Redis, in elements, or from -1 (4 kB) to -5
        /// (64 kB).
        list_max_listpack_size: i64 = "-2", integer(i32::MIN as i64, i32::MAX as i64), Live,
            Alias { name: "list-max-ziplist-size", spellings: &[] };
        /// Number of members up to which OBJECT ENCODING tells that a sorted set is a listpack, and ZSCAN returns it at
        /// once.
        zset_max_listpack_entries: u64 = "128", integer(0, i64::MAX), Live,
            Alias { name: "zset-max-ziplist-entries", spellings: &[] };
        /// Length of the longest member, in bytes, up to which a sorted set is a listpack.
        zset_max_listpack_value: u64 = "64", memory(0, LARGEST), Live,
            Alias { name: "zset-max-ziplist-value", spellings: &[] };
        /// Taken and shown, without an effect: size of a part of a stream in Redis, in bytes.
        stream_node_max_bytes: u64 = "4096", memory(0, LARGEST), Live;
        /// Entries that approximate trimming (~) of a stream takes out together, as Redis holds them; 0 for all of them.
        stream_node_max_entries: u64 = "100", integer(0, i64::MAX), Live;
        /// Length in bytes, header included, up to which a HyperLogLog is kept sparse.
        hll_sparse_max_bytes: u64 = "3000", memory(0, LARGEST), Live;
        /// Events that are published when something happens to keys, and where: on the channel of the key (K) or of the
        /// event (E). Classes are generic (g), strings ($), lists (l), sets (s), hashes (h), sorted sets (z), streams (t),
        /// expired (x), evicted (e) and module (d) keys, all of these (A), new keys (n) and misses (m). Empty for none.
        notify_keyspace_events: EventClasses = "", Kind::EventClasses, Live;
    }
    "Durability" {
        /// Directory of the log and the checkpoints; created if it does not exist.
        dir: std::path::PathBuf = "./data", Kind::Text, AtStart;
        /// When a write is acknowledged: after it is on the disk (always), or at once, with the log synced every second
        /// (everysec) or when the operating system likes (os). No choice loses writes when only the process dies.
        durability: Durability = "everysec", Kind::Keyword(Durability::WORDS), Live,
            Alias { name: "appendfsync", spellings: &[("no", "os")] };
        /// Size of one segment file of the log.
        log_segment_size: u64 = "64mb", memory(MEGABYTE, GIGABYTE), AtStart;
        /// A checkpoint starts when the log since the last one is larger than this; 0 starts none for that reason.
        checkpoint_log_size: u64 = "256mb", memory(0, LARGEST), Live;
        /// A checkpoint starts when the last one is this many seconds old and there were writes since; 0 starts none for that
        /// reason.
        checkpoint_interval: u32 = "0", natural(), Live;
        /// Seconds that a shutdown waits for writes under way and for replicas.
        shutdown_timeout: u32 = "10", natural(), Live;
    }
    "Cluster" {
        /// Nodes of a cluster to join, by the addresses clients use; the first that answers is asked. A node that has
        /// joined remembers its cluster, so that this is of no use from its second start on.
        join: Vec<String> = "", Kind::Endpoints, AtStart;
        /// Tell clients that this is a cluster even while the node is alone in it.
        cluster_enabled: bool = "no", Kind::Bool, AtStart;
        /// Port for other nodes, TCP and UDP; 0 is the port for clients + 10000.
        cluster_port: u16 = "0", integer(0, 65_535), AtStart;
        /// Addresses to listen on for other nodes; empty for those of bind.
        cluster_bind: Vec<String> = "", Kind::List, AtStart;
        /// Address that clients and nodes are told to connect to; empty for the one that the node is bound to or that they
        /// connected to.
        cluster_announce_ip: Option<std::net::IpAddr> = "", Kind::Ip, AtStart;
        /// Port that clients are told to connect to; 0 is the one it listens on.
        cluster_announce_port: u16 = "0", integer(0, 65_535), AtStart;
        /// Port that nodes are told to connect to; 0 is the one it listens on.
        cluster_announce_bus_port: u16 = "0", integer(0, 65_535), AtStart;
        /// Host name that clients are told along with the address; empty for none.
        cluster_announce_hostname: String = "", Kind::Hostname, AtStart;
        /// Local address of connections to other nodes; empty leaves it to the system.
        bind_source_addr: Option<std::net::IpAddr> = "", Kind::Ip, AtStart;
        /// What nodes of a cluster prove to each other that they know. Without one, nodes speak to each other on the same
        /// machine only. CONFIG GET does not show it.
        cluster_secret: Secret = "", Kind::Hidden, AtStart;
        /// File that holds the secret instead; white space around it does not count.
        cluster_secret_file: Option<std::path::PathBuf> = "", Kind::Text, AtStart;
        /// Where the node stands: replicas of a partition are spread over zones (racks, availability zones).
        zone: String = "", Kind::Text, AtStart;
        /// Share of the partitions that the node holds, relative to the weight of others; 0 for none.
        weight: u32 = "100", integer(0, 1_000_000), AtStart;
        /// What to do with a request for keys of other nodes: have it executed there and answer (proxy), or tell the client
        /// where to go, as Redis Cluster does (moved).
        redirect: Redirect = "proxy", Kind::Keyword(Redirect::WORDS), Live;
        /// Replicas of each key, in databases that COTERIE.POLICY set nothing else for; fewer while there are fewer nodes.
        /// A cluster takes this and the next four from the first start of its first node; COTERIE.POLICY SET DEFAULT
        /// changes them later.
        replicas: u8 = "3", integer(1, 16), AtStart;
        /// Replicas that hold a write before it is acknowledged.
        write_quorum: Quorum = "majority", Kind::Quorum, AtStart;
        /// Replicas that agree before a read is answered.
        read_quorum: Quorum = "majority", Kind::Quorum, AtStart;
        /// Keep for replicas that are away what they miss; otherwise it is found by comparing data when they are back.
        hinted_handoff: bool = "yes", Kind::Bool, AtStart;
        /// Go on with as few replicas as are there: write-quorum and read-quorum count no more than these.
        sloppy_quorum: bool = "no", Kind::Bool, AtStart;
        /// Milliseconds until a request that not enough replicas answer ends with the error NOQUORUM.
        write_timeout_ms: u32 = "2000", integer(1, 3_600_000), Live;
        /// Log kept for replicas that are away, in bytes; one that missed more is brought up to date by comparing all data.
        hint_log_size: u64 = "1gb", memory(0, LARGEST), Live;
        /// Seconds from one comparison of a partition's replicas to the next; 0 never compares.
        anti_entropy_interval: u32 = "10", natural(), Live;
        /// Bytes a second at most for moving partitions and comparing replicas, for each node; 0 is no limit.
        sync_rate: u64 = "0", memory(0, LARGEST), Live;
        /// Milliseconds that clocks of two nodes may differ; one that is further off is refused.
        max_drift_ms: u32 = "500", integer(1, 86_400_000), AtStart;
    }
    "Memory" {
        /// Memory for data, in bytes, at which maxmemory-policy applies; 0 is no limit.
        maxmemory: u64 = "0", memory(0, u64::MAX), Live;
        /// What to remove when maxmemory is reached: keys with an expiry (volatile) or all, the least recently (lru) or least
        /// frequently (lfu) used, random ones, or those that expire soonest (ttl).
        maxmemory_policy: MaxmemoryPolicy = "noeviction", Kind::Keyword(MaxmemoryPolicy::WORDS), Live;
        /// Keys compared to find one to evict: more is more exact and slower.
        maxmemory_samples: u32 = "5", integer(1, i32::MAX as i64), Live;
        /// How slowly the counter of lfu grows: larger values need more accesses.
        lfu_log_factor: u32 = "10", natural(), Live;
        /// Minutes without access after which the counter of lfu falls by one; 0 never lets it fall.
        lfu_decay_time: u32 = "1", natural(), Live;
        /// Accepted for compatibility: the memory of evicted keys is freed in the background in any case.
        lazyfree_lazy_eviction: bool = "yes", Kind::Bool, Live;
        /// Accepted for compatibility: the memory of expired keys is freed in the background in any case.
        lazyfree_lazy_expire: bool = "yes", Kind::Bool, Live;
        /// Accepted for compatibility: the memory of overwritten values is freed in the background in any case.
        lazyfree_lazy_server_del: bool = "yes", Kind::Bool, Live;
        /// Accepted for compatibility: the memory of deleted keys is freed in the background in any case.
        lazyfree_lazy_user_del: bool = "yes", Kind::Bool, Live;
        /// Accepted for compatibility: the memory of flushed databases is freed in the background in any case.
        lazyfree_lazy_user_flush: bool = "yes", Kind::Bool, Live;
    }
    "Background work" {
        /// How often a second background tasks run, such as removing expired keys; values outside the range are moved to its
        /// nearest end.
        hz: u32 = "10", Kind::Clamped { min: 1, max: 500 }, Live;
        /// How much work goes into removing expired keys early: more frees memory sooner and costs more processor time.
        active_expire_effort: u32 = "1", integer(1, 10), Live;
    }
    "Observability" {
        /// How much is logged.
        loglevel: LogLevel = "notice", Kind::Keyword(LogLevel::WORDS), Live;
        /// File that the log messages are appended to; empty for the standard output.
        logfile: Option<std::path::PathBuf> = "", Kind::Text, AtStart;
        /// Form of the log messages: lines for people, or one JSON object a line.
        log_format: LogFormat = "text", Kind::Keyword(LogFormat::WORDS), AtStart;
        /// Microseconds above which a command enters the slow log; 0 logs every command, -1 none.
        slowlog_log_slower_than: i64 = "10000", integer(-1, i64::MAX), Live;
        /// Number of commands that the slow log keeps.
        slowlog_max_len: u64 = "128", integer(0, i64::MAX), Live;
        /// Milliseconds after which a script counts as running for too long: other clients get BUSY, and SCRIPT KILL stops
        /// it. After twice that time it is stopped.
        lua_time_limit: u64 = "5000", integer(1, 86_400_000), Live,
            Alias { name: "busy-reply-threshold", spellings: &[] };
        /// Milliseconds above which an event enters the latency monitor; 0 turns it off.
        latency_monitor_threshold: u64 = "0", integer(0, i64::MAX), Live;
        /// Keep a histogram of the latency of each command (LATENCY HISTOGRAM, INFO latencystats).
        latency_tracking: bool = "yes", Kind::Bool, Live;
        /// Percentiles that INFO latencystats shows.
        latency_tracking_info_percentiles: Vec<f64> = "50 99 99.9", Kind::Percentiles, Live;
    }
    "Tests" {
        /// Milliseconds that the node's clock is off, to test what a cluster makes of it.
        debug_clock_offset_ms: i64 = "0", integer(-86_400_000, 86_400_000), AtStart;
    }
}

/// Parameters without a field: tools ask for them, and they can have only one value.
pub(super) static FIXED: &[Parameter] = &[
    Parameter {
        name: "appendonly",
        group: "Durability",
        doc: " Always yes, for tools that ask: every write goes to the log.",
        default: "yes",
        kind: Kind::Fixed { value: "yes" },
        change: Live,
        secret: false,
        aliases: &[],
        get: |_| "yes".to_owned(),
        set: |_, text| match bool::parse(&Kind::Bool, text, None)? {
            true => Ok(()),
            false => Err(ValueError::LOG_IS_ALWAYS_ON),
        },
    },
    Parameter {
        name: "save",
        group: "Durability",
        doc: " Always empty, for tools that ask: there are no periodic dumps; see checkpoint-log-size.",
        default: "",
        kind: Kind::Fixed { value: "" },
        change: Live,
        secret: false,
        aliases: &[],
        get: |_| String::new(),
        set: |_, text| match text.trim_ascii() {
            "" => Ok(()),
            _ => Err(ValueError::NO_DUMPS),
        },
    },
];
