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
        Kind::Text => vec!["a b".into(), "é\"\\\n'#".into(), String::new()],
        Kind::List => vec!["* -::*".into(), String::new()],
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
fn a_password_is_not_shown() {
    let config = set(&Config::default(), &[("requirepass", "hunter2")]).unwrap();
    assert_eq!(config.requirepass.expose(), "hunter2");
    assert!(!format!("{config:?}").contains("hunter2"));
    assert!(Config::is_secret(b"RequirePass") && !Config::is_secret(b"port"));
    let error = from_file("requirepass = ['hunter2']").unwrap_err();
    assert!(!error.contains("hunter2"));
}
