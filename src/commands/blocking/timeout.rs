//! Timeouts as arguments of commands that wait.

use std::time::Duration;

use rustc_apfloat::ieee::X87DoubleExtended;
use rustc_apfloat::{Float, Round, Status};

use crate::commands::{CommandError, long_double};

/// A timeout in seconds, rounded up to milliseconds; `None` for 0, which is never.
///
/// # Errors
/// It is no number, or negative. Redis takes what is too large for a negative number, too.
pub fn timeout(text: &[u8]) -> Result<Option<Duration>, CommandError> {
    let seconds = long_double::parse(text).ok_or(CommandError::line(
        "ERR timeout is not a float or out of range",
    ))?;
    let thousand = X87DoubleExtended::from_u128(1000).value;
    let mut is_exact = false;
    let rounded = (seconds * thousand)
        .value
        .to_i128_r(64, Round::TowardPositive, &mut is_exact);
    let milliseconds = match u64::try_from(rounded.value) {
        Ok(milliseconds) if !rounded.status.contains(Status::INVALID_OP) => milliseconds,
        _ => return Err(CommandError::line("ERR timeout is negative")),
    };
    Ok((milliseconds > 0).then(|| Duration::from_millis(milliseconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_rounded_up_to_milliseconds() {
        let read = |text: &str| {
            let timeout = timeout(text.as_bytes());
            timeout.map_err(|error| error.to_string())
        };
        let milliseconds = |n| Ok(Some(Duration::from_millis(n)));
        assert_eq!(read("0"), Ok(None));
        assert_eq!(read("-0.0001"), Ok(None));
        assert_eq!(read("0.00001"), milliseconds(1));
        assert_eq!(read("1.0001"), milliseconds(1001));
        assert_eq!(read("1e3"), milliseconds(1_000_000));
        let negative = Err("ERR timeout is negative".to_owned());
        assert_eq!(read("-1"), negative);
        assert_eq!(read("1e30"), negative);
        assert_eq!(
            read("x"),
            Err("ERR timeout is not a float or out of range".to_owned())
        );
    }
}
