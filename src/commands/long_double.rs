//! The arithmetic of `INCRBYFLOAT` and `HINCRBYFLOAT`: 80-bit floating-point numbers, as C's `long double` is on x86.
//!
//! Redis parses with `strtold`, adds, and prints with `%.17Lf`. Doubles would give other digits for many
//! sums, so this is done bit by bit the same.

use num_bigint::BigUint;
use rustc_apfloat::Float;
use rustc_apfloat::ieee::X87DoubleExtended;

/// Texts of this many bytes are no numbers any more.
const TEXT_BYTES_LIMIT: usize = 5 * 1024;
/// No text below the limit has so many digits that an exponent beyond this could bring it back into range.
const EXPONENT_MAX: u32 = 100_000;
/// Digits after the decimal point.
const FRACTION_DIGITS: usize = 17;
/// 10 to the power of [`FRACTION_DIGITS`].
const FRACTION_UNITS: u128 = 100_000_000_000_000_000;
/// Exponent of the least significant of the 64 bits of the smallest numbers.
const EXPONENT_MIN: i32 = -16_445;

/// Nothing.
pub const ZERO: X87DoubleExtended = X87DoubleExtended::ZERO;

/// What `strtold` takes over the whole text: decimal or hexadecimal, or `inf` and `infinity` in any case. No spaces, no NaN, no
/// finite number that is too large, none but zero that is rounded to zero.
pub fn parse(text: &[u8]) -> Option<X87DoubleExtended> {
    if text.len() >= TEXT_BYTES_LIMIT {
        return None;
    }
    let (negative, magnitude) = split_sign(text);
    let value =
        if magnitude.eq_ignore_ascii_case(b"inf") || magnitude.eq_ignore_ascii_case(b"infinity") {
            X87DoubleExtended::INFINITY
        } else {
            parse_finite(magnitude)?
        };
    Some(if negative { -value } else { value })
}

fn split_sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    }
}

fn parse_finite(text: &[u8]) -> Option<X87DoubleExtended> {
    let (prefix, radix, marker, digits) = match text {
        [b'0', b'x' | b'X', digits @ ..] => ("0x", 16, 'p', digits),
        digits => ("", 10, 'e', digits),
    };
    let end = digits
        .iter()
        .position(|byte| byte.eq_ignore_ascii_case(&(marker as u8)))
        .unwrap_or(digits.len());
    let significand = str::from_utf8(&digits[..end]).ok()?;
    let is_digit = |c: char| c.is_digit(radix);
    let points = significand.matches('.').count();
    let valid = significand.contains(is_digit)
        && points <= 1
        && significand.chars().all(|c| c == '.' || is_digit(c));
    if !valid {
        return None;
    }
    let exponent = match digits.get(end + 1..) {
        Some(text) => parse_exponent(text)?,
        None => 0,
    };
    let canonical = format!("{prefix}{significand}{marker}{exponent}");
    let value = canonical.parse::<X87DoubleExtended>().ok()?;
    let is_zero = || significand.chars().all(|c| matches!(c, '0' | '.'));
    (value.is_finite() && (!value.is_zero() || is_zero())).then_some(value)
}

/// A decimal number, cut short where it makes no difference any more.
fn parse_exponent(text: &[u8]) -> Option<i32> {
    let (negative, digits) = split_sign(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0, |value: u32, byte| {
        (value * 10 + u32::from(byte - b'0')).min(EXPONENT_MAX)
    }) as i32;
    Some(if negative { -value } else { value })
}

/// Whether it is neither infinite nor no number.
pub fn is_finite(value: X87DoubleExtended) -> bool {
    value.is_finite()
}

/// The sum; `None` if it is infinite or no number.
pub fn add(a: X87DoubleExtended, b: X87DoubleExtended) -> Option<X87DoubleExtended> {
    let sum = (a + b).value;
    sum.is_finite().then_some(sum)
}

/// The digits of a finite number: up to 17 after the point, without zeros at the end, never an exponent.
pub fn format(value: X87DoubleExtended) -> String {
    debug_assert!(value.is_finite());
    let bits = value.abs().to_bits();
    let significand = bits as u64;
    // A biased exponent of 0 means the same power as 1.
    let biased = ((bits >> 64) as i32 & 0x7fff).max(1);
    let exponent = biased - 1 + EXPONENT_MIN;
    let text = if exponent >= 0 {
        (BigUint::from(significand) << exponent).to_string()
    } else {
        format_fraction(significand, exponent.unsigned_abs())
    };
    if value.is_negative() && text != "0" {
        format!("-{text}")
    } else {
        text
    }
}

/// The digits of `significand / 2^shift`, rounded to the nearest, ties to even.
fn format_fraction(significand: u64, shift: u32) -> String {
    // At most 64 + 57 bits.
    let scaled = u128::from(significand) * FRACTION_UNITS;
    let units = match shift {
        0..=127 => {
            let floor = scaled >> shift;
            let rest = scaled - (floor << shift);
            let half = 1 << (shift - 1);
            let up = rest > half || rest == half && floor & 1 == 1;
            floor + u128::from(up)
        }
        _ => 0,
    };
    let (whole, fraction) = (units / FRACTION_UNITS, units % FRACTION_UNITS);
    if fraction == 0 {
        return whole.to_string();
    }
    let text = format!("{whole}.{fraction:0FRACTION_DIGITS$}");
    text.trim_end_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(a: &str, b: &str) -> Option<String> {
        add(parse(a.as_bytes())?, parse(b.as_bytes())?).map(format)
    }

    #[test]
    fn sums_have_the_digits_of_long_doubles() {
        // Answers of INCRBYFLOAT.
        for (a, b, expected) in [
            ("10.50", "0.1", "10.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("0.1", "0.2", "0.3"),
            ("3", "1.1", "4.1"),
            ("1e-17", "0", "0.00000000000000001"),
            ("5e-18", "0", "0"),
            ("-0", "0", "0"),
            ("-5e-18", "0", "0"),
            ("9223372036854775807", "1", "9223372036854775808"),
            ("18446744073709551615", "1", "18446744073709551616"),
            ("0x1.8p1", "-0X10", "-13"),
            ("1e22", "0", "10000000000000000000000"),
        ] {
            assert_eq!(sum(a, b).as_deref(), Some(expected), "{a} + {b}");
        }
        assert_eq!(sum("1e4932", "1e4932"), None);
        assert_eq!(sum("inf", "-inf"), None);
    }

    #[test]
    fn what_is_no_number() {
        for text in [
            "",
            " 1",
            "1 ",
            "1\0",
            ".",
            "-",
            "e5",
            "1e",
            "1e+",
            "0x",
            "0x.",
            "0x1p",
            "nan",
            "nan(1)",
            "1.2.3",
            "--1",
            "1e4933",
            "1e-4951",
            "1e-99999999999",
            "0x1p16384",
            "0x1p-16446",
            "1_0",
            "1,5",
            "infinit",
        ] {
            assert!(parse(text.as_bytes()).is_none(), "{text}");
        }
        assert!(parse(&[b'0'; TEXT_BYTES_LIMIT]).is_none());
        assert!(parse(&[b'0'; TEXT_BYTES_LIMIT - 1]).is_some());
    }

    #[test]
    fn the_smallest_numbers() {
        for text in ["4e-4951", "0x1p-16445", "0x1.8p-16446", "1e-4940"] {
            let value = parse(text.as_bytes()).unwrap();
            assert!(!value.is_zero(), "{text}");
            assert_eq!(format(value), "0");
        }
    }

    proptest! {
        #[test]
        fn integers_are_exact(a: i64, b: i64) {
            let exact = (i128::from(a) + i128::from(b)).to_string();
            prop_assume!(!exact.contains('-') || exact.len() <= 20);
            let text = sum(&a.to_string(), &b.to_string());
            prop_assert_eq!(text, Some(exact));
        }

        #[test]
        fn any_text_is_safe(text in "[-+]?(0[xX])?[0-9a-f.]{0,40}([eEpP][-+]?[0-9]{0,12})?") {
            if let Some(value) = parse(text.as_bytes()).filter(|value| value.is_finite()) {
                let written = format(value);
                prop_assert!(parse(written.as_bytes()).is_some(), "{} {}", text, written);
            }
        }
    }
}
