use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Edit {
    Set(Vec<u8>, Vec<u8>, (u64, u16)),
    Insert(usize, Vec<u8>, Vec<u8>),
    Remove(Vec<u8>),
    RemoveAt(usize),
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        9 => prop::collection::vec(0u8..3, 0..4),
        1 => (0u8..3).prop_map(|byte| vec![byte; 200]),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        9 => prop::collection::vec(any::<u8>(), 0..12),
        1 => prop::collection::vec(any::<u8>(), 120..140),
        1 => Just(vec![7; 20_000]),
    ]
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        4 => (name(), value(), any::<(u64, u16)>()).prop_map(|(n, v, s)| Edit::Set(n, v, s)),
        2 => (any::<usize>(), name(), value()).prop_map(|(i, n, v)| Edit::Insert(i, n, v)),
        1 => name().prop_map(Edit::Remove),
        1 => any::<usize>().prop_map(Edit::RemoveAt),
    ]
}

type Model = Vec<(Vec<u8>, Vec<u8>, (u64, u16))>;

fn check(packed: &Packed, model: &Model, is_stamped: bool) -> Result<(), TestCaseError> {
    let view = packed.view();
    prop_assert_eq!(view.len(), model.len());
    prop_assert_eq!(view.is_stamped(), is_stamped);
    let elements = model.iter().map(|(name, value, stamp)| Element {
        name,
        value,
        stamp: if is_stamped { *stamp } else { (0, 0) },
    });
    prop_assert!(view.iter().eq(elements.clone()));
    for (index, element) in elements.enumerate() {
        prop_assert_eq!(view.position(element.name), Some((index, element)));
        prop_assert_eq!(view.get(index), Some(element));
    }
    prop_assert_eq!(view.find(b"none of these"), None);
    prop_assert_eq!(view.get(model.len()), None);
    Ok(())
}

proptest! {
    #[test]
    fn is_a_list_of_pairs(edits in prop::collection::vec(edit(), 0..200), is_stamped in any::<bool>()) {
        let mut packed = Packed::new(is_stamped);
        let mut model = Model::new();
        for edit in edits {
            match edit {
                Edit::Set(name, value, stamp) => {
                    let element = Element { name: &name, value: &value, stamp };
                    let at = model.iter().position(|other| other.0 == name);
                    prop_assert_eq!(packed.set(element), at.is_none());
                    match at {
                        Some(at) => model[at] = (name, value, stamp),
                        None => model.push((name, value, stamp)),
                    }
                }
                Edit::Insert(at, name, value) if model.iter().all(|other| other.0 != name) => {
                    let at = at % (model.len() + 1);
                    packed.insert(at, Element { name: &name, value: &value, stamp: (1, 2) });
                    model.insert(at, (name, value, (1, 2)));
                }
                Edit::Insert(..) => {}
                Edit::Remove(name) => {
                    let at = model.iter().position(|other| other.0 == name);
                    prop_assert_eq!(packed.remove(&name), at.is_some());
                    at.map(|at| model.remove(at));
                }
                Edit::RemoveAt(at) => {
                    let at = at % (model.len() + 1);
                    prop_assert_eq!(packed.remove_at(at), at < model.len());
                    if at < model.len() {
                        model.remove(at);
                    }
                }
            }
            check(&packed, &model, is_stamped)?;
            prop_assert!(packed.allocated_bytes() <= 64 + 3 * packed.as_bytes().len());
        }
        let copy = Packed::from_bytes(packed.as_bytes().to_vec());
        check(&copy, &model, is_stamped)?;
    }
}

#[test]
fn two_bytes_an_element_and_one_in_all() {
    let mut packed = Packed::new(false);
    for n in 0..63 {
        let name = format!("field{n}");
        let element = Element {
            name: name.as_bytes(),
            value: b"value",
            stamp: (0, 0),
        };
        let before = packed.as_bytes().len();
        packed.set(element);
        assert_eq!(packed.as_bytes().len(), before + name.len() + 5 + 2);
        let length = packed.as_bytes().len();
        let class = crate::store::size_class::size_class(length);
        assert_eq!(packed.allocated_bytes(), class, "{length} bytes");
    }
}
