//! What people ask about proving: the deadlines of a miner, and why a sector is faulty. The chain
//! tells, and the records tell why.

use crate::{
    chain::{Chain, ChainError, Head},
    db::{Db, DbError, posts::PostRecord, recoveries::RecoveryRecord},
    overview::counts,
    post::{Parts, context::Context, sectors::Sorted},
    served::Served,
};
use damocles_api::{
    overview::SectorCounts,
    proving::{CheckView, DeadlineView, DeadlinesView, FaultView, FaultsView},
};
use damocles_node::{DeadlineInfo, Partition, SectorOnChainInfo, TipSetKey};
use damocles_types::{ActorId, Epoch, SectorId, SectorNumber};
use fvm_ipld_bitfield::BitField;
use std::{collections::BTreeMap, sync::Arc};

/// WindowPoSts in which the reasons are looked for: of some days.
const LATELY: usize = 400;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error(transparent)]
    Db(#[from] DbError),
    #[error("{0}")]
    Step(String),
    #[error(
        "deadline {deadline} of miner t0{miner} is to be proven now, which goes before a try; ask again when it is (`damocles-manager util sealer proving posts {miner}`)"
    )]
    Due { miner: ActorId, deadline: u64 },
    #[error(
        "deadline {deadline} is open until epoch {close}, and what is faulty afterwards is not known yet; ask again then"
    )]
    Open { deadline: u64, close: Epoch },
    #[error("miner t0{0} has no deadline {1}")]
    NoDeadline(ActorId, u64),
    #[error("no store is known to hold sector {0}; name its files, or put them into a store")]
    NoFiles(SectorId),
    #[error("the chain has no sector {0}")]
    NoSector(SectorId),
    #[error("miner t0{0} has no such partition")]
    NoPartition(ActorId),
    #[error("this manager does not serve miner t0{0}")]
    NoMiner(ActorId),
    #[error(
        "this manager reads no sectors, as it proves none; ask one that runs with --poster, or without a strict check"
    )]
    NoProver,
}

/// Who answers.
#[derive(Clone, Debug)]
pub struct Asked {
    pub db: Db,
    pub chain: Arc<dyn Chain>,
    pub served: Served,
    /// Of the poster, where there is one.
    pub parts: Option<Parts>,
}

/// A miner at a head.
pub(super) struct At {
    pub(super) key: TipSetKey,
    pub(super) height: Epoch,
    pub(super) now: DeadlineInfo,
}

impl Asked {
    pub(super) async fn at(&self, miner: ActorId) -> Result<At, AskError> {
        let head = self.chain.head().await?;
        let now = self.chain.miner_proving_deadline(miner, &head.cids).await?;
        Ok(At {
            key: head.cids,
            height: head.height,
            now,
        })
    }

    /// The deadlines of a miner, and what lies in them.
    ///
    /// # Errors
    /// A node that does not answer, or does not know the miner.
    pub async fn deadlines(&self, miner: ActorId) -> Result<DeadlinesView, AskError> {
        let at = self.at(miner).await?;
        let known = self.chain.miner_deadlines(miner, &at.key).await?;
        let mut deadlines = Vec::new();
        for (index, deadline) in (0..).zip(&known) {
            let partitions = self.chain.miner_partitions(miner, index, &at.key).await?;
            let mut view = counted(index, &partitions, &at.now);
            if index == at.now.index {
                view.proven = deadline.post_submissions.len();
            }
            deadlines.push(view);
        }
        Ok(DeadlinesView {
            miner,
            height: at.height,
            current: at.now.index,
            period_start: at.now.period_start,
            deadlines,
        })
    }

    /// The faulty sectors of a miner, and why those are that are not declared recovered.
    ///
    /// # Errors
    /// A node that does not answer or does not know the miner, or a failing database.
    pub async fn faults(&self, miner: ActorId) -> Result<FaultsView, AskError> {
        let at = self.at(miner).await?;
        let available = self.chain.miner_available_balance(miner, &at.key).await?;
        let from = at.height - 2 * at.now.wpost_proving_period;
        let look = move |db: &Db| {
            let posts = db.recent_posts(miner, LATELY)?;
            Ok::<_, DbError>((posts, db.recoveries(miner, from)?))
        };
        let (posts, recoveries) = self.db.call(look).await?;
        let reasons = reasons(&posts, &recoveries);
        let mut faults = Vec::new();
        for deadline in 0..at.now.wpost_period_deadlines {
            let partitions = self
                .chain
                .miner_partitions(miner, deadline, &at.key)
                .await?;
            for (partition, p) in (0..).zip(&partitions) {
                let faulty = &p.faulty_sectors & &p.live_sectors;
                for sector in faulty.iter() {
                    let recovering = p.recovering_sectors.get(sector);
                    let why = reasons.get(&sector).filter(|_| !recovering);
                    faults.push(FaultView {
                        sector,
                        deadline,
                        partition,
                        recovering,
                        why: why.cloned(),
                    });
                }
            }
        }
        Ok(FaultsView {
            miner,
            height: at.height,
            available: available.to_string(),
            faults,
        })
    }
}

impl Asked {
    /// What the chain has of a sector.
    ///
    /// # Errors
    /// A sector that it does not have, a node that does not answer.
    pub async fn on_chain(&self, sector: SectorId) -> Result<SectorOnChainInfo, AskError> {
        let (miner, key) = (sector.miner, TipSetKey::HEAD);
        let found = self.chain.sector_info(miner, sector.number, &key).await?;
        found.ok_or(AskError::NoSector(sector))
    }

    /// Which of these sectors cannot be proven now, and why.
    ///
    /// # Errors
    /// A miner that is not served, a node that does not answer, a failing database; a manager
    /// without a poster.
    pub async fn check(
        &self,
        miner: ActorId,
        sectors: &BitField,
        strict: bool,
    ) -> Result<BTreeMap<SectorNumber, String>, AskError> {
        let (context, head) = self.poster(miner).await?;
        let looked = context
            .could_be_proven(sectors, strict, &head, Epoch::MAX)
            .await;
        let Sorted { bad, mut away, .. } = looked.map_err(|e| AskError::Step(e.to_string()))?;
        away.extend(bad);
        Ok(away)
    }

    /// The poster's means, and the head.
    pub(super) async fn poster(&self, miner: ActorId) -> Result<(Context, Head), AskError> {
        let policy = self.served.miner(miner).ok_or(AskError::NoMiner(miner))?;
        let parts = self.parts.clone().ok_or(AskError::NoProver)?;
        let tip = self.chain.head().await?;
        let head = Head {
            height: tip.height,
            key: tip.cids,
            timestamp: 0,
        };
        Ok((Context::new(parts, self.served.clone(), policy), head))
    }

    /// A partition as it is now.
    pub(super) async fn partition(
        &self,
        miner: ActorId,
        deadline: u64,
        partition: u64,
    ) -> Result<Partition, AskError> {
        let key = TipSetKey::HEAD;
        let all = self.chain.miner_partitions(miner, deadline, &key).await?;
        let index = usize::try_from(partition).ok();
        let found = index.and_then(|index| all.into_iter().nth(index));
        found.ok_or(AskError::NoPartition(miner))
    }

    /// The same for the sectors of a partition that live.
    ///
    /// # Errors
    /// As above, or no such partition.
    pub async fn check_partition(
        &self,
        miner: ActorId,
        deadline: u64,
        partition: u64,
        strict: bool,
    ) -> Result<CheckView, AskError> {
        let this = self.partition(miner, deadline, partition).await?;
        Ok(CheckView {
            checked: this.live_sectors.len(),
            bad: self.check(miner, &this.live_sectors, strict).await?,
        })
    }
}

fn counted(index: u64, partitions: &[Partition], now: &DeadlineInfo) -> DeadlineView {
    let open = now.opening(index);
    let SectorCounts {
        live,
        faulty,
        recovering,
        ..
    } = counts(partitions);
    DeadlineView {
        index,
        open,
        close: open + now.wpost_challenge_window,
        fault_cutoff: open - now.fault_declaration_cutoff,
        partitions: partitions.len() as u64,
        proven: 0,
        live,
        faulty,
        recovering,
    }
}

/// What is known of sectors: what was said when recoveries were looked for last, or else when they
/// were skipped or their deadline missed. Pure; `posts` newest first, `recoveries` oldest first.
fn reasons(posts: &[PostRecord], recoveries: &[RecoveryRecord]) -> BTreeMap<SectorNumber, String> {
    let mut out = BTreeMap::new();
    for post in posts.iter().rev() {
        out.extend(post.skipped.iter().cloned());
    }
    for record in recoveries {
        out.extend(record.faulty.iter().cloned());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::posts::PostKey;

    #[test]
    fn the_last_word_on_a_sector_is_told() {
        let post = |open, skipped: &[(u64, &str)]| {
            let key = PostKey {
                miner: 1000,
                open,
                first: 0,
            };
            PostRecord {
                skipped: skipped.iter().map(|(n, w)| (*n, (*w).into())).collect(),
                ..PostRecord::planned(key, 1, open - 20, open + 60)
            }
        };
        let recovery = |open, faulty: &[(u64, &str)]| RecoveryRecord {
            faulty: faulty.iter().map(|(n, w)| (*n, (*w).into())).collect(),
            ..RecoveryRecord::begun(1000, 1, open, (open - 130, open - 70))
        };
        let posts = [
            post(300, &[(1, "away"), (2, "gone")]),
            post(60, &[(1, "short")]),
        ];
        let recoveries = [
            recovery(300, &[(2, "still gone")]),
            recovery(600, &[(2, "short")]),
        ];
        let told = reasons(&posts, &recoveries);
        assert_eq!(told[&1], "away");
        assert_eq!(told[&2], "short");
    }

    #[tokio::test]
    async fn deadlines_and_faults_are_as_the_chain_has_them() {
        use crate::chain::script::ScriptChain;
        let chain = ScriptChain::at(130);
        chain.add_miner(1000);
        let sealed = |_| damocles_types::Commitment([1; 32]).sealed_cid();
        chain.place(1000, 1, vec![vec![1, 2], vec![3]], sealed);
        {
            let mut script = chain.edit();
            let windows = script.windows.get_mut(&1000).unwrap();
            (windows.faulty, windows.recovering) = (vec![2, 3], vec![3]);
            windows.submitted = [(2, vec![])].into();
        }
        let db = Db::in_memory();
        let record = RecoveryRecord {
            faulty: vec![(2, "it is gone".into()), (3, "it was gone".into())],
            ..RecoveryRecord::begun(1000, 1, 300, (170, 230))
        };
        db.put_recovery(&record, &[]).unwrap();
        let asked = Asked {
            db,
            chain: Arc::new(chain),
            served: Served::new(Vec::new()),
            parts: None,
        };
        let view = asked.deadlines(1000).await.unwrap();
        assert_eq!((view.current, view.height), (2, 130));
        let first = &view.deadlines[1];
        assert_eq!(
            (first.open, first.close, first.fault_cutoff),
            (300, 360, 230)
        );
        assert_eq!((first.partitions, first.live), (2, 3));
        assert_eq!((first.faulty, first.recovering), (2, 1));
        assert_eq!(view.deadlines[2].open, 120);
        let faults = asked.faults(1000).await.unwrap().faults;
        let told: Vec<_> = faults
            .iter()
            .map(|f| (f.sector, f.partition, f.recovering, f.why.as_deref()))
            .collect();
        assert_eq!(
            told,
            [(2, 0, false, Some("it is gone")), (3, 1, true, None)]
        );
    }
}
