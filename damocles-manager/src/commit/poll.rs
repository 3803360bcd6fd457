//! What became of a submission, as workers ask it. Whatever a record says, the chain is asked
//! before "landed" or "failed" is said.

use crate::{
    chain::ChainError,
    commit::{Check, Commit, CommitError, Stage, certain::Gone, precommit::ticket_age},
    db::record::{MessageRecord, SectorRecord},
    messages::{Verdict, of_exit_code},
    model::Commitment,
};
use damocles_api::{
    reason::Reason,
    submit::{OnChainState, PollStateResp},
};
use damocles_flow::message::MessageState;
use damocles_node::TipSet;
use damocles_types::{Epoch, SectorId};
use fil_actor_miner_state::v18::ProveCommitSectors3Return;
use fvm_ipld_encoding::RawBytes;

fn state(state: OnChainState, reason: Option<Reason>, desc: Option<String>) -> PollStateResp {
    PollStateResp {
        state,
        desc,
        reason,
    }
}

/// It is on its way; what it waits for, if that is known.
fn waits(state_now: OnChainState, what: Option<String>) -> PollStateResp {
    let reason = what.is_some().then_some(Reason::NotNow);
    state(state_now, reason, what)
}

/// What is to be thought of a message with so many sectors that failed with this exit code. Of
/// several, another one may be the cause: each is worth a message of its own.
fn after_failure(code: i64, sectors: usize) -> OnChainState {
    match of_exit_code(code) {
        Verdict::Permanent if sectors <= 1 => OnChainState::PermFailed,
        Verdict::Permanent | Verdict::Done | Verdict::Retryable => OnChainState::Failed,
    }
}

/// The exit code of one sector in a message that landed: a batch may succeed in parts
/// (ProveCommitSectors3, FIP-0076). None: there is no such return value. Pure.
pub(super) fn code_within(message: &MessageRecord, sector: SectorId) -> Option<i64> {
    let at = message.sectors.iter().position(|s| *s == sector)?;
    let value = RawBytes::new(message.return_value.as_ref()?.0.clone());
    let results = value.deserialize::<ProveCommitSectors3Return>().ok()?;
    let failed = results
        .activation_results
        .fail_codes
        .iter()
        .find(|f| usize::try_from(f.idx) == Ok(at));
    Some(failed.map_or(0, |f| i64::from(f.code.value())))
}

/// What the chain has of a sector.
pub(super) struct Standing {
    pub(super) head: TipSet,
    /// Since when it has what is asked for; None: it does not have it.
    pub(super) since: Option<Epoch>,
    /// The seed's epoch that its precommit asks for.
    seed: Option<Epoch>,
}

impl Commit {
    /// What became of the precommit.
    ///
    /// # Errors
    /// [`CommitError::NoSector`]; a node that does not answer.
    pub async fn poll_pre_commit(&self, sector: SectorId) -> Result<PollStateResp, CommitError> {
        self.poll(Commitment::PreCommit, sector).await
    }

    /// What became of the proof.
    ///
    /// # Errors
    /// [`CommitError::NoSector`]; a node that does not answer.
    pub async fn poll_proof(&self, sector: SectorId) -> Result<PollStateResp, CommitError> {
        self.poll(Commitment::Proof, sector).await
    }

    async fn poll(&self, kind: Commitment, id: SectorId) -> Result<PollStateResp, CommitError> {
        let record = self.online(id).await?;
        let Some(carriage) = record.carriage(kind) else {
            let why = "it was not submitted".to_owned();
            let reason = Some(Reason::NotSubmitted);
            return Ok(state(OnChainState::Failed, reason, Some(why)));
        };
        match self.stage(carriage).await? {
            Stage::Waits(error) => Ok(waits(OnChainState::Pending, error)),
            Stage::Dropped(why, reason) => {
                let failed = state(OnChainState::Failed, reason, Some(why));
                self.unless_reached(kind, &record, failed).await
            }
            Stage::Found => self.on_chain(kind, &record, false).await,
            Stage::In(message) => match message.state {
                MessageState::Wanted | MessageState::Pushed => {
                    Ok(waits(OnChainState::Pending, message.error))
                }
                MessageState::Packed => Ok(state(OnChainState::Packed, None, None)),
                MessageState::Rejected => {
                    let failed = state(OnChainState::Failed, None, message.error);
                    self.unless_reached(kind, &record, failed).await
                }
                MessageState::Failed | MessageState::FailedFinal => {
                    let code = message.exit_code.unwrap_or_default();
                    let failed = after_failure(code, message.sectors.len());
                    let failed = state(failed, None, message.error);
                    self.unless_reached(kind, &record, failed).await
                }
                MessageState::Landed | MessageState::Final => {
                    match code_within(&message, id).filter(|_| kind == Commitment::Proof) {
                        Some(code) if code != 0 => {
                            let why = format!("the chain did not activate it: exit code {code}");
                            let failed = state(after_failure(code, 1), None, Some(why));
                            self.unless_reached(kind, &record, failed).await
                        }
                        _ => self.on_chain(kind, &record, true).await,
                    }
                }
            },
        }
    }

    pub(super) async fn standing(
        &self,
        kind: Commitment,
        record: &SectorRecord,
    ) -> Result<Standing, CommitError> {
        let id = record.id;
        let head = self.chain.head().await?;
        let key = &head.cids;
        let ours = record.pre.as_ref().map(|p| p.comm_r.sealed_cid());
        let proven = self.chain.sector_info(id.miner, id.number, key).await?;
        let proven = proven.filter(|s| ours.is_none_or(|ours| s.sealed_cid == ours));
        let pre = match proven {
            Some(_) => None,
            None => self.chain.precommit_info(id.miner, id.number, key).await?,
        };
        let pre = pre.filter(|p| ours.is_none_or(|ours| p.info.sealed_cid == ours));
        let since = match (&proven, &pre, kind) {
            (Some(proven), _, Commitment::Proof) => Some(proven.activation),
            // it was there before the sector was proven
            (Some(_), _, Commitment::PreCommit) => Some(Epoch::MIN),
            (None, Some(pre), Commitment::PreCommit) => Some(pre.pre_commit_epoch),
            (None, _, _) => None,
        };
        let seed = match pre {
            Some(pre) => Some(pre.pre_commit_epoch + self.facts.challenge_delay().await?),
            None => None,
        };
        Ok(Standing { head, since, seed })
    }

    fn landed(
        &self,
        id: SectorId,
        head: Epoch,
        since: Epoch,
    ) -> Result<PollStateResp, CommitError> {
        let deep = head.saturating_sub(since) >= self.miner(id.miner)?.confidence;
        Ok(if deep {
            state(OnChainState::Landed, None, None)
        } else {
            state(OnChainState::Packed, None, None)
        })
    }

    /// The failure of a message, unless the chain has what it was for all the same; and its
    /// reason, where the chain knows it.
    async fn unless_reached(
        &self,
        kind: Commitment,
        record: &SectorRecord,
        failed: PollStateResp,
    ) -> Result<PollStateResp, CommitError> {
        let now = self.standing(kind, record).await?;
        let head = now.head.height;
        if let Some(since) = now.since {
            return self.landed(record.id, head, since);
        }
        if failed.reason.is_some() {
            return Ok(failed);
        }
        // what lies behind an exit code: something that a worker can mend by itself
        let mendable = match (kind, &record.pre, record.seed, now.seed) {
            (Commitment::PreCommit, Some(pre), ..) => match ticket_age(head, pre.ticket.epoch)? {
                Check::Reject(reason, why) => Some((reason, why)),
                _ => None,
            },
            (Commitment::Proof, _, Some(ours), Some(theirs)) if ours.epoch != theirs => {
                let why = format!(
                    "its seed is of epoch {}, and the chain's of epoch {theirs}: the precommit moved",
                    ours.epoch
                );
                Some((Reason::SeedChanged, why))
            }
            _ => None,
        };
        Ok(match mendable {
            Some((reason, why)) => state(OnChainState::Failed, Some(reason), Some(why)),
            None => failed,
        })
    }

    /// Whether the chain has what it should have by now. Followed: a message of ours is pushed
    /// again if it left the chain.
    async fn on_chain(
        &self,
        kind: Commitment,
        record: &SectorRecord,
        followed: bool,
    ) -> Result<PollStateResp, CommitError> {
        let id = record.id;
        let now = self.standing(kind, record).await?;
        if let Some(since) = now.since {
            return self.landed(id, now.head.height, since);
        }
        let gone = match now.seed {
            Some(_) => Gone::No,
            None => match self.gone(id, &now.head).await {
                // a node that cannot tell is no evidence
                Err(CommitError::Chain(ChainError::Refused { .. })) => Gone::Perhaps,
                other => other?,
            },
        };
        Ok(if gone == Gone::Surely {
            let why = "its message landed, but the chain does not have it any more";
            let reason = Some(Reason::NumberUsed);
            state(OnChainState::ShouldAbort, reason, Some(why.to_owned()))
        } else if gone == Gone::No && !followed {
            let why = "the chain had it, and does not have it any more; submit it again";
            let reason = (kind == Commitment::PreCommit).then_some(Reason::PreCommitGone);
            state(OnChainState::Failed, reason, Some(why.to_owned()))
        } else {
            let why = "its message landed, but the chain does not have it now (a reorganisation, or a node that is behind); it is followed";
            waits(OnChainState::Packed, Some(why.to_owned()))
        })
    }
}
