//! Measures our kernels against the proofs library on this machine: the same work in turns in
//! one process, on the same cores, and every byte of both results compared.
//!
//! `place` where files lie meanwhile · `turns` the measuring itself · `hashes` Poseidon ·
//! `sectors` PC1, PC2 and tree-d, as the stages (`stages`) run them · `parts` of a proof · `proofs` whole ones ·
//! `setups` parameters · `compare` directories.

mod compare;
mod hashes;
mod parts;
mod place;
mod proofs;
mod sectors;
mod setups;
mod stages;
mod turns;

pub use damocles_kernels::poseidon::Arity;
pub use place::Place;

use crate::{cpus::CpuSet, params::LARGEST, pin, task::Circuit};
use damocles_kernels::cpu::Cpu;
use damocles_types::{ByteSize, SectorSize};
use serde::Serialize;
use std::{collections::BTreeMap, fmt, str::FromStr};

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Poseidon(Arity),
    Pc2,
    Pc1,
    TreeD,
    /// The multiexponentiation of h.
    Msm,
    Fft,
    C2,
    WindowPost,
    /// The proof of an update.
    Snap,
    /// Making those of a size: of one circuit, or of the three that every miner needs.
    Params(Option<Circuit>),
}

impl What {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Poseidon(_) => "poseidon",
            Self::Pc2 => "pc2",
            Self::Pc1 => "pc1",
            Self::TreeD => "tree-d",
            Self::Msm => "msm",
            Self::Fft => "fft",
            Self::C2 => "c2",
            Self::WindowPost => "window-post",
            Self::Snap => "snap",
            Self::Params(_) => "params",
        }
    }

    /// Whether it belongs to proofs, of which bellperson is what we are measured against.
    pub const fn is_of_proofs(self) -> bool {
        matches!(
            self,
            Self::Msm | Self::Fft | Self::C2 | Self::WindowPost | Self::Snap | Self::Params(_)
        )
    }
}

/// No more bytes of Poseidon's inputs: they and both results are held in memory.
const MOST_HASHED: ByteSize = ByteSize(4 << 30);

/// A measurement as it is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    pub what: What,
    /// A sector's, or the input's of Poseidon.
    pub size: ByteSize,
    /// CPUs that both sides may use.
    pub cores: usize,
    /// Equal sectors that are worked on at once (PC1) or proven in one WindowPoSt, else one.
    pub sectors: usize,
    /// Runs of each side; none: as many as a minute or two allow.
    pub runs: Option<usize>,
}

impl Request {
    /// Says what cannot be.
    pub fn check(&self) -> Result<(), String> {
        let size = || self.size.to_string().parse::<SectorSize>();
        match self.what {
            What::Poseidon(_) if self.sectors > 1 => {
                Err("poseidon hashes field elements, not sectors".to_owned())
            }
            What::Pc1 | What::WindowPost | What::Poseidon(_) => Ok(()),
            _ if self.sectors > 1 => {
                Err(format!("{} takes one sector at a time", self.what.name()))
            }
            _ => Ok(()),
        }?;
        match self.what {
            What::Poseidon(_) if self.size > MOST_HASHED => Err(format!(
                "poseidon hashes in memory: {} is too much, {MOST_HASHED} is the most",
                self.size
            )),
            What::Poseidon(arity) if self.size.0 < 32 * arity.inputs() as u64 => {
                Err(format!("{} is less than one hash takes", self.size))
            }
            What::Poseidon(_) => Ok(()),
            _ if self.what.is_of_proofs() && size()? > LARGEST => Err(format!(
                "our prover takes sectors up to {LARGEST}, not {}",
                self.size
            )),
            _ => size().map(|_| ()),
        }
    }
}

/// How this program was compiled, which matters to the proofs library (it asks for SHA
/// instructions at compile time) and not to our kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Build {
    /// For CPUs with SHA instructions: `-C target-cpu=native` where the CPU has them.
    Native,
    /// For any CPU of this architecture.
    Default,
    /// Not optimised: measures nothing.
    Dev,
}

impl Build {
    pub const fn of_this_program() -> Self {
        if cfg!(debug_assertions) {
            Self::Dev
        } else if cfg!(target_feature = "sha") {
            Self::Native
        } else {
            Self::Default
        }
    }
}

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Native => "native",
            Self::Default => "default",
            Self::Dev => "dev",
        })
    }
}

/// What came out. Seconds are medians over the runs, for all sectors together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub what: &'static str,
    pub size: ByteSize,
    pub cores: usize,
    pub sectors: usize,
    pub ours_s: f64,
    pub reference_s: f64,
    /// How many times as fast we are.
    pub ratio: f64,
    /// Every byte of both results was the same, in every run. Of proofs, which are random: the
    /// library's verifier accepted all of both sides.
    pub identical: bool,
    pub cpu_features: Vec<&'static str>,
    /// What computed on our side, by its own name.
    pub kernel: String,
    /// What computed on the other.
    pub reference: String,
    pub build: Build,
    /// Of each side.
    pub runs: usize,
    /// From the first to the third quartile.
    pub ours_iqr_s: f64,
    pub reference_iqr_s: f64,
    /// The CPUs that both sides had.
    pub cpus: String,
    /// Settings of the proofs library in the environment.
    pub settings: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arity: Option<usize>,
    /// The first difference, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<String>,
}

/// Keeps the whole process on `cores` CPUs of those that it may use (the last ones, since
/// interrupts mostly go to the first) and says which. Before any thread is started.
pub fn keep_to(cores: usize) -> anyhow::Result<CpuSet> {
    let all: Vec<usize> = pin::affinity()?.into_iter().collect();
    let first = all.len().checked_sub(cores).filter(|_| cores > 0);
    let first = first
        .ok_or_else(|| anyhow::anyhow!("this process may use {} CPUs, not {cores}", all.len()))?;
    let names: Vec<String> = all[first..].iter().map(ToString::to_string).collect();
    let cpus = CpuSet::from_str(&names.join(","))?;
    pin::set_affinity(&cpus)?;
    Ok(cpus)
}

/// How many bytes of files a measurement needs.
pub fn room(request: &Request) -> u64 {
    let size = request.size.0;
    let layers = SectorSize::from_bytes(size)
        .and_then(sectors::layers)
        .unwrap_or(11) as u64;
    match request.what {
        What::Poseidon(_) => 0,
        // labels and data once; the sealed file and tree-c of both sides and of a run
        What::Pc2 => size * (layers + 1) + size * 11 / 5 * 3,
        // data and tree-d once; layers and a copy of the data, of both sides and of a run
        What::Pc1 => size * 3 + size * (layers + 1) * 3 * request.sectors as u64,
        What::TreeD => size * 7,
        What::Msm | What::Fft => 0,
        What::C2 | What::WindowPost => size * (layers + 6) * request.sectors as u64 + (16 << 20),
        // the sector, its data, and what they become
        What::Snap => size * (layers + 14) + (16 << 20),
        // test networks' circuits are alike, but for the trees' heights
        What::Params(_) => 3 << 30,
    }
}

/// Measures. `cpus` is what [`keep_to`] gave; `tell` hears what is being done.
pub fn run(
    request: &Request,
    cpus: &CpuSet,
    place: &Place,
    tell: &dyn Fn(String),
) -> anyhow::Result<Report> {
    let mut hashes;
    let mut sealing;
    let (mut msm, mut fft, mut proofs, mut setups);
    let size = || {
        SectorSize::from_bytes(request.size.0)
            .ok_or_else(|| anyhow::anyhow!("{} is no sector size", request.size))
    };
    let subject: &mut dyn turns::Subject = match request.what {
        What::Poseidon(arity) => {
            tell("making field elements".to_owned());
            hashes = hashes::Hashes::new(arity, request.size.0, request.cores)?;
            &mut hashes
        }
        What::Pc1 | What::Pc2 | What::TreeD => {
            sealing = sectors::Sealing::new(request, place, tell)?;
            &mut sealing
        }
        What::Msm => {
            msm = parts::Msm::new(size()?, tell)?;
            &mut msm
        }
        What::Fft => {
            fft = parts::Fft::new(size()?, tell)?;
            &mut fft
        }
        What::C2 => {
            proofs = proofs::Proofs::c2(size()?, place, tell)?;
            &mut proofs
        }
        What::WindowPost => {
            proofs = proofs::Proofs::window_post(size()?, request.sectors, place, tell)?;
            &mut proofs
        }
        What::Snap => {
            proofs = proofs::Proofs::snap(size()?, place, tell)?;
            &mut proofs
        }
        What::Params(circuit) => {
            setups = setups::Setups::new(circuit, size()?, place);
            &mut setups
        }
    };
    let found = turns::take(subject, request.runs, tell)?;
    let (ours, reference) = (found.ours.summary(), found.reference.summary());
    Ok(Report {
        what: request.what.name(),
        size: request.size,
        cores: request.cores,
        sectors: request.sectors,
        ours_s: ours.median,
        reference_s: reference.median,
        ratio: reference.median / ours.median,
        identical: found.difference.is_none(),
        cpu_features: Cpu::detect().features(),
        kernel: found.ours.kernel,
        reference: found.reference.kernel,
        build: Build::of_this_program(),
        runs: ours.runs,
        ours_iqr_s: ours.iqr,
        reference_iqr_s: reference.iqr,
        cpus: cpus.to_string(),
        settings: std::env::vars()
            .filter(|(name, _)| name.starts_with("FIL_PROOFS_"))
            .collect(),
        arity: match request.what {
            What::Poseidon(arity) => Some(arity.inputs()),
            _ => None,
        },
        difference: found.difference,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(what: What, size: &str, sectors: usize) -> Result<(), String> {
        let request = Request {
            what,
            size: size.parse().unwrap(),
            cores: 1,
            sectors,
            runs: None,
        };
        request.check()
    }

    #[test]
    fn what_cannot_be_measured_is_refused_in_a_sentence() {
        let poseidon = What::Poseidon(Arity::Eight);
        for (what, size, sectors) in [
            (poseidon, "256B", 1),
            (poseidon, "4GiB", 1),
            (What::Pc1, "8MiB", 16),
            (What::Pc2, "64GiB", 1),
            (What::TreeD, "2KiB", 1),
            (What::WindowPost, "2KiB", 2),
            (What::C2, "512MiB", 1),
            (What::Snap, "2KiB", 1),
            (What::Params(None), "8MiB", 1),
        ] {
            assert_eq!(check(what, size, sectors), Ok(()), "{what:?} {size}");
        }
        for (what, size, sectors, needle) in [
            (poseidon, "255B", 1, "less than one hash"),
            (poseidon, "64GiB", 1, "4GiB is the most"),
            (poseidon, "8MiB", 2, "not sectors"),
            (What::Pc2, "8MiB", 2, "pc2 takes one sector"),
            (What::TreeD, "8MiB", 2, "tree-d takes one sector"),
            (What::Pc1, "9MiB", 2, "not a sector size"),
            (What::C2, "2KiB", 2, "c2 takes one sector"),
            (What::Snap, "2KiB", 2, "snap takes one sector"),
            (What::Snap, "32GiB", 1, "up to 512MiB"),
            (What::Params(None), "32GiB", 1, "up to 512MiB"),
            (What::Msm, "1KiB", 1, "not a sector size"),
        ] {
            let refused = check(what, size, sectors).unwrap_err();
            assert!(refused.contains(needle), "{refused}");
        }
    }
}
