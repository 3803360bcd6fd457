//! Proofs: what may be submitted, and the message that carries them.

use crate::{
    chain::{DomainTag, entropy},
    commit::{
        Check, Commit, CommitError, SealVerdict, Stage, again,
        certain::Gone,
        judge,
        part::{Built, LeftOut, Part, ProofPart},
        taken,
    },
    db::{
        Db, DbError,
        record::{Carriage, SectorRecord},
    },
    model::{Commitment, unix_ms},
    policy::MinerPolicy,
};
use damocles_api::{
    reason::Reason,
    submit::{ProofOnChainInfo, SubmitResp},
};
use damocles_kv::Durability;
use damocles_node::TipSet;
use damocles_processor::verify::Seal;
use damocles_types::SectorId;
use fil_actor_miner_state::v18::{Method, ProveCommitSectors3Params, SectorActivationManifest};
use fvm_ipld_encoding::RawBytes;
use fvm_shared::{econ::TokenAmount, sector::RegisteredAggregateProof};

/// What the chain must pay extra for a sector: its pledge less the deposit. Pure.
fn missing_pledge(pledge: &TokenAmount, deposit: &TokenAmount) -> TokenAmount {
    (pledge - deposit).max(TokenAmount::default())
}

/// What a proof builds upon is not in the database. (Upstream rejects such a proof, and its
/// worker then gives a sealed sector up.) Pure.
fn forgotten(what: &str, resume_at: &str) -> Check {
    let why = format!(
        "{what} is not in the manager's database, which may have been restored from an old backup; \
         resume the thread with --state {resume_at} to hand it over again"
    );
    Check::Mismatch(Reason::NotSubmitted, why)
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
            .is_some_and(|p| p.is_of(&proof.proof.0));
        if same {
            let bytes = proof.proof.0.clone();
            self.db
                .call(move |db| db.keep_proof(sector, &bytes))
                .await?;
        }
        let again = again(before.as_ref(), same, reset);
        let checks = self.check_proof(&record, &proof);
        let carriage = match judge(Commitment::Proof, sector, again, checks).await? {
            Ok(carriage) => carriage,
            Err(answer) => return Ok(answer),
        };
        let seen = record.proof;
        let store = move |db: &Db| {
            db.put_proof(sector, seen.as_ref(), &proof.proof.0, &carriage)
                .map_err(CommitError::from)
        };
        self.db.call(store).await?;
        self.wake.send_replace(());
        Ok(taken(Commitment::Proof, sector))
    }

    pub(super) async fn check_proof(
        &self,
        record: &SectorRecord,
        proof: &ProofOnChainInfo,
    ) -> Result<Check, CommitError> {
        let id = record.id;
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
                let why = format!("the chain has it with CommR {}", proven.sealed_cid);
                Check::Mismatch(Reason::Differs, why)
            });
        }
        let on_chain = self.chain.precommit_info(id.miner, id.number, key).await?;
        let Some(on_chain) = on_chain else {
            return self.without_precommit(record, &head).await;
        };
        if (on_chain.info.sealed_cid, on_chain.info.seal_rand_epoch) != (sealed, pre.ticket.epoch) {
            let why = format!(
                "the chain has a precommit with CommR {} and ticket epoch {}",
                on_chain.info.sealed_cid, on_chain.info.seal_rand_epoch
            );
            return Ok(Check::Mismatch(Reason::Differs, why));
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
            self.settled(id, Reason::SeedChanged, head.height)?;
            let why = format!(
                "its seed of epoch {} is not the chain's any more (a reorganisation moved the precommit to epoch {})",
                seed.epoch, on_chain.pre_commit_epoch
            );
            return Ok(Check::Reject(Reason::SeedChanged, why));
        }
        self.doubts.dispel(id, Reason::SeedChanged);
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
                let why = format!("the proof is wrong: {why}");
                Ok(Check::Reject(Reason::ProofInvalid, why))
            }
            Ok(Err(why)) => Err(CommitError::Verify(why)),
            Err(_) => Err(CommitError::Verify("the verifier's thread ended".into())),
        }
    }

    /// A proof was submitted, and the chain has no precommit for it.
    async fn without_precommit(
        &self,
        record: &SectorRecord,
        head: &TipSet,
    ) -> Result<Check, CommitError> {
        let id = record.id;
        match self.gone(id, head).await? {
            Gone::Perhaps => return Err(CommitError::Unsure(id)),
            Gone::Surely => {
                let why = "its precommit is not on chain any more";
                return Ok(Check::Reject(Reason::NumberUsed, why.into()));
            }
            Gone::No => {}
        }
        let stage = match &record.pre {
            Some(pre) => self.stage(&pre.carriage).await?,
            None => return Ok(forgotten("its precommit", "PC2Done")),
        };
        if stage.lives() && !matches!(stage, Stage::Found) {
            return Err(CommitError::NotSeen(id));
        }
        let why = "its precommit left the chain, and no message brings it back; submit it again";
        Ok(Check::Mismatch(Reason::PreCommitGone, why.into()))
    }

    /// A worker waits for the seed of a precommit that the chain does not have. If no message
    /// brings it there any more, another one is made.
    ///
    /// What there is to say: [`CommitError::NotSeen`] while it is on its way,
    /// [`CommitError::Lost`] if it cannot be sent again.
    pub async fn pre_commit_is_missing(&self, sector: SectorId) -> CommitError {
        match self.bring_back(sector).await {
            Ok(()) => CommitError::NotSeen(sector),
            Err(error) => error,
        }
    }

    async fn bring_back(&self, sector: SectorId) -> Result<(), CommitError> {
        let record = self.online(sector).await?;
        let Some(pre) = record.pre else {
            let why = "it was never submitted to this manager".to_owned();
            return Err(CommitError::Lost { sector, why });
        };
        let alone = match self.stage(&pre.carriage).await? {
            Stage::Dropped(why, _) => return Err(CommitError::Lost { sector, why }),
            Stage::Found => false,
            stage if stage.lives() => return Ok(()),
            _ => true,
        };
        // only if the chain says so itself
        let head = self.chain.head().await?;
        let (miner, number) = (sector.miner, sector.number);
        let there = self.chain.precommit_info(miner, number, &head.cids).await?;
        if there.is_some() || self.gone(sector, &head).await? != Gone::No {
            return Err(CommitError::Unsure(sector));
        }
        let seen = pre.carriage;
        let store = move |db: &Db| {
            db.change_online(sector, Durability::Synced, |record| match &mut record.pre {
                Some(pre) if pre.carriage == seen => {
                    pre.carriage = Carriage::Ready {
                        since: unix_ms(),
                        alone,
                        error: None,
                    };
                    Ok(())
                }
                _ => Err(CommitError::from(DbError::Changed(sector))),
            })
        };
        self.db.call(store).await?;
        tracing::warn!(%sector, "a precommit left the chain and its message failed; another one is made");
        self.wake.send_replace(());
        Ok(())
    }

    /// One sector's part of a message with proofs.
    pub(super) async fn proof_part(
        &self,
        policy: &MinerPolicy,
        record: &SectorRecord,
        head: &TipSet,
    ) -> Result<Result<Part<ProofPart>, LeftOut>, CommitError> {
        let id = record.id;
        let proof = self.db.call(move |db| db.proof(id)).await?;
        let Some(proof) = proof else {
            return Ok(Err(LeftOut::Never(None, "there is no proof".into())));
        };
        let key = &head.cids;
        let on_chain = self.chain.precommit_info(id.miner, id.number, key).await?;
        let Some(on_chain) = on_chain else {
            let proven = self.chain.sector_info(id.miner, id.number, key).await?;
            return Ok(Err(if proven.is_some() {
                LeftOut::Found
            } else if self.gone(id, head).await? == Gone::Surely {
                let why = "its precommit is not on chain any more";
                LeftOut::Never(Some(Reason::NumberUsed), why.into())
            } else {
                LeftOut::NotNow(CommitError::NotSeen(id).to_string())
            }));
        };
        let expiration = on_chain.info.expiration;
        let (params, verified) = self
            .proof_with_data(record, proof, expiration, head)
            .await?;
        let value = if policy.prove.send_fund {
            let duration = on_chain.info.expiration - head.height;
            let size = record.proof_type.size.bytes();
            let pledge = self.chain.initial_pledge(duration, size, verified, key);
            missing_pledge(&pledge.await?, &on_chain.pre_commit_deposit)
        } else {
            TokenAmount::default()
        };
        Ok(Ok(Part {
            sector: id,
            params,
            value,
        }))
    }
}

/// Some proofs made one.
#[derive(Clone, Debug)]
pub(super) struct Aggregated {
    pub(super) proof: RawBytes,
    /// What the network asks for it beside its gas.
    pub(super) fee: TokenAmount,
}

/// In what order a message names its sectors, and an aggregate proves them.
pub(super) fn in_order(parts: &mut [Part<ProofPart>]) {
    parts.sort_by_key(|p| p.sector.number);
}

/// What a message says of a sector beside its proof.
pub(super) fn activation(part: &Part<ProofPart>) -> SectorActivationManifest {
    SectorActivationManifest {
        sector_number: part.sector.number,
        pieces: part.params.pieces.clone(),
    }
}

/// The message of some proofs (ProveCommitSectors3): one proof per sector, or the aggregate of all
/// of them, made in this order.
pub(super) fn message(
    policy: &MinerPolicy,
    mut parts: Vec<Part<ProofPart>>,
    aggregate: Option<&Aggregated>,
) -> Result<Built, CommitError> {
    in_order(&mut parts);
    let values = parts.iter().map(|p| p.value.clone());
    let fee = aggregate.map_or_else(TokenAmount::default, |a| a.fee.clone());
    // the fee is taken from the miner's balance, as the pledge is
    let fee = if policy.prove.send_fund {
        fee
    } else {
        TokenAmount::default()
    };
    let value = values.sum::<TokenAmount>() + fee;
    let params = ProveCommitSectors3Params {
        sector_activations: parts.iter().map(activation).collect(),
        sector_proofs: match aggregate {
            Some(_) => Vec::new(),
            None => parts.iter().map(|p| p.params.proof.clone()).collect(),
        },
        aggregate_proof: aggregate.map_or_else(RawBytes::default, |a| a.proof.clone()),
        aggregate_proof_type: aggregate.map(|_| RegisteredAggregateProof::SnarkPackV2),
        require_activation_success: policy.sector.require_activation_success,
        require_notification_success: policy.sector.require_notification_success,
    };
    Ok(Built {
        method: Method::ProveCommitSectors3 as u64,
        params: RawBytes::serialize(&params)?,
        value,
        sectors: parts.iter().map(|p| p.sector).collect(),
        note: None,
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
