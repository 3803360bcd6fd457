//! `Venus.*` as workers call it. Each call speaks for the worker that makes it.

use super::{
    caller,
    error::{Meaning, ToRpc},
    rooms::Rooms,
};
use crate::{model::unix_ms, sealing::SealingError, storage::Replica};
use damocles_api::{
    caller::Caller,
    sealer::SealerServer,
    sector::{
        AcquireDealsSpec, AllocateSectorSpec, AllocatedSector, PreCommitOnChainInfo,
        ReportStateReq, SectorPiece, SectorStanding,
    },
    store::StoreBasicInfo,
    submit::{PollStateResp, ProofOnChainInfo, SubmitResp, SubmitResult, WaitSeedResp},
    workers::WorkerPing,
};
use damocles_types::{SealProof, SectorId, Ticket};
use jsonrpsee::core::{RpcResult, async_trait};

#[async_trait]
impl SealerServer for Rooms {
    async fn allocate_sector(
        &self,
        spec: AllocateSectorSpec,
    ) -> RpcResult<Option<AllocatedSector>> {
        let given = self.called().sealing.allocate(&spec).await;
        let sector = given.map_err(ToRpc::to_worker)?;
        if let Some(sector) = &sector {
            self.counts.allocated(sector.id.miner);
        }
        Ok(sector)
    }

    async fn acquire_deals(
        &self,
        sector: SectorId,
        spec: AcquireDealsSpec,
    ) -> RpcResult<Option<Vec<SectorPiece>>> {
        let deals = self.called().sealing.acquire_deals(sector, spec).await;
        self.settle(sector, deals).await
    }

    async fn assign_ticket(&self, sector: SectorId) -> RpcResult<Ticket> {
        let ticket = self.called().sealing.assign_ticket(sector).await;
        self.settle(sector, ticket).await
    }

    async fn submit_pre_commit(
        &self,
        sector: AllocatedSector,
        info: PreCommitOnChainInfo,
        reset: bool,
    ) -> RpcResult<SubmitResp> {
        let commit = self.called().commit;
        let answer = commit.submit_pre_commit(sector, info, reset).await;
        let answer = self.settle(sector.id, answer).await?;
        if answer.res == SubmitResult::Accepted {
            self.counts.pre_committed(sector.id.miner);
        }
        Ok(answer)
    }

    async fn poll_pre_commit_state(&self, sector: SectorId) -> RpcResult<PollStateResp> {
        let state = self.called().commit.poll_pre_commit(sector).await;
        self.settle(sector, state).await
    }

    async fn submit_persisted_ex(
        &self,
        sector: SectorId,
        instance: String,
        is_upgrade: bool,
    ) -> RpcResult<bool> {
        let it = self.called();
        let record = it.db.call(move |db| db.online(sector)).await;
        let size = self.settle(sector, record).await?.proof_type.size;
        let replica = if is_upgrade {
            Replica::Upgrade
        } else {
            Replica::Normal
        };
        let there = it.stores.submit_persisted(sector, size, &instance, replica);
        let there = there.await;
        self.settle(sector, there).await
    }

    async fn submit_persisted(&self, sector: SectorId, instance: String) -> RpcResult<bool> {
        self.submit_persisted_ex(sector, instance, false).await
    }

    async fn wait_seed(&self, sector: SectorId, proof_type: SealProof) -> RpcResult<WaitSeedResp> {
        match self.called().sealing.wait_seed(sector, proof_type).await {
            // whether it is on its way is known to who sends it
            Err(SealingError::NotPreCommitted(_)) => {
                let missing = self.called().commit.pre_commit_is_missing(sector).await;
                self.settle(sector, Err(missing)).await
            }
            seed => self.settle(sector, seed).await,
        }
    }

    async fn submit_proof(
        &self,
        sector: SectorId,
        proof: ProofOnChainInfo,
        reset: bool,
    ) -> RpcResult<SubmitResp> {
        let commit = self.called().commit;
        let answer = commit.submit_proof(sector, proof, reset).await;
        let answer = self.settle(sector, answer).await?;
        if answer.res == SubmitResult::Accepted {
            self.counts.committed(sector.miner);
        }
        Ok(answer)
    }

    async fn poll_proof_state(&self, sector: SectorId) -> RpcResult<PollStateResp> {
        let state = self.called().commit.poll_proof(sector).await;
        self.settle(sector, state).await
    }

    async fn report_state(
        &self,
        sector: SectorId,
        report: ReportStateReq,
    ) -> RpcResult<SectorStanding> {
        // upstream's workers say in their reports alone who they are
        let worker = &report.worker;
        caller::may_speak_for(&worker.instance)?;
        let told = || Caller {
            worker: worker.instance.clone(),
            location: worker.location.clone(),
            store: String::new(),
        };
        let caller = match caller::current() {
            // a token tells the worker, but not where it seals
            Some(caller) if !(caller::is_bound() && caller.location.is_empty()) => caller,
            _ => told(),
        };
        let state = report.state_change.next.clone();
        let it = self.speaking_for(Some(caller.clone()));
        let standing = it.sealing.report_state(sector, report).await;
        self.settle_with(sector, standing, Some(caller), Some(state))
            .await
    }

    async fn report_finalized(&self, sector: SectorId) -> RpcResult<()> {
        let it = self.called();
        let mut reported = it.sealing.report_finalized(sector).await;
        if let Err(SealingError::NotStored(_)) = reported {
            // an older database was brought back: the files are where they were put
            let record = it.db.call(move |db| db.online(sector)).await;
            let size = self.settle(sector, record).await?.proof_type.size;
            let found = it.stores.look_for(sector, size, Replica::Normal).await;
            if self.settle(sector, found).await? {
                reported = it.sealing.report_finalized(sector).await;
            }
        }
        self.give_room_back(sector, reported).await
    }

    async fn report_aborted(&self, sector: SectorId, reason: String) -> RpcResult<()> {
        let reported = self.called().sealing.report_aborted(sector, reason).await;
        self.give_room_back(sector, reported).await
    }

    async fn worker_ping(&self, info: WorkerPing) -> RpcResult<()> {
        caller::may_speak_for(&info.name)?;
        self.sealing.ping(info).await.map_err(ToRpc::to_worker)
    }

    async fn store_reserve_space(
        &self,
        sector: SectorId,
        size: u64,
        candidates: Vec<String>,
    ) -> RpcResult<Option<StoreBasicInfo>> {
        let it = self.called();
        let online = it.db.call(move |db| db.online(sector).map(drop)).await;
        self.settle(sector, online).await?;
        let answer = it.stores.reserve(sector, size, &candidates).await;
        let answer = self.settle(sector, answer).await?;
        Ok(answer.store())
    }

    async fn store_basic_info(&self, name: String) -> RpcResult<Option<StoreBasicInfo>> {
        Ok(self.stores.basic_info(&name))
    }
}

impl Rooms {
    /// The answer to a worker's call about a sector. What the operator must know is noted: a
    /// sector that there is no record of, and a second claimant of one that there is.
    pub(super) async fn settle<T, E: ToRpc>(
        &self,
        sector: SectorId,
        done: Result<T, E>,
    ) -> RpcResult<T> {
        self.settle_with(sector, done, caller::current(), None)
            .await
    }

    async fn settle_with<T, E: ToRpc>(
        &self,
        sector: SectorId,
        done: Result<T, E>,
        caller: Option<Caller>,
        state: Option<String>,
    ) -> RpcResult<T> {
        let error = match done {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let meaning = error.meaning();
        let answer = error.to_worker();
        let who = caller.as_ref().map(Caller::to_string);
        let noted = match meaning {
            Meaning::Unknown(_) => {
                let note = move |db: &crate::db::Db| {
                    db.note_stray(sector, caller, state, false, unix_ms())
                };
                self.db.call(note).await
            }
            Meaning::NotOwner(_) => {
                let note = move |db: &crate::db::Db| db.note_claimant(sector, caller, unix_ms());
                self.db.call(note).await
            }
            Meaning::Over(_) | Meaning::NotNow | Meaning::Failed => Ok(false),
        };
        match noted {
            Ok(false) => {}
            // once for each sector and caller; the lists keep it
            Ok(true) => {
                let by = who
                    .as_deref()
                    .unwrap_or("a worker that does not say who it is");
                tracing::error!(%sector, by, "{}", answer.message());
            }
            Err(error) => tracing::warn!(%sector, %error, "a refused call could not be noted"),
        }
        Err(answer)
    }

    /// After a sector's end its room is given back, also when the end was known before: the
    /// first call may have been cut off in between.
    async fn give_room_back<E: ToRpc>(
        &self,
        sector: SectorId,
        reported: Result<(), E>,
    ) -> RpcResult<()> {
        let over = match &reported {
            Ok(()) => true,
            Err(error) => matches!(error.meaning(), Meaning::Over(_)),
        };
        if over {
            self.stores
                .release(sector)
                .await
                .map_err(ToRpc::to_worker)?;
        }
        self.settle(sector, reported).await
    }
}
