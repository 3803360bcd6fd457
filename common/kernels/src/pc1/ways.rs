//! Which code labels how many sectors on how many threads: arithmetic, no doing.

use super::label::NODE_BYTES;
use crate::cpu::Cpu;
use std::fmt;

/// Lanes of [`Way::Lanes`].
pub const LANES: usize = 16;

/// How one thread labels its sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// One sector after the other, node by node, with the `sha2` crate.
    Portable,
    /// On the SHA instructions, so many sectors (1 to 3) in step.
    ShaNi(usize),
    /// On AVX-512, up to sixteen sectors in step; the memory is that of sixteen.
    Lanes,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Portable => f.write_str("sha2"),
            Self::ShaNi(1) => f.write_str("SHA-NI"),
            Self::ShaNi(n) => write!(f, "SHA-NI ×{n}"),
            Self::Lanes => write!(f, "AVX-512 ×{LANES}"),
        }
    }
}

impl Way {
    fn runs_on(self, cpu: Cpu) -> bool {
        match self {
            Self::Portable => true,
            Self::ShaNi(_) => cpu.sha_ni,
            Self::Lanes => cpu.avx512,
        }
    }

    /// Nanoseconds for a node of each of `sectors` on one thread, as measured on Zen 5
    /// (only their proportions matter). The portable code counts as on a CPU without SHA
    /// instructions: with them it is never chosen.
    fn cost(self, sectors: usize) -> usize {
        match self {
            Self::Portable => 3600 * sectors,
            Self::ShaNi(width) => {
                let step = |n: usize| [0, 680, 1000, 1480][n.min(3)];
                sectors / width * step(width) + step(sectors % width)
            }
            Self::Lanes => {
                let groups = sectors.div_ceil(LANES);
                groups / 2 * 5300 + groups % 2 * 3700
            }
        }
    }

    /// Pieces of memory for two layers: of a sector's size each, or of sixteen times that.
    fn maps(self, sectors: usize) -> usize {
        2 * match self {
            Self::Portable | Self::ShaNi(_) => sectors,
            Self::Lanes => sectors.div_ceil(LANES),
        }
    }
}

/// Memory that labels may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Available {
    /// Bytes of ordinary memory; none: whatever they need.
    pub bytes: Option<u64>,
    /// Free memory files of a sector's size.
    pub files: usize,
    /// And of sixteen times that.
    pub wide_files: usize,
}

impl Available {
    /// Whether the labels of these shares fit, in files as far as there are any.
    fn fits(&self, shares: &[Share], sector_bytes: u64) -> bool {
        let maps = |lanes: bool| -> usize {
            let of_kind = shares.iter().filter(|s| (s.way == Way::Lanes) == lanes);
            of_kind.map(|share| share.way.maps(share.sectors)).sum()
        };
        let rows = maps(false).saturating_sub(self.files) as u64;
        let wide = maps(true).saturating_sub(self.wide_files) as u64;
        let need = sector_bytes.saturating_mul(rows + wide * LANES as u64);
        self.bytes.is_none_or(|bytes| need <= bytes)
    }
}

/// What one thread labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    pub sectors: usize,
    pub way: Way,
}

/// Shares out the first of `sectors` sectors of a graph among up to `cores` threads, so that
/// they are done soonest, with as few threads as that takes. `available` bounds their labels;
/// where it does not do for all, the others have to wait for the next round. One sector at
/// least is shared out whatever the memory.
pub fn plan(
    sectors: usize,
    nodes: usize,
    cpu: Cpu,
    cores: usize,
    available: Available,
    forced: Option<Way>,
) -> Vec<Share> {
    let sector_bytes = (nodes * NODE_BYTES) as u64;
    let ways = match forced {
        Some(way) => vec![way],
        None => [
            Way::ShaNi(1),
            Way::ShaNi(2),
            Way::ShaNi(3),
            Way::Lanes,
            Way::Portable,
        ]
        .into_iter()
        .filter(|way| way.runs_on(cpu))
        .collect(),
    };
    let rows: Vec<Way> = ways.iter().copied().filter(|w| *w != Way::Lanes).collect();
    for count in (1..=sectors).rev() {
        let mut best: Option<(usize, Vec<Share>)> = None;
        for threads in 1..=cores.clamp(1, count) {
            for ways in [&ways, &rows] {
                let shares: Option<Vec<Share>> = (0..threads)
                    .map(|thread| cheapest(ways, (count + thread) / threads))
                    .collect();
                let Some(shares) = shares else { continue };
                if !available.fits(&shares, sector_bytes) {
                    continue;
                }
                let times = shares.iter().map(|share| share.way.cost(share.sectors));
                let time = times.max().unwrap_or_default();
                if best.as_ref().is_none_or(|(least, _)| time < *least) {
                    best = Some((time, shares));
                }
            }
        }
        if let Some((_, shares)) = best {
            return shares;
        }
    }
    // lanes ask for sixteen times the memory
    let alone = |way: &Way| Share {
        sectors: 1,
        way: *way,
    };
    let least = rows.first().or(ways.first());
    least.into_iter().take(sectors).map(alone).collect()
}

/// What labels many sectors in the memory of their own.
#[cfg(target_arch = "x86_64")]
pub(super) fn without_lanes(cpu: Cpu) -> Way {
    if cpu.sha_ni {
        Way::ShaNi(3)
    } else {
        Way::Portable
    }
}

/// The way that is done soonest with `sectors` on one thread.
fn cheapest(ways: &[Way], sectors: usize) -> Option<Share> {
    let way = ways.iter().min_by_key(|way| way.cost(sectors))?;
    Some(Share { sectors, way: *way })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Cpu = Cpu::COMPLETE;
    const SHA: Cpu = Cpu {
        sha_ni: true,
        ..Cpu::PORTABLE
    };
    const WIDE: Cpu = Cpu {
        avx512: true,
        ..Cpu::PORTABLE
    };
    const MIB8: usize = 1 << 18;
    const GIB32: usize = 1 << 30;

    fn words(shares: &[Share]) -> String {
        let share = |share: &Share| format!("{} by {}", share.sectors, share.way);
        shares.iter().map(share).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn sectors_are_shared_out() {
        let gib = Some(1 << 30);
        let table = [
            ((1, MIB8, ALL, 1, None), "1 by SHA-NI"),
            ((1, MIB8, ALL, 64, None), "1 by SHA-NI"),
            ((1, MIB8, Cpu::PORTABLE, 1, None), "1 by sha2"),
            ((2, MIB8, ALL, 1, None), "2 by SHA-NI ×2"),
            ((3, MIB8, SHA, 1, None), "3 by SHA-NI ×3"),
            ((2, MIB8, ALL, 2, None), "1 by SHA-NI, 1 by SHA-NI"),
            ((16, MIB8, ALL, 1, None), "16 by AVX-512 ×16"),
            // a second thread would be no sooner
            ((16, MIB8, ALL, 2, gib), "16 by AVX-512 ×16"),
            (
                (32, MIB8, ALL, 2, gib),
                "16 by AVX-512 ×16, 16 by AVX-512 ×16",
            ),
            ((15, MIB8, SHA, 1, None), "15 by SHA-NI ×3"),
            // two times sixteen lanes would be 512 MiB
            ((17, MIB8, ALL, 1, Some(300 << 20)), "17 by SHA-NI ×3"),
            ((5, MIB8, Cpu::PORTABLE, 2, None), "2 by sha2, 3 by sha2"),
            // two sectors of 32GiB need 128 GiB; the second waits
            ((2, GIB32, ALL, 1, Some(100 << 30)), "1 by SHA-NI"),
            (
                (16, GIB32, ALL, 2, Some(300 << 30)),
                "2 by SHA-NI ×2, 2 by SHA-NI ×2",
            ),
            (
                (3, GIB32, ALL, 2, Some(192 << 30)),
                "1 by SHA-NI, 2 by SHA-NI ×2",
            ),
            ((1, GIB32, ALL, 1, Some(0)), "1 by SHA-NI"),
            // without SHA instructions lanes are worth their memory from two sectors on
            ((1, MIB8, WIDE, 1, None), "1 by sha2"),
            ((2, MIB8, WIDE, 1, None), "2 by AVX-512 ×16"),
            ((2, GIB32, WIDE, 1, Some(0)), "1 by sha2"),
            ((0, GIB32, ALL, 1, None), ""),
        ];
        for ((sectors, nodes, cpu, cores, memory), expected) in table {
            let available = Available {
                bytes: memory,
                ..Available::default()
            };
            let found = plan(sectors, nodes, cpu, cores, available, None);
            assert_eq!(words(&found), expected, "{sectors} on {cores}, {memory:?}");
        }
    }

    #[test]
    fn memory_files_count_for_what_has_their_size() {
        let sixteen = |files, wide_files| {
            let available = Available {
                bytes: Some(16 << 20),
                files,
                wide_files,
            };
            words(&plan(16, MIB8, ALL, 1, available, None))
        };
        assert_eq!(sixteen(0, 0), "1 by SHA-NI");
        assert_eq!(sixteen(2, 0), "2 by SHA-NI ×2");
        assert_eq!(sixteen(30, 1), "16 by SHA-NI ×2");
        assert_eq!(sixteen(0, 2), "16 by AVX-512 ×16");
    }

    #[test]
    fn a_forced_way_is_taken() {
        let found = plan(2, MIB8, ALL, 1, Available::default(), Some(Way::Lanes));
        assert_eq!(words(&found), "2 by AVX-512 ×16");
    }
}
