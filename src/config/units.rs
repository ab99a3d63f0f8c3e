//! Sizes and durations as people write them: `20M`, `1.5GB`, `90s`, `5min`.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserializer, Visitor};
use serde::ser::Serializer;

/// The text is not a number with a known unit. The message says what would be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidUnit(&'static str);

const BYTES_HELP: &str = "expected a number of bytes such as 500k, 20M or 1.5G";
const DURATION_HELP: &str = "expected a duration such as 90s, 5min, 2h or 1d";

/// A number of bytes: decimal units as everywhere in the program (`k` = 1000), `Ki` and the like
/// for multiples of 1024; `B` and `/s` may follow. At least 1.
pub fn parse_bytes(text: &str) -> Result<u64, InvalidUnit> {
    let (number, unit) = split(text).ok_or(InvalidUnit(BYTES_HELP))?;
    let unit = unit.strip_suffix("/s").unwrap_or(unit);
    let unit = unit.strip_suffix(['B', 'b']).unwrap_or(unit);
    let factor: u64 = match unit {
        "" => 1,
        "k" | "K" => 1000,
        "M" | "m" => 1_000_000,
        "G" | "g" => 1_000_000_000,
        "T" | "t" => 1_000_000_000_000,
        "Ki" | "ki" => 1 << 10,
        "Mi" | "mi" => 1 << 20,
        "Gi" | "gi" => 1 << 30,
        "Ti" | "ti" => 1 << 40,
        _ => return Err(InvalidUnit(BYTES_HELP)),
    };
    let bytes = number * factor as f64;
    if (1.0..1e18).contains(&bytes) {
        Ok(bytes as u64)
    } else {
        Err(InvalidUnit(BYTES_HELP))
    }
}

/// A duration: seconds without a unit; `s`, `m` or `min`, `h`, `d`. At most ten years.
pub fn parse_duration(text: &str) -> Result<Duration, InvalidUnit> {
    let (number, unit) = split(text).ok_or(InvalidUnit(DURATION_HELP))?;
    let factor = match unit {
        "" | "s" | "sec" => 1.0,
        "ms" => 0.001,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(InvalidUnit(DURATION_HELP)),
    };
    let seconds = number * factor;
    if (0.0..=315_360_000.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(InvalidUnit(DURATION_HELP))
    }
}

fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim_start()))
}

/// How a limit of bytes per second is written and read.
pub(super) mod rate {
    use super::*;

    pub(in crate::config) fn serialize<S: Serializer>(
        rate: &Option<u64>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match rate {
            Some(rate) => to.serialize_u64(*rate),
            None => to.serialize_str("none"),
        }
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<u64>, D::Error> {
        from.deserialize_any(Rate)
    }

    struct Rate;

    impl Visitor<'_> for Rate {
        type Value = Option<u64>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number of bytes such as 500k, 20M or 1.5G, or none")
        }

        fn visit_i64<E: serde::de::Error>(self, n: i64) -> Result<Option<u64>, E> {
            match u64::try_from(n) {
                Ok(n) => self.visit_u64(n),
                Err(_) => Err(E::custom(BYTES_HELP)),
            }
        }

        fn visit_u64<E: serde::de::Error>(self, n: u64) -> Result<Option<u64>, E> {
            match n {
                0 => Err(E::custom(BYTES_HELP)),
                n => Ok(Some(n)),
            }
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Option<u64>, E> {
            if text == "none" {
                return Ok(None);
            }
            parse_bytes(text).map(Some).map_err(E::custom)
        }
    }
}

/// How a duration is written and read.
pub(super) mod duration {
    use super::*;

    pub(in crate::config) fn serialize<S: Serializer>(
        time: &Duration,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{}ms", time.as_millis()))
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Duration, D::Error> {
        from.deserialize_any(Time)
    }

    struct Time;

    impl Visitor<'_> for Time {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a duration such as 90s, 5min, 2h or 1d")
        }

        fn visit_i64<E: serde::de::Error>(self, n: i64) -> Result<Duration, E> {
            self.visit_str(&n.to_string())
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Duration, E> {
            parse_duration(text).map_err(E::custom)
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("1", 1),
            ("20M", 20_000_000),
            ("20MB/s", 20_000_000),
            ("1.5 GB", 1_500_000_000),
            ("500k", 500_000),
            ("2KiB", 2048),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "M", "0", "-1", "1X", "1e3", "1.2.3", "99999999T", "M20"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("5 min", 300), ("2h", 7200)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)));
        }
        assert_eq!(parse_duration("0"), Ok(Duration::ZERO));
        for text in ["", "s", "-5s", "5 weeks", "99999d"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
