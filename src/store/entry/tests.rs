//! Entries under random edits are what plain vectors would be.

use proptest::prelude::*;

use super::*;
use crate::effect::Kind;

#[derive(Clone, Debug)]
enum Edit {
    Replace(Vec<u8>, Option<u64>),
    Expire(Option<u64>),
    Splice(usize, Vec<u8>),
    Hash(Vec<(u8, Vec<u8>)>),
    Actor(u16),
}

fn edit() -> impl Strategy<Value = Edit> {
    let value = || {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            prop::collection::vec(any::<u8>(), 1000..1100),
        ]
    };
    prop_oneof![
        any::<u16>().prop_map(Edit::Actor),
        (value(), any::<Option<u64>>()).prop_map(|(v, e)| Edit::Replace(v, e)),
        any::<Option<u64>>().prop_map(Edit::Expire),
        prop::collection::vec((any::<u8>(), value()), 1..5).prop_map(Edit::Hash),
        (0usize..1500, value()).prop_map(|(o, v)| Edit::Splice(o, v)),
    ]
}

proptest! {
    #[test]
    fn edits_match_a_plain_vector(
        key in prop_oneof![prop::collection::vec(any::<u8>(), 0..20), prop::collection::vec(any::<u8>(), 250..300)],
        edits in prop::collection::vec(edit(), 0..20),
    ) {
        let mut entry = Entry::new(&Parts {
            key: &key, value: b"first", encoding: StringEncoding::Embedded,
            expire_at: None, version: Version::from_bits(7), actor: Actor::default(), access: 0xabcdef,
        });
        let (mut value, mut expire_at, mut actor) = (b"first".to_vec(), None, Actor(0));
        for edit in edits {
            match edit {
                Edit::Replace(v, e) => {
                    entry.replace(&v, StringEncoding::of(&v), e);
                    (value, expire_at) = (v, e);
                }
                Edit::Expire(e) => {
                    entry.set_expire_at(e);
                    expire_at = e;
                }
                Edit::Hash(fields) => {
                    let mut hash = Collection::new(Kind::Hash, 1);
                    fields.iter().for_each(|(field, value)| hash.set(&[*field], value));
                    let parts = Parts { expire_at: None, ..entry.parts() };
                    entry = Entry::with_collection(&parts, Box::new(hash), None);
                    expire_at = None;
                    value.clear();
                    let copy = entry.duplicate();
                    for (field, _) in &fields {
                        let last = fields.iter().rfind(|(f, _)| f == field).map(|(_, v)| &v[..]);
                        for entry in [&entry, &copy] {
                            prop_assert_eq!(entry.hash().unwrap().get(&[*field]), last);
                        }
                    }
                    prop_assert_eq!(copy.expire_at(), entry.expire_at());
                }
                Edit::Actor(number) => {
                    actor = Actor(number);
                    entry.set_stamp(Stamp::new(entry.version(), actor));
                }
                Edit::Splice(..) if entry.kind() == Kind::Hash => {}
                Edit::Splice(offset, bytes) => {
                    entry.splice(offset, &bytes);
                    if value.len() < offset + bytes.len() {
                        value.resize(offset + bytes.len(), 0);
                    }
                    value[offset..offset + bytes.len()].copy_from_slice(&bytes);
                }
            }
            prop_assert_eq!(entry.key(), &key[..]);
            prop_assert_eq!(entry.actor(), actor);
            prop_assert_eq!(entry.value(), &value[..]);
            prop_assert_eq!(entry.expire_at(), expire_at);
            prop_assert_eq!(entry.access(), 0xabcdef);
            prop_assert_eq!(entry.version(), Version::from_bits(7));
            prop_assert!(entry.allocated_bytes() >= key.len() + value.len());
        }
    }
}

#[test]
fn a_small_key_and_value_share_a_cache_line() {
    let entry = Entry::new(&Parts {
        key: &[b'k'; 16],
        value: &[b'v'; 32],
        encoding: StringEncoding::Embedded,
        expire_at: None,
        version: Version::from_bits(1),
        actor: Actor::default(),
        access: 0,
    });
    assert_eq!(entry.allocated_bytes(), 64);
}
