//! Durations as Go writes them: `"1h0m0s"`, `"15s"`, `"1.5h"`, `"300ms"`.

use damocles_daemon::config::{Kind, Value, quoted};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, str::FromStr, time::Duration};

/// A duration in a configuration file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct GoDuration(pub Duration);

/// A text that is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration; write for example \"1h30m\" or \"15s\"")]
pub(super) struct DurationError(String);

const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3600 * 1_000_000_000),
];

impl GoDuration {
    pub(super) const fn secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

/// One `<number><unit>` from the front of `text`: nanoseconds, and what follows.
fn term(text: &str) -> Option<(u128, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, rest) = text.split_at(end);
    let unit_end = rest
        .find(|c: char| c.is_ascii_digit() || c == '.')
        .unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(unit_end);
    let scale = UNITS.iter().find(|(name, _)| *name == unit)?.1;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || whole.len() > 15 || fraction.len() > 15 {
        return None;
    }
    let digits = |s: &str| {
        if s.is_empty() {
            Some(0)
        } else {
            s.parse::<u128>().ok()
        }
    };
    let part =
        digits(fraction)?.checked_mul(scale)? / 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    Some((digits(whole)?.checked_mul(scale)?.checked_add(part)?, rest))
}

impl FromStr for GoDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let parse = || {
            if text == "0" {
                return Some(Duration::ZERO);
            }
            let (mut nanos, mut rest) = term(text)?;
            while !rest.is_empty() {
                let (more, left) = term(rest)?;
                nanos = nanos.checked_add(more)?;
                rest = left;
            }
            // as in Go, 290 years is the most
            u64::try_from(nanos)
                .ok()
                .filter(|n| *n <= i64::MAX as u64)
                .map(Duration::from_nanos)
        };
        parse()
            .map(Self)
            .ok_or_else(|| DurationError(text.to_owned()))
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.0.as_secs(), self.0.subsec_nanos());
        if seconds == 0 && nanos > 0 {
            return match nanos {
                n if n % 1_000_000 == 0 => write!(f, "{}ms", n / 1_000_000),
                n if n % 1_000 == 0 => write!(f, "{}us", n / 1_000),
                n => write!(f, "{n}ns"),
            };
        }
        let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        if h > 0 {
            write!(f, "{h}h")?;
        }
        if h > 0 || m > 0 {
            write!(f, "{m}m")?;
        }
        match nanos {
            0 => write!(f, "{s}s"),
            n => write!(f, "{s}.{}s", format!("{n:09}").trim_end_matches('0')),
        }
    }
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = quoted(d, "a duration in quotes, such as \"15s\" or \"1h30m\"")?;
        text.parse().map_err(de::Error::custom)
    }
}

impl Value for GoDuration {
    fn kind() -> Kind {
        Kind::Leaf("duration".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_gos_form() {
        for (text, millis, again) in [
            ("1h0m0s", 3_600_000, "1h0m0s"),
            ("10m0s", 600_000, "10m0s"),
            ("15s", 15_000, "15s"),
            ("1.5h", 5_400_000, "1h30m0s"),
            ("300ms", 300, "300ms"),
            ("1m0.25s", 60_250, "1m0.25s"),
            (".5s", 500, "500ms"),
            ("0", 0, "0s"),
        ] {
            let read: GoDuration = text.parse().unwrap();
            assert_eq!(read.0, Duration::from_millis(millis), "{text}");
            assert_eq!(read.to_string(), again);
        }
        for bad in [
            "",
            "5",
            "-1s",
            "1 s",
            "1d",
            "s",
            ".s",
            "1h-3m",
            "99999999999999h",
        ] {
            assert!(bad.parse::<GoDuration>().is_err(), "{bad}");
        }
    }
}
