//! `CONFIG SET` and `CONFIG GET`.

use super::*;

#[test]
fn set_fails_with_the_words_of_redis() {
    let config = Config::default();
    let one_of = "argument(s) must be one of the following: ";
    for (name, value, reason) in [
        ("maxmemory", "x", "argument must be a memory value"),
        ("maxmemory", "-1", "argument must be a memory value"),
        ("maxmemory", "50%", "argument must be a memory value"),
        ("maxmemory", "1.5gb", "argument must be a memory value"),
        ("maxmemory", "10xb", "argument must be a memory value"),
        (
            "proto-max-bulk-len",
            "1000",
            "argument must be between 1048576 and 9223372036854775807 inclusive",
        ),
        (
            "client-query-buffer-limit",
            "10",
            "argument must be between 1048576 and 9223372036854775807 inclusive",
        ),
        (
            "maxmemory-clients",
            "x",
            "argument must be a memory or percent value",
        ),
        (
            "maxmemory-clients",
            "5.5%",
            "argument must be a memory or percent value",
        ),
        (
            "maxmemory-clients",
            "-5%",
            "argument must be a memory or percent value",
        ),
        (
            "maxmemory-clients",
            "101%",
            "percentage argument must be less or equal to 100",
        ),
        ("hz", "abc", "argument couldn't be parsed into an integer"),
        ("hz", " 10", "argument couldn't be parsed into an integer"),
        ("hz", "+10", "argument couldn't be parsed into an integer"),
        ("hz", "010", "argument couldn't be parsed into an integer"),
        ("hz", "-0", "argument couldn't be parsed into an integer"),
        (
            "hz",
            "-5",
            "argument must be between 0 and 2147483647 inclusive",
        ),
        (
            "hz",
            "99999999999",
            "argument must be between 0 and 2147483647 inclusive",
        ),
        (
            "timeout",
            "-1",
            "argument must be between 0 and 2147483647 inclusive",
        ),
        (
            "tcp-keepalive",
            "99999999999",
            "argument must be between 0 and 2147483647 inclusive",
        ),
        (
            "maxclients",
            "0",
            "argument must be between 1 and 4294967295 inclusive",
        ),
        (
            "maxmemory-samples",
            "0",
            "argument must be between 1 and 2147483647 inclusive",
        ),
        (
            "active-expire-effort",
            "11",
            "argument must be between 1 and 10 inclusive",
        ),
        (
            "slowlog-log-slower-than",
            "-2",
            "argument must be between -1 and 9223372036854775807 inclusive",
        ),
        (
            "slowlog-max-len",
            "-1",
            "argument must be between 0 and 9223372036854775807 inclusive",
        ),
        (
            "slowlog-max-len",
            "99999999999999999999",
            "argument couldn't be parsed into an integer",
        ),
        (
            "latency-tracking",
            "maybe",
            "argument must be 'yes' or 'no'",
        ),
        ("appendonly", "maybe", "argument must be 'yes' or 'no'"),
        (
            "latency-tracking-info-percentiles",
            "50 x",
            "Invalid latency-tracking-info-percentiles parameters",
        ),
        (
            "latency-tracking-info-percentiles",
            "nan",
            "Invalid latency-tracking-info-percentiles parameters",
        ),
        (
            "latency-tracking-info-percentiles",
            "50 101",
            "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]",
        ),
        (
            "latency-tracking-info-percentiles",
            "-1",
            "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]",
        ),
        (
            "client-output-buffer-limit",
            "normal 0 0",
            "Wrong number of arguments in buffer limit configuration.",
        ),
        (
            "client-output-buffer-limit",
            "normal 1 2 x",
            "Error in hard, soft or soft_seconds setting in buffer limit configuration.",
        ),
        (
            "client-output-buffer-limit",
            "normal -1 2 3",
            "Error in hard, soft or soft_seconds setting in buffer limit configuration.",
        ),
        (
            "client-output-buffer-limit",
            "master 1 2 3",
            "Invalid client class specified in buffer limit configuration.",
        ),
        ("databases", "20", "can't set immutable config"),
        ("tcp-backlog", "5", "can't set immutable config"),
        ("unixsocket", "/x", "can't set immutable config"),
        ("unixsocketperm", "777", "can't set immutable config"),
        ("enable-debug-command", "yes", "can't set immutable config"),
        ("logfile", "x", "can't set immutable config"),
        (
            "loglevel",
            "foo",
            &format!("{one_of}debug, verbose, notice, warning"),
        ),
        (
            "appendfsync",
            "maybe",
            &format!("{one_of}everysec, always, no"),
        ),
        (
            "maxmemory-policy",
            "foo",
            &format!(
                "{one_of}volatile-lru, volatile-lfu, volatile-random, volatile-ttl, allkeys-lru, allkeys-lfu, \
                 allkeys-random, noeviction"
            ),
        ),
        // Not in Redis, or deliberately stricter.
        ("durability", "no", &format!("{one_of}everysec, always, os")),
        ("maxmemory", "", "argument must be a memory value"),
        (
            "maxmemory",
            "99999999999999999999",
            "argument must be a memory value",
        ),
        (
            "maxmemory",
            "20000000000gb",
            "argument must be a memory value",
        ),
        (
            "appendonly",
            "no",
            "the log can't be turned off; 'durability' chooses when it is synced",
        ),
        (
            "save",
            "3600 1",
            "there are no periodic dumps; 'checkpoint-log-size' and 'checkpoint-interval' start checkpoints",
        ),
    ] {
        let expected =
            format!("CONFIG SET failed (possibly related to argument '{name}') - {reason}");
        assert_eq!(
            set(&config, &[(name, value)]).unwrap_err(),
            expected,
            "{value:?}"
        );
    }
}

#[test]
fn set_checks_all_names_before_any_value() {
    let config = Config::default();
    let failed = |name: &str, reason: &str| {
        format!("CONFIG SET failed (possibly related to argument '{name}') - {reason}")
    };
    let unknown =
        |name: &str| format!("Unknown option or number of arguments for CONFIG SET - '{name}'");
    let immutable = "can't set immutable config";
    for (pairs, expected) in [
        (&[("nosuch", "1")][..], unknown("nosuch")),
        (&[("a\r\nb", "1")], unknown("a  b")),
        (&[("hz", "20"), ("nosuch", "1")], unknown("nosuch")),
        (
            &[("databases", "20"), ("nosuch", "1")],
            failed("databases", immutable),
        ),
        (&[("nosuch", "1"), ("databases", "20")], unknown("nosuch")),
        (
            &[("maxmemory", "x"), ("databases", "3")],
            failed("databases", immutable),
        ),
        (&[("maxmemory", "x"), ("nosuch", "3")], unknown("nosuch")),
        (
            &[("hz", "20"), ("hz", "30")],
            failed("hz", "duplicate parameter"),
        ),
        (
            &[("hz", "20"), ("HZ", "30")],
            failed("HZ", "duplicate parameter"),
        ),
        (
            &[("durability", "os"), ("appendfsync", "no")],
            failed("appendfsync", "duplicate parameter"),
        ),
    ] {
        assert_eq!(set(&config, pairs).unwrap_err(), expected);
    }
    let bytes = config.set(&[(b"requirepass", b"\xff")]).unwrap_err();
    assert_eq!(
        bytes.to_string(),
        failed("requirepass", "argument must be valid UTF-8 text")
    );
    let bytes = config.set(&[(b"hz", b"\xff")]).unwrap_err();
    assert_eq!(
        bytes.to_string(),
        failed("hz", "argument couldn't be parsed into an integer")
    );
    assert!(matches!(
        config.set(&[(b"\xff", b"1")]),
        Err(SetError::Unknown(_))
    ));
}

#[test]
fn set_changes_several_parameters_at_once() {
    let old = Config::default();
    let new = set(
        &old,
        &[
            ("MAXMEMORY", "1G"),
            ("appendfsync", "NO"),
            ("hz", "600"),
            ("timeout", "0"),
            ("client-output-buffer-limit", "normal 1mb 2kb 3 slave 1 2 3"),
            ("latency-tracking-info-percentiles", "1e1 0.001 -0"),
        ],
    )
    .unwrap();
    assert_eq!(old, Config::default());
    assert_eq!(
        (new.maxmemory, new.durability, new.hz),
        (1_000_000_000, Durability::Os, 500)
    );
    for (name, value) in [
        ("appendfsync", "no"),
        ("durability", "os"),
        ("hz", "500"),
        (
            "client-output-buffer-limit",
            "normal 1048576 2048 3 slave 1 2 3 pubsub 33554432 8388608 60",
        ),
        ("latency-tracking-info-percentiles", "10 0.001 0"),
    ] {
        assert_eq!(get(&new, name), value);
    }
    assert_eq!(
        old.changed(&new),
        [
            "client-output-buffer-limit",
            "durability",
            "maxmemory",
            "hz",
            "latency-tracking-info-percentiles"
        ]
    );
    assert_eq!(set(&new, &[("hz", "0")]).unwrap().hz, 1);
    assert_eq!(
        set(&new, &[("client-output-buffer-limit", "")]).unwrap(),
        new
    );
    for name in ["save", "latency-tracking-info-percentiles", "requirepass"] {
        assert_eq!(get(&set(&new, &[(name, "")]).unwrap(), name), "");
    }
}

#[test]
fn get_matches_names_by_pattern() {
    let config = Config::default();
    let names = |pattern: &str| -> Vec<String> {
        let found = config.get(pattern.as_bytes()).into_iter();
        found.map(|(name, _)| name.into_owned()).collect()
    };
    assert_eq!(names("lfu-*"), ["lfu-log-factor", "lfu-decay-time"]);
    assert_eq!(names("LFU-LOG*"), ["lfu-log-factor"]);
    assert_eq!(names("[hm]z"), ["hz"]);
    assert_eq!(names("PORT"), ["PORT"]);
    assert_eq!(names("append*"), ["appendfsync", "appendonly"]);
    assert_eq!(names("*").len(), entries().filter(Entry::is_shown).count());
    assert!(names("nosuch").is_empty() && names("maxmem\\*").is_empty());
    assert!(config.get(b"\xff").is_empty());
    // What clients and tools read.
    for (name, value) in [
        ("databases", "16"),
        ("timeout", "0"),
        ("maxmemory", "0"),
        ("maxmemory-policy", "noeviction"),
        ("save", ""),
        ("appendonly", "yes"),
        ("appendfsync", "everysec"),
        ("proto-max-bulk-len", "536870912"),
        ("client-query-buffer-limit", "1073741824"),
        (
            "client-output-buffer-limit",
            "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
        ),
        ("latency-tracking-info-percentiles", "50 99 99.9"),
        ("enable-debug-command", "no"),
        ("unixsocketperm", "0"),
    ] {
        assert_eq!(get(&config, name), value);
    }
}
