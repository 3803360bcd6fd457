//! Sealing threads that ask: at a steady pace, each call at its own time whatever the others wait
//! for; or all of them at once, as after a manager's restart.

use super::Wish;
use crate::house::MINER;
use anyhow::{Context as _, Result, bail};
use damocles_api::{
    damocles::DamoclesClient,
    sealer::SealerClient,
    sector::{ReportStateReq, StateChange, WorkerIdentifier},
    timeline::TimelineEntry,
    workers::{WorkerPing, WorkerSummary},
};
use damocles_types::SectorId;
use jsonrpsee::http_client::{HttpClient, HttpClientBuilder};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::Semaphore, task::JoinSet};

/// Threads of one worker.
const OF_A_WORKER: u64 = 100;
/// Calls under way at a time; more than these wait for each other here, and that counts.
const AT_ONCE: usize = 512;
/// An answer that takes longer is none.
const LONGEST: Duration = Duration::from_secs(60);

/// What a thread asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Call {
    ReportState,
    ReportTimeline,
    PollPreCommitState,
    WorkerPing,
}

/// Of ten calls in a row: what a thread says and asks while it seals.
const MIX: [Call; 10] = [
    Call::ReportState,
    Call::ReportTimeline,
    Call::ReportState,
    Call::PollPreCommitState,
    Call::ReportState,
    Call::ReportState,
    Call::ReportTimeline,
    Call::ReportState,
    Call::WorkerPing,
    Call::ReportState,
];

/// How long answers took.
#[derive(Debug, Default)]
pub(super) struct Load {
    pub(super) took: BTreeMap<&'static str, Vec<Duration>>,
    /// From the first call to the last answer.
    pub(super) lasted: Duration,
}

fn client(address: &str) -> Result<HttpClient> {
    HttpClientBuilder::default()
        .request_timeout(LONGEST)
        .build(format!("http://{address}/rpc/v0"))
        .context("the manager's address")
}

/// One call of one thread.
async fn ask(client: &HttpClient, wish: &Wish, n: u64, call: Call) -> Result<()> {
    let thread = n % wish.threads;
    let worker = format!("w{}", thread / OF_A_WORKER);
    let sector = SectorId::new(MINER, wish.sectors + 1 + thread);
    match call {
        Call::ReportState => {
            let report = ReportStateReq {
                worker: WorkerIdentifier {
                    instance: worker,
                    location: format!("/store/{thread}"),
                },
                state_change: StateChange {
                    prev: "PC1Done".into(),
                    next: if n.is_multiple_of(2) {
                        "PC2Done"
                    } else {
                        "PC1Done"
                    }
                    .into(),
                    event: "PC2".into(),
                },
                failure: None,
                at: None,
            };
            client.report_state(sector, report).await?;
        }
        Call::ReportTimeline => {
            let entry = TimelineEntry {
                seq: n / wish.threads % 16,
                state: "PC1Done".into(),
                stage: "PC2".into(),
                queued_at: n,
                started_at: Some(n),
                ended_at: None,
                child: Some("ext(pid: 4711)".into()),
                kernel: None,
                ending: None,
            };
            client.report_timeline(sector, worker, vec![entry]).await?;
        }
        Call::PollPreCommitState => drop(client.poll_pre_commit_state(sector).await?),
        Call::WorkerPing => {
            let info = WorkerPing {
                name: worker,
                dest: format!("10.0.{}.1:17890", thread / OF_A_WORKER),
                version: "bench".into(),
                summary: WorkerSummary::default(),
            };
            client.worker_ping(info).await?;
        }
    }
    Ok(())
}

/// Calls at the wish's pace. An answer's time is counted from when its call was due.
pub(super) async fn steady(address: &str, wish: &Wish) -> Result<Load> {
    let client = client(address)?;
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let began = Instant::now();
    let mut calls = JoinSet::new();
    let mut load = Load::default();
    for n in 0..wish.pace * wish.seconds {
        let due = began + Duration::from_nanos(n * 1_000_000_000 / wish.pace);
        tokio::time::sleep_until(due.into()).await;
        let call = MIX[(n % 10) as usize];
        let (client, wish, places) = (client.clone(), wish.clone(), places.clone());
        calls.spawn(async move {
            let _place = places.acquire().await?;
            ask(&client, &wish, n, call).await?;
            Ok::<_, anyhow::Error>((call, due.elapsed()))
        });
        while let Some(done) = calls.try_join_next() {
            load.note(done?)?;
        }
    }
    while let Some(done) = calls.join_next().await {
        load.note(done?)?;
    }
    load.lasted = began.elapsed();
    Ok(load)
}

/// The first report of every thread, as fast as they are answered.
pub(super) async fn burst(address: &str, wish: &Wish) -> Result<Duration> {
    let client = client(address)?;
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let began = Instant::now();
    let mut calls = JoinSet::new();
    for n in 0..wish.threads {
        let (client, wish, places) = (client.clone(), wish.clone(), places.clone());
        calls.spawn(async move {
            let _place = places.acquire().await?;
            ask(&client, &wish, n, Call::ReportState).await
        });
    }
    while let Some(done) = calls.join_next().await {
        done??;
    }
    Ok(began.elapsed())
}

impl Load {
    fn note(&mut self, done: Result<(Call, Duration)>) -> Result<()> {
        let (call, took) = match done {
            Ok(done) => done,
            Err(error) => bail!("a call was not answered: {error:#}"),
        };
        let name = match call {
            Call::ReportState => "Venus.ReportState",
            Call::ReportTimeline => "Damocles.ReportTimeline",
            Call::PollPreCommitState => "Venus.PollPreCommitState",
            Call::WorkerPing => "Venus.WorkerPing",
        };
        self.took.entry(name).or_default().push(took);
        Ok(())
    }
}
