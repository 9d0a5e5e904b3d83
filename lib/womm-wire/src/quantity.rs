//! Kubernetes quantities: `512Mi`, `1.5`, `250m`. One reading for both engines.
//!
//! Source: k8s.io/apimachinery, `api/resource/quantity.go`: a decimal number and a suffix out of
//! n u m (none) k M G T P E, or Ki Mi Gi Ti Pi Ei, or a decimal exponent.

/// A text that is no quantity, or one too large or below zero.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a quantity such as 512Mi, 2G, 0.5 or 250m")]
pub struct NotAQuantity(pub String);

/// Bytes of a memory quantity, rounded up.
///
/// # Errors
/// If the text is not a quantity, is negative, or is more than 2⁶³ bytes.
pub fn bytes(text: &str) -> Result<u64, NotAQuantity> {
    nano(text).map(|n| n.div_ceil(1_000_000_000)).and_then(|n| fits(n, text))
}

/// Thousandths of a quantity, rounded up: `1` is 1000, `250m` is 250.
///
/// # Errors
/// As for [`bytes`].
pub fn milli(text: &str) -> Result<u64, NotAQuantity> {
    nano(text).map(|n| n.div_ceil(1_000_000)).and_then(|n| fits(n, text))
}

fn fits(value: u128, text: &str) -> Result<u64, NotAQuantity> {
    i64::try_from(value).map(|v| v as u64).map_err(|_| NotAQuantity(text.into()))
}

fn nano(text: &str) -> Result<u128, NotAQuantity> {
    let bad = || NotAQuantity(text.into());
    let digits = text.strip_prefix('+').unwrap_or(text);
    let end = digits.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(digits.len());
    let (number, suffix) = digits.split_at(end);
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && part.is_empty()) || part.contains('.') || part.len() > 9 || whole.len() > 20 {
        return Err(bad());
    }
    let scale: u128 = match suffix {
        "n" => 1,
        "u" => 1_000,
        "m" => 1_000_000,
        "" => 1_000_000_000,
        _ => 1_000_000_000u128.checked_mul(factor(suffix).ok_or_else(bad)?).ok_or_else(bad)?,
    };
    let digits = |s: &str| if s.is_empty() { Ok(0) } else { s.parse::<u128>().map_err(|_| bad()) };
    let whole = digits(whole)?.checked_mul(scale).ok_or_else(bad)?;
    let part = digits(part)?.checked_mul(scale).ok_or_else(bad)?.div_ceil(10u128.pow(part.len() as u32));
    whole.checked_add(part).ok_or_else(bad)
}

fn factor(suffix: &str) -> Option<u128> {
    // "Ei" is none, though it begins as one.
    if let Some(exponent) = suffix.strip_prefix(['e', 'E']).filter(|e| !e.is_empty() && *e != "i") {
        return exponent.parse::<u32>().ok().filter(|e| *e <= 18).map(|e| 10u128.pow(e));
    }
    let power = |c: char| "kMGTPE".find(c).map(|i| i as u32 + 1);
    match suffix.strip_suffix('i') {
        Some("K") => Some(1024),
        Some(binary) if binary.len() == 1 && binary != "k" => {
            binary.chars().next().and_then(power).map(|p| 1024u128.pow(p))
        }
        Some(_) => None,
        None if suffix.len() == 1 => suffix.chars().next().and_then(power).map(|p| 1000u128.pow(p)),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubernetes_reads() {
        for (text, expected) in [
            ("512Mi", 512 << 20),
            ("1Ki", 1024),
            ("1k", 1000),
            ("1.5Gi", 3 << 29),
            ("2e3", 2000),
            ("1E", 1_000_000_000_000_000_000),
            ("1Ei", 1 << 60),
            ("100m", 1),
            ("+7", 7),
            (".5Ki", 512),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        assert_eq!(milli("250m"), Ok(250));
        assert_eq!(milli("0.5"), Ok(500));
        assert_eq!(milli("32"), Ok(32000));
    }

    #[test]
    fn what_it_refuses() {
        for text in ["", "x", "-1", "1.2.3", "5MiB", "Mi", "1 Gi", "1K", "1ki", "1e", "1e99", "9999999Ei", "0x10", "."]
        {
            assert!(bytes(text).is_err() || text == "1e", "{text}");
        }
        assert!(bytes("1e").is_err());
    }
}
