//! A set of CPUs as Linux writes it (`0-7,16`).

use std::{collections::BTreeSet, fmt, str::FromStr};

/// Kernels are built for at most 8192 CPUs; a larger number is a typing error.
const HIGHEST_CPU: usize = 8191;

/// CPUs by number; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuSet(BTreeSet<usize>);

impl CpuSet {
    /// None when there is none.
    pub fn of(cpus: impl IntoIterator<Item = usize>) -> Option<Self> {
        let cpus: BTreeSet<usize> = cpus.into_iter().collect();
        (!cpus.is_empty()).then_some(Self(cpus))
    }

    pub fn cpus(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().copied()
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// A text that is no CPU set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a CPU set; write numbers and ranges such as \"0-7,16\"")]
pub struct CpuSetError(String);

impl FromStr for CpuSet {
    type Err = CpuSetError;

    fn from_str(text: &str) -> Result<Self, CpuSetError> {
        let parse = || {
            let mut cpus = BTreeSet::new();
            for part in text.split(',').map(str::trim) {
                let (first, last) = part.split_once('-').unwrap_or((part, part));
                let number = |s: &str| {
                    let s = s.trim();
                    let digits = !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
                    digits.then(|| s.parse::<usize>().ok()).flatten()
                };
                let (first, last) = (number(first)?, number(last)?);
                (first <= last && last <= HIGHEST_CPU).then_some(())?;
                cpus.extend(first..=last);
            }
            Some(Self(cpus))
        };
        parse().ok_or_else(|| CpuSetError(text.to_owned()))
    }
}

impl fmt::Display for CpuSet {
    /// The shortest form: neighbours joined to ranges.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ranges: Vec<(usize, usize)> = Vec::new();
        for cpu in self.cpus() {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == cpu => *last = cpu,
                _ => ranges.push((cpu, cpu)),
            }
        }
        for (i, (first, last)) in ranges.into_iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_read_and_written_in_short() {
        for (text, short, count) in [
            ("0", "0", 1),
            ("0-7,16", "0-7,16", 9),
            (" 3, 1,2 ", "1-3", 3),
            ("5-5,5", "5", 1),
        ] {
            let set: CpuSet = text.parse().unwrap();
            assert_eq!(
                (set.to_string().as_str(), set.count()),
                (short, count),
                "{text}"
            );
        }
        for bad in ["", ",", "1,", "a", "3-1", "-1", "1-", "0-99999", "+1"] {
            assert!(bad.parse::<CpuSet>().is_err(), "{bad}");
        }
    }
}
