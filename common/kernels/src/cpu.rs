//! What this CPU can do, found at run time. Every kernel takes a [`Cpu`] and runs the best
//! code that it allows, so that tests and `bench` can force the portable code.

/// The instruction sets that kernels ask for. A set counts only when the operating system
/// keeps its registers too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// SHA-NI with SSSE3 and SSE4.1: one to four SHA-256 streams.
    pub sha_ni: bool,
    pub avx2: bool,
    /// AVX-512 F, BW, VL and DQ: sixteen SHA-256 streams.
    pub avx512: bool,
    /// AVX-512 IFMA (on top of `avx512`): eight field elements at a time.
    pub ifma: bool,
    /// AVX-512 VBMI (on top of `avx512`): byte permutations over a whole register.
    pub vbmi: bool,
}

impl Cpu {
    /// No vector unit at all: portable code everywhere.
    pub const PORTABLE: Self = Self {
        sha_ni: false,
        avx2: false,
        avx512: false,
        ifma: false,
        vbmi: false,
    };

    /// Everything that a kernel asks for, for plans and tables about other machines. To a
    /// kernel it means: whatever there is.
    pub const COMPLETE: Self = Self {
        sha_ni: true,
        avx2: true,
        avx512: true,
        ifma: true,
        vbmi: true,
    };

    /// What the CPU of this process has.
    #[cfg(target_arch = "x86_64")]
    pub fn detect() -> Self {
        use std::arch::is_x86_feature_detected as has;
        let avx512 = has!("avx512f") && has!("avx512bw") && has!("avx512vl") && has!("avx512dq");
        Self {
            sha_ni: has!("sha") && has!("ssse3") && has!("sse4.1"),
            avx2: has!("avx2"),
            avx512,
            ifma: avx512 && has!("avx512ifma"),
            vbmi: avx512 && has!("avx512vbmi"),
        }
    }

    /// What the CPU of this process has.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn detect() -> Self {
        Self::PORTABLE
    }

    /// What of it this process can run, too: asked before vector code is called, whatever the
    /// caller says.
    pub fn here(self) -> Self {
        let found = Self::detect();
        Self {
            sha_ni: self.sha_ni && found.sha_ni,
            avx2: self.avx2 && found.avx2,
            avx512: self.avx512 && found.avx512,
            ifma: self.ifma && found.ifma,
            vbmi: self.vbmi && found.vbmi,
        }
    }

    /// Names of the instruction sets, as Linux spells them in /proc/cpuinfo.
    pub fn features(self) -> Vec<&'static str> {
        [
            (self.sha_ni, "sha_ni"),
            (self.avx2, "avx2"),
            (self.avx512, "avx512"),
            (self.ifma, "avx512ifma"),
            (self.vbmi, "avx512vbmi"),
        ]
        .into_iter()
        .filter_map(|(has, name)| has.then_some(name))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detection_agrees_with_the_kernel() {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap();
        let flags: Vec<&str> = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("flags")?.split_once(':'))
            .map(|(_, flags)| flags.split_whitespace().collect())
            .unwrap_or_default();
        for name in Cpu::detect().features() {
            let linux = if name == "avx512" { "avx512f" } else { name };
            assert!(flags.contains(&linux), "{name} is not among {flags:?}");
        }
        assert!(Cpu::PORTABLE.features().is_empty());
        assert_eq!(Cpu::COMPLETE.here(), Cpu::detect());
        assert_eq!(Cpu::PORTABLE.here(), Cpu::PORTABLE);
    }
}
