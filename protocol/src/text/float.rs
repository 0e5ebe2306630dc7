//! Floating-point numbers: what C's `strtod` accepts, and what `printf("%.17g")` writes.

use std::fmt::{self, Write};

/// A number as Redis accepts it for scores and the like: what C's `strtod` takes, over the whole text.
///
/// That is decimal with optional fraction and exponent, hexadecimal (`0x1.8p3`), and `inf` or `infinity` in any case, each with an
/// optional sign. No spaces, no NaN, no number too large or (other than zero) too small for an `f64`.
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    let (negative, magnitude) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let value = match magnitude {
        [b'0', b'x' | b'X', digits @ ..] => hexadecimal(digits)?,
        [b'0'..=b'9' | b'.', ..] => decimal(magnitude)?,
        word if word.eq_ignore_ascii_case(b"inf") || word.eq_ignore_ascii_case(b"infinity") => {
            f64::INFINITY
        }
        _ => return None,
    };
    Some(if negative { -value } else { value })
}

/// Decimal digits, optional fraction, optional exponent.
fn decimal(text: &[u8]) -> Option<f64> {
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    let exponent = text
        .iter()
        .position(|byte| matches!(byte, b'e' | b'E'))
        .unwrap_or(text.len());
    let is_zero = || {
        text[..exponent]
            .iter()
            .all(|byte| matches!(byte, b'0' | b'.'))
    };
    // Overflow and complete underflow are errors in C (ERANGE).
    (value.is_finite() && (value != 0.0 || is_zero())).then_some(value)
}

/// Hexadecimal digits, optional fraction, optional exponent of two; without the `0x`. Rounds to the nearest, ties to even.
fn hexadecimal(text: &[u8]) -> Option<f64> {
    let end = text
        .iter()
        .position(|byte| matches!(byte, b'p' | b'P'))
        .unwrap_or(text.len());
    let mut exponent = match text.get(end + 1..) {
        Some(digits) => binary_exponent(digits)?,
        None => 0,
    };
    let (mut mantissa, mut digits, mut point, mut inexact) = (0u64, 0usize, false, false);
    for byte in &text[..end] {
        if *byte == b'.' {
            if std::mem::replace(&mut point, true) {
                return None;
            }
            continue;
        }
        let digit = char::from(*byte).to_digit(16)?;
        digits += 1;
        let keep = mantissa < 1 << 59;
        if keep {
            mantissa = mantissa << 4 | u64::from(digit);
        } else {
            inexact |= digit != 0;
        }
        exponent += match (keep, point) {
            (true, true) => -4,
            (false, false) => 4,
            _ => 0,
        };
    }
    if digits == 0 {
        return None;
    }
    if mantissa == 0 {
        return Some(0.0);
    }
    let value = round(mantissa, inexact, exponent);
    (value.is_finite() && value != 0.0).then_some(value)
}

/// The decimal number after `p`. One too large for any use is cut short.
fn binary_exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // Beyond this no number of digits that fits into memory brings the value back into range.
    const CAP: i64 = 1 << 50;
    let value = digits.iter().fold(0i64, |value, byte| {
        (value * 10 + i64::from(byte - b'0')).min(CAP)
    });
    Some(if negative { -value } else { value })
}

/// The `f64` nearest to `mantissa * 2^exponent`, where `inexact` says that the mantissa lost something below its last bit.
fn round(mantissa: u64, inexact: bool, exponent: i64) -> f64 {
    debug_assert!(mantissa != 0);
    let shift = i64::from(mantissa.leading_zeros());
    let mantissa = mantissa << shift;
    // The value is 1.xxx * 2^power.
    let power = exponent - shift + 63;
    if power > 1023 {
        return f64::INFINITY;
    }
    // A normal number keeps 53 bits; one below 2^-1022 fewer, down to none.
    let dropped = 11 + (-1022 - power).max(0);
    if dropped > 64 {
        return 0.0;
    }
    let wide = u128::from(mantissa);
    let kept = (wide >> dropped) as u64;
    let rest = wide & ((1u128 << dropped) - 1);
    let half = 1u128 << (dropped - 1);
    let up = rest > half || rest == half && (inexact || kept & 1 == 1);
    // The exponent's field is one less than it should be as the leading bit of `kept` adds one (none if it is subnormal); a carry
    // out of the mantissa goes where it belongs.
    let biased = if power < -1022 {
        0
    } else {
        (power + 1022) as u64
    };
    f64::from_bits((biased << 52) + kept + u64::from(up))
}

/// Appends a number as Redis 7.0 writes it in replies: 17 significant digits without trailing zeros, in scientific notation below
/// 10^-4 and from 10^17 on (C's `%.17g`); `inf`, `-inf`, `nan`.
pub fn format_double(value: f64, out: &mut Vec<u8>) {
    // Integers of up to 17 digits are the common case, and exact. The sign of zero needs the long way.
    if value.abs() < 1e17 && value.trunc() == value && (value != 0.0 || value.is_sign_positive()) {
        out.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
        return;
    }
    if value.is_nan() {
        out.extend_from_slice(if value.is_sign_negative() {
            b"-nan"
        } else {
            b"nan"
        });
        return;
    }
    if value.is_infinite() {
        out.extend_from_slice(if value < 0.0 { b"-inf" } else { b"inf" });
        return;
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    format_magnitude(value.abs(), out);
}

/// The digits of a finite, not negative number.
fn format_magnitude(value: f64, out: &mut Vec<u8>) {
    let mut text = Scientific {
        bytes: [0; 24],
        length: 0,
    };
    // d.dddddddddddddddde[-]x: 18 bytes up to the `e`, at most 4 after it.
    let written = write!(text, "{value:.16e}");
    debug_assert!(written.is_ok());
    let text = &text.bytes[..text.length];
    let split = text
        .iter()
        .position(|byte| *byte == b'e')
        .unwrap_or(text.len());
    let exponent = match text.get(split + 1..) {
        Some([b'-', digits @ ..]) => -decimal_exponent(digits),
        Some(digits) => decimal_exponent(digits),
        None => 0,
    };
    let mut digits = [b'0'; 17];
    let source = text[..split].iter().filter(|byte| **byte != b'.');
    for (digit, byte) in digits.iter_mut().zip(source) {
        *digit = *byte;
    }
    let significant = digits
        .iter()
        .rposition(|digit| *digit != b'0')
        .map_or(1, |last| last + 1);
    let digits = &digits[..significant];
    match exponent {
        0..17 => {
            let whole = exponent as usize + 1;
            out.extend_from_slice(&digits[..whole.min(significant)]);
            out.resize(out.len() + whole.saturating_sub(significant), b'0');
            if significant > whole {
                out.push(b'.');
                out.extend_from_slice(&digits[whole..]);
            }
        }
        -4..0 => {
            out.extend_from_slice(b"0.");
            out.resize(out.len() + (-exponent - 1) as usize, b'0');
            out.extend_from_slice(digits);
        }
        _ => {
            out.push(digits[0]);
            if significant > 1 {
                out.push(b'.');
                out.extend_from_slice(&digits[1..]);
            }
            out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
            if exponent.abs() < 10 {
                out.push(b'0');
            }
            out.extend_from_slice(itoa::Buffer::new().format(exponent.abs()).as_bytes());
        }
    }
}

/// The value of a few decimal digits.
fn decimal_exponent(digits: &[u8]) -> i32 {
    digits
        .iter()
        .fold(0, |value, byte| value * 10 + i32::from(byte - b'0'))
}

/// A little text on the stack.
struct Scientific {
    bytes: [u8; 24],
    length: usize,
}

impl Write for Scientific {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        self.bytes
            .get_mut(self.length..end)
            .ok_or(fmt::Error)?
            .copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

#[cfg(test)]
#[expect(
    clippy::approx_constant,
    reason = "3.14 is what people try first, not pi"
)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(value: f64) -> String {
        let mut out = Vec::new();
        format_double(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_a_number() {
        // Answers of ZADD z <text> m, ZSCORE z m.
        let known: [(&[u8], f64); 34] = [
            (b"1", 1.0),
            (b"3.14", 3.14),
            (b"-0", -0.0),
            (b"+1", 1.0),
            (b"1.", 1.0),
            (b".5", 0.5),
            (b"1e5", 1e5),
            (b"1E+5", 1e5),
            (b"0e400", 0.0),
            (b"0e-400", 0.0),
            (b"inf", f64::INFINITY),
            (b"+INF", f64::INFINITY),
            (b"-Infinity", f64::NEG_INFINITY),
            (b"infINITY", f64::INFINITY),
            (b"5e-324", 5e-324),
            (b"3e-324", 5e-324),
            (b"1e-310", 1e-310),
            (b"1.7976931348623157e308", f64::MAX),
            (b"9007199254740993", 9007199254740992.0),
            (b"0x10", 16.0),
            (b"0X.8", 0.5),
            (b"0x1p3", 8.0),
            (b"0x1P+3", 8.0),
            (b"0x1.8p1", 3.0),
            (b"-0x1e5", -485.0),
            (b"0x0p-1080", 0.0),
            (b"0x1fffffffffffff8", 144115188075855864.0),
            (b"0x1fffffffffffffp-1075", f64::MIN_POSITIVE),
            (b"0x0.0000000000001p-1022", 5e-324),
            (b"0x1p-1074", 5e-324),
            (b"0x1.fffffffffffffp1023", f64::MAX),
            (b"0x1.8p-1075", 5e-324),
            (b"0x1.00000000000008", 1.0),
            (b"0x1.000000000000080000000000000000001", 1.0 + f64::EPSILON),
        ];
        for (text, value) in known {
            assert_eq!(
                parse_f64(text).map(f64::to_bits),
                Some(value.to_bits()),
                "{}",
                text.escape_ascii()
            );
        }
    }

    #[test]
    fn what_is_no_number() {
        let texts: [&[u8]; 36] = [
            b"",
            b" 1",
            b"1 ",
            b"1\0",
            b".",
            b"-",
            b"+",
            b"--1",
            b"+-1",
            b"e5",
            b"1e",
            b"1e+",
            b"1_0",
            b"1e400",
            b"-1e400",
            b"1e-400",
            b"2e-324",
            b"1.7976931348623159e308",
            b"nan",
            b"-nan",
            b"NaN",
            b"nan(1)",
            b"infinit",
            b"in",
            b"0x",
            b"0x.",
            b"0x.p1",
            b"0x1p",
            b"0x1p+",
            b"0x1p1024",
            b"0x1p-1080",
            b"0x1p-1075",
            b"0x1.2.3",
            b"0x1p1.5",
            b"1.2.3",
            b"\xff",
        ];
        for text in texts {
            assert_eq!(parse_f64(text), None, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn how_a_number_is_written() {
        // Answers of ZSCORE.
        let known: [(f64, &str); 22] = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-17.0, "-17"),
            (1.5, "1.5"),
            (3.141, "3.141"),
            (3.14, "3.1400000000000001"),
            (0.1, "0.10000000000000001"),
            (-0.1, "-0.10000000000000001"),
            (0.0001, "0.0001"),
            (1e-5, "1.0000000000000001e-05"),
            (12345678.9, "12345678.9"),
            (100000.0, "100000"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (123456789012345678.0, "1.2345678901234568e+17"),
            (1e21, "1e+21"),
            (5e-324, "4.9406564584124654e-324"),
            (1e-310, "9.9999999999999694e-311"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ];
        for (value, expected) in known {
            assert_eq!(text(value), expected);
        }
        assert_eq!(text(f64::NAN), "nan");
        assert_eq!(text(-f64::NAN), "-nan");
    }

    proptest! {
        #[test]
        fn a_written_number_reads_back(value in prop::num::f64::ANY.prop_filter("a number", |value| !value.is_nan())) {
            prop_assert_eq!(parse_f64(text(value).as_bytes()).map(f64::to_bits), Some(value.to_bits()));
        }

        #[test]
        fn hexadecimal_is_exact(value in prop::num::f64::POSITIVE | prop::num::f64::SUBNORMAL, zeros in 0usize..70) {
            let bits = value.abs().to_bits();
            let (exponent, mantissa) = (bits >> 52, bits & ((1 << 52) - 1));
            let (lead, power) = if exponent == 0 { (0, -1022) } else { (1, exponent as i64 - 1023) };
            prop_assume!(exponent != 2047);
            let plain = format!("0x{lead}.{mantissa:013x}p{power}");
            prop_assert_eq!(parse_f64(plain.as_bytes()).map(f64::to_bits), Some(bits), "{}", plain);
            let padded = format!("0x{}{lead}.{mantissa:013x}{}p{power}", "0".repeat(zeros), "0".repeat(zeros));
            prop_assert_eq!(parse_f64(padded.as_bytes()).map(f64::to_bits), Some(bits), "{}", padded);
            let shifted = format!("0x{lead}{mantissa:013x}{}p{}", "0".repeat(zeros), power - 52 - 4 * zeros as i64);
            prop_assert_eq!(parse_f64(shifted.as_bytes()).map(f64::to_bits), Some(bits), "{}", shifted);
        }

        #[test]
        fn hexadecimal_integers_round_like_a_cast(value: u64) {
            prop_assert_eq!(parse_f64(format!("0x{value:x}").as_bytes()), Some(value as f64));
        }

        #[test]
        fn any_text_is_safe(text: Vec<u8>, number in "[-+]?(0[xX])?[0-9a-fA-F.]{0,20}([pPeE][-+]?[0-9]{0,25})?") {
            let _ = parse_f64(&text);
            let _ = parse_f64(number.as_bytes());
        }
    }
}
