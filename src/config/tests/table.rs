//! Every row of the table, in every form.

use super::*;

/// Texts that a parameter of this kind takes, none of them its usual default.
fn samples(kind: &Kind) -> Vec<String> {
    match kind {
        Kind::Integer { min, max } | Kind::Clamped { min, max } => {
            vec![min.to_string(), max.to_string()]
        }
        Kind::PowerOfTwo { max } => vec!["1".into(), max.to_string()],
        Kind::Memory { min, max } => vec![min.to_string(), max.to_string()],
        Kind::MemoryOrPercent => vec!["1".into(), u64::MAX.to_string(), "0%".into(), "100%".into()],
        Kind::Octal => vec!["1".into(), "777".into()],
        Kind::Bool => vec!["yes".into(), "no".into()],
        Kind::Keyword(words) => words.iter().map(|word| (*word).to_owned()).collect(),
        Kind::Hidden => vec![String::new()],
        Kind::Ip => vec!["192.0.2.1".into(), "2001:db8::1".into(), String::new()],
        Kind::Hostname => vec!["a-1.example.org".into(), String::new()],
        Kind::Endpoints => vec!["a:1 [::1]:65535".into(), String::new()],
        Kind::Quorum => vec!["all".into(), "majority".into(), "1".into(), "255".into()],
        Kind::EventClasses => vec!["AKEm".into(), "g$nE".into(), String::new()],
        Kind::Text => vec!["a b".into(), "é\"\\\n'#".into(), String::new()],
        Kind::List => vec!["* -::*".into(), String::new()],
        Kind::Lines => vec!["a on nopass\nb off".into(), String::new()],
        Kind::Percentiles => vec!["0 100 12.5".into(), String::new()],
        Kind::OutputBufferLimits => vec!["normal 1 2 3 slave 4 5 6 pubsub 7 8 9".into()],
        Kind::Fixed { value } => vec![(*value).to_owned()],
    }
}

#[test]
fn every_parameter_round_trips_through_every_text_form() {
    for parameter in parameter::all() {
        for sample in samples(&parameter.kind) {
            let mut config = Config::default();
            (parameter.set)(&mut config, &sample)
                .unwrap_or_else(|error| panic!("{} {sample:?}: {error}", parameter.name));
            assert_eq!((parameter.get)(&config), sample, "{}", parameter.name);
            if parameter.change == Change::Live {
                let again = set(&Config::default(), &[(parameter.name, &sample)]).unwrap();
                assert_eq!(again, config);
            }
            let toml = crate::config::file::toml_value(&parameter.kind, &sample);
            let line = format!("{} = {toml}\n", parameter.name);
            assert_eq!(from_file(&line).unwrap(), config, "{line}");
            let variable = environment::variable(parameter.name);
            assert_eq!(
                load("", &[(&variable, &sample)]).unwrap(),
                config,
                "{variable}"
            );
            let flag = OsString::from(format!("--{}={sample}", parameter.name));
            match load_args(vec![flag], &[]).unwrap() {
                Loaded::Run(loaded) => assert_eq!(*loaded, config),
                Loaded::Print(text) => panic!("{text}"),
            }
        }
    }
}

#[test]
fn the_table_is_sound() {
    let mut names: Vec<&str> = entries().map(|entry| entry.name()).collect();
    names.sort_unstable();
    assert!(
        names.is_sorted_by(|left, right| left < right),
        "a name is used twice"
    );
    for parameter in parameter::all() {
        let summary = parameter.summary();
        assert!(summary.ends_with('.') && summary.len() > 10, "{summary}");
        assert!(
            parameter
                .name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
        );
        assert!(lookup(&parameter.name.to_ascii_uppercase()).is_some());
    }
}

#[test]
fn addresses_are_checked() {
    for wrong in ["a", "a:", ":1", "a:0", "a:65536", "::1:5", "a:1 b"] {
        assert!(load(&format!("--join {wrong}"), &[]).is_err(), "{wrong}");
    }
    for wrong in [
        "cluster-announce-hostname = 'a b'",
        "cluster-announce-ip = 'localhost'",
        "write-quorum = 0",
        "read-quorum = 'most'",
        "join = 6379",
    ] {
        assert!(from_file(wrong).is_err(), "{wrong}");
    }
    let config = from_file("join = ['a:1']\nwrite-quorum = 2").unwrap();
    assert_eq!(config.join, ["a:1"]);
    assert_eq!(config.write_quorum, crate::topology::Quorum::Count(2));
}

#[test]
fn the_secret_of_the_cluster_is_not_shown() {
    let config = from_file("cluster-secret = 'hunter2'").unwrap();
    assert_eq!(config.cluster_secret.expose(), "hunter2");
    assert_eq!(config.get(b"cluster-secret")[0].1, "");
    assert!(!format!("{config:?}").contains("hunter2"));
    assert!(Config::is_secret(b"cluster-secret"));
    let known = config.read_cluster_secret().unwrap();
    assert_eq!(known, Some(config.cluster_secret.clone()));
    assert_eq!(Config::default().read_cluster_secret().unwrap(), None);

    let file = tempfile::NamedTempFile::new().unwrap();
    let mut config = config;
    config.cluster_secret_file = Some(file.path().to_owned());
    assert!(config.read_cluster_secret().is_err(), "it is empty");
    std::fs::write(file.path(), "from a file\n").unwrap();
    let secret = config.read_cluster_secret().unwrap();
    assert_eq!(secret, Some(Secret::new("from a file")));
}

#[test]
fn what_is_for_tests_is_not_advertised() {
    assert!(lookup("debug-clock-offset-ms").is_some());
    assert!(!Config::example().contains("debug-clock-offset-ms"));
}

#[test]
fn a_password_is_not_shown() {
    let config = set(&Config::default(), &[("requirepass", "hunter2")]).unwrap();
    assert_eq!(config.requirepass.expose(), "hunter2");
    assert!(!format!("{config:?}").contains("hunter2"));
    assert!(Config::is_secret(b"RequirePass") && !Config::is_secret(b"port"));
    let error = from_file("requirepass = ['hunter2']").unwrap_err();
    assert!(!error.contains("hunter2"));
}
