//! The last change of every library there ever was, so that nodes which were apart come to the same libraries, whatever
//! they hear first: of two changes of one library the later one stays.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coterie_protocol::Version;
use serde::{Deserialize, Serialize};

use super::libraries::{Libraries, Library};

/// Libraries that are remembered to be gone.
const GONE_MAX: usize = 10_000;

/// When a library was changed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Changed {
    version: Version,
    /// Tells changes apart that nodes made at the same time.
    random: u64,
}

/// A change of a library, as nodes tell it each other and keep it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Change {
    /// When.
    pub changed: Changed,
    /// Of which.
    pub name: Vec<u8>,
    /// Its code, with the line that names it; `None` if it is gone.
    pub code: Option<Vec<u8>>,
}

#[derive(Debug)]
struct Entry {
    changed: Changed,
    library: Option<Arc<Library>>,
}

/// See the module.
#[derive(Default, Debug)]
pub(super) struct Catalogue(BTreeMap<Vec<u8>, Entry>);

impl Catalogue {
    /// Whether a change is later than what is known of its library.
    pub fn is_news(&self, change: &Change) -> bool {
        let known = self.0.get(&change.name);
        known.is_none_or(|known| known.changed < change.changed)
    }

    /// Takes a change in, if it is news. `library` is made of its code.
    pub fn take_in(&mut self, change: &Change, library: Option<Library>) {
        debug_assert_eq!(change.code.is_some(), library.is_some());
        if self.is_news(change) {
            let entry = Entry {
                changed: change.changed,
                library: library.map(Arc::new),
            };
            self.0.insert(change.name.clone(), entry);
            self.forget();
        }
    }

    /// Notes what is different `after` a change of the libraries. Those that others were in the way of are gone for good.
    pub fn note(&mut self, after: &Libraries, now_ms: u64) -> Vec<Change> {
        let last = self.0.values().map(|entry| entry.changed.version).max();
        let version = last.map_or(Version::ZERO, Version::successor);
        let version = version.max(Version::new(now_ms, 0));
        let is_there = |entry: &Entry| entry.library.is_some();
        let known = self.0.iter().filter(|(_, entry)| is_there(entry));
        let known = known.map(|(name, _)| name);
        let mut names: BTreeSet<Vec<u8>> = known.cloned().collect();
        names.extend(after.iter().map(|library| library.name.clone()));
        let mut changes = Vec::new();
        for name in names {
            let library = after.get(&name).cloned();
            let before = self.0.get(&name).and_then(|entry| entry.library.as_ref());
            if before.map(Arc::as_ptr) == library.as_ref().map(Arc::as_ptr) {
                continue;
            }
            let changed = Changed {
                version,
                random: rand::random(),
            };
            changes.push(Change {
                changed,
                name: name.clone(),
                code: library.as_ref().map(|library| library.code.to_vec()),
            });
            self.0.insert(name, Entry { changed, library });
        }
        self.forget();
        changes
    }

    /// The libraries there are. Where two have a function of the same name, which only happens on two sides of a cut, the
    /// later one stays.
    pub fn libraries(&self) -> Libraries {
        let mut latest: Vec<&Entry> = self.0.values().collect();
        latest.sort_by_key(|entry| std::cmp::Reverse(entry.changed));
        let mut libraries = Libraries::default();
        for library in latest.iter().filter_map(|entry| entry.library.as_ref()) {
            // It is known, but can't be called.
            let _ = libraries.add(library.clone(), false);
        }
        libraries
    }

    /// All that is known.
    pub fn changes(&self) -> impl Iterator<Item = Change> {
        self.0.iter().map(|(name, entry)| Change {
            changed: entry.changed,
            name: name.clone(),
            code: (entry.library.as_ref()).map(|library| library.code.to_vec()),
        })
    }

    fn forget(&mut self) {
        let gone = || self.0.iter().filter(|(_, entry)| entry.library.is_none());
        if gone().count() > GONE_MAX {
            let oldest = gone().min_by_key(|(_, entry)| entry.changed);
            if let Some(name) = oldest.map(|(name, _)| name.clone()) {
                self.0.remove(&name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::functions::{Function, FunctionFlags};

    fn library(change: &Change) -> Option<Library> {
        let code = change.code.as_ref()?;
        let function = Function {
            name: code.clone(),
            description: None,
            flags: FunctionFlags::default(),
        };
        Some(Library::new(&change.name, code, vec![function]))
    }

    fn names(catalogue: &Catalogue) -> Vec<(Vec<u8>, Vec<u8>)> {
        let libraries = catalogue.libraries();
        let all = libraries.iter();
        all.map(|it| (it.name.clone(), it.code.to_vec())).collect()
    }

    /// A few libraries with the same few functions, so that they get in each other's way.
    fn changes() -> impl Strategy<Value = Vec<Change>> {
        let change = (0..9u64, 0..4u8, prop::option::of(0..3u8));
        let change = change.prop_map(|(millis, name, code)| Change {
            changed: Changed {
                version: Version::new(millis, 0),
                random: u64::from(name) << 8 | code.map_or(255, u64::from),
            },
            name: vec![b'a' + name],
            code: code.map(|code| vec![b'x' + code]),
        });
        prop::collection::vec(change, 0..12)
    }

    proptest! {
        #[test]
        fn in_whatever_order_changes_come_the_libraries_are_the_same(
            (changes, shuffled) in changes().prop_flat_map(|changes| {
                (Just(changes.clone()), Just(changes).prop_shuffle())
            }),
        ) {
            let [one, other] = [changes, shuffled].map(|changes| {
                let mut catalogue = Catalogue::default();
                for change in changes {
                    catalogue.take_in(&change, library(&change));
                }
                catalogue
            });
            prop_assert_eq!(names(&one), names(&other));
            // So are those of who hears of it all later.
            let mut late = Catalogue::default();
            for change in one.changes() {
                prop_assert!(late.is_news(&change));
                late.take_in(&change, library(&change));
                prop_assert!(!late.is_news(&change));
            }
            prop_assert_eq!(names(&late), names(&one));
        }

        /// What a client changes is later than anything it could see.
        #[test]
        fn a_change_stays_where_it_was_made(changes in changes(), name in 0..4u8, deletes in any::<bool>()) {
            let mut catalogue = Catalogue::default();
            for change in changes {
                catalogue.take_in(&change, library(&change));
            }
            let mut after = catalogue.libraries();
            let name = vec![b'a' + name];
            if deletes {
                let _ = after.remove(&name);
            } else {
                let new = Library::new(&name, b"new", Vec::new());
                prop_assert_eq!(after.add(new.into(), true), Ok(()));
            }
            let expected: Vec<_> = after.iter().map(|it| it.name.clone()).collect();
            let told = catalogue.note(&after, 0);
            let all: Vec<_> = names(&catalogue).into_iter().map(|(name, _)| name).collect();
            prop_assert_eq!(all, expected);
            prop_assert!(told.iter().all(|change| !catalogue.is_news(change)));
        }
    }
}
