//! Flags and environment variables, and which source overrides which.

use std::os::unix::ffi::OsStringExt as _;

use super::*;

#[test]
fn each_source_overrides_the_one_before() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("coterie.toml");
    std::fs::write(&path, "timeout = 1\nhz = 11\nport = 1\ndatabases = 20\n").unwrap();
    let file_flag = format!("--config {}", path.display());

    let config = load(&file_flag, &[]).unwrap();
    assert_eq!((config.timeout, config.hz, config.port), (1, 11, 1));
    assert_eq!(config.file(), Some(path.as_path()));
    assert_eq!(config.maxclients, 10_000);

    let variables = [("COTERIE_HZ", "12"), ("COTERIE_PORT", "2"), ("PATH", "/")];
    let config = load(&file_flag, &variables).unwrap();
    assert_eq!((config.timeout, config.hz, config.port), (1, 12, 2));

    let config = load(&format!("{file_flag} --port 3"), &variables).unwrap();
    assert_eq!((config.timeout, config.hz, config.port), (1, 12, 3));

    let config = set(&config, &[("hz", "13")]).unwrap();
    assert_eq!((config.hz, config.databases), (13, 20));

    let by_variable = [("COTERIE_CONFIG", path.to_str().unwrap())];
    assert_eq!(load("", &by_variable).unwrap().hz, 11);
    assert_eq!(load(path.to_str().unwrap(), &[]).unwrap().hz, 11);
    assert_eq!(load("", &[]).unwrap(), Config::default());
}

#[test]
fn flags_have_the_manners_of_redis_server() {
    let config = load(
        "--port 7001 --bind 127.0.0.1 -::1 --dir data1 --durability always --requirepass=--x \
         --SLOWLOG-LOG-SLOWER-THAN -1 --client-output-buffer-limit normal 1 2 3 --appendonly yes",
        &[],
    )
    .unwrap();
    assert_eq!(config.port, 7001);
    assert_eq!(config.bind, ["127.0.0.1", "-::1"]);
    assert_eq!(config.dir, Path::new("data1"));
    assert_eq!(config.durability, Durability::Always);
    assert_eq!(config.requirepass.expose(), "--x");
    assert_eq!(config.slowlog_log_slower_than, -1);
    assert_eq!(config.client_output_buffer_limit.normal.soft, 2);
    assert_eq!(load("--port 1 --port 2", &[]).unwrap().port, 2);
    assert_eq!(
        load("--appendfsync no", &[]).unwrap().durability,
        Durability::Os
    );
    let empty = ["--save", "", "--requirepass", ""]
        .map(OsString::from)
        .to_vec();
    assert!(matches!(load_args(empty, &[]), Ok(Loaded::Run(_))));
}

#[test]
fn bad_flags_and_variables_are_refused_by_name() {
    for (args, expected) in [
        (
            "--prot 1",
            "flag --prot: unknown setting 'prot' (did you mean 'port'?)",
        ),
        ("--slaveof 1", "flag --slaveof: unknown setting 'slaveof'"),
        ("--port", "flag --port takes one value"),
        ("--port 1 2", "flag --port takes one value"),
        ("--bind", "flag --bind takes at least one value"),
        (
            "--config",
            "flag --config takes one value, the path of a TOML file",
        ),
        (
            "--port 1 --port x",
            "flag --port: port: argument couldn't be parsed into an integer (accepted: an integer from 0 to 65535)",
        ),
        (
            "--appendfsync os",
            "flag --appendfsync: appendfsync: argument(s) must be one of the following: everysec, always, no \
             (accepted: one of everysec, always, no)",
        ),
        (
            "-x",
            "unexpected argument '-x': flags are written --name value (see --help)",
        ),
        (
            "--",
            "unexpected argument '--': flags are written --name value (see --help)",
        ),
    ] {
        assert_eq!(load_error(args, &[]), expected, "{args}");
    }
    for (name, value, expected) in [
        (
            "COTERIE_TCP_BACKLOGS",
            "1",
            "environment variable COTERIE_TCP_BACKLOGS: unknown setting 'COTERIE_TCP_BACKLOGS' \
             (did you mean 'COTERIE_TCP_BACKLOG'?)",
        ),
        (
            "COTERIE_port",
            "1",
            "environment variable COTERIE_port: unknown setting 'COTERIE_port' (did you mean 'COTERIE_PORT'?)",
        ),
        (
            "COTERIE_PROTECTED_MODE",
            "1",
            "environment variable COTERIE_PROTECTED_MODE: protected-mode: argument must be 'yes' or 'no' \
             (accepted: yes or no)",
        ),
    ] {
        assert_eq!(load_error("", &[(name, value)]), expected);
    }
    let twice = [("COTERIE_APPENDFSYNC", "no"), ("COTERIE_DURABILITY", "os")];
    assert_eq!(
        load_error("", &twice),
        "environment variable COTERIE_DURABILITY: 'appendfsync' and 'durability' are the same setting: give only one"
    );
    let others = [
        ("COTERIE_TEST_X", "1"),
        ("COTERIE_WRITE_EXAMPLE", "1"),
        ("COTERIE", "1"),
    ];
    assert_eq!(load("", &others).unwrap(), Config::default());
}

#[test]
fn variables_that_kubernetes_injects_are_explained() {
    for (name, value) in [
        ("COTERIE_PORT", "tcp://10.0.0.1:6379"),
        ("COTERIE_PORT_6379_TCP", "tcp://10.0.0.1:6379"),
        ("COTERIE_SERVICE_HOST", "10.0.0.1"),
        ("COTERIE_SERVICE_PORT_REDIS", "6379"),
    ] {
        let error = load_error("", &[(name, value)]);
        assert!(error.contains("enableServiceLinks"), "{error}");
    }
}

#[test]
fn what_is_not_text_is_refused() {
    let bad = || OsString::from_vec(b"\xff".to_vec());
    for args in [
        vec![OsString::from("--dir"), bad()],
        vec![
            "--port".into(),
            "1".into(),
            OsString::from_vec(b"--\xff".to_vec()),
        ],
    ] {
        assert!(matches!(load_args(args, &[]), Err(ConfigError::NotText(_))));
    }
    for (name, value) in [
        (OsString::from("COTERIE_DIR"), bad()),
        (
            OsString::from_vec(b"COTERIE_\xff".to_vec()),
            OsString::new(),
        ),
    ] {
        let loaded = Config::load([], [(name, value)]);
        assert!(matches!(loaded, Err(ConfigError::NotText(_))));
    }
}

#[test]
fn some_flags_print_and_stop() {
    let printed = |flag: &str| match load_args(vec!["--port".into(), "1".into(), flag.into()], &[])
    {
        Ok(Loaded::Print(text)) => text,
        other => panic!("{other:?}"),
    };
    let help = printed("--help");
    for entry in entries().filter(|entry| entry.parameter.is_documented()) {
        assert!(
            help.contains(&format!("--{}", entry.name())),
            "{}",
            entry.name()
        );
    }
    assert!(help.lines().all(|line| line.len() <= 100), "{help}");
    assert_eq!(
        printed("-v"),
        format!("coterie {}\n", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(printed("--print-default-config"), Config::example());
}
