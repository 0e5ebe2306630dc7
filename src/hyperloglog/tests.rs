//! The laws of joining, and that no string makes anything panic.

use proptest::prelude::*;

use super::*;

const SPARSE_MAX: usize = 3000;

/// A sketch of elements, some of them so many that it is dense.
fn sketch() -> impl Strategy<Value = Vec<u8>> {
    let some = prop::collection::vec(0..40u32, 0..6);
    (
        some,
        prop_oneof![6 => Just(0u32), 1 => Just(3000)],
        any::<bool>(),
    )
        .prop_map(|(elements, many, dense)| {
            let mut sketch = Sketch::default();
            for element in elements.into_iter().chain(100..100 + many) {
                sketch.add(&element.to_le_bytes(), SPARSE_MAX).unwrap();
            }
            if dense {
                sketch.make_dense().unwrap();
            }
            sketch.0
        })
}

/// A sketch or something like it.
fn string() -> impl Strategy<Value = Vec<u8>> {
    let bytes = prop::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        8 => sketch(),
        1 => bytes.clone(),
        2 => bytes.prop_map(|mut bytes| {
            let start = bytes.len().min(5);
            bytes[..start].copy_from_slice(&b"HYLL\x01"[..start]);
            bytes
        }),
        2 => (sketch(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(mut s, at, byte)| {
            let at = at.index(s.len());
            s[at] = byte;
            s
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn joining_is_a_semilattice(a in string(), b in string(), c in string()) {
        prop_assert_eq!(join(&a, &a), a.clone());
        prop_assert_eq!(join(&a, &b), join(&b, &a));
        prop_assert_eq!(join(&join(&a, &b), &c), join(&a, &join(&b, &c)));
        let both = join(&a, &b);
        prop_assert_eq!(join(&both, &a), both);
    }

    #[test]
    fn joined_is_what_one_sketch_of_all_would_be(
        a in prop::collection::vec(any::<u16>(), 0..400),
        b in prop::collection::vec(any::<u16>(), 0..400),
    ) {
        let sketch_of = |elements: &mut dyn Iterator<Item = &u16>| {
            let mut sketch = Sketch::default();
            for element in elements {
                sketch.add(&element.to_le_bytes(), 100).unwrap();
            }
            sketch.0
        };
        let joined = join(&sketch_of(&mut a.iter()), &sketch_of(&mut b.iter()));
        let all = sketch_of(&mut a.iter().chain(&b));
        prop_assert_eq!(registers_of(&joined).unwrap(), registers_of(&all).unwrap());
    }

    #[test]
    fn fuzz_strings(
        string in string(),
        element in any::<[u8; 3]>(),
        (index, value) in (0..REGISTERS, 0..64u8),
        sparse_max in 0..200usize,
    ) {
        cached(&string);
        runs(&string).count();
        if let Ok(registers) = registers_of(&string) {
            estimate(&registers);
            let packed = Sketch::from_registers(&registers);
            prop_assert_eq!(registers_of(packed.bytes()).unwrap(), registers);
        }
        let Some(mut sketch) = Sketch::of(&string) else {
            prop_assert!(encoding(&string).is_none());
            return Ok(());
        };
        let before = registers_of(&string);
        let raised = sketch.raise(index, value, sparse_max);
        if let (Ok(mut before), Ok(raised)) = (before, raised) {
            prop_assert_eq!(raised, value > before[index]);
            before[index] = before[index].max(value);
            prop_assert_eq!(registers_of(sketch.bytes()).unwrap(), before);
        }
        let _ = sketch.add(&element, sparse_max);
        let _ = sketch.make_dense();
        prop_assert!(encoding(sketch.bytes()).is_some());
    }
}

/// The standard error of 16384 registers is 0.8 %; four of those are not exceeded by these elements.
#[test]
fn estimates_are_close() {
    let mut sketch = Sketch::default();
    for element in 0..200_000u32 {
        sketch.add(&element.to_le_bytes(), SPARSE_MAX).unwrap();
        let seen = element + 1;
        if seen.is_power_of_two() {
            let estimate = estimate(&registers_of(sketch.bytes()).unwrap()) as f64;
            let error = (estimate - f64::from(seen)).abs() / f64::from(seen);
            assert!(error < 0.033, "{estimate} of {seen}");
        }
    }
}
