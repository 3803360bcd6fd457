//! WindowPoSts proven by workers. A proof that is wanted becomes a job, which is stored and named by
//! what it proves: after a restart the same proof is wanted again, and the job goes on, or its answer
//! is there already. While it is waited for, `placement` decides what to do; here it is done.

use crate::{
    db::jobs::{JobRecord, Offer},
    jobs::Jobs,
    policy::ProvingPolicy,
    post::{
        context::reached,
        placement::{Here, Next, View, Watched, begin_by, next},
        prover::{Begun, Claim, Order, ProveError, Prover, begins},
        sectors::{look_until, read_store},
    },
};
use async_trait::async_trait;
use damocles_api::{
    store::SectorAccessStores,
    wdpost::{WdPoStInput, WdPoStSector},
};
use damocles_flow::job::{JobEvent, JobState};
use damocles_processor::task::{ReadSectors, ReadSectorsOutput, WindowPost, WindowPostOutput};
use damocles_types::{Epoch, Randomness, SectorNumber};
use futures::future::BoxFuture;
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, sync::Arc, time::Instant};
use tokio::sync::watch;

/// Proves by workers; what they do not prove in time, and everything else, another prover does.
#[derive(Clone)]
pub struct WorkerProver {
    jobs: Jobs,
    here: Arc<dyn Prover>,
    head: watch::Receiver<Option<crate::chain::Head>>,
    limits: ProvingPolicy,
}

impl std::fmt::Debug for WorkerProver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerProver").finish_non_exhaustive()
    }
}

/// What workers are told of an order. None: they could not find all of its sectors.
fn offer(order: &Order) -> Option<Offer> {
    let sector = |replica: &damocles_processor::task::Replica| {
        let place = order.places.get(&replica.sector_id)?;
        Some(WdPoStSector {
            sector_id: replica.sector_id,
            comm_r: replica.comm_r.0,
            upgrade: place.upgrade,
            accesses: SectorAccessStores {
                sealed_file: place.sealed.clone(),
                cache_dir: place.cache.clone(),
            },
        })
    };
    let sectors = order.task.replicas.iter().map(sector);
    let input = WdPoStInput {
        sectors: sectors.collect::<Option<_>>()?,
        miner_id: order.task.miner_id,
        proof_type: order.task.proof_type.name(),
        seed: order.task.seed,
    };
    let digest = Sha256::digest(serde_json::to_vec(&input).ok()?);
    Some(Offer {
        id: hex::encode(&digest[..16]),
        deadline: order.deadline,
        partitions: order.partitions.clone(),
        open: order.open,
        close: order.close,
        input,
    })
}

impl WorkerProver {
    pub fn new(
        jobs: Jobs,
        here: Arc<dyn Prover>,
        head: watch::Receiver<Option<crate::chain::Head>>,
        limits: ProvingPolicy,
    ) -> Self {
        Self {
            jobs,
            here,
            head,
            limits,
        }
    }

    fn height(&self, order: &Order) -> Epoch {
        let head = self.head.borrow();
        head.as_ref().map_or(order.open, |head| head.height)
    }

    /// The job of an order, as it is to be waited for.
    async fn put_down(&self, order: &Order, offer: &Offer) -> Result<JobRecord, ProveError> {
        let mut job = self.jobs.offer(offer.clone()).await?;
        let spent = job.failures >= self.jobs.policy().max_tries;
        let (event, why) = match job.state {
            // a round of attempts that failed: whoever wants the proof again begins another one
            JobState::Failed => (JobEvent::Reset, None),
            JobState::Ready if spent => (JobEvent::Reset, None),
            JobState::Running if order.again => (
                JobEvent::Lose,
                Some("its worker took far longer than usual".to_owned()),
            ),
            JobState::Ready | JobState::Running | JobState::Finished | JobState::Over => {
                return Ok(job);
            }
        };
        let attempt = Some(job.attempt);
        if let Some(changed) = self.jobs.step(&job.id, event, attempt, why).await? {
            job = changed;
        }
        Ok(job)
    }

    /// Whether workers are at other jobs.
    async fn others_run(&self, id: &str) -> bool {
        let runs = |job: &JobRecord| job.state == JobState::Running && job.id != id;
        // a database that is away says nothing of workers
        let open = self.jobs.open().await;
        open.map_or(true, |open| open.iter().any(runs))
    }

    /// What a worker answered, if it is to be believed. A proof is verified; a sector that it names
    /// is read here. What is not believed counts against the worker.
    ///
    /// # Errors
    /// [`ProveError::Named`]: sectors that cannot be read here either.
    async fn believed(
        &self,
        order: &Order,
        job: &JobRecord,
    ) -> Result<Option<WindowPostOutput>, ProveError> {
        let output = job.output.clone().unwrap_or_default();
        let worker = job.worker.as_deref().unwrap_or("a worker");
        let wrong = if output.faults.is_empty() {
            self.flaw(order, &output.proofs).await
        } else {
            let unread = self.unread(order, &output.faults).await;
            if !unread.is_empty() {
                return Err(ProveError::Named(unread));
            }
            let first = output.faults[0];
            let count = output.faults.len();
            Some(format!(
                "it names {count} sectors as faulty that can be read here (sector {first}); are their stores mounted there?"
            ))
        };
        let Some(wrong) = wrong else {
            return Ok(Some(WindowPostOutput {
                proofs: output.proofs,
                faults: Vec::new(),
            }));
        };
        tracing::warn!(
            job = job.id,
            worker,
            attempt = job.attempt,
            "what a worker answered is not believed: {wrong}"
        );
        self.step(job, JobEvent::Refuse, Some(&wrong)).await;
        Ok(None)
    }

    /// Takes a job along an edge; unless it ends, only if it is still at the same attempt. A database
    /// that is away is looked at again, and ends no proof that is under way here.
    async fn step(&self, job: &JobRecord, event: JobEvent, why: Option<&str>) {
        let attempt = (event != JobEvent::End).then_some(job.attempt);
        let why = why.map(str::to_owned);
        if let Err(error) = self.jobs.step(&job.id, event, attempt, why).await {
            tracing::debug!(job = job.id, %event, %error, "a WindowPoSt job stays as it is");
            self.jobs.change().await;
        }
    }

    /// What is wrong with proofs.
    async fn flaw(&self, order: &Order, proofs: &[damocles_types::Base64]) -> Option<String> {
        let [proof] = proofs else {
            return Some(format!("it gave {} proofs instead of one", proofs.len()));
        };
        let replicas = order.task.replicas.iter();
        let claim = Claim {
            miner: order.task.miner_id,
            proof_type: order.task.proof_type,
            challenge: Randomness(order.task.seed),
            proof: proof.clone(),
            replicas: replicas.map(|r| (r.sector_id, r.comm_r)).collect(),
        };
        match self.here.verify(claim).await {
            Ok(true) => None,
            Ok(false) => Some("its proof does not verify".to_owned()),
            Err(error) => Some(error.to_string()),
        }
    }

    /// Which of these sectors cannot be read here either, nor are in half of the time that is left.
    async fn unread(&self, order: &Order, named: &[SectorNumber]) -> Vec<SectorNumber> {
        let mut stores: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        let is_named = |number: &SectorNumber| named.contains(number);
        for replica in order
            .task
            .replicas
            .iter()
            .filter(|r| is_named(&r.sector_id))
        {
            let place = order.places.get(&replica.sector_id);
            let store = place.map_or("", |place| place.sealed.as_str());
            stores.entry(store).or_default().push(replica.clone());
        }
        let until = look_until(order.open, order.close, self.height(order));
        let (parallel, sector_limit_ms) = self.limits.of_reading();
        let reads = stores.into_iter().map(|(store, replicas)| {
            let numbers: Vec<_> = replicas.iter().map(|r| r.sector_id).collect();
            let task = ReadSectors {
                miner_id: order.task.miner_id,
                proof_type: order.task.proof_type,
                replicas,
                seed: order.task.seed,
                store: store.to_owned(),
                parallel,
                sector_limit_ms,
            };
            async move {
                tokio::select! {
                    unread = read_store(&*self.here, task) => {
                        unread.into_iter().map(|u| u.sector_id).collect()
                    }
                    () = reached(&self.head, until) => numbers,
                }
            }
        });
        futures::future::join_all(reads).await.concat()
    }
}

/// What a child of ours answers, if one is at it.
async fn answer<T>(here: &mut Option<BoxFuture<'_, T>>) -> T {
    match here {
        Some(proving) => proving.await,
        None => std::future::pending().await,
    }
}

#[async_trait]
impl Prover for WorkerProver {
    async fn prove(&self, task: WindowPost, begun: Begun) -> Result<WindowPostOutput, ProveError> {
        self.here.prove(task, begun).await
    }

    async fn carry_out(&self, order: Order, begun: Begun) -> Result<WindowPostOutput, ProveError> {
        let Some(offer) = offer(&order) else {
            return self.here.prove(order.task, begun).await;
        };
        // the attempt of which was told that it began
        let mut told = None;
        let mut job = self.put_down(&order, &offer).await?;
        let mut watched = Watched::new(&job, Instant::now());
        let mut here: Option<BoxFuture<'_, Result<WindowPostOutput, ProveError>>> = None;
        let mut failed_here: Option<(Instant, ProveError)> = None;
        loop {
            let view = View {
                state: job.state,
                failures: job.failures,
                still: watched.still(&job, Instant::now()),
                busy: self.others_run(&job.id).await,
                head: self.height(&order),
                begin_by: begin_by(order.open, order.close, order.usual),
                here: match (&here, &failed_here) {
                    (Some(_), _) => Here::Runs,
                    (None, Some((at, _))) => Here::Failed(at.elapsed()),
                    (None, None) => Here::Idle,
                },
                policy: self.jobs.policy(),
            };
            if job.state == JobState::Running && told.replace(job.attempt) != Some(job.attempt) {
                begins(&begun);
            }
            let what = next(&view);
            match what {
                Next::Wait => {}
                Next::Use => {
                    if let Some(output) = self.believed(&order, &job).await? {
                        return Ok(output);
                    }
                }
                Next::Lose => {
                    tracing::warn!(
                        job = job.id,
                        worker = job.worker,
                        attempt = job.attempt,
                        miner = job.miner,
                        deadline = job.deadline,
                        "a worker that proves a WindowPoSt is silent; another one may have it"
                    );
                    let why = Some("its worker was silent");
                    self.step(&job, JobEvent::Lose, why).await;
                }
                Next::Retry => self.step(&job, JobEvent::Retry, None).await,
                Next::Here(reason) => {
                    tracing::warn!(
                        job = job.id,
                        miner = job.miner,
                        deadline = job.deadline,
                        close = job.close,
                        error = job.error,
                        "a WindowPoSt that workers were to prove is proven here as well: {reason}"
                    );
                    here = Some(self.here.prove(order.task.clone(), begun.clone()));
                }
                Next::GiveUp => {
                    if let Some((_, error)) = failed_here {
                        return Err(error);
                    }
                    let why = job.error.clone();
                    return Err(ProveError::Workers(
                        why.unwrap_or_else(|| "its job is over".to_owned()),
                    ));
                }
            }
            if what == Next::Wait || here.is_some() {
                tokio::select! {
                    () = self.jobs.change() => {}
                    output = answer(&mut here) => match output {
                        Ok(output) => {
                            self.step(&job, JobEvent::End, Some("it was proven at the manager")).await;
                            return Ok(output);
                        }
                        Err(error) => {
                            tracing::warn!(job = job.id, %error, "a WindowPoSt could not be proven here");
                            (here, failed_here) = (None, Some((Instant::now(), error)));
                        }
                    }
                }
            }
            match self.jobs.job(&job.id).await {
                Ok(Some(changed)) => job = changed,
                // a person removed it
                Ok(None) => drop(self.jobs.offer(offer.clone()).await),
                Err(error) => {
                    tracing::debug!(job = job.id, %error, "a WindowPoSt job cannot be looked at");
                    self.jobs.change().await;
                }
            }
        }
    }

    async fn prove_for_a_try(&self, task: WindowPost) -> Result<WindowPostOutput, ProveError> {
        self.here.prove_for_a_try(task).await
    }

    fn proofs_share_a_process(&self) -> bool {
        self.here.proofs_share_a_process()
    }

    async fn read(&self, task: ReadSectors) -> Result<ReadSectorsOutput, ProveError> {
        self.here.read(task).await
    }

    async fn verify(&self, claim: Claim) -> Result<bool, ProveError> {
        self.here.verify(claim).await
    }
}
