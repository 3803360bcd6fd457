//! Finished sectors whose branch of the chain is gone. Landed is not final: their messages are
//! sent again, and may fail where the chain goes now. Then the proof that is kept gets another
//! message, while its precommit stands and asks for the same seed; what a worker would have to
//! make anew is said to a person, for it has cleared what it made it of.

use crate::{
    commit::{Check, Commit, CommitError, Stage, poll::code_within},
    db::{
        Db, DbError,
        record::{Carriage, SectorRecord},
    },
    model::{Commitment, MessageKind, unix_ms},
};
use damocles_api::submit::ProofOnChainInfo;
use damocles_flow::message::MessageState;
use damocles_kv::Durability;
use damocles_types::SectorId;

/// After so many messages that failed with the same proof a person looks.
const MOST_MESSAGES: usize = 5;

/// Where a sector stands that left the chain.
#[derive(Debug, PartialEq, Eq)]
enum Now {
    /// The chain has it, deep enough.
    Back,
    /// It is on its way.
    Comes(String),
    /// Its proof is to be put into another message.
    Again,
    /// Nothing brings it back by itself.
    Stays(String),
}

impl Commit {
    /// Looks after the finished sectors that left the chain.
    pub(super) async fn bring_home(&self) -> Result<(), DbError> {
        let only = self.only;
        for record in self.db.call(move |db| db.left_chain(only)).await? {
            let id = record.id;
            let done = match self.whether_back(&record).await {
                Ok(now) => self.note_left(&record, now).await,
                Err(error) => Err(error),
            };
            match done {
                Ok(()) => {}
                // what is not known now is known at the next look
                Err(error) if error.is_wait() => {
                    tracing::debug!(sector = %id, %error, "a sector that left the chain is looked at later");
                }
                Err(error) => {
                    tracing::error!(sector = %id, %error, "a sector that left the chain cannot be looked after");
                }
            }
        }
        Ok(())
    }

    async fn whether_back(&self, record: &SectorRecord) -> Result<Now, CommitError> {
        let id = record.id;
        let now = self.standing(Commitment::Proof, record).await?;
        if let Some(since) = now.since {
            let confidence = self.miner(id.miner)?.confidence;
            return Ok(if now.head.height.saturating_sub(since) >= confidence {
                Now::Back
            } else {
                Now::Comes(format!(
                    "the chain has it again since epoch {since}; it is finished when {confidence} epochs lie on top"
                ))
            });
        }
        let stage = match record.carriage(Commitment::Proof) {
            Some(carriage) => self.stage(carriage).await?,
            None => Stage::Dropped("there is no proof of it".into(), None),
        };
        let failed = match stage {
            Stage::Waits(None) => return Ok(Now::Comes("its proof waits for a message".into())),
            Stage::Waits(Some(why)) => {
                return Ok(Now::Comes(format!("its proof waits for a message: {why}")));
            }
            Stage::In(message) => match message.state {
                MessageState::Wanted | MessageState::Pushed | MessageState::Packed => {
                    let why = "its proof left the chain with a branch, and is sent again";
                    return Ok(Now::Comes(why.into()));
                }
                MessageState::Landed | MessageState::Final => match code_within(&message, id) {
                    Some(code) if code != 0 => format!("its proof failed with exit code {code}"),
                    _ => {
                        let why = "its proof landed, but the chain does not have it now (a reorganisation, or a node that is behind); it is followed";
                        return Ok(Now::Comes(why.into()));
                    }
                },
                MessageState::Failed | MessageState::FailedFinal | MessageState::Rejected => {
                    message
                        .error
                        .unwrap_or_else(|| "the message of its proof failed".into())
                }
            },
            Stage::Found => "no message brought it".into(),
            Stage::Dropped(why, _) => why,
        };
        self.whether_again(record, &failed).await
    }

    /// Whether the proof that is kept may be sent once more.
    async fn whether_again(&self, record: &SectorRecord, failed: &str) -> Result<Now, CommitError> {
        let id = record.id;
        let Some(proof) = self.db.call(move |db| db.proof(id)).await? else {
            return Ok(stays(id, failed));
        };
        let proof = ProofOnChainInfo {
            proof: proof.into(),
        };
        match self.check_proof(record, &proof).await {
            Ok(Check::Good) => {}
            Ok(Check::Found) => return Ok(Now::Comes("the chain has it again".into())),
            Ok(Check::Mismatch(_, why) | Check::Reject(_, why)) => return Ok(stays(id, &why)),
            // its precommit is on its way, or what must be sure is not yet
            Err(error) if error.is_wait() => return Ok(Now::Comes(error.to_string())),
            Err(error) => return Err(error),
        }
        let sent = self.db.call(move |db| db.messages_of(id)).await?;
        let sent = sent.iter().filter(|m| m.kind == MessageKind::ProveCommit);
        Ok(if sent.count() < MOST_MESSAGES {
            Now::Again
        } else {
            stays(id, failed)
        })
    }

    async fn note_left(&self, seen: &SectorRecord, now: Now) -> Result<(), CommitError> {
        let (id, before) = (seen.id, seen.clone());
        let (left, again) = match &now {
            Now::Back => (None, false),
            Now::Comes(why) => (Some((why.clone(), false)), false),
            Now::Again => {
                let why = "its proof failed on the new branch, and gets another message";
                (Some((why.to_owned(), false)), true)
            }
            Now::Stays(why) => (Some((why.clone(), true)), false),
        };
        let store = move |db: &Db| {
            db.change(id, Durability::Synced, |record| {
                if *record != before {
                    return Err(CommitError::from(DbError::Changed(id)));
                }
                match &left {
                    None => record.left_chain = None,
                    Some((why, stays)) => {
                        if let Some(noted) = &mut record.left_chain {
                            (noted.why, noted.stays) = (why.clone(), *stays);
                        }
                    }
                }
                if again && let Some(proof) = &mut record.proof {
                    proof.carriage = Carriage::Ready {
                        since: unix_ms(),
                        alone: true,
                        error: None,
                    };
                }
                Ok(*record != before)
            })
        };
        if !self.db.call(store).await? {
            return Ok(());
        }
        match now {
            Now::Back => {
                tracing::info!(sector = %id, "a sector that left the chain is there again")
            }
            Now::Comes(why) => {
                tracing::warn!(sector = %id, why, "a finished sector left the chain")
            }
            Now::Again => {
                tracing::warn!(sector = %id, "the proof of a sector that left the chain is sent in another message");
            }
            Now::Stays(why) => {
                tracing::error!(sector = %id, why, "a finished sector left the chain, and does not come back by itself");
            }
        }
        Ok(())
    }
}

fn stays(sector: SectorId, why: &str) -> Now {
    let SectorId { miner, number } = sector;
    Now::Stays(format!(
        "{why}; its sealed files stay where they are; hint: nothing proves it again, so let it go with \
         `damocles-manager util sealer sectors abort {miner} {number} --reason \"left the chain\"`, and seal another one"
    ))
}
