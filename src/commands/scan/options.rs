//! The options of `SCAN` and of the commands that walk over one key.

use coterie_protocol::Request;
use coterie_protocol::text::parse_i64;

use crate::commands::CommandError;

/// Elements visited without `COUNT`.
const DEFAULT_COUNT: usize = 10;

/// What one call of a walk is asked for.
#[derive(Clone, Copy)]
pub struct ScanOptions<'a> {
    /// About how many elements to visit; at least 1.
    pub count: usize,
    /// `None` where every name matches.
    pub pattern: Option<&'a [u8]>,
    /// A type of keys; `None` for every type.
    pub kind: Option<&'a [u8]>,
}

impl<'a> ScanOptions<'a> {
    /// Reads the arguments from number `first` on. `TYPE` is for walks over keys.
    ///
    /// # Errors
    /// They make no sense.
    pub fn parse(
        request: Request<'a>,
        first: usize,
        over_keys: bool,
    ) -> Result<Self, CommandError> {
        let mut options = ScanOptions {
            count: DEFAULT_COUNT,
            pattern: None,
            kind: None,
        };
        let mut words = request.iter().skip(first);
        while let Some(word) = words.next() {
            let value = words.next().ok_or(CommandError::Syntax)?;
            if word.eq_ignore_ascii_case(b"count") {
                let number = parse_i64(value).ok_or(CommandError::NotInteger)?;
                if number < 1 {
                    return Err(CommandError::Syntax);
                }
                options.count = usize::try_from(number).unwrap_or(usize::MAX);
            } else if word.eq_ignore_ascii_case(b"match") {
                options.pattern = (value != b"*").then_some(value);
            } else if over_keys && word.eq_ignore_ascii_case(b"type") {
                options.kind = Some(value);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(options)
    }
}
