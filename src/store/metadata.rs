//! What is known of a key in a replicated database beyond a value and one stamp. Most keys have none.

use coterie_protocol::Stamp;

use super::collection::Collection;
use super::register::Register;
use super::size_class::size_class;
use crate::effect::Kind;

/// The latest `ExpireAt` or `Put`, and when the key expires by it.
pub(super) type Expiry = (Stamp, Option<u64>);

/// See the module. Behind a pointer in the entry.
#[derive(Default)]
pub(super) struct Metadata {
    /// Everything at or below is gone.
    pub mark: Stamp,
    /// The latest write, and the type it made the key.
    pub kind: Option<(Stamp, Kind)>,
    /// The string; its text is the entry's value when the content is `Shown`.
    pub register: Register,
    pub expiry: Option<Expiry>,
    /// Deleted elements of a key that is a string at present.
    pub shadow: Option<Box<Collection>>,
}

impl Metadata {
    /// A copy, of all that it owns too.
    pub fn duplicate(&self) -> Self {
        Metadata {
            mark: self.mark,
            kind: self.kind,
            register: self.register.clone(),
            expiry: self.expiry,
            shadow: self
                .shadow
                .as_ref()
                .map(|shadow| Box::new(shadow.duplicate())),
        }
    }

    /// Memory of it and behind it, in bytes.
    pub fn allocated_bytes(&self) -> usize {
        let shadow = self.shadow.as_ref();
        size_class(size_of::<Metadata>())
            + self.register.allocated_bytes()
            + shadow.map_or(0, |shadow| shadow.allocated_bytes())
    }
}
