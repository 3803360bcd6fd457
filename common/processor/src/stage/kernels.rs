//! What computes each stage on a CPU, and why, for people who want to know.

use super::groth;
use crate::kind::Stage;
use damocles_kernels::{cpu::Cpu, pc1, poseidon, sha::pairs};
use serde::Serialize;

/// What computes a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StageKernel {
    pub stage: &'static str,
    /// As the timeline of a sector names it.
    pub kernel: String,
    /// What it does and what it found for that.
    pub why: String,
    /// Instruction sets that this CPU lacks and that the stage would use.
    pub missing: Vec<Missing>,
}

/// An instruction set that would help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// As in /proc/cpuinfo.
    pub feature: &'static str,
    pub brings: &'static str,
}

/// Every stage that may stand in a config, in the order of a sector's life.
pub fn kernels(cpu: Cpu) -> Vec<StageKernel> {
    Stage::ALL.map(|stage| of(stage, cpu)).into()
}

fn of(stage: Stage, cpu: Cpu) -> StageKernel {
    let (kernel, why, wanted) = match stage {
        Stage::AddPieces | Stage::TreeD => nodes(cpu),
        Stage::Pc1 => labels(cpu),
        Stage::Pc2 | Stage::SnapEncode => hashes(cpu),
        Stage::Transfer => ("—".to_owned(), "it copies files", &[][..]),
        Stage::ReadSectors => ("—".to_owned(), "it reads files", &[][..]),
        Stage::Unseal => (
            "—".to_owned(),
            "this version has no program for it",
            &[][..],
        ),
        Stage::C2
        | Stage::SnapProve
        | Stage::WindowPost
        | Stage::WinningPost
        | Stage::MakeParams => proofs(cpu),
        Stage::C1 | Stage::SynthProof | Stage::Aggregate => (
            "filecoin-proofs".to_owned(),
            "there is no kernel of ours for it yet",
            &[][..],
        ),
    };
    let have = cpu.features();
    StageKernel {
        stage: stage.name(),
        kernel,
        why: why.to_owned(),
        missing: wanted
            .iter()
            .filter(|want| !have.contains(&want.feature))
            .copied()
            .collect(),
    }
}

type Found = (String, &'static str, &'static [Missing]);

fn nodes(cpu: Cpu) -> Found {
    const WANTED: &[Missing] = &[Missing {
        feature: "avx512",
        brings: "SHA-256 of sixteen nodes at a time, twice as fast as with SHA instructions",
    }];
    let why = if cpu.avx512 {
        "avx512: SHA-256 of sixteen nodes at a time"
    } else if cpu.sha_ni {
        "sha_ni: SHA-256 of three nodes in step"
    } else {
        "SHA-256 of one node at a time"
    };
    (pairs::code(cpu).to_owned(), why, WANTED)
}

fn labels(cpu: Cpu) -> Found {
    const WANTED: &[Missing] = &[
        Missing {
            feature: "sha_ni",
            brings: "SHA-256 by instructions made for it, several times as fast",
        },
        Missing {
            feature: "avx512",
            brings: "sixteen sectors in step on one core, three to four times as many per day (needs their memory)",
        },
    ];
    let why = match (cpu.sha_ni, cpu.avx512) {
        (true, true) => {
            "sha_ni: one to three sectors in step; avx512: up to sixteen, where concurrent and memory allow"
        }
        (true, false) => "sha_ni: one to three sectors in step",
        (false, true) => "avx512: up to sixteen sectors in step, where concurrent and memory allow",
        (false, false) => "SHA-256 without instructions for it",
    };
    // the name for one sector; of several in step the timeline tells
    let alone = pc1::plan(1, 64, cpu, 1, pc1::Available::default(), None);
    let name = alone.first().map(|share| share.way.to_string());
    (name.unwrap_or_default(), why, WANTED)
}

fn hashes(cpu: Cpu) -> Found {
    const WANTED: &[Missing] = &[Missing {
        feature: "avx512ifma",
        brings: "sixteen hashes at a time, seven to eight times as fast as one",
    }];
    let why = if cpu.ifma {
        "avx512ifma: Poseidon of sixteen inputs at a time"
    } else {
        "Poseidon of one input at a time, on plain registers"
    };
    (poseidon::code(cpu).to_owned(), why, WANTED)
}

fn proofs(cpu: Cpu) -> Found {
    const WANTED: &[Missing] = &[Missing {
        feature: "avx512ifma",
        brings: "eight points at a time",
    }];
    let why = if cpu.ifma {
        "avx512ifma: eight points at a time, for sectors up to 512MiB; above by filecoin-proofs"
    } else {
        "points one at a time, on plain registers, for sectors up to 512MiB; above by filecoin-proofs"
    };
    (groth::name(cpu).to_owned(), why, WANTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cpu_lacks_is_told_and_what_it_has_is_used() {
        let all = Cpu::COMPLETE;
        let on = |cpu| kernels(cpu);
        assert!(on(all).iter().all(|stage| stage.missing.is_empty()));
        let of = |cpu, name: &str| {
            let mut stages = on(cpu).into_iter();
            stages.find(|stage| stage.stage == name).unwrap()
        };
        let lacks = |name| -> Vec<_> {
            let missing = of(Cpu::PORTABLE, name).missing;
            missing.iter().map(|missing| missing.feature).collect()
        };
        assert_eq!(lacks("pc1"), ["sha_ni", "avx512"]);
        assert_eq!(lacks("pc2"), ["avx512ifma"]);
        assert_eq!(lacks("c2"), ["avx512ifma"]);
        assert_eq!(lacks("snap_prove"), ["avx512ifma"]);
        assert_eq!(lacks("snap_encode"), ["avx512ifma"]);
        assert_eq!(lacks("tree_d"), ["avx512"]);
        for stage in ["pc1", "pc2", "tree_d", "c2", "window_post"] {
            assert_ne!(of(all, stage).kernel, of(Cpu::PORTABLE, stage).kernel);
        }
        assert_eq!(of(all, "c1").kernel, "filecoin-proofs");
    }
}
