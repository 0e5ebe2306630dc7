//! Rules that every command of the table keeps.

use std::collections::HashSet;

use coterie_protocol::{OwnedRequest, Request};

use super::{commands, keys};
use crate::commands::spec::{CommandSpec, Flags, Handler, KeyFlags, Keys};

fn all() -> impl Iterator<Item = &'static CommandSpec> {
    commands::all().iter().map(|command| command.spec)
}

#[test]
fn names_are_unique_and_in_lower_case() {
    let mut seen = HashSet::new();
    for spec in all() {
        assert!(!spec.name.is_empty());
        assert_eq!(spec.name, spec.name.to_ascii_lowercase());
        assert!(seen.insert(spec.name), "{} is there twice", spec.name);
        let found = commands::by_name(spec.name.to_ascii_uppercase().as_bytes());
        assert!(found.is_some_and(|command| std::ptr::eq(command.spec, spec)));
    }
}

#[test]
fn subcommands_are_named_after_their_container() {
    for container in all() {
        assert!(container.subcommands.is_empty() || !container.name.contains('|'));
        for subcommand in container.subcommands {
            let word = subcommand.name.strip_prefix(container.name);
            let word = word.and_then(|rest| rest.strip_prefix('|'));
            assert!(
                word.is_some_and(|word| !word.is_empty() && !word.contains('|')),
                "{} in {}",
                subcommand.name,
                container.name
            );
            assert!(subcommand.subcommands.is_empty());
            assert!(!matches!(subcommand.handler, Handler::Container));
        }
        if matches!(container.handler, Handler::Container) {
            assert!(!container.subcommands.is_empty(), "{}", container.name);
        }
    }
}

#[test]
fn arities_count_all_names() {
    for spec in all() {
        let names = spec.name.split('|').count();
        let has_to_be_more = matches!(spec.handler, Handler::Container);
        let least = (names + usize::from(has_to_be_more)) as i32;
        assert!(spec.arity.abs() >= least, "{}: {}", spec.name, spec.arity);
    }
}

#[test]
fn everything_is_documented() {
    for spec in all() {
        let docs = &spec.docs;
        for text in [docs.summary, docs.since, docs.group] {
            assert!(!text.is_empty(), "{}", spec.name);
        }
        // Redis tells none for these.
        let has_complexity = !matches!(spec.name, "lolwut" | "monitor");
        assert_eq!(has_complexity, !docs.complexity.is_empty(), "{}", spec.name);
        let is_deprecated = docs.flags.contains(&"deprecated");
        assert_eq!(
            is_deprecated,
            !docs.deprecated_since.is_empty(),
            "{}",
            spec.name
        );
        for argument in docs.arguments {
            assert!(!argument.name.is_empty(), "{}", spec.name);
            let of_spec = argument
                .key_spec_index
                .is_none_or(|index| index < spec.key_specs.len());
            assert!(of_spec, "{}: {}", spec.name, argument.name);
        }
    }
}

#[test]
fn a_key_specification_says_one_way_of_use() {
    // What nodes send each other needs no documentation.
    for spec in all().filter(|spec| !spec.flags.contains(Flags::INTERNAL)) {
        assert_eq!(
            spec.key_specs.is_empty(),
            matches!(spec.keys, Keys::None),
            "{}",
            spec.name
        );
        for key_spec in spec.key_specs {
            let ways = [0, 1, 2, 3].map(|bit| key_spec.flags.bits() >> bit & 1);
            // What is only routed like a key is not used in any way.
            let is_key = !key_spec.flags.contains(KeyFlags::NOT_KEY);
            assert_eq!(
                ways.iter().sum::<u32>(),
                u32::from(is_key),
                "{}: one of RO, RW, OW, RM",
                spec.name
            );
        }
    }
}

#[test]
fn the_keys_told_are_the_keys_locked() {
    for spec in all().filter(|spec| !spec.key_specs.is_empty()) {
        for extra in 0..4 {
            let mut words: Vec<String> = spec.name.split('|').map(str::to_owned).collect();
            let count = spec.arity.unsigned_abs() as usize + if spec.arity < 0 { extra } else { 0 };
            words.extend((words.len()..count).map(|index| format!("argument{index}")));
            let owned = OwnedRequest::new(&words);
            let request: Request<'_> = owned.request();
            let locked: Vec<&[u8]> = spec.keys.of(request).collect();
            let Ok(told) = keys::of(request) else {
                assert_eq!(locked.len(), 0, "{words:?}");
                continue;
            };
            let told: Vec<&[u8]> = told.iter().map(|(key, _)| *key).collect();
            assert_eq!(told, locked, "{words:?}");
        }
    }
}
