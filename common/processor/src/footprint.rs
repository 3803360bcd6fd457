//! What the stages leave on disk and hold in memory, by sector size: the figures by which a plan
//! is held against a machine. A test compares the files with those of a real sector.

use crate::kind::Stage;
use damocles_types::SectorSize;

/// Bytes of a node of every tree and layer.
const NODE: u64 = 32;
/// `p_aux`, `t_aux`, marks and the like; a few hundred bytes each.
const SMALL: u64 = 16 << 10;
const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

/// Files of one sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The pieces, as they are put together.
    Staged,
    /// The binary tree over them, leaves included.
    TreeD,
    /// Every layer of labels.
    Layers,
    /// The trees of eight children over the columns of labels, leaves included.
    TreeC,
    /// The same over the replica, without the leaves and the two rows above them.
    TreeRLast,
    /// The replica.
    Sealed,
    /// Answers to all challenges that a synthetic proof may be asked.
    Synthetic,
    /// What is small.
    Aux,
}

/// Layers of labels.
pub const fn layers(size: SectorSize) -> u64 {
    match size {
        SectorSize::KiB2 | SectorSize::MiB8 | SectorSize::MiB512 => 2,
        SectorSize::GiB32 | SectorSize::GiB64 => 11,
    }
}

/// Trees of eight children, each over the same part of the sector.
const fn base_trees(size: SectorSize) -> u64 {
    match size {
        SectorSize::KiB2 | SectorSize::MiB8 | SectorSize::MiB512 => 1,
        SectorSize::GiB32 => 8,
        SectorSize::GiB64 => 16,
    }
}

/// Nodes of a tree of eight children from `leaves` up.
const fn octree(leaves: u64) -> u64 {
    let (mut row, mut all) = (leaves, leaves);
    while row > 1 {
        row /= 8;
        all += row;
    }
    all
}

impl Part {
    /// Its length in bytes.
    pub const fn bytes(self, size: SectorSize) -> u64 {
        let nodes = size.bytes() / NODE;
        let trees = base_trees(size);
        match self {
            Self::Staged | Self::Sealed => size.bytes(),
            Self::TreeD => (2 * nodes - 1) * NODE,
            Self::Layers => layers(size) * size.bytes(),
            Self::TreeC => trees * octree(nodes / trees) * NODE,
            Self::TreeRLast => {
                // a tree of three rows leaves out the leaves and one row
                let first_kept = match size {
                    SectorSize::KiB2 => nodes / 64,
                    _ => nodes / trees / 512,
                };
                trees * octree(first_kept) * NODE
            }
            // 2^18 challenges of 100 KiB are the 25 GiB of FIP-0059; a small sector has fewer nodes
            // than that to ask for
            Self::Synthetic => {
                let challenges = if nodes < 1 << 18 { nodes } else { 1 << 18 };
                challenges * (100 << 10)
            }
            Self::Aux => SMALL,
        }
    }
}

/// Bytes that one task of a stage holds in our own program with what it takes when nothing is
/// set, beside files that it maps (parameters, parents of nodes), which the system can let go of.
///
/// * pc1: two layers of labels (`stage::pc1_memory` takes no less).
/// * unseal: the same, since it labels as well.
/// * pc2: the buffers of `DAMOCLES_PC2_MEMORY`, which are no larger than the sector needs.
/// * c2 of test sizes: measured for 2KiB, grown with the depth of the trees. Of 32GiB and 64GiB
///   the proofs library synthesises ten partitions at once, of 17 GB each (three values for each of
///   130 million constraints, the assignment, and marks).
/// * snap_prove: the same with the 81 million constraints of an update's partition.
/// * window_post, winning_post: one partition, as large as one of c2, held twice while it is put
///   together.
/// * synth_proof: the answers that it writes.
/// * aggregate: the largest that a message takes, see [`aggregate_memory`].
/// * the others read and write in pieces.
pub const fn memory(stage: Stage, size: SectorSize) -> u64 {
    let test_proof = match size {
        SectorSize::KiB2 => 700 * MIB,
        SectorSize::MiB8 => 2 * GIB,
        SectorSize::MiB512 => 3 * GIB,
        SectorSize::GiB32 | SectorSize::GiB64 => 0,
    };
    let real = test_proof == 0;
    match stage {
        Stage::Pc1 | Stage::Unseal => 2 * size.bytes() + 64 * MIB,
        Stage::Pc2 => in_pieces(8 * GIB, size),
        Stage::C2 | Stage::MakeParams if real => 10 * 17_000_000_000,
        Stage::SnapProve if real => 10 * 11_000_000_000,
        Stage::WindowPost | Stage::WinningPost if real => 2 * 17_000_000_000,
        Stage::C2
        | Stage::SnapProve
        | Stage::WindowPost
        | Stage::WinningPost
        | Stage::MakeParams => test_proof,
        Stage::SynthProof => Part::Synthetic.bytes(size) + 64 * MIB,
        Stage::SnapEncode => in_pieces(8 * GIB, size),
        Stage::AddPieces | Stage::TreeD | Stage::C1 => in_pieces(GIB, size),
        Stage::Transfer | Stage::ReadSectors => 64 * MIB,
        Stage::Aggregate => aggregate_memory(MOST_AGGREGATED * partitions(size)),
    }
}

/// Most sectors of one aggregate (`MAX_AGGREGATED_SECTORS` of the miner actor).
pub const MOST_AGGREGATED: u64 = 819;
/// Fewest (`MIN_AGGREGATED_SECTORS`).
pub const FEWEST_AGGREGATED: u64 = 4;

/// Groth16 proofs of which a seal proof consists.
pub const fn partitions(size: SectorSize) -> u64 {
    match size {
        SectorSize::KiB2 | SectorSize::MiB8 | SectorSize::MiB512 => 1,
        SectorSize::GiB32 | SectorSize::GiB64 => 10,
    }
}

/// Groth16 proofs that are aggregated where so many are asked for: the last one is repeated until
/// they are a power of two.
const fn padded(proofs: u64) -> u64 {
    if proofs < 2 {
        2
    } else {
        proofs.next_power_of_two()
    }
}

/// Bytes that the aggregation of so many Groth16 proofs holds: for each, 255 multiples of four points
/// of G1 (96 bytes) and of two of G2 (192), the proofs themselves several times over, and the
/// reference string once.
pub const fn aggregate_memory(proofs: u64) -> u64 {
    padded(proofs) * (255 * (4 * 96 + 2 * 192) + (4 << 10)) + 64 * MIB
}

/// Bytes of the aggregate of so many Groth16 proofs. It grows by the same with every doubling: ten
/// elements of the target group (288 bytes compressed) and two points of G1 (48).
pub const fn aggregate_length(proofs: u64) -> u64 {
    const GT: u64 = 288;
    const G1: u64 = 48;
    const G2: u64 = 96;
    let rounds = padded(proofs).ilog2() as u64;
    let round = 10 * GT + 2 * G1;
    let ends = 5 * GT + G1 + 4 + 2 * G1 + G2 + 2 * G2 + 2 * G1 + 2 * G2 + 2 * G1;
    ends + rounds * round
}

/// Buffers are never larger than a few times the sector.
const fn in_pieces(most: u64, size: SectorSize) -> u64 {
    let few = 4 * size.bytes();
    (if few < most { few } else { most }) + 64 * MIB
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sector_of_32gib_has_the_files_that_operators_know() {
        let size = SectorSize::GiB32;
        let gib = |part: Part| part.bytes(size) as f64 / GIB as f64;
        for (part, expected) in [
            (Part::Staged, 32.0),
            (Part::TreeD, 64.0),
            (Part::Layers, 352.0),
            (Part::TreeC, 36.57),
            (Part::TreeRLast, 0.07),
            (Part::Sealed, 32.0),
            (Part::Synthetic, 25.0),
        ] {
            assert!(
                (gib(part) - expected).abs() < 0.01,
                "{part:?}: {}",
                gib(part)
            );
        }
        // eight files of so many bytes, as they lie in every store of the network
        assert_eq!(Part::TreeRLast.bytes(size) / 8, 9_586_976);
    }

    #[test]
    fn the_largest_aggregate_fits_into_a_message() {
        let all = MOST_AGGREGATED * partitions(SectorSize::GiB32);
        assert_eq!(padded(all), 8192);
        assert!(
            aggregate_length(all) < 41 << 10,
            "{}",
            aggregate_length(all)
        );
        assert!(aggregate_length(4) < aggregate_length(5));
        assert_eq!(aggregate_length(5), aggregate_length(8));
        assert!(aggregate_memory(all) < 2 * GIB);
        assert!(aggregate_memory(1) == aggregate_memory(2));
    }

    #[test]
    fn labels_take_two_layers_and_small_sectors_little() {
        let gib = |stage, size| memory(stage, size) / GIB;
        assert_eq!(gib(Stage::Pc1, SectorSize::GiB32), 64);
        assert_eq!(gib(Stage::Pc1, SectorSize::GiB64), 128);
        for stage in Stage::ALL {
            assert!(memory(stage, SectorSize::KiB2) < GIB, "{stage}");
            assert!(memory(stage, SectorSize::GiB64) >= memory(stage, SectorSize::GiB32));
        }
    }
}
