//! Sector sizes and other byte counts as people write them (`32GiB`, `520 GB`).

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, str::FromStr};

/// One of the five sector sizes of the protocol. Text form: `2KiB` … `64GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SectorSize {
    KiB2,
    MiB8,
    MiB512,
    GiB32,
    GiB64,
}

impl SectorSize {
    /// All sizes, smallest first; the order is the order of the proof type numbers.
    pub const ALL: [Self; 5] = [
        Self::KiB2,
        Self::MiB8,
        Self::MiB512,
        Self::GiB32,
        Self::GiB64,
    ];

    /// Size in bytes (padded: as the sector lies on disk).
    pub const fn bytes(self) -> u64 {
        match self {
            Self::KiB2 => 2 << 10,
            Self::MiB8 => 8 << 20,
            Self::MiB512 => 512 << 20,
            Self::GiB32 => 32 << 30,
            Self::GiB64 => 64 << 30,
        }
    }

    /// The sector size of that many bytes, if the protocol has it.
    pub fn from_bytes(bytes: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.bytes() == bytes)
    }

    /// The name used inside proof type names and config files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::KiB2 => "2KiB",
            Self::MiB8 => "8MiB",
            Self::MiB512 => "512MiB",
            Self::GiB32 => "32GiB",
            Self::GiB64 => "64GiB",
        }
    }

    /// File names that a sealed sector's cache needs for proving: `p_aux`, `t_aux` and the
    /// tree-r-last file(s) (one up to 512MiB, eight for 32GiB, sixteen for 64GiB).
    pub fn proving_cache_files(self) -> Vec<String> {
        let mut files = vec!["p_aux".to_owned(), "t_aux".to_owned()];
        let trees = match self {
            Self::KiB2 | Self::MiB8 | Self::MiB512 => 1,
            Self::GiB32 => 8,
            Self::GiB64 => 16,
        };
        if trees == 1 {
            files.push("sc-02-data-tree-r-last.dat".to_owned());
        } else {
            files.extend((0..trees).map(|i| format!("sc-02-data-tree-r-last-{i}.dat")));
        }
        files
    }
}

impl fmt::Display for SectorSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for SectorSize {
    type Err = String;

    /// Takes `2KiB`, `2 KiB`, `2kib` or a plain number of bytes.
    fn from_str(s: &str) -> Result<Self, String> {
        let bytes = ByteSize::from_str(s)?.0;
        Self::from_bytes(bytes).ok_or_else(|| {
            format!(
                "{s:?} is not a sector size; the protocol has 2KiB, 8MiB, 512MiB, 32GiB and 64GiB"
            )
        })
    }
}

impl Serialize for SectorSize {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for SectorSize {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}

/// A number of bytes, written as people write it: `32GiB`, `1.5 TiB`, `520GB`, `2048`.
/// `KiB…` are powers of 1024, `KB…` powers of 1000, a bare number is bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let text = s.trim();
        let split = text
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let scale: u64 = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kb" => 1_000,
            "m" | "mb" => 1_000_000,
            "g" | "gb" => 1_000_000_000,
            "t" | "tb" => 1_000_000_000_000,
            "ki" | "kib" => 1 << 10,
            "mi" | "mib" => 1 << 20,
            "gi" | "gib" => 1 << 30,
            "ti" | "tib" => 1 << 40,
            other => {
                return Err(format!(
                    "{s:?} is not a size: unknown unit {other:?}; write for example 32GiB or 520GB"
                ));
            }
        };
        if let Ok(whole) = number.parse::<u64>() {
            return whole
                .checked_mul(scale)
                .map(Self)
                .ok_or_else(|| format!("{s:?} is too large"));
        }
        let value: f64 = number
            .parse()
            .map_err(|_| format!("{s:?} is not a size; write for example 32GiB or 520GB"))?;
        let bytes = value * scale as f64;
        // 2^53 keeps the float exact; no fractional size beyond that is meant by anybody.
        if !(0.0..9_007_199_254_740_992.0).contains(&bytes) {
            return Err(format!("{s:?} is too large"));
        }
        Ok(Self(bytes.round() as u64))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let mut value = self.0 as f64;
        let mut unit = 0;
        while value >= 1024.0 && unit + 1 < units.len() {
            value /= 1024.0;
            unit += 1;
        }
        let text = if value.fract() == 0.0 {
            format!("{value:.0}{}", units[unit])
        } else {
            format!("{value:.2}{}", units[unit])
        };
        f.pad(&text)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.to_string())
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Either;
        impl de::Visitor<'_> for Either {
            type Value = ByteSize;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"32GiB\" or a number of bytes")
            }
            fn visit_str<E: de::Error>(self, v: &str) -> Result<ByteSize, E> {
                v.parse().map_err(E::custom)
            }
            fn visit_u64<E: de::Error>(self, v: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(v))
            }
            fn visit_i64<E: de::Error>(self, v: i64) -> Result<ByteSize, E> {
                u64::try_from(v)
                    .map(ByteSize)
                    .map_err(|_| E::custom("a size cannot be negative"))
            }
        }
        d.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sector_sizes_read_and_write() {
        for size in SectorSize::ALL {
            assert_eq!(size.name().parse::<SectorSize>().unwrap(), size);
            assert_eq!(SectorSize::from_bytes(size.bytes()), Some(size));
        }
        assert!(
            "16GiB"
                .parse::<SectorSize>()
                .unwrap_err()
                .contains("not a sector size")
        );
    }

    #[test]
    fn byte_sizes_as_people_write_them() {
        for (text, bytes) in [
            ("2048", 2048),
            ("2KiB", 2048),
            ("2 kib", 2048),
            ("520GB", 520_000_000_000),
            ("1.5GiB", 3 << 29),
            ("0", 0),
        ] {
            assert_eq!(text.parse::<ByteSize>().unwrap().0, bytes, "{text}");
        }
        for bad in [
            "",
            "GiB",
            "1 parsec",
            "-1",
            "99999999999999999999",
            "18446744073709551615KiB",
        ] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
        assert_eq!(ByteSize(3 << 29).to_string(), "1.50GiB");
    }

    #[test]
    fn proving_cache_files_per_size() {
        assert_eq!(SectorSize::KiB2.proving_cache_files().len(), 3);
        assert_eq!(SectorSize::GiB32.proving_cache_files().len(), 10);
        assert_eq!(
            SectorSize::GiB64.proving_cache_files().last().unwrap(),
            "sc-02-data-tree-r-last-15.dat"
        );
    }
}
