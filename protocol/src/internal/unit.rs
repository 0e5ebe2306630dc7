//! A transaction that another node executes: an argument of the internal command `COTERIE.UNIT`.
//!
//! | what | fields |
//! | --- | --- |
//! | number of watched keys | `u32` |
//! | watched key, each | fingerprint `u64`, key `bytes` |
//! | request, each, up to the end | as in [`super::execute`] |

use super::Fields;
use super::execute::{Malformed, put_bytes, put_request, take_bytes, take_request};

/// A transaction: commands that are executed as one if no watched key has changed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Unit<'a> {
    /// Keys with the fingerprint each must have.
    pub watched: Vec<(&'a [u8], u64)>,
    /// Requests: names and arguments.
    pub requests: Vec<Vec<&'a [u8]>>,
}

impl<'a> Unit<'a> {
    /// Encodes it.
    pub fn encode(&self) -> Vec<u8> {
        debug_assert!(u32::try_from(self.watched.len()).is_ok());
        let mut out = (self.watched.len() as u32).to_le_bytes().to_vec();
        for (key, fingerprint) in &self.watched {
            out.extend_from_slice(&fingerprint.to_le_bytes());
            put_bytes(&mut out, key);
        }
        for request in &self.requests {
            put_request(request.iter().copied(), &mut out);
        }
        out
    }

    /// Decodes what [`Unit::encode`] gave.
    ///
    /// # Errors
    /// The bytes are no transaction.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields(bytes);
        let mut unit = Unit::default();
        let count = fields.array().map(u32::from_le_bytes).ok_or(Malformed)?;
        for _ in 0..count {
            let fingerprint = fields.u64().ok_or(Malformed)?;
            let key = take_bytes(&mut fields).ok_or(Malformed)?;
            unit.watched.push((key, fingerprint));
        }
        while !fields.0.is_empty() {
            unit.requests
                .push(take_request(&mut fields).ok_or(Malformed)?);
        }
        Ok(unit)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::execute::tests::requests;
    use super::*;

    proptest! {
        #[test]
        fn units_round_trip(
            watched in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..20), any::<u64>()), 0..4),
            requests in prop::collection::vec(requests(), 0..4),
        ) {
            let unit = Unit {
                watched: watched.iter().map(|(key, seen)| (key.as_slice(), *seen)).collect(),
                requests: requests.iter().map(|r| r.iter().map(Vec::as_slice).collect()).collect(),
            };
            let bytes = unit.encode();
            prop_assert_eq!(Unit::decode(&bytes), Ok(unit));
        }

        #[test]
        fn fuzz_units(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Unit::decode(&bytes);
        }
    }
}
