//! Numbers as texts, in JSON and beside it.

use coterie_protocol::text::parse_f64;

/// A finite number as C's `%.{precision}g` writes it.
pub(super) fn format_general(number: f64, precision: usize, out: &mut Vec<u8>) {
    if number == 0.0 {
        let zero: &[u8] = if number.is_sign_negative() {
            b"-0"
        } else {
            b"0"
        };
        return out.extend_from_slice(zero);
    }
    let scientific = format!("{:.*e}", precision - 1, number);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trimmed = |text: &str| -> String {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text.to_owned()
        }
    };
    if (-4..precision as i32).contains(&exponent) {
        let decimals = (precision as i32 - 1 - exponent).max(0) as usize;
        out.extend(trimmed(&format!("{number:.decimals$}")).bytes());
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        let mantissa = trimmed(mantissa);
        out.extend(format!("{mantissa}e{sign}{:02}", exponent.abs()).bytes());
    }
}

/// The longest number that a text begins with, and its length; with `lenient` also what JSON does not allow:
/// leading zeros, hexadecimal, infinity, not a number.
pub(super) fn number(text: &[u8], lenient: bool) -> Option<(f64, usize)> {
    let unsigned = match text {
        [b'-', rest @ ..] => rest,
        [b'+', rest @ ..] if lenient => rest,
        rest => rest,
    };
    let is_plain = match unsigned {
        [b'0', b'0'..=b'9' | b'x' | b'X', ..] => false,
        [b'0'..=b'9', ..] => true,
        _ => false,
    };
    if !is_plain && !lenient {
        return None;
    }
    if unsigned.len() >= 3 && unsigned[..3].eq_ignore_ascii_case(b"nan") {
        return Some((f64::NAN, text.len() - unsigned.len() + 3));
    }
    if !unsigned
        .first()
        .is_some_and(|first| first.is_ascii_digit() || matches!(first, b'i' | b'I'))
    {
        return None;
    }
    (1..=text.len()).rev().find_map(|length| {
        let part = &text[..length];
        Some((parse_f64(part).or_else(|| out_of_range(part))?, length))
    })
}

/// A decimal number that is too large for any but infinity, or too small for any but zero.
fn out_of_range(text: &[u8]) -> Option<f64> {
    if !text.iter().all(|byte| b"0123456789.eE+-".contains(byte)) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}
