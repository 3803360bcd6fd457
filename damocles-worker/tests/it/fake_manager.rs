//! A manager that says yes, unless told otherwise. Real HTTP, the real traits.

use crate::fake_posts::Posts;
use damocles_api::{
    attempts::DamoclesAttemptsServer,
    caller::{CALLER_HEADER, Caller},
    code,
    damocles::{
        AbortedBy, DamoclesServer, ManagerIdentity, MessageView, RoleView, SectorFate, TicketLeft,
    },
    post::WindowPostRecord,
    profiles::DamoclesProfilesServer,
    sealer::SealerServer,
    sector::{
        AcquireDealsSpec, AllocateSectorSpec, AllocatedSector, PreCommitOnChainInfo,
        ReportStateReq, SectorPiece, SectorStanding,
    },
    store::StoreBasicInfo,
    submit::{
        OnChainState, PollStateResp, ProofOnChainInfo, SubmitResp, SubmitResult, WaitSeedResp,
    },
    timeline::TimelineEntry,
    workers::WorkerPing,
};
use damocles_types::{ActorId, Randomness, SealProof, SectorId, SectorSize, Seed, Ticket};
use jsonrpsee::{
    RpcModule,
    core::{RpcResult, async_trait},
    server::{HttpBody, HttpRequest, Server, ServerHandle},
    types::error::METHOD_NOT_FOUND_CODE,
};
use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};
use tower::ServiceBuilder;

/// What the record of a sector says that is over.
pub(crate) fn fate(aborted_by: Option<AbortedBy>, finalized: bool) -> SectorFate {
    SectorFate {
        known: true,
        online: false,
        finalized,
        aborted_by,
        abort_reason: aborted_by.map_or_else(String::new, |_| "given up".to_owned()),
        owner: None,
        fence: 0,
    }
}

/// What it was told, and what it is to say.
#[derive(Debug, Default)]
pub(crate) struct Script {
    /// Sectors that it gives; then none.
    pub(crate) sectors: u64,
    pub(crate) given: u64,
    /// Answers that come before the usual one.
    pub(crate) submit_precommit: VecDeque<SubmitResp>,
    pub(crate) poll_precommit: VecDeque<PollStateResp>,
    pub(crate) submit_proof: VecDeque<SubmitResp>,
    pub(crate) poll_proof: VecDeque<PollStateResp>,
    /// Answers to what is submitted ("precommit", "proof"), and polled for, until it is submitted
    /// anew.
    pub(crate) submit_until_reset: BTreeMap<&'static str, SubmitResp>,
    pub(crate) poll_until_reset: BTreeMap<&'static str, PollStateResp>,
    /// The seed is kept back.
    pub(crate) no_seed: bool,
    /// The first ticket has expired after so many questions for it.
    pub(crate) ticket_lasts: Option<u64>,
    /// And so many more do.
    pub(crate) more_expire: u64,
    pub(crate) ticket_questions: u64,
    /// The kind of sectors that it gives, whatever was asked for.
    pub(crate) kind: Option<SealProof>,
    /// It has lost all sectors.
    pub(crate) forgetful: bool,
    /// Its records of all sectors are closed.
    pub(crate) over: bool,
    /// They are from the first call of this method on, or from the report of this state.
    pub(crate) over_at: Option<&'static str>,
    pub(crate) over_at_state: Option<String>,
    /// It answers questions about sectors with "not now", and why.
    pub(crate) not_now: Option<String>,
    /// It knows no method of ours.
    pub(crate) upstream: bool,
    /// It says of everything that it is over, whatever it is asked.
    pub(crate) stranger: bool,
    /// Questions for a seed that it fails (true) or answers with "wait" (false) first.
    pub(crate) seeds: VecDeque<bool>,
    /// So many answers to AllocateSector are lost on their way.
    pub(crate) lost_answers: u64,
    /// It takes reports and never answers.
    pub(crate) mute_to_reports: bool,
    /// Every call about a sector fails.
    pub(crate) broken: bool,
    /// It gives no space.
    pub(crate) full: bool,
    /// What it says of a sector that is reported.
    pub(crate) finalized: Option<String>,

    pub(crate) requests: BTreeMap<String, AllocatedSector>,
    pub(crate) allocations_asked: u64,
    /// How often the sector calls were asked, reports apart.
    pub(crate) asked: u64,
    pub(crate) timelines_asked: u64,
    pub(crate) identities_asked: u64,
    pub(crate) deals_asked: u64,
    pub(crate) tickets: u64,
    pub(crate) resets: Vec<(&'static str, bool)>,
    pub(crate) reports: Vec<(SectorId, ReportStateReq)>,
    pub(crate) timeline: BTreeMap<(SectorId, u64), TimelineEntry>,
    /// Entries of the longest timeline in one report.
    pub(crate) longest_report: usize,
    pub(crate) done: Vec<SectorId>,
    pub(crate) aborted: Vec<(SectorId, String)>,
    pub(crate) pings: Vec<WorkerPing>,
    /// Its database's id; another one is another manager.
    pub(crate) database: String,
    /// What its records say of sectors that are over; of any other it says that it is online.
    pub(crate) fates: BTreeMap<SectorId, SectorFate>,
    pub(crate) left: Vec<String>,
    /// Who called, as the header of each call had it.
    pub(crate) callers: Vec<Option<Caller>>,
    /// `Authorization` of each call.
    pub(crate) authorizations: Vec<Option<String>>,
    /// Profiles that it keeps, by name.
    pub(crate) profiles: BTreeMap<String, String>,
    /// The worker's token allows it to look only.
    pub(crate) only_read: bool,
    /// WindowPoSts that it lets prove.
    pub(crate) posts: Posts,
}

impl Script {
    fn polled(&self, what: &'static str) -> PollStateResp {
        let stubborn = self.poll_until_reset.get(what).cloned();
        stubborn
            .filter(|_| !self.resets.contains(&(what, true)))
            .unwrap_or_else(|| poll(OnChainState::Landed, ""))
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Fake(Arc<Mutex<Script>>);

impl Fake {
    pub(crate) fn whole_script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap()
    }
}

pub(crate) struct FakeManager {
    script: Arc<Mutex<Script>>,
    pub(crate) address: SocketAddr,
    handle: ServerHandle,
}

pub(crate) fn resp(res: SubmitResult, desc: &str) -> SubmitResp {
    SubmitResp {
        res,
        desc: Some(desc.to_owned()),
        reason: None,
    }
}

pub(crate) fn poll(state: OnChainState, desc: &str) -> PollStateResp {
    PollStateResp {
        state,
        desc: Some(desc.to_owned()),
        reason: None,
    }
}

impl FakeManager {
    /// Serves on `address` (port 0: any, where it can be started again) and gives `sectors` sectors.
    pub(crate) async fn start(address: SocketAddr, sectors: u64) -> Self {
        let address = match address.port() {
            0 => damocles_test_ports::address(),
            _ => address,
        };
        let script = Arc::new(Mutex::new(Script {
            sectors,
            ..Script::default()
        }));
        let fake = Fake(Arc::clone(&script));
        let mut module = RpcModule::new(());
        module.merge(SealerServer::into_rpc(fake.clone())).unwrap();
        module
            .merge(DamoclesProfilesServer::into_rpc(fake.clone()))
            .unwrap();
        module
            .merge(DamoclesAttemptsServer::into_rpc(fake.clone()))
            .unwrap();
        module.merge(DamoclesServer::into_rpc(fake)).unwrap();
        let seen = Arc::clone(&script);
        let note = ServiceBuilder::new().map_request(move |request: HttpRequest<HttpBody>| {
            let header = |name: &str| {
                let value = request.headers().get(name)?.to_str().ok()?;
                Some(value.to_owned())
            };
            let caller = header(CALLER_HEADER).and_then(|value| Caller::from_header(&value));
            let authorization = header("authorization");
            let mut script = seen.lock().unwrap();
            script.callers.push(caller);
            script.authorizations.push(authorization);
            drop(script);
            request
        });
        let server = Server::builder()
            .set_http_middleware(note)
            .build(address)
            .await
            .unwrap();
        let address = server.local_addr().unwrap();
        Self {
            script,
            address,
            handle: server.start(module),
        }
    }

    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Goes away; what it was told stays.
    pub(crate) async fn stop(self) -> Arc<Mutex<Script>> {
        self.handle.stop().unwrap();
        self.handle.stopped().await;
        self.script
    }
}

impl Fake {
    fn script(&self, method: &str) -> RpcResult<MutexGuard<'_, Script>> {
        let mut script = self.0.lock().unwrap();
        script.asked += 1;
        script.over |= script.over_at == Some(method);
        if let Some(why) = &script.not_now {
            return Err(code::error(code::NOT_NOW, why));
        }
        if script.broken {
            return Err(code::error(code::FAILED, "the database is broken"));
        }
        if script.forgetful {
            return Err(code::sector_unknown("any"));
        }
        if script.over {
            return Err(code::sector_state_not_found("any"));
        }
        Ok(script)
    }

    /// A method of ours, which an upstream manager has not.
    pub(crate) fn ours(&self) -> RpcResult<MutexGuard<'_, Script>> {
        let script = self.0.lock().unwrap();
        if script.upstream {
            return Err(code::error(METHOD_NOT_FOUND_CODE, "Method not found"));
        }
        if script.stranger {
            return Err(code::sector_state_not_found("whatever"));
        }
        Ok(script)
    }

    /// Never comes back while reports are to hang.
    async fn hang(&self) {
        if self.0.lock().unwrap().mute_to_reports {
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait]
impl SealerServer for Fake {
    async fn allocate_sector(
        &self,
        spec: AllocateSectorSpec,
    ) -> RpcResult<Option<AllocatedSector>> {
        let proof_type = SealProof::interactive(SectorSize::KiB2);
        assert!(spec.allowed_proof_types.contains(&proof_type));
        let mut script = self.0.lock().unwrap();
        script.allocations_asked += 1;
        let request = spec.request_id.filter(|_| !script.upstream);
        let known = request.as_ref().and_then(|id| script.requests.get(id));
        let allocated = match known.copied() {
            Some(allocated) => allocated,
            None if script.given == script.sectors => return Ok(None),
            None => {
                script.given += 1;
                AllocatedSector {
                    id: SectorId::new(1000, script.given),
                    proof_type: script.kind.unwrap_or(proof_type),
                }
            }
        };
        script.requests.extend(request.map(|id| (id, allocated)));
        if script.lost_answers > 0 {
            script.lost_answers -= 1;
            return Err(code::error(code::FAILED, "the answer was lost"));
        }
        Ok(Some(allocated))
    }

    async fn acquire_deals(
        &self,
        _: SectorId,
        _: AcquireDealsSpec,
    ) -> RpcResult<Option<Vec<SectorPiece>>> {
        self.script("AcquireDeals")?.deals_asked += 1;
        Ok(None)
    }

    async fn assign_ticket(&self, _: SectorId) -> RpcResult<Ticket> {
        let mut script = self.script("AssignTicket")?;
        script.tickets += 1;
        script.ticket_questions = 0;
        Ok(Ticket {
            ticket: Randomness([script.tickets as u8; 32]),
            epoch: 5,
        })
    }

    async fn submit_pre_commit(
        &self,
        _: AllocatedSector,
        _: PreCommitOnChainInfo,
        reset: bool,
    ) -> RpcResult<SubmitResp> {
        let mut script = self.script("SubmitPreCommit")?;
        script.resets.push(("precommit", reset));
        let stubborn = script.submit_until_reset.get("precommit").cloned();
        let usual = resp(SubmitResult::Accepted, "");
        let usual = stubborn.filter(|_| !reset).unwrap_or(usual);
        Ok(script.submit_precommit.pop_front().unwrap_or(usual))
    }

    async fn poll_pre_commit_state(&self, _: SectorId) -> RpcResult<PollStateResp> {
        let mut script = self.script("PollPreCommitState")?;
        let usual = script.polled("precommit");
        Ok(script.poll_precommit.pop_front().unwrap_or(usual))
    }

    async fn submit_persisted_ex(
        &self,
        _: SectorId,
        instance: String,
        upgrade: bool,
    ) -> RpcResult<bool> {
        drop(self.script("SubmitPersistedEx")?);
        Ok(instance == "hdd" && !upgrade)
    }

    async fn submit_persisted(&self, _: SectorId, _: String) -> RpcResult<bool> {
        Ok(false)
    }

    async fn wait_seed(&self, _: SectorId, _: SealProof) -> RpcResult<WaitSeedResp> {
        let mut script = self.script("WaitSeed")?;
        let told = script.seeds.pop_front();
        if told == Some(true) {
            return Err(code::error(code::FAILED, "no head"));
        }
        let no_seed = script.no_seed || told.is_some();
        Ok(WaitSeedResp {
            should_wait: no_seed,
            delay: if no_seed { 3600 } else { 0 },
            seed: (!no_seed).then_some(Seed {
                seed: Randomness([9; 32]),
                epoch: 155,
            }),
        })
    }

    async fn submit_proof(
        &self,
        _: SectorId,
        _: ProofOnChainInfo,
        reset: bool,
    ) -> RpcResult<SubmitResp> {
        let mut script = self.script("SubmitProof")?;
        script.resets.push(("proof", reset));
        let stubborn = script.submit_until_reset.get("proof").cloned();
        let usual = resp(SubmitResult::Accepted, "");
        let usual = stubborn.filter(|_| !reset).unwrap_or(usual);
        Ok(script.submit_proof.pop_front().unwrap_or(usual))
    }

    async fn poll_proof_state(&self, _: SectorId) -> RpcResult<PollStateResp> {
        let mut script = self.script("PollProofState")?;
        let usual = script.polled("proof");
        Ok(script.poll_proof.pop_front().unwrap_or(usual))
    }

    async fn report_state(
        &self,
        id: SectorId,
        report: ReportStateReq,
    ) -> RpcResult<SectorStanding> {
        self.hang().await;
        let mut script = self.0.lock().unwrap();
        script.over |= script.over_at_state.as_ref() == Some(&report.state_change.next);
        script.reports.push((id, report));
        let given_up = script.over.then(|| "given up".to_owned());
        Ok(SectorStanding {
            id,
            finalized: script.finalized.is_some(),
            abort_reason: script.finalized.clone().or(given_up).unwrap_or_default(),
        })
    }

    async fn report_finalized(&self, sector: SectorId) -> RpcResult<()> {
        self.script("ReportFinalized")?.done.push(sector);
        Ok(())
    }

    async fn report_aborted(&self, sector: SectorId, reason: String) -> RpcResult<()> {
        self.script("ReportAborted")?.aborted.push((sector, reason));
        Ok(())
    }

    async fn worker_ping(&self, info: WorkerPing) -> RpcResult<()> {
        let mut script = self.0.lock().unwrap();
        if script.only_read {
            return Err(code::error(
                code::NOT_PERMITTED,
                "the token allows read only",
            ));
        }
        script.pings.push(info);
        Ok(())
    }

    async fn store_reserve_space(
        &self,
        _: SectorId,
        size: u64,
        candidates: Vec<String>,
    ) -> RpcResult<Option<StoreBasicInfo>> {
        assert_eq!((size, candidates), (4096, vec!["hdd".to_owned()]));
        let full = self.script("StoreReserveSpace")?.full;
        Ok((!full).then(|| StoreBasicInfo {
            name: "hdd".into(),
            ..StoreBasicInfo::default()
        }))
    }

    async fn store_basic_info(&self, name: String) -> RpcResult<Option<StoreBasicInfo>> {
        Ok((name == "hdd").then(|| StoreBasicInfo {
            name,
            ..StoreBasicInfo::default()
        }))
    }
}

#[async_trait]
impl DamoclesServer for Fake {
    async fn identity(&self) -> RpcResult<ManagerIdentity> {
        self.0.lock().unwrap().identities_asked += 1;
        Ok(ManagerIdentity {
            database: self.ours()?.database.clone(),
            network: None,
            version: "fake".into(),
            miners: Vec::new(),
        })
    }

    async fn roles(&self) -> RpcResult<Vec<RoleView>> {
        Ok(Vec::new())
    }

    async fn sector_fate(&self, sector: SectorId) -> RpcResult<SectorFate> {
        let script = self.ours()?;
        let fate = script.fates.get(&sector).cloned();
        Ok(fate.unwrap_or(SectorFate {
            known: !script.forgetful,
            online: !script.forgetful,
            finalized: false,
            aborted_by: None,
            abort_reason: String::new(),
            owner: None,
            fence: 0,
        }))
    }

    async fn ticket_left(&self, _: SectorId) -> RpcResult<Option<TicketLeft>> {
        let mut script = self.ours()?;
        script.ticket_questions += 1;
        let expired = script.tickets < 2 + script.more_expire
            && script
                .ticket_lasts
                .is_some_and(|n| script.ticket_questions > n);
        Ok(Some(TicketLeft {
            epoch: 5,
            epochs: if expired { 0 } else { 2000 },
            seconds: if expired { 0 } else { 60_000 },
        }))
    }

    async fn abort_sector(&self, sector: SectorId, _: String) -> RpcResult<SectorFate> {
        self.sector_fate(sector).await
    }

    async fn hand_over_sector(&self, sector: SectorId) -> RpcResult<SectorFate> {
        self.sector_fate(sector).await
    }

    async fn worker_leaves(&self, name: String) -> RpcResult<()> {
        self.0.lock().unwrap().left.push(name);
        Ok(())
    }

    async fn report_timeline(
        &self,
        sector: SectorId,
        _: String,
        entries: Vec<TimelineEntry>,
    ) -> RpcResult<()> {
        self.hang().await;
        self.0.lock().unwrap().timelines_asked += 1;
        let mut script = self.ours()?;
        script.longest_report = script.longest_report.max(entries.len());
        for entry in entries {
            script.timeline.insert((sector, entry.seq), entry);
        }
        Ok(())
    }

    async fn timeline(&self, _: SectorId) -> RpcResult<Vec<TimelineEntry>> {
        Ok(Vec::new())
    }

    async fn sector_messages(&self, _: SectorId) -> RpcResult<Vec<MessageView>> {
        Ok(Vec::new())
    }

    async fn window_posts(&self, _: ActorId, _: u32) -> RpcResult<Vec<WindowPostRecord>> {
        Ok(Vec::new())
    }
}
