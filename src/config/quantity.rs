//! Durations, sizes and shares as people write them, read into integers.
//!
//! Every text has one meaning: a whole number and a unit, nothing between, nothing around. What does not fit
//! is `None`.
//!
//! Never here: a float, or a guess at what was meant.

use std::time::Duration;

/// Reads `250ms`, `1s`, `5m`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let millis = match unit {
        "ms" => number,
        "s" => number.checked_mul(1_000)?,
        "m" => number.checked_mul(60_000)?,
        _ => return None,
    };
    Some(Duration::from_millis(millis))
}

/// Reads `512B`, `64KiB`, `1MiB`, `2GiB`.
pub(super) fn size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    match unit {
        "B" => Some(number),
        "KiB" => number.checked_mul(1 << 10),
        "MiB" => number.checked_mul(1 << 20),
        "GiB" => number.checked_mul(1 << 30),
        _ => None,
    }
}

/// Reads `10%` or `2.5%` into thousandths: up to 100 %, one decimal. No float on the way: what is sold over a
/// limit is exact.
pub(super) fn permille(text: &str) -> Option<u16> {
    let number = text.strip_suffix('%')?;
    let (whole, tenths) = number.split_once('.').unwrap_or((number, "0"));
    let fits = tenths.len() == 1 && (1..=3).contains(&whole.len()) && is_digits(whole) && is_digits(tenths);
    let permille = whole.parse::<u16>().ok().filter(|_| fits)? * 10 + tenths.parse::<u16>().ok()?;
    (permille <= 1000).then_some(permille)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        for (text, millis) in [("250ms", 250), ("1s", 1000), ("5m", 300_000), ("0s", 0)] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for bad in
            ["", "1", "s", "1 s", "1.5s", "-1s", "1h", "99999999999999999999s", "18446744073709551615m"]
        {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_have_a_binary_unit() {
        for (text, bytes) in [("512B", 512), ("1KiB", 1024), ("1MiB", 1 << 20), ("2GiB", 2 << 30)] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for bad in ["", "1", "1MB", "1mib", "MiB", "1.5MiB", "18446744073709551615KiB"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }

    #[test]
    fn shares_are_thousandths() {
        for (text, thousandths) in [("10%", 100), ("2.5%", 25), ("0%", 0), ("100%", 1000), ("0.1%", 1)] {
            assert_eq!(permille(text), Some(thousandths), "{text}");
        }
        for bad in
            ["", "%", "10", "0.1", "100.1%", "101%", "2.55%", "-1%", ".5%", "5.%", "+5%", "1e1%", "6554%"]
        {
            assert_eq!(permille(bad), None, "{bad}");
        }
    }
}
