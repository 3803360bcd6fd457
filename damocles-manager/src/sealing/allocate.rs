//! Handing out a sector: which miner, which proof type, which number.

use crate::{
    db::Db,
    policy::{MinerPolicy, SectorPolicy},
    sealing::{Sealing, SealingError},
};
use damocles_api::sector::{AllocateSectorSpec, AllocatedSector, LONGEST_REQUEST_ID};
use damocles_node::{MinerInfo, TipSetKey};
use damocles_types::proof::SealVersion;
use damocles_types::{SealProof, SectorNumber, SectorSize};
use fvm_ipld_bitfield::BitField;
use rand::seq::SliceRandom;
use std::collections::BTreeSet;

/// Highest sector number of the protocol (fvm_shared `MAX_SECTOR_NUMBER`, an i64 on chain).
const PROTOCOL_MAX: SectorNumber = i64::MAX as u64;

/// The first network version with synthetic PoRep (FIP-0059).
const SYNTHETIC_SINCE: u32 = 21;

/// Causes that are remembered as told; more than that many are not a fleet's.
const MOST_CAUSES: usize = 64;

/// Why a miner is not tried for a request at all.
fn passed_over(miner: &MinerPolicy, spec: &AllocateSectorSpec) -> Option<String> {
    let actor = miner.actor;
    if !miner.sector.enabled {
        return Some(format!("miner {actor}: [Miners.Sector] Enabled is false"));
    }
    let allowed = spec.allowed_miners.is_empty() || spec.allowed_miners.contains(&actor);
    (!allowed).then(|| format!("miner {actor} is not among the worker's allowed_miners"))
}

/// The proof type of new sectors (FIP-0003: V1_1 for all; synthetic on request).
fn proof_type(size: SectorSize, policy: &SectorPolicy, network_version: u32) -> SealProof {
    let synthetic = policy.use_synthetic && network_version >= SYNTHETIC_SINCE;
    SealProof {
        version: if synthetic {
            SealVersion::V1_1Synthetic
        } else {
            SealVersion::V1_1
        },
        size,
    }
}

/// The first number from `start` on that the chain has not seen. Ranges are skipped whole.
fn first_free(used: &BitField, start: SectorNumber) -> Option<SectorNumber> {
    let mut at = start;
    for range in used.ranges() {
        if range.contains(&at) {
            at = range.end;
        } else if range.start > at {
            break;
        }
    }
    (at <= PROTOCOL_MAX).then_some(at)
}

/// The highest number in `min..=max` that the chain has seen.
fn highest_used(used: &BitField, min: SectorNumber, max: SectorNumber) -> Option<SectorNumber> {
    let within = |range: std::ops::Range<u64>| {
        let last = range.end.checked_sub(1)?.min(max);
        (last >= range.start && last >= min).then_some(last)
    };
    used.ranges().filter_map(within).last()
}

impl Sealing {
    /// A new sector of one of the miners that the worker serves; each of them has the same
    /// chance. None: no miner has `[Miners.Sector] Enabled`, fits the worker, and has numbers left.
    /// A request that is repeated gets the sector that it got.
    ///
    /// # Errors
    /// When no miner could be tried to the end, the first failure.
    pub async fn allocate(
        &self,
        spec: &AllocateSectorSpec,
    ) -> Result<Option<AllocatedSector>, SealingError> {
        let request = spec.request_id.clone().filter(|id| !id.is_empty());
        if let Some(id) = request.clone() {
            if id.len() > LONGEST_REQUEST_ID {
                return Err(SealingError::RequestId(id.len()));
            }
            let known = move |db: &Db| db.requested(&id).map_err(SealingError::from);
            if let Some(r) = self.db.call(known).await? {
                tracing::info!(sector = %r.id, "a request was repeated, and gets the same sector");
                return Ok(Some(AllocatedSector {
                    id: r.id,
                    proof_type: r.proof_type,
                }));
            }
        }
        let mut candidates = Vec::new();
        let mut causes = BTreeSet::new();
        let served = self.served.all();
        for miner in served.iter() {
            match passed_over(miner, spec) {
                None => candidates.push(miner),
                Some(why) => _ = causes.insert(why),
            }
        }
        candidates.shuffle(&mut rand::thread_rng());
        let mut failed = None;
        for miner in candidates {
            match self
                .allocate_of(miner, &spec.allowed_proof_types, request.as_deref())
                .await
            {
                Ok(Ok(sector)) => {
                    self.refusals.lock().clear();
                    tracing::info!(sector = %sector.id, proof = %sector.proof_type, "allocated a sector");
                    return Ok(Some(sector));
                }
                Ok(Err(why)) => _ = causes.insert(why),
                Err(error) => {
                    tracing::warn!(miner = miner.actor, %error, "no sector of this miner can be had now");
                    failed.get_or_insert(error);
                }
            }
        }
        match failed {
            Some(failed) => Err(failed),
            None => {
                self.say_why_there_is_none(causes);
                Ok(None)
            }
        }
    }

    /// The worker hears only that there is none, and asks again and again: its operator finds the
    /// cause here, once.
    fn say_why_there_is_none(&self, causes: BTreeSet<String>) {
        let why = Vec::from_iter(causes).join("; ");
        let mut told = self.refusals.lock();
        if told.len() >= MOST_CAUSES {
            told.clear();
        }
        if told.insert(why.clone()) {
            tracing::info!(why, "a worker asks for a sector, and there is none for it");
        }
    }

    /// What the chain has of a miner, and the proof type that a new sector of it would have.
    ///
    /// # Errors
    /// A node that does not answer, or tells of a sector size that there is not.
    pub async fn proof_of_new(
        &self,
        miner: &MinerPolicy,
    ) -> Result<(MinerInfo, SealProof), SealingError> {
        let head = TipSetKey::HEAD;
        let info = self.chain.miner_info(miner.actor, &head).await?;
        let Some(size) = SectorSize::from_bytes(info.sector_size) else {
            let reason = format!("{} is not a sector size", info.sector_size);
            let method = "StateMinerInfo".to_owned();
            return Err(crate::chain::ChainError::Malformed { method, reason }.into());
        };
        let version = self.chain.network_version(&head).await?;
        Ok((info, proof_type(size, &miner.sector, version)))
    }

    /// A sector of this miner; or why it has none.
    async fn allocate_of(
        &self,
        miner: &MinerPolicy,
        proofs: &[SealProof],
        request: Option<&str>,
    ) -> Result<Result<AllocatedSector, String>, SealingError> {
        let actor = miner.actor;
        let head = TipSetKey::HEAD;
        let proof = self.proof_of_new(miner).await?.1;
        if !(proofs.is_empty() || proofs.contains(&proof)) {
            let why = format!("miner {actor} seals {proof}, which the worker does not take");
            return Ok(Err(why));
        }
        let used = self.chain.miner_allocated(actor, &head).await?;
        let mut min = miner.sector.min_number;
        let max = miner.sector.max_number.unwrap_or(PROTOCOL_MAX);
        // After a start the database may be older than the chain, or new: the gaps that the chain
        // leaves below its highest number may be sectors that a worker is sealing.
        if !self.begun.lock().contains(&actor) {
            min = highest_used(&used, min, max).unwrap_or(min).max(min);
        }
        let request = request.map(str::to_owned);
        // it may have left the configuration meanwhile
        let begun = self.served.begin(actor).await;
        let Some(_begun) = begun.filter(|begun| begun.policy.sector.enabled) else {
            return Ok(Err(format!("miner {actor} gets no sectors any more")));
        };
        let record = self
            .db
            .call(move |db| {
                let free = |start| first_free(&used, start);
                db.allocate_for(request.as_deref(), actor, proof, min, max, free)
                    .map_err(SealingError::from)
            })
            .await?;
        if record.is_some() {
            self.begun.lock().insert(actor);
        }
        // idle workers ask again and again; it is said once
        let mut exhausted = self.exhausted.lock();
        if record.is_some() {
            exhausted.remove(&actor);
        } else if exhausted.insert(actor) {
            tracing::warn!(
                miner = actor,
                max,
                "all sector numbers up to MaxNumber are handed out; raise [Miners.Sector] MaxNumber"
            );
        }
        let given = record.map(|r| AllocatedSector {
            id: r.id,
            proof_type: r.proof_type,
        });
        Ok(given.ok_or_else(|| format!("miner {actor}: all numbers up to {max} are handed out")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        policy::tests::miner,
        sealing::tests::{given, room},
    };

    #[test]
    fn free_numbers_are_found_behind_used_ranges() {
        let used = BitField::try_from_bits([0, 1, 2, 5, 6, 9]).unwrap();
        for (start, want) in [(0, 3), (3, 3), (4, 4), (5, 7), (6, 7), (9, 10), (100, 100)] {
            assert_eq!(first_free(&used, start), Some(want), "{start}");
        }
        assert_eq!(first_free(&BitField::new(), 1), Some(1));
        assert_eq!(first_free(&BitField::new(), u64::MAX), None);
    }

    #[test]
    fn proof_types_follow_policy_and_network() {
        let mut policy = miner(1).sector;
        let name = |p: &SectorPolicy, v| proof_type(SectorSize::KiB2, p, v).name();
        assert_eq!(name(&policy, 27), "StackedDrg2KiBV1_1");
        policy.use_synthetic = true;
        assert_eq!(name(&policy, 20), "StackedDrg2KiBV1_1");
        assert_eq!(name(&policy, 21), "StackedDrg2KiBV1_1_Feat_SyntheticPoRep");
    }

    #[tokio::test]
    async fn a_number_below_the_chains_highest_is_not_begun_with_by_a_new_or_an_older_database() {
        let (room, chain) = room(1000);
        // 131 to 139 are being sealed, and this database does not know it
        let used = BitField::try_from_bits((0..131).chain(140..150)).unwrap();
        chain.edit().allocated.insert(1000, used);
        assert_eq!(given(&room).await.number, 150);
        assert_eq!(given(&room).await.number, 151);
        // other programs of this miner have the numbers above the maximum
        let mut policy = miner(1001);
        policy.sector.min_number = 200;
        policy.sector.max_number = Some(300);
        chain.add_miner(1001);
        let used = BitField::try_from_bits((0..230).chain(1000..2000)).unwrap();
        chain.edit().allocated.insert(1001, used);
        let mut room = room;
        room.set_miners(vec![policy]);
        assert_eq!(given(&room).await.number, 230);
        assert_eq!(highest_used(&BitField::new(), 0, 9), None);
    }

    #[tokio::test]
    async fn a_lost_answer_costs_no_number() {
        let (room, chain) = room(1000);
        let ask = |id: &str| {
            let spec = AllocateSectorSpec {
                request_id: Some(id.into()),
                ..Default::default()
            };
            let room = room.clone();
            async move { room.allocate(&spec).await }
        };
        let first = ask("r1").await.unwrap().unwrap();
        // the node is not even needed for the repetition
        chain.set_down(true);
        assert_eq!(ask("r1").await.unwrap(), Some(first));
        assert!(ask("r2").await.is_err());
        chain.set_down(false);
        assert_eq!(
            ask("r2").await.unwrap().unwrap().id.number,
            first.id.number + 1
        );
        let refused = ask(&"r".repeat(65)).await;
        assert!(matches!(refused, Err(SealingError::RequestId(65))));
    }

    #[tokio::test]
    async fn numbers_seen_on_chain_are_passed_over_at_once() {
        let (room, chain) = room(1000);
        let used = BitField::try_from_bits(0..100).unwrap();
        chain.edit().allocated.insert(1000, used);
        let got = room.allocate(&Default::default()).await.unwrap().unwrap();
        assert_eq!(got.id.number, 100);
    }

    #[tokio::test]
    async fn only_enabled_fitting_miners_are_taken_and_all_of_them() {
        let (mut room, chain) = room(1000);
        for actor in [1001, 1002] {
            chain.add_miner(actor);
        }
        let mut off = miner(1002);
        off.sector.enabled = false;
        room.set_miners(vec![miner(1000), miner(1001), off]);
        let mut seen = BTreeSet::new();
        for _ in 0..64 {
            let got = room.allocate(&Default::default()).await.unwrap().unwrap();
            seen.insert(got.id.miner);
        }
        assert_eq!(seen, BTreeSet::from([1000, 1001]));

        let only = |miners: &[u64], proofs: &[i64]| AllocateSectorSpec {
            allowed_miners: miners.to_vec(),
            allowed_proof_types: proofs
                .iter()
                .filter_map(|n| SealProof::from_number(*n))
                .collect(),
            request_id: None,
        };
        for _ in 0..8 {
            let got = room.allocate(&only(&[1001], &[])).await.unwrap().unwrap();
            assert_eq!(got.id.miner, 1001);
        }
        for spec in [only(&[1002], &[]), only(&[7], &[]), only(&[], &[8])] {
            assert!(room.allocate(&spec).await.unwrap().is_none(), "{spec:?}");
        }
        let said = room.refusals.lock().clone();
        for why in [
            "miner 1002: [Miners.Sector] Enabled is false",
            "miner 1000 is not among the worker's allowed_miners",
            "which the worker does not take",
        ] {
            assert!(
                said.iter().any(|text| text.contains(why)),
                "{why}: {said:?}"
            );
        }
        assert_eq!(said.len(), 2, "once for each cause: {said:?}");
        assert!(room.allocate(&only(&[], &[5])).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn one_miner_in_trouble_does_not_stop_the_others() {
        let (mut room, chain) = room(1000);
        room.set_miners(vec![miner(1000), miner(1999)]);
        for _ in 0..16 {
            assert!(room.allocate(&Default::default()).await.unwrap().is_some());
        }
        room.set_miners(vec![miner(1999)]);
        let e = room.allocate(&Default::default()).await.unwrap_err();
        assert!(e.to_string().contains("actor not found"), "{e}");
        chain.set_down(true);
        let e = room.allocate(&Default::default()).await.unwrap_err();
        assert!(matches!(e, SealingError::Chain(e) if e.is_unreachable()));
    }

    #[tokio::test]
    async fn numbers_end_at_the_maximum() {
        let (mut room, _) = room(1000);
        let mut policy = miner(1000);
        policy.sector.min_number = 4;
        policy.sector.max_number = Some(5);
        room.set_miners(vec![policy]);
        let got = room.allocate(&Default::default()).await.unwrap().unwrap();
        assert_eq!(got.id.number, 5);
        assert!(room.allocate(&Default::default()).await.unwrap().is_none());
        let said = room.refusals.lock().clone();
        assert!(
            said.iter()
                .any(|why| why.contains("up to 5 are handed out"))
        );
    }
}
