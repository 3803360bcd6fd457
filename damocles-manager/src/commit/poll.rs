//! What became of a submission, as workers ask it.

use crate::{
    commit::{Commit, CommitError, Stage},
    db::record::{Carriage, MessageRecord, SectorRecord},
    messages::{Verdict, of_exit_code},
    model::Commitment,
};
use damocles_api::submit::{OnChainState, PollStateResp};
use damocles_flow::message::MessageState;
use damocles_types::{Epoch, SectorId};
use fil_actor_miner_state::v18::ProveCommitSectors3Return;
use fvm_ipld_encoding::RawBytes;

fn state(state: OnChainState, desc: Option<String>) -> PollStateResp {
    PollStateResp {
        state,
        desc,
        reason: None,
    }
}

/// Whether another message is worth trying after this exit code.
fn after_failure(code: i64) -> OnChainState {
    match of_exit_code(code) {
        Verdict::Permanent => OnChainState::PermFailed,
        Verdict::Done | Verdict::Retryable => OnChainState::Failed,
    }
}

/// The exit code of one sector in a message that landed: a batch may succeed in parts
/// (ProveCommitSectors3, FIP-0076). None: there is no such return value. Pure.
fn code_within(message: &MessageRecord, sector: SectorId) -> Option<i64> {
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

/// Where a message stands, as far as that alone tells. None: it landed, ask the chain. Pure.
fn of_message(message: &MessageRecord) -> Option<PollStateResp> {
    let said = message.error.clone();
    Some(match message.state {
        MessageState::Wanted | MessageState::Pushed => state(OnChainState::Pending, said),
        MessageState::Packed => state(OnChainState::Packed, None),
        MessageState::Landed => return None,
        MessageState::Rejected => state(OnChainState::Failed, said),
        MessageState::Failed => match message.exit_code {
            Some(code) => state(after_failure(code), said),
            None => state(OnChainState::Failed, said),
        },
    })
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
            return Ok(state(OnChainState::Failed, Some(why)));
        };
        match self.stage(carriage).await? {
            Stage::Waits(error) => Ok(state(OnChainState::Pending, error)),
            Stage::Dropped(why) => Ok(state(OnChainState::Failed, Some(why))),
            Stage::Found => self.on_chain(kind, &record).await,
            Stage::In(message) => {
                if let Some(known) = of_message(&message) {
                    return Ok(known);
                }
                if kind == Commitment::Proof
                    && let Some(code) = code_within(&message, id)
                    && code != 0
                {
                    let why = format!("the chain did not activate it: exit code {code}");
                    return Ok(state(after_failure(code), Some(why)));
                }
                self.on_chain(kind, &record).await
            }
        }
    }

    /// Whether the chain has what it should have by now.
    async fn on_chain(
        &self,
        kind: Commitment,
        record: &SectorRecord,
    ) -> Result<PollStateResp, CommitError> {
        let id = record.id;
        let head = self.chain.head().await?;
        let key = &head.cids;
        let proven = self.chain.sector_info(id.miner, id.number, key).await?;
        let pre = match proven {
            Some(_) => None,
            None => self.chain.precommit_info(id.miner, id.number, key).await?,
        };
        let since: Option<Epoch> = match (&proven, &pre, kind) {
            (Some(proven), _, _) => Some(proven.activation),
            (None, Some(pre), Commitment::PreCommit) => Some(pre.pre_commit_epoch),
            (None, _, _) => None,
        };
        let Some(since) = since else {
            return Ok(if pre.is_none() && self.is_gone(id, key).await? {
                let why = "its message landed, but the chain does not have it any more";
                state(OnChainState::ShouldAbort, Some(why.to_owned()))
            } else {
                let why = "its message landed, but the node has not seen that yet";
                state(OnChainState::Packed, Some(why.to_owned()))
            });
        };
        // A message of ours is deep enough by the time it is called landed; what we found, not.
        let found = matches!(record.carriage(kind), Some(Carriage::Found));
        if found && head.height - since < self.miner(id.miner)?.confidence {
            return Ok(state(OnChainState::Packed, None));
        }
        Ok(state(OnChainState::Landed, None))
    }
}
