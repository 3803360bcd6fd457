//! Which sectors a WindowPoSt covers, how partitions are put into messages, and the message's
//! parameters. Pure: bit fields in, bit fields and bytes out.

use crate::db::posts::{ProvenPartition, StoredProof};
use damocles_node::Partition;
use damocles_types::{Epoch, Randomness, SectorNumber};
use fil_actor_miner_state::v18::{PoStPartition, SubmitWindowedPoStParams};
use fil_actors_shared::v18::runtime::policy_constants::POSTED_PARTITIONS_MAX;
use fvm_ipld_bitfield::BitField;
use fvm_ipld_encoding::RawBytes;
use fvm_shared::sector::{PoStProof, RegisteredPoStProof};
use std::collections::BTreeMap;

/// Sectors of a partition that a proof must cover or skip: those alive that are not known as
/// faulty, and the faulty ones that were declared recovered.
pub(super) fn due(partition: &Partition) -> BitField {
    let healthy = &partition.live_sectors - &partition.faulty_sectors;
    let recovering = &partition.live_sectors & &partition.recovering_sectors;
    &healthy | &recovering
}

/// Partitions with something due, in groups that one message may carry. The protocol takes
/// `POSTED_PARTITIONS_MAX` (3) partitions per message and the node does not tell that number;
/// the operator may want fewer (`max`; 0: no wish).
pub(super) fn groups(partitions: &[Partition], max: u64) -> Vec<Vec<u64>> {
    let cap = match max {
        0 => POSTED_PARTITIONS_MAX,
        n => n.min(POSTED_PARTITIONS_MAX),
    };
    let indexes: Vec<u64> = (0..)
        .zip(partitions)
        .filter(|(_, p)| !due(p).is_empty())
        .map(|(i, _)| i)
        .collect();
    let size = usize::try_from(cap).unwrap_or(1).max(1);
    indexes.chunks(size).map(<[u64]>::to_vec).collect()
}

/// Splits the due sectors of a batch into those that are proven and, per partition, those that
/// are skipped. A partition in which nothing can be proven is left out altogether: the chain
/// takes no proof of it.
///
/// The chain puts the first good sector in the place of each bad one. The proofs library takes
/// sectors as a set, so the good ones alone give the same proof.
pub(super) fn split(
    due: &[(u64, BitField)],
    bad: &BTreeMap<SectorNumber, String>,
) -> (Vec<SectorNumber>, Vec<ProvenPartition>) {
    let mut good = Vec::new();
    let mut partitions = Vec::new();
    for (index, sectors) in due {
        let (skipped, proven): (Vec<_>, Vec<_>) = sectors.iter().partition(|n| bad.contains_key(n));
        if proven.is_empty() {
            continue;
        }
        good.extend(proven);
        partitions.push(ProvenPartition {
            index: *index,
            skipped,
        });
    }
    good.sort_unstable();
    (good, partitions)
}

/// A message could not be built.
#[derive(Debug, thiserror::Error)]
pub(super) enum ParamsError {
    #[error("the list of skipped sectors has a number that no bit field can hold")]
    Skipped,
    #[error("the parameters of SubmitWindowedPoSt cannot be encoded: {0}")]
    Encode(#[from] fvm_ipld_encoding::Error),
}

/// Parameters of SubmitWindowedPoSt (method 5). The chain is committed to at the challenge's
/// epoch, with ticket randomness of no further entropy (as lotus and Curio do).
pub(super) fn params(
    deadline: u64,
    challenge: Epoch,
    proof: &StoredProof,
    commit: Randomness,
) -> Result<RawBytes, ParamsError> {
    let partition = |p: &ProvenPartition| {
        Ok(PoStPartition {
            index: p.index,
            skipped: BitField::try_from_bits(p.skipped.iter().copied())
                .map_err(|_| ParamsError::Skipped)?,
        })
    };
    let params = SubmitWindowedPoStParams {
        deadline,
        partitions: proof
            .partitions
            .iter()
            .map(partition)
            .collect::<Result<_, ParamsError>>()?,
        proofs: vec![PoStProof {
            post_proof: RegisteredPoStProof::from(proof.kind),
            proof_bytes: proof.bytes.0.clone(),
        }],
        chain_commit_epoch: challenge,
        chain_commit_rand: fvm_shared::randomness::Randomness(commit.0.to_vec()),
    };
    Ok(RawBytes::serialize(&params)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use damocles_types::Base64;

    fn bits(bits: &[u64]) -> BitField {
        BitField::try_from_bits(bits.iter().copied()).unwrap()
    }

    fn partition(live: &[u64], faulty: &[u64], recovering: &[u64]) -> Partition {
        Partition {
            all_sectors: bits(live),
            faulty_sectors: bits(faulty),
            recovering_sectors: bits(recovering),
            live_sectors: bits(live),
            active_sectors: bits(live),
        }
    }

    #[test]
    fn due_are_the_healthy_and_the_recovering() {
        let list = |p: &Partition| due(p).iter().collect::<Vec<_>>();
        for (live, faulty, recovering, expected) in [
            (&[1, 2, 3][..], &[][..], &[][..], vec![1, 2, 3]),
            (&[1, 2, 3], &[2, 3], &[3], vec![1, 3]),
            (&[1, 2], &[1, 2], &[], vec![]),
            (&[], &[], &[], vec![]),
            // a terminated sector that still stands among the recovering is not proven
            (&[1], &[9], &[9], vec![1]),
        ] {
            assert_eq!(list(&partition(live, faulty, recovering)), expected);
        }
    }

    #[test]
    fn messages_hold_three_partitions_or_fewer() {
        let mut all: Vec<_> = (0..8).map(|i| partition(&[i], &[], &[])).collect();
        all[1] = partition(&[], &[], &[]);
        all[2] = partition(&[2], &[2], &[]);
        for (max, expected) in [
            (0, vec![vec![0, 3, 4], vec![5, 6, 7]]),
            (100, vec![vec![0, 3, 4], vec![5, 6, 7]]),
            (2, vec![vec![0, 3], vec![4, 5], vec![6, 7]]),
        ] {
            assert_eq!(groups(&all, max), expected, "max {max}");
        }
        assert_eq!(groups(&all, 1).len(), 6);
        assert!(groups(&[], 0).is_empty());
        assert!(
            groups(&all[1..3], 0).is_empty(),
            "nothing due, nothing sent"
        );
    }

    #[test]
    fn bad_sectors_are_skipped_and_a_partition_without_good_ones_is_left_out() {
        let due = [(0, bits(&[1, 2])), (1, bits(&[3])), (4, bits(&[9, 5]))];
        let bad = |numbers: &[u64]| numbers.iter().map(|n| (*n, "gone".to_owned())).collect();
        let (good, parts) = split(&due, &bad(&[2, 3]));
        assert_eq!(good, [1, 5, 9]);
        assert_eq!(
            parts,
            [
                ProvenPartition {
                    index: 0,
                    skipped: vec![2]
                },
                ProvenPartition {
                    index: 4,
                    skipped: vec![]
                }
            ]
        );
        let (good, parts) = split(&due, &bad(&[1, 2, 3, 5, 9]));
        assert!(good.is_empty() && parts.is_empty());
    }

    #[test]
    fn parameters_are_read_back_by_the_actors_type() {
        let proof = StoredProof {
            kind: 10,
            bytes: Base64(vec![7; 192]),
            partitions: vec![ProvenPartition {
                index: 2,
                skipped: vec![4, 5],
            }],
        };
        let raw = params(3, 1160, &proof, Randomness([9; 32])).unwrap();
        let back: SubmitWindowedPoStParams = raw.deserialize().unwrap();
        assert_eq!((back.deadline, back.chain_commit_epoch), (3, 1160));
        assert_eq!(back.chain_commit_rand.0, [9; 32]);
        assert_eq!(back.partitions[0].index, 2);
        assert_eq!(
            back.partitions[0].skipped.iter().collect::<Vec<_>>(),
            [4, 5]
        );
        assert_eq!(
            back.proofs[0].post_proof,
            RegisteredPoStProof::StackedDRGWindow2KiBV1P1
        );
        let huge = StoredProof {
            partitions: vec![ProvenPartition {
                index: 0,
                skipped: vec![u64::MAX],
            }],
            ..proof
        };
        assert!(params(3, 1160, &huge, Randomness([9; 32])).is_err());
    }
}
