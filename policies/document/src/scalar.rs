//! What a plain YAML word means: the core schema of YAML 1.2.2 §10.3.2, and lengths of time.
//!
//! Not here: positions and reports (`node`). Invariant: numbers are exact. An integer that fits neither `i64`
//! nor `u64` and a decimal that JSON cannot write without an exponent are `Odd`, never rounded.

use std::fmt;

use aegis_domain::Ttl;
use serde_json::Number;

/// One scalar, resolved.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    Number {
        text: String,
        value: Number,
    },
    /// A number that cannot be kept exactly, or is hexadecimal or octal.
    Odd(String),
    Text(String),
}

/// 2^53 - 1: what every JSON reader keeps exactly (RFC 8259 §6).
const EXACT_MAX: u64 = 9_007_199_254_740_991;

impl Scalar {
    /// Resolves a scalar written without quotes.
    pub(super) fn plain(text: &str) -> Self {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => Scalar::Null,
            "true" | "True" | "TRUE" => Scalar::Bool(true),
            "false" | "False" | "FALSE" => Scalar::Bool(false),
            _ if looks_numeric(text) => match exact_number(text) {
                Some(value) => Scalar::Number { text: text.to_owned(), value },
                None => Scalar::Odd(text.to_owned()),
            },
            _ => Scalar::Text(text.to_owned()),
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scalar::Null => f.write_str("nothing"),
            Scalar::Bool(value) => write!(f, "`{value}`"),
            Scalar::Number { text, .. } | Scalar::Odd(text) => {
                write!(f, "the number `{}`", Excerpt(text))
            }
            Scalar::Text(text) => write!(f, "the text `{}`", Excerpt(text)),
        }
    }
}

/// A text cut to what fits a line, with control characters made visible.
pub(super) struct Excerpt<'t>(pub(super) &'t str);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN_MAX: usize = 40;
        let shown: String = self.0.chars().take(SHOWN_MAX).collect();
        let rest = if shown.len() < self.0.len() { ".." } else { "" };
        write!(f, "{}{rest}", shown.escape_debug())
    }
}

/// Whether the core schema takes this word for a number.
fn looks_numeric(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let based = |prefix: &str, radix: u32| {
        text.strip_prefix(prefix).is_some_and(|digits| {
            !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix))
        })
    };
    based("0x", 16) || based("0o", 8) || is_decimal(unsigned)
}

/// `[0-9]+ ( . [0-9]* )? | . [0-9]+`, then `( [eE] [-+]? [0-9]+ )?`.
fn is_decimal(text: &str) -> bool {
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent_fits = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !digits.is_empty() && all_digits(digits)
    });
    let any_digit = !whole.is_empty() || !fraction.is_empty();
    any_digit && all_digits(whole) && all_digits(fraction) && exponent_fits
}

fn exact_number(text: &str) -> Option<Number> {
    if text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'+')) {
        let integer: i128 = text.parse().ok()?;
        let unsigned = u64::try_from(integer).map(Number::from);
        return unsigned.or_else(|_| i64::try_from(integer).map(Number::from)).ok();
    }
    exact_decimal(text.parse().ok()?)
}

/// Keeps decimals that Rust and ECMAScript write alike, without an exponent (RFC 8785 §3.2.2.3).
fn exact_decimal(value: f64) -> Option<Number> {
    let size = value.abs();
    let plain = size == 0.0 || (1e-6..=9_007_199_254_740_991.0).contains(&size);
    if !plain {
        return None;
    }
    if value.fract() == 0.0 {
        let integer: i64 = format!("{value:.0}").parse().ok()?;
        return (integer.unsigned_abs() <= EXACT_MAX).then(|| Number::from(integer));
    }
    Number::from_f64(value)
}

/// Reads `10ms`, `30s`, `15m`, `12h` or `7d`.
pub(super) fn duration(text: &str) -> Option<Ttl> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (amount, unit) = text.split_at_checked(digits)?;
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    amount.parse::<u64>().ok()?.checked_mul(unit_ms).map(Ttl::from_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_words_follow_the_core_schema_of_yaml_1_2() {
        assert_eq!(Scalar::plain("~"), Scalar::Null);
        assert_eq!(Scalar::plain("True"), Scalar::Bool(true));
        for text in ["no", "on", "1.2.3", "15m", "-", "e5", "0x", "1e", "NO", ".", "nulls"] {
            assert_eq!(Scalar::plain(text), Scalar::Text(text.into()), "{text}");
        }
        for (text, value) in [("5", 5), ("+5", 5), ("1e3", 1_000), ("2.", 2)] {
            let value = Number::from(value);
            assert_eq!(Scalar::plain(text), Scalar::Number { text: text.into(), value });
        }
    }

    #[test]
    fn numbers_that_would_be_rounded_or_misread_are_odd() {
        for text in [
            "99999999999999999999",
            "1e400",
            ".inf",
            "-.inf",
            ".nan",
            "1e-9",
            "1e16",
            "0x1F",
            "0o17",
        ] {
            assert_eq!(Scalar::plain(text), Scalar::Odd(text.into()));
        }
    }

    #[test]
    fn a_duration_is_a_number_and_one_unit() {
        assert_eq!(duration("10ms"), Some(Ttl::from_ms(10)));
        assert_eq!(duration("15m"), Some(Ttl::from_s(900)));
        assert_eq!(duration("7d"), Some(Ttl::from_s(604_800)));
        for bad in ["", "15", "m", "1h30m", "-1s", "1 s", "1.5s", "99999999999999999999s"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }
}
