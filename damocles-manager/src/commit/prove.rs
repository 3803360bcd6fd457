//! Proofs: what may be submitted, and the message that carries them.

use crate::{
    chain::{ChainError, DomainTag, entropy},
    commit::{
        Check, Commit, CommitError, SealVerdict, again,
        driver::{Built, Drop, Part},
        judge, taken,
    },
    db::{
        Db, DbError,
        record::{Proof, SectorRecord},
    },
    model::Commitment,
    policy::MinerPolicy,
};
use damocles_api::submit::{ProofOnChainInfo, SubmitResp};
use damocles_kv::Durability;
use damocles_node::TipSet;
use damocles_processor::verify::Seal;
use damocles_types::SectorId;
use fil_actor_miner_state::v18::{Method, ProveCommitSectors3Params, SectorActivationManifest};
use fvm_ipld_encoding::RawBytes;
use fvm_shared::econ::TokenAmount;

/// What the chain must pay extra for a sector: its pledge less the deposit. Pure.
fn missing_pledge(pledge: &TokenAmount, deposit: &TokenAmount) -> TokenAmount {
    (pledge - deposit).max(TokenAmount::default())
}

/// What a proof builds upon is not in the database. (Upstream rejects such a proof, and its
/// worker then gives a sealed sector up.) Pure.
fn forgotten(what: &str, resume_at: &str) -> Check {
    Check::Mismatch(format!(
        "{what} is not in the manager's database, which may have been restored from an old backup; \
         resume the thread with --state {resume_at} to hand it over again"
    ))
}

impl Commit {
    /// Takes the seal proof of a sector, verified before it is accepted. `reset`: a new
    /// message is wanted, because the one before failed.
    ///
    /// # Errors
    /// [`CommitError::NoSector`]; whatever keeps the submission from being judged.
    pub async fn submit_proof(
        &self,
        sector: SectorId,
        proof: ProofOnChainInfo,
        reset: bool,
    ) -> Result<SubmitResp, CommitError> {
        let record = self.online(sector).await?;
        self.miner(sector.miner)?;
        let before = match &record.proof {
            Some(proof) => Some(self.stage(&proof.carriage).await?),
            None => None,
        };
        let same = record
            .proof
            .as_ref()
            .is_some_and(|p| p.bytes == proof.proof);
        let again = again(before.as_ref(), same, reset);
        let checks = self.check_proof(&record, &proof);
        let carriage = match judge(Commitment::Proof, sector, again, checks).await? {
            Ok(carriage) => carriage,
            Err(answer) => return Ok(answer),
        };
        let seen = record.proof;
        let store = move |db: &Db| {
            db.change_online(sector, Durability::Synced, |record| {
                if record.proof != seen {
                    return Err(CommitError::from(DbError::Changed(sector)));
                }
                record.proof = Some(Proof {
                    bytes: proof.proof,
                    carriage,
                });
                Ok(())
            })
        };
        self.db.call(store).await?;
        self.wake.notify_one();
        Ok(taken(Commitment::Proof, sector))
    }

    async fn check_proof(
        &self,
        record: &SectorRecord,
        proof: &ProofOnChainInfo,
    ) -> Result<Check, CommitError> {
        let id = record.id;
        let reject = |why: &str| Ok(Check::Reject(why.to_owned()));
        let Some(pre) = &record.pre else {
            return Ok(forgotten("its precommit", "PC2Done"));
        };
        let head = self.chain.head().await?;
        let key = &head.cids;
        let sealed = pre.comm_r.sealed_cid();
        if let Some(proven) = self.chain.sector_info(id.miner, id.number, key).await? {
            return Ok(if proven.sealed_cid == sealed {
                Check::Found
            } else {
                Check::Mismatch(format!("the chain has it with CommR {}", proven.sealed_cid))
            });
        }
        let on_chain = self.chain.precommit_info(id.miner, id.number, key).await?;
        let Some(on_chain) = on_chain else {
            if self.is_gone(id, key).await? {
                return reject("its precommit is not on chain any more");
            }
            return Err(CommitError::NotSeen(id));
        };
        if (on_chain.info.sealed_cid, on_chain.info.seal_rand_epoch) != (sealed, pre.ticket.epoch) {
            let why = format!(
                "the chain has a precommit with CommR {} and ticket epoch {}",
                on_chain.info.sealed_cid, on_chain.info.seal_rand_epoch
            );
            return Ok(Check::Mismatch(why));
        }
        let Some(seed) = record.seed else {
            return Ok(forgotten(
                "the seed that it answers",
                "PersistanceSubmitted",
            ));
        };
        let epoch = on_chain.pre_commit_epoch + self.facts.challenge_delay().await?;
        let drawn = self
            .chain
            .beacon_randomness(
                DomainTag::InteractiveSealChallengeSeed,
                epoch,
                &entropy(id.miner),
                key,
            )
            .await?;
        if (seed.epoch, seed.seed) != (epoch, drawn) {
            return Ok(Check::Reject(format!(
                "its seed of epoch {} is not the chain's any more (a reorganisation moved the precommit to epoch {})",
                seed.epoch, on_chain.pre_commit_epoch
            )));
        }
        let seal = Seal {
            proof_type: record.proof_type,
            sector: id,
            comm_r: pre.comm_r,
            comm_d: pre.comm_d,
            ticket: pre.ticket.ticket,
            seed: seed.seed,
        };
        let verifier = self.verifier.clone();
        let bytes = proof.proof.clone();
        let verdict = tokio::task::spawn_blocking(move || verifier.verify(&seal, &bytes.0)).await;
        match verdict {
            Ok(Ok(SealVerdict::Good)) => Ok(Check::Good),
            Ok(Ok(SealVerdict::Bad(why))) => {
                Ok(Check::Reject(format!("the proof is wrong: {why}")))
            }
            Ok(Err(why)) => Err(CommitError::Verify(why)),
            Err(_) => Err(CommitError::Verify("the verifier's thread ended".into())),
        }
    }

    /// One sector's part of a message with proofs.
    pub(super) async fn proof_part(
        &self,
        policy: &MinerPolicy,
        record: &SectorRecord,
        head: &TipSet,
    ) -> Result<Result<Part<RawBytes>, Drop>, CommitError> {
        let id = record.id;
        let Some(proof) = &record.proof else {
            return Ok(Err(Drop::Never("there is no proof".into())));
        };
        let key = &head.cids;
        let on_chain = self.chain.precommit_info(id.miner, id.number, key).await?;
        let Some(on_chain) = on_chain else {
            let proven = self.chain.sector_info(id.miner, id.number, key).await?;
            return Ok(Err(if proven.is_some() {
                Drop::Found
            } else if self.is_gone(id, key).await? {
                Drop::Never("its precommit is not on chain any more".into())
            } else {
                Drop::NotNow(CommitError::NotSeen(id).to_string())
            }));
        };
        let value = if policy.prove.send_fund {
            let duration = on_chain.info.expiration - head.height;
            let size = record.proof_type.size.bytes();
            match self.chain.initial_pledge(duration, size, 0, key).await {
                Ok(pledge) => missing_pledge(&pledge, &on_chain.pre_commit_deposit),
                Err(error @ ChainError::Refused { .. }) => {
                    return Ok(Err(Drop::NotNow(error.to_string())));
                }
                Err(error) => return Err(error.into()),
            }
        } else {
            TokenAmount::default()
        };
        Ok(Ok(Part {
            sector: id,
            params: RawBytes::new(proof.bytes.0.clone()),
            value,
        }))
    }
}

/// The message of some proofs (ProveCommitSectors3), one proof per sector. An aggregate of
/// them (SnarkPack, 4 to 819 sectors) would fill `aggregate_proof` instead; it needs a child
/// process and pays only while the base fee is high.
pub(super) fn message(
    policy: &MinerPolicy,
    mut parts: Vec<Part<RawBytes>>,
) -> Result<Built, CommitError> {
    parts.sort_by_key(|p| p.sector.number);
    let value = parts.iter().map(|p| p.value.clone()).sum();
    let sectors: Vec<SectorId> = parts.iter().map(|p| p.sector).collect();
    let params = ProveCommitSectors3Params {
        sector_activations: sectors
            .iter()
            .map(|s| SectorActivationManifest {
                sector_number: s.number,
                pieces: Vec::new(),
            })
            .collect(),
        sector_proofs: parts.into_iter().map(|p| p.params).collect(),
        aggregate_proof: RawBytes::default(),
        aggregate_proof_type: None,
        require_activation_success: policy.sector.require_activation_success,
        require_notification_success: policy.sector.require_notification_success,
    };
    Ok(Built {
        method: Method::ProveCommitSectors3 as u64,
        params: RawBytes::serialize(&params)?,
        value,
        sectors,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pledge_is_what_the_deposit_does_not_cover() {
        let fil = TokenAmount::from_whole;
        for (pledge, deposit, missing) in [(5, 2, 3), (2, 2, 0), (1, 2, 0)] {
            assert_eq!(missing_pledge(&fil(pledge), &fil(deposit)), fil(missing));
        }
    }
}
