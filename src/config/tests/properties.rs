//! Generated input: nothing panics, and what is accepted is kept.

use std::os::unix::ffi::OsStringExt as _;

use proptest::prelude::*;

use super::file::HAND_WRITTEN;
use super::*;

/// Text that often is almost a valid value.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-9]{0,20}(k|kb|MB|gb|%)?",
        "-?[0-9.e]{0,8}",
        "(yes|no|always|os|NO|debug|json|allkeys-lru)",
        "((normal|slave|pubsub|x) [0-9]{1,3}(mb)? [0-9]{1,3} [0-9]{1,3} ?){0,3}",
        "([0-9]{1,3}(\\.[0-9]{1,3})? ?){0,4}",
        any::<String>(),
    ]
}

proptest! {
    #[test]
    fn arbitrary_bytes_as_a_file_do_not_panic(bytes in any::<Vec<u8>>()) {
        let _ = from_file(&bytes);
    }

    #[test]
    fn arbitrary_values_in_a_file_do_not_panic(
        bom in any::<bool>(),
        index in any::<prop::sample::Index>(),
        value in "[-+0-9a-z._'\"\\[\\],{}=#é\r\n ]{0,20}",
    ) {
        let names: Vec<&str> = entries().map(|entry| entry.name()).collect();
        let text = format!("{}# é\n{} = {value}", if bom { "\u{feff}" } else { "" }, index.get(&names));
        let _ = from_file(&text);
        let config = Config { timeout: 77, ..Config::default() };
        if let Ok(text) = rewrite::rewritten(&config, Path::new("x"), &text) {
            prop_assert_eq!(from_file(&text).map(|config| config.timeout), Ok(77));
        }
    }

    #[test]
    fn arbitrary_arguments_do_not_panic(
        args in prop::collection::vec(any::<Vec<u8>>(), 0..5),
        variable in any::<Vec<u8>>(),
        value in any::<Vec<u8>>(),
    ) {
        // Flags only: a plain first argument is a file.
        let args = std::iter::once(OsString::from("--port=1")).chain(args.into_iter().map(OsString::from_vec));
        let args: Vec<OsString> = args.filter(|arg| arg != "--config").collect();
        let variable = [b"COTERIE_".to_vec(), variable].concat();
        if variable != b"COTERIE_CONFIG" {
            let _ = Config::load(args, [(OsString::from_vec(variable), OsString::from_vec(value))]);
        }
    }

    #[test]
    fn arbitrary_pairs_do_not_panic(name in any::<Vec<u8>>(), value in any::<Vec<u8>>()) {
        let config = Config::default();
        let _ = config.set(&[(&name, &value)]);
        let _ = config.get(&name);
        for entry in entries() {
            let _ = entry.assign_bytes(&mut config.clone(), &value);
        }
    }

    #[test]
    fn what_is_accepted_survives_get_and_rewrite(
        values in prop::collection::vec((any::<prop::sample::Index>(), value()), 1..12),
    ) {
        let is_shown = |entry: &Entry| entry.parameter.kind != Kind::Hidden;
        let all: Vec<_> = entries().filter(is_shown).collect();
        let mut config = Config::default();
        for (index, value) in values {
            let entry = index.get(&all);
            let before = config.clone();
            if entry.assign(&mut config, &value).is_err() {
                prop_assert_eq!(&before, &config);
                continue;
            }
            let shown = entry.get(&config);
            let mut again = config.clone();
            prop_assert!(entry.assign(&mut again, &shown).is_ok());
            prop_assert_eq!(&again, &config);
        }
        for old in ["", HAND_WRITTEN, &Config::example()] {
            let text = rewrite::rewritten(&config, Path::new("x"), old).unwrap();
            prop_assert_eq!(&from_file(&text).unwrap(), &config);
            prop_assert_eq!(&rewrite::rewritten(&config, Path::new("x"), &text).unwrap(), &text);
        }
    }
}
