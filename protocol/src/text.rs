//! Numbers as text, by the rules of Redis.
//!
//! Values, arguments and stream ids arrive as text; which texts are numbers, and how a number is written, shows in
//! replies, so both follow Redis 7.0 to the letter.

mod float;

pub use float::{format_double, parse_f64};

/// A signed integer: an optional minus and decimal digits without leading zeros. No plus, no spaces, no `-0`.
///
/// The strictness has a reason: what parses is written back as the very same text, so a value can be stored as
/// an integer without showing (Redis: `string2ll`).
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    match text {
        [b'-', digits @ ..] if digits != b"0" => 0i64.checked_sub_unsigned(parse_u64(digits)?),
        digits => i64::try_from(parse_u64(digits)?).ok(),
    }
}

/// An unsigned integer: decimal digits without leading zeros, and nothing else.
#[inline]
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    // 18 digits can't overflow.
    match text {
        [b'0'] => Some(0),
        [b'1'..=b'9', ..] if text.len() <= 18 => {
            let mut value = 0;
            for byte in text {
                value = value * 10 + digit(*byte)?;
            }
            Some(value)
        }
        [b'1'..=b'9', ..] if text.len() <= 20 => text.iter().try_fold(0u64, |value, byte| {
            value.checked_mul(10)?.checked_add(digit(*byte)?)
        }),
        _ => None,
    }
}

/// An unsigned integer in the way of stream ids, where Redis is lenient (`string2ull`): spaces and a plus may come first, and
/// leading zeros; even a minus and zeros, which count down from 2^64 (C's `strtoull`).
pub fn parse_u64_lenient(text: &[u8]) -> Option<u64> {
    if let Some(value) = parse_i64(text) {
        return u64::try_from(value).ok();
    }
    let spaces = text
        .iter()
        .take_while(|byte| byte.is_ascii_whitespace() || **byte == 0x0b)
        .count();
    let (negative, digits) = match &text[spaces..] {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let value = digits.iter().try_fold(0u64, |value, byte| {
        value.checked_mul(10)?.checked_add(digit(*byte)?)
    })?;
    Some(if negative {
        value.wrapping_neg()
    } else {
        value
    })
}

/// The value of a decimal digit.
#[inline]
fn digit(byte: u8) -> Option<u64> {
    let value = byte.wrapping_sub(b'0');
    (value < 10).then_some(u64::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn integers_at_the_edges() {
        assert_eq!(parse_i64(b"9223372036854775807"), Some(i64::MAX));
        assert_eq!(parse_i64(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(parse_i64(b"0"), Some(0));
        assert_eq!(parse_i64(b"-1"), Some(-1));
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
    }

    #[test]
    fn what_is_no_integer() {
        let texts: [&[u8]; 17] = [
            b"",
            b"-",
            b"+1",
            b"-0",
            b"01",
            b"-01",
            b"00",
            b" 1",
            b"1 ",
            b"1\0",
            b"1.0",
            b"0x1",
            b"--1",
            b"1-",
            b"9223372036854775808",
            b"-9223372036854775809",
            b"00000000000000000001",
        ];
        for text in texts {
            assert_eq!(parse_i64(text), None, "{}", text.escape_ascii());
        }
        for text in [
            &b"18446744073709551616"[..],
            b"100000000000000000000",
            b"-1",
            b"-0",
            b"",
        ] {
            assert_eq!(parse_u64(text), None, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn numbers_of_stream_ids() {
        // Answers of XADD s <id> f v.
        let known: [(&[u8], Option<u64>); 12] = [
            (b"5", Some(5)),
            (b"01", Some(1)),
            (b"+5", Some(5)),
            (b" 7", Some(7)),
            (b"\x0b7", Some(7)),
            (b"18446744073709551615", Some(u64::MAX)),
            (b"18446744073709551616", None),
            (b"", None),
            (b"-", None),
            (b"-5", None),
            (b"-05", Some(5u64.wrapping_neg())),
            (b"5 ", None),
        ];
        for (text, value) in known {
            assert_eq!(parse_u64_lenient(text), value, "{}", text.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn integers_come_back(value: i64, unsigned: u64) {
            prop_assert_eq!(parse_i64(value.to_string().as_bytes()), Some(value));
            prop_assert_eq!(parse_u64(unsigned.to_string().as_bytes()), Some(unsigned));
            prop_assert_eq!(parse_u64_lenient(unsigned.to_string().as_bytes()), Some(unsigned));
        }

        #[test]
        fn an_integer_is_the_text_it_was_read_from(text in "[-+ ]?[0-9]{0,21}x?") {
            if let Some(value) = parse_i64(text.as_bytes()) {
                prop_assert_eq!(value.to_string(), text.as_str());
            } else {
                let canonical = text.parse::<i64>().is_ok_and(|value| value.to_string() == text);
                prop_assert!(!canonical);
            }
        }
    }
}
