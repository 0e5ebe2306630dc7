//! The TOML file: reading it, the example, and `CONFIG REWRITE`.

use super::*;

#[test]
fn the_example_file_is_up_to_date_and_holds_the_defaults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("coterie.toml");
    if std::env::var_os("COTERIE_WRITE_EXAMPLE").is_some() {
        std::fs::write(&path, Config::example()).unwrap();
    }
    let example = std::fs::read_to_string(&path).unwrap();
    assert!(
        example == Config::example(),
        "coterie.toml is out of date: run COTERIE_WRITE_EXAMPLE=1 cargo test config"
    );
    assert_eq!(from_file(&example).unwrap(), Config::default());
    for parameter in parameter::all().filter(|parameter| parameter.is_documented()) {
        assert!(
            example.contains(&format!("\n{} = ", parameter.name)),
            "{}",
            parameter.name
        );
    }
}

#[test]
fn the_file_takes_the_natural_forms_of_toml() {
    let config = from_file(
        "bind = [\"::1\", '127.0.0.1'] # both\n\
         port = 7_001\n\
         protected-mode = false\n\
         latency-tracking = \"no\"\n\
         maxmemory = \"100mb\"\n\
         proto-max-bulk-len = 0x200000\n\
         maxmemory-clients = \"5%\"\n\
         unixsocketperm = 0o700\n\
         latency-tracking-info-percentiles = [50, 99.95, 100.0]\n\
         client-output-buffer-limit = [\"normal 1kb 2 3\", \"slave 4 5 6\"]\n\
         appendfsync = \"no\"\n\
         appendonly = true\n\
         save = \"\"\n",
    )
    .unwrap();
    assert_eq!(config.bind, ["::1", "127.0.0.1"]);
    assert_eq!(config.port, 7001);
    assert!(!config.protected_mode && !config.latency_tracking);
    assert_eq!(config.maxmemory, 100 << 20);
    assert_eq!(config.proto_max_bulk_len, 2 << 20);
    assert_eq!(config.maxmemory_clients, MemoryLimit::Percent(5));
    assert_eq!(config.maxmemory_clients.bytes(1000), Some(50));
    assert_eq!(config.unixsocketperm, 0o700);
    assert_eq!(
        config.latency_tracking_info_percentiles,
        [50.0, 99.95, 100.0]
    );
    assert_eq!(config.client_output_buffer_limit.normal.hard, 1024);
    assert_eq!(config.client_output_buffer_limit.replica.soft_seconds, 6);
    assert_eq!(config.client_output_buffer_limit.pubsub.soft, 8 << 20);
    assert_eq!(config.durability, Durability::Os);
}

#[test]
fn errors_in_the_file_have_their_place() {
    for (text, expected) in [
        (
            "# é\nport = 70000\n",
            "coterie.toml:2:8: port: argument must be between 0 and 65535 inclusive (accepted: an integer from 0 to 65535)",
        ),
        (
            "hz = 1\n  max-memory = 1\n",
            "coterie.toml:2:3: unknown setting 'max-memory' (did you mean 'maxmemory'?)",
        ),
        (
            "Port = 1",
            "coterie.toml:1:1: unknown setting 'Port' (did you mean 'port'?)",
        ),
        (
            "[network]\nport = 1",
            "coterie.toml:1:2: unknown setting 'network'",
        ),
        (
            "requirepass = 1234",
            "coterie.toml:1:15: requirepass: argument must be a string, in quotes (accepted: text)",
        ),
        (
            "port = [1]",
            "coterie.toml:1:8: port: argument can't be a list (accepted: an integer from 0 to 65535)",
        ),
        (
            "bind = [['a']]",
            "coterie.toml:1:8: bind: argument must be a string, in quotes (accepted: a list of words)",
        ),
        (
            "port.x = 1",
            "coterie.toml:1:1: port: argument can't be a table, a date or nested (accepted: an integer from 0 to 65535)",
        ),
        (
            "unixsocketperm = 700",
            "coterie.toml:1:18: unixsocketperm: a file mode is written as a string (\"700\") or as an octal number \
             (0o700) (accepted: an octal file mode from 0 to 777)",
        ),
        (
            "partitions = 100",
            "coterie.toml:1:14: partitions: argument must be a power of two (accepted: a power of two from 1 to 16384)",
        ),
        (
            "appendonly = false",
            "coterie.toml:1:14: appendonly: the log can't be turned off; 'durability' chooses when it is synced \
             (accepted: only \"yes\")",
        ),
        (
            "durability = 'os'\nappendfsync = 'no'",
            "coterie.toml:2:1: 'durability' and 'appendfsync' are the same setting: give only one",
        ),
        ("port = 1\nport = 2", "coterie.toml:2:1: duplicate key"),
    ] {
        assert_eq!(from_file(text).unwrap_err(), expected, "{text}");
    }
    assert_eq!(
        from_file(b"port = 1\n# \xff").unwrap_err(),
        "the configuration file coterie.toml is not UTF-8 text: bad byte at offset 11"
    );

    let unquoted = from_file("timeout = 1\nport = x").unwrap_err();
    assert!(unquoted.starts_with("coterie.toml:2:8: "), "{unquoted}");
    assert!(from_file("bind = ".to_owned() + &"[".repeat(100_000)).is_err());
    assert!(
        from_file("#".repeat(2 << 20))
            .unwrap_err()
            .ends_with("more than 1048576 bytes")
    );
    assert!(
        load_error("/no/such/file", &[])
            .starts_with("can't read the configuration file /no/such/file: ")
    );
}

pub(super) const HAND_WRITTEN: &str = "\
# My server
port = 7000   # the port

maxmemory = \"1gb\" # plenty
bind = [
  # the loopback
  '127.0.0.1',
]
hz = 0x0b
appendfsync = 'always'";

#[test]
fn rewrite_keeps_comments_and_order() {
    let path = Path::new("coterie.toml");
    let config = from_file(HAND_WRITTEN).unwrap();
    assert_eq!(
        rewrite::rewritten(&config, path, HAND_WRITTEN).unwrap(),
        HAND_WRITTEN
    );

    let changes = [
        ("maxmemory", "2gb"),
        ("appendfsync", "no"),
        ("requirepass", "a\"b"),
        ("timeout", "5"),
        ("latency-tracking", "no"),
    ];
    let config = set(&config, &changes).unwrap();
    let once = rewrite::rewritten(&config, path, HAND_WRITTEN).unwrap();
    let expected = HAND_WRITTEN
        .replace("\"1gb\"", "\"2gb\"")
        .replace("'always'", "\"no\"")
        + "\n\n# Written by CONFIG REWRITE\ntimeout = 5\nrequirepass = 'a\"b'\nlatency-tracking = false\n";
    assert_eq!(once, expected);
    assert_eq!(rewrite::rewritten(&config, path, &once).unwrap(), once);

    // Back to the default: what is in the file stays there.
    let config = set(&config, &[("timeout", "0"), ("databases", "16")][..1]).unwrap();
    let twice = rewrite::rewritten(&config, path, &once).unwrap();
    assert_eq!(twice, once.replace("timeout = 5", "timeout = 0"));
}

#[test]
fn rewrite_copes_with_a_file_that_was_changed() {
    let path = Path::new("coterie.toml");
    let config = set(&Config::default(), &[("timeout", "5")]).unwrap();
    let rewritten = |old: &str| rewrite::rewritten(&config, path, old);
    assert_eq!(
        rewritten("").unwrap(),
        "# Written by CONFIG REWRITE\ntimeout = 5\n"
    );
    // Unknown keys and bad values.
    assert_eq!(
        rewritten("future = 1 # kept\ntimeout = 'x'\n").unwrap(),
        "future = 1 # kept\ntimeout = 5\n"
    );
    assert!(matches!(
        rewritten("timeout = "),
        Err(RewriteError::Unreadable(_))
    ));
    assert!(matches!(
        rewritten("[table]\n"),
        Err(RewriteError::Structure("timeout"))
    ));
    assert!(rewritten("timeout = 5\n[table]\n").is_ok());
}

#[test]
fn rewrite_replaces_the_file_that_was_loaded() {
    use std::os::unix::fs::PermissionsExt as _;

    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("target.toml");
    let link = directory.path().join("coterie.toml");
    std::fs::write(&target, "# mine\ntimeout = 1\n").unwrap();
    std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let config = load(&format!("{} --maxclients 7", link.display()), &[]).unwrap();
    set(&config, &[("timeout", "2")])
        .unwrap()
        .rewrite()
        .unwrap();
    let text = std::fs::read_to_string(&link).unwrap();
    assert_eq!(
        text,
        "# mine\ntimeout = 2\n\n# Written by CONFIG REWRITE\nmaxclients = 7\n"
    );
    assert!(link.is_symlink());
    assert_eq!(
        target.metadata().unwrap().permissions().mode() & 0o777,
        0o640
    );
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);

    let error = Config::default().rewrite().unwrap_err();
    assert_eq!(
        error.to_string(),
        "The server is running without a config file"
    );
}
