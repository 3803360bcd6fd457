//! Precommits: what may be submitted, and the message that carries them.

use crate::{
    chain::{DomainTag, entropy},
    commit::{
        Check, Commit, CommitError, again, answer,
        certain::Gone,
        chain_proof, data,
        expiration::{self, TICKET_LIFE},
        judge,
        part::{Built, LeftOut, Part},
        taken, zero_comm_d,
    },
    db::{
        Db, DbError,
        record::{PreCommit, SectorRecord},
    },
    model::Commitment,
    policy::MinerPolicy,
};
use damocles_api::{
    damocles::TicketLeft,
    reason::Reason,
    sector::{AllocatedSector, PreCommitOnChainInfo},
    submit::{SubmitResp, SubmitResult},
};
use damocles_kv::Durability;
use damocles_node::{SectorPreCommitInfo, TipSet, TipSetKey};
use damocles_types::{Epoch, SectorId};
use fil_actor_miner_state::v18::{self as actor, CompactCommD, PreCommitSectorBatchParams2};
use fvm_shared::econ::TokenAmount;
use std::time::Duration;

/// Whether a ticket may still be used. Pure.
///
/// # Errors
/// [`CommitError::Behind`]: tickets are drawn far below the head, so one above it says that the
/// node forgot a part of the chain (it syncs anew, say). Nothing is known of the ticket then,
/// and a rejection would cost a sealed sector.
pub(super) fn ticket_age(head: Epoch, ticket: Epoch) -> Result<Check, CommitError> {
    let age = head.saturating_sub(ticket);
    if age < 0 {
        return Err(CommitError::Behind { head, ticket });
    }
    Ok(if age > TICKET_LIFE {
        let why = format!(
            "the ticket of epoch {ticket} expired: it is {age} epochs old, and {TICKET_LIFE} are allowed"
        );
        Check::Reject(Reason::TicketExpired, why)
    } else {
        Check::Good
    })
}

/// What is left of a ticket, with blocks that come so often. Pure.
///
/// # Errors
/// [`CommitError::Behind`], as above.
fn left(head: Epoch, ticket: Epoch, delay: Duration) -> Result<TicketLeft, CommitError> {
    let age = head.saturating_sub(ticket);
    if age < 0 {
        return Err(CommitError::Behind { head, ticket });
    }
    let epochs = TICKET_LIFE - age;
    let blocks = u32::try_from(epochs.max(0)).unwrap_or(u32::MAX);
    Ok(TicketLeft {
        epoch: ticket,
        epochs,
        seconds: delay.saturating_mul(blocks).as_secs(),
    })
}

impl Commit {
    /// How long the sector's ticket may still be used.
    ///
    /// # Errors
    /// [`CommitError::NoSector`]; [`CommitError::Behind`], and whatever keeps the chain from being
    /// asked.
    pub async fn ticket_left(&self, sector: SectorId) -> Result<Option<TicketLeft>, CommitError> {
        let Some(ticket) = self.online(sector).await?.ticket else {
            return Ok(None);
        };
        let (head, delay) = (self.chain.head().await?, self.facts.block_delay().await?);
        left(head.height, ticket.epoch, delay).map(Some)
    }

    /// Takes CommR, CommD and ticket of a sector. `reset`: a new message is wanted, because
    /// the one before failed; while that one lives, nothing else is sent.
    ///
    /// # Errors
    /// [`CommitError::NoSector`]; whatever keeps the submission from being judged.
    pub async fn submit_pre_commit(
        &self,
        sector: AllocatedSector,
        info: PreCommitOnChainInfo,
        reset: bool,
    ) -> Result<SubmitResp, CommitError> {
        let id = sector.id;
        let record = self.online(id).await?;
        self.miner(id.miner)?;
        if record.proof_type != sector.proof_type {
            let why = format!(
                "it was allocated as {}, and the precommit is of {}",
                record.proof_type, sector.proof_type
            );
            let res = SubmitResult::MismatchedSubmission;
            return Ok(answer(res, Some(Reason::Differs), Some(why)));
        }
        let before = match &record.pre {
            Some(pre) => Some(self.stage(&pre.carriage).await?),
            None => None,
        };
        let same = record.pre.as_ref().is_some_and(|p| {
            (p.comm_r, p.comm_d, p.ticket) == (info.comm_r, info.comm_d, info.ticket)
        });
        let again = again(before.as_ref(), same, reset);
        let checks = self.check_pre_commit(&record, &info);
        let carriage = match judge(Commitment::PreCommit, id, again, checks).await? {
            Ok(carriage) => carriage,
            Err(answer) => return Ok(answer),
        };
        let seen = record.pre;
        let store = move |db: &Db| {
            db.change_online(id, Durability::Synced, |record| {
                if record.pre != seen {
                    return Err(CommitError::from(DbError::Changed(id)));
                }
                record.pre = Some(PreCommit {
                    comm_r: info.comm_r,
                    comm_d: info.comm_d,
                    ticket: info.ticket,
                    carriage: carriage.clone(),
                });
                Ok(())
            })
        };
        self.db.call(store).await?;
        self.wake.send_replace(());
        Ok(taken(Commitment::PreCommit, id))
    }

    async fn check_pre_commit(
        &self,
        record: &SectorRecord,
        info: &PreCommitOnChainInfo,
    ) -> Result<Check, CommitError> {
        let id = record.id;
        let head = self.chain.head().await?;
        let key = &head.cids;
        let sealed = info.comm_r.sealed_cid();
        if let Some(proven) = self.chain.sector_info(id.miner, id.number, key).await? {
            return Ok(if proven.sealed_cid == sealed {
                Check::Found
            } else {
                let why = format!("the chain has it with CommR {}", proven.sealed_cid);
                Check::Mismatch(Reason::Differs, why)
            });
        }
        if let Some(on_chain) = self.chain.precommit_info(id.miner, id.number, key).await? {
            let theirs = (on_chain.info.sealed_cid, on_chain.info.seal_rand_epoch);
            return Ok(if theirs == (sealed, info.ticket.epoch) {
                Check::Found
            } else {
                let why = format!(
                    "the chain has a precommit with CommR {} and ticket epoch {}",
                    theirs.0, theirs.1
                );
                Check::Mismatch(Reason::Differs, why)
            });
        }
        match self.gone(id, &head).await? {
            Gone::No => {}
            Gone::Perhaps => return Err(CommitError::Unsure(id)),
            Gone::Surely => {
                let why = "its number was used on chain before, and its precommit is gone";
                return Ok(Check::Reject(Reason::NumberUsed, why.into()));
            }
        }
        if data::has_data(record) {
            let check = data::check_comm_d(record, info.comm_d).await?;
            if check != Check::Good {
                return Ok(check);
            }
        } else if zero_comm_d(record.proof_type.size) != Some(info.comm_d) {
            let why = format!("CommD {} is not that of a sector without data", info.comm_d);
            return Ok(Check::Mismatch(Reason::Differs, why));
        }
        self.check_ticket(id, info, &head).await
    }

    async fn check_ticket(
        &self,
        id: SectorId,
        info: &PreCommitOnChainInfo,
        head: &TipSet,
    ) -> Result<Check, CommitError> {
        let age = ticket_age(head.height, info.ticket.epoch)?;
        if age != Check::Good {
            return Ok(age);
        }
        let drawn = self
            .chain
            .ticket_randomness(
                DomainTag::SealRandomness,
                info.ticket.epoch,
                &entropy(id.miner),
                &head.cids,
            )
            .await?;
        if drawn != info.ticket.ticket {
            let why = format!(
                "the ticket is not the chain's of epoch {}",
                info.ticket.epoch
            );
            self.settled(id, Reason::TicketNotOnChain, head.height)?;
            return Ok(Check::Reject(Reason::TicketNotOnChain, why));
        }
        self.doubts.dispel(id, Reason::TicketNotOnChain);
        Ok(Check::Good)
    }

    /// One sector's part of a precommit message.
    pub(super) async fn pre_commit_part(
        &self,
        policy: &MinerPolicy,
        record: &SectorRecord,
        head: &TipSet,
    ) -> Result<Result<Part<actor::SectorPreCommitInfo>, LeftOut>, CommitError> {
        let id = record.id;
        let Some(pre) = &record.pre else {
            return Ok(Err(LeftOut::Never(None, "there is no precommit".into())));
        };
        let on_chain = self
            .chain
            .precommit_info(id.miner, id.number, &head.cids)
            .await?;
        if let Some(on_chain) = on_chain {
            let same = on_chain.info.sealed_cid == pre.comm_r.sealed_cid();
            return Ok(Err(if same {
                LeftOut::Found
            } else {
                let why = "the chain has another precommit of it";
                LeftOut::Never(Some(Reason::Differs), why.into())
            }));
        }
        match ticket_age(head.height, pre.ticket.epoch) {
            Ok(Check::Reject(reason, why)) => {
                return Ok(Err(LeftOut::Never(Some(reason), why)));
            }
            Ok(_) => {}
            Err(behind) => return Ok(Err(LeftOut::NotNow(behind.to_string()))),
        }
        let facts = expiration::Facts {
            head: head.height,
            ticket: pre.ticket.epoch,
            challenge_delay: self.facts.challenge_delay().await?,
            network_version: self.chain.network_version(&head.cids).await?,
        };
        let days = policy.sector.lifetime_days;
        let expiration = self.expiration(record, days, facts).await?;
        let unsealed = data::unsealed_cid(record, pre.comm_d);
        let asked = SectorPreCommitInfo {
            seal_proof: record.proof_type.number(),
            sector_number: id.number,
            sealed_cid: pre.comm_r.sealed_cid(),
            seal_rand_epoch: pre.ticket.epoch,
            deal_ids: Vec::new(),
            expiration,
            unsealed_cid: unsealed,
        };
        let value = if policy.pre.send_fund {
            self.chain
                .precommit_deposit(id.miner, &asked, &TipSetKey::HEAD)
                .await?
        } else {
            TokenAmount::default()
        };
        let params = actor::SectorPreCommitInfo {
            seal_proof: chain_proof(record.proof_type),
            sector_number: id.number,
            sealed_cid: asked.sealed_cid,
            seal_rand_epoch: asked.seal_rand_epoch,
            deal_ids: Vec::new(),
            expiration,
            unsealed_cid: CompactCommD::new(unsealed),
        };
        Ok(Ok(Part {
            sector: id,
            params,
            value,
        }))
    }
}

/// The message of some precommits (PreCommitSectorBatch2).
pub(super) fn message(
    mut parts: Vec<Part<actor::SectorPreCommitInfo>>,
) -> Result<Built, CommitError> {
    parts.sort_by_key(|p| p.sector.number);
    let value = parts.iter().map(|p| p.value.clone()).sum();
    let sectors = parts.iter().map(|p| p.sector).collect();
    let params = PreCommitSectorBatchParams2 {
        sectors: parts.into_iter().map(|p| p.params).collect(),
    };
    Ok(Built {
        method: actor::Method::PreCommitSectorBatch2 as u64,
        params: fvm_ipld_encoding::RawBytes::serialize(&params)?,
        value,
        sectors,
        note: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_age() {
        let good = |head, ticket| matches!(ticket_age(head, ticket), Ok(Check::Good));
        let old = |head, ticket| {
            matches!(
                ticket_age(head, ticket),
                Ok(Check::Reject(Reason::TicketExpired, _))
            )
        };
        assert!(good(100, -800), "a young chain");
        assert!(good(3780, 0));
        assert!(old(3781, 0));
        assert!(old(10, Epoch::MIN), "no overflow on what a caller sends");
        let behind = ticket_age(10, 11);
        assert!(matches!(
            behind,
            Err(CommitError::Behind {
                head: 10,
                ticket: 11
            })
        ));
    }
}
