//! The options of `SORT`.

use std::ops::Range;

use coterie_protocol::Request;
use coterie_protocol::text::parse_i64;

use crate::commands::CommandError;

/// See the module.
#[derive(Default)]
pub struct Options<'a> {
    /// Pattern of the keys that hold what is sorted by.
    pub by: Option<&'a [u8]>,
    /// Nothing is sorted: the pattern is the same for all elements.
    pub keeps_order: bool,
    /// Patterns of the keys that hold what is answered; none for the elements themselves.
    pub get: Vec<&'a [u8]>,
    limit: Option<(i64, i64)>,
    /// From the highest to the lowest.
    pub is_descending: bool,
    /// By text, not by number.
    pub is_alphabetic: bool,
    /// Where the results are kept.
    pub store: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    /// Reads what follows the key.
    ///
    /// # Errors
    /// It makes no sense, or can't be done in a cluster, where keys that elements name may be anywhere.
    pub fn parse(
        request: Request<'a>,
        may_store: bool,
        is_clustered: bool,
    ) -> Result<Self, CommandError> {
        let mut options = Options::default();
        let mut index = 2;
        while let Some(word) = request.get(index) {
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            let (one, two) = (request.get(index + 1), request.get(index + 2));
            match (one, two) {
                _ if is(b"asc") => options.is_descending = false,
                _ if is(b"desc") => options.is_descending = true,
                _ if is(b"alpha") => options.is_alphabetic = true,
                (Some(start), Some(count)) if is(b"limit") => {
                    let number = |text| parse_i64(text).ok_or(CommandError::NotInteger);
                    options.limit = Some((number(start)?, number(count)?));
                    index += 2;
                }
                (Some(key), _) if is(b"store") && may_store => {
                    options.store = Some(key);
                    index += 1;
                }
                (Some(pattern), _) if is(b"by") => {
                    options.set_by(pattern, is_clustered)?;
                    index += 1;
                }
                (Some(pattern), _) if is(b"get") => {
                    if is_clustered {
                        return Err(CommandError::line(
                            "ERR GET option of SORT denied in Cluster mode.",
                        ));
                    }
                    options.get.push(pattern);
                    index += 1;
                }
                _ => return Err(CommandError::Syntax),
            }
            index += 1;
        }
        Ok(options)
    }

    fn set_by(&mut self, pattern: &'a [u8], is_clustered: bool) -> Result<(), CommandError> {
        self.by = Some(pattern);
        if !pattern.contains(&b'*') {
            self.keeps_order = true;
        } else if is_clustered {
            return Err(CommandError::line(
                "ERR BY option of SORT denied in Cluster mode.",
            ));
        }
        Ok(())
    }

    /// Which of so many elements are wanted. A negative count means all that are left.
    pub fn range(&self, length: usize) -> Range<usize> {
        let Some((start, count)) = self.limit else {
            return 0..length;
        };
        let start = usize::try_from(start.max(0)).unwrap_or(usize::MAX);
        let start = start.min(length);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        start..start.saturating_add(count).min(length)
    }
}
