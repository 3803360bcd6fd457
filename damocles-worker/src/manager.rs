//! The manager as the worker sees it: a blocking facade over the JSON-RPC client. Every call
//! has a time-out and ends at once when the worker stops. What an error means for a sector is
//! said here, once.

pub mod posts;

pub use crate::connection::Connection;

use crate::{
    config::Profile,
    connection::{Client, Speaker},
    endpoint::ManagerAddr,
    figures::Calls,
};
use damocles_api::{
    caller::Caller,
    code,
    damocles::{DamoclesClient, ManagerIdentity, SectorFate, TicketLeft},
    profiles::DamoclesProfilesClient,
    sealer::SealerClient,
    sector::{
        AcquireDealsSpec, AllocateSectorSpec, AllocatedSector, PreCommitOnChainInfo,
        ReportStateReq, SectorPiece, SectorStanding,
    },
    store::StoreBasicInfo,
    submit::{PollStateResp, ProofOnChainInfo, SubmitResp, WaitSeedResp},
    timeline::TimelineEntry,
    workers::WorkerPing,
};
use damocles_types::{SealProof, SectorId, Ticket, chain};
use jsonrpsee::{
    core::{ClientError, client::Error, http_helpers::HttpError},
    http_client::transport::Error as TransportError,
    types::error::METHOD_NOT_FOUND_CODE,
};
use parking_lot::Mutex;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// Why the manager gave no answer, or not the wanted one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Its record of the sector is closed (code 11001).
    #[error("the manager says that the sector is over: {0}")]
    SectorOver(String),
    /// It has no record of the sector.
    #[error("the manager does not know the sector: {0}")]
    SectorUnknown(String),
    /// Another worker or thread has the sector.
    #[error("the sector is another's: {0}")]
    NotOwner(String),
    /// It cannot answer yet.
    #[error("the manager asks to wait ({method}): {message}")]
    NotNow {
        method: &'static str,
        message: String,
    },
    #[error("the manager does not offer {0}")]
    Unsupported(&'static str),
    /// No token, or a wrong one.
    #[error("the manager at {addr} refused this worker: {reason}")]
    Denied { addr: String, reason: String },
    /// It answered with an error.
    #[error("the manager failed at {method}: {message}")]
    Failed {
        method: &'static str,
        message: String,
    },
    /// It did not answer.
    #[error("the manager at {addr} cannot be reached: {reason}")]
    Away { addr: String, reason: String },
    /// Something answered, but not as a manager does: a proxy's page, another program.
    #[error("what answers at {addr} to {method} cannot be read: {reason}")]
    Garbled {
        addr: String,
        method: &'static str,
        reason: String,
    },
    #[error("the worker is stopping")]
    Stopping,
}

impl CallError {
    /// In a word, for counting.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::SectorOver(_) => "sector_over",
            Self::SectorUnknown(_) => "sector_unknown",
            Self::NotOwner(_) => "not_owner",
            Self::NotNow { .. } => "not_now",
            Self::Unsupported(_) => "unsupported",
            Self::Denied { .. } => "denied",
            Self::Failed { .. } => "failed",
            Self::Away { .. } => "away",
            Self::Garbled { .. } => "garbled",
            Self::Stopping => "stopping",
        }
    }
}

/// The manager; clones share the connection.
#[derive(Clone, Debug)]
pub struct Manager {
    rpc: Client,
    speaker: Speaker,
    /// Name of the worker that calls; empty until it is known.
    worker: Arc<str>,
    shared: Arc<Shared>,
}

/// What all that speak to the manager share.
#[derive(Debug)]
struct Shared {
    connection: Connection,
    runtime: Handle,
    stop: CancellationToken,
    /// Cleared when the manager answers that it has no timelines, until it was away: then it
    /// may be another one.
    keeps_timelines: AtomicBool,
    calls: Calls,
    /// Who answered last, and when; forgotten whenever a call got no answer.
    identity: Mutex<Option<(Instant, Option<ManagerIdentity>)>>,
}

/// So long the manager is taken for the one that it said it was: a restart with another database
/// may be too quick to be seen. (One without a name is asked again after it was away only: its
/// log takes each question for an error.)
const SAME_FOR: Duration = Duration::from_secs(30);

impl Manager {
    /// Prepares the client; nothing is sent yet. `runtime` carries the calls, `stop` ends them.
    pub fn new(
        connection: &Connection,
        runtime: Handle,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let speaker = Speaker::default();
        Ok(Self {
            rpc: connection.client(&speaker)?,
            speaker,
            worker: "".into(),
            shared: Arc::new(Shared {
                connection: connection.clone(),
                runtime,
                stop,
                keeps_timelines: AtomicBool::new(true),
                calls: Calls::default(),
                identity: Mutex::new(None),
            }),
        })
    }

    /// The same manager for one more caller of the worker `worker`. Its calls carry the worker's
    /// name, and once [`Self::speak_for`] has said so, that of a sealing store.
    pub fn for_another(&self, worker: &str) -> anyhow::Result<Self> {
        let speaker = Speaker::default();
        let another = Self {
            rpc: self.shared.connection.client(&speaker)?,
            speaker,
            worker: worker.into(),
            shared: Arc::clone(&self.shared),
        };
        another.speak_for("", "");
        Ok(another)
    }

    /// From now on this one and its clones call for the sealing store at `location` whose
    /// database has the id `store`.
    pub fn speak_for(&self, location: &str, store: &str) {
        self.speaker.is(&Caller {
            worker: self.worker.to_string(),
            location: location.to_owned(),
            store: store.to_owned(),
        });
    }

    /// The manager that is spoken to now.
    pub fn addr(&self) -> &ManagerAddr {
        self.shared.connection.addr.now().0
    }

    /// One call from a thread of its own (never from async code).
    fn call<T>(
        &self,
        method: &'static str,
        call: impl AsyncFnOnce(&Client) -> Result<T, ClientError>,
    ) -> Result<T, CallError> {
        self.shared.runtime.block_on(self.call_async(method, call))
    }

    async fn call_async<T>(
        &self,
        method: &'static str,
        call: impl AsyncFnOnce(&Client) -> Result<T, ClientError>,
    ) -> Result<T, CallError> {
        tokio::select! {
            biased;
            () = self.shared.stop.cancelled() => Err(CallError::Stopping),
            answer = self.answer(method, call) => answer,
        }
    }

    /// What was asked, how often and how long, over all that speak to the manager.
    pub fn calls(&self) -> &Calls {
        &self.shared.calls
    }

    async fn answer<T>(
        &self,
        method: &'static str,
        call: impl AsyncFnOnce(&Client) -> Result<T, ClientError>,
    ) -> Result<T, CallError> {
        let timeout = self.shared.connection.timeout;
        self.answer_within(timeout, method, call).await
    }

    /// The same for a call that is over sooner: after that the next manager is spoken to.
    async fn answer_within<T>(
        &self,
        timeout: Duration,
        method: &'static str,
        call: impl AsyncFnOnce(&Client) -> Result<T, ClientError>,
    ) -> Result<T, CallError> {
        let begun = Instant::now();
        let managers = &self.shared.connection.addr;
        let answer = match tokio::time::timeout(timeout, call(&self.rpc)).await {
            Err(_) => {
                let (addr, turn) = managers.now();
                let addr = addr.to_string();
                managers.leave(turn);
                let reason = format!("no answer to {method} within {} s", timeout.as_secs_f32());
                Err(CallError::Away { addr, reason })
            }
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.classify(method, error)),
        };
        let kind = answer.as_ref().err().map(CallError::kind);
        self.shared.calls.ended(method, begun.elapsed(), kind);
        if let Err(CallError::Away { .. } | CallError::Garbled { .. }) = answer {
            self.forget_identity();
            self.shared.keeps_timelines.store(true, Ordering::Relaxed);
        }
        answer
    }

    /// Another manager may be the next to answer.
    fn forget_identity(&self) {
        *self.shared.identity.lock() = None;
    }

    /// Who the manager is; none for one that does not say (upstream's). Asked when it is met, and
    /// again from time to time and after it was away.
    pub fn identity(&self) -> Result<Option<ManagerIdentity>, CallError> {
        let known = self.shared.identity.lock().clone();
        match known {
            Some((at, identity)) if identity.is_none() || at.elapsed() < SAME_FOR => Ok(identity),
            _ => self.identity_now(),
        }
    }

    /// The same, asked now: for what cannot be undone.
    pub fn identity_now(&self) -> Result<Option<ManagerIdentity>, CallError> {
        let asked = Instant::now();
        let answer = offered(self.call("Identity", async |rpc| rpc.identity().await));
        let identity = answer.map_err(|error| match error {
            // whoever says that of itself is no manager, of whatever it speaks
            CallError::SectorOver(reason)
            | CallError::SectorUnknown(reason)
            | CallError::NotOwner(reason) => CallError::Garbled {
                addr: self.addr().to_string(),
                method: "Identity",
                reason,
            },
            error => error,
        })?;
        let before = self
            .shared
            .identity
            .lock()
            .replace((asked, identity.clone()));
        if before.is_none_or(|(_, before)| before != identity) {
            // what the one before did not offer, this one may
            self.shared.keeps_timelines.store(true, Ordering::Relaxed);
        }
        Ok(identity)
    }

    /// What the manager's record says of a sector; none from one that has no such question.
    pub fn sector_fate(&self, sector: SectorId) -> Result<Option<SectorFate>, CallError> {
        offered(self.call("SectorFate", async |rpc| rpc.sector_fate(sector).await))
    }

    /// What is left of the ticket that the sector was given; none where the manager does not tell.
    pub fn ticket_left(&self, sector: SectorId) -> Result<Option<TicketLeft>, CallError> {
        let left = offered(self.call("TicketLeft", async |rpc| rpc.ticket_left(sector).await));
        Ok(left?.flatten())
    }

    fn classify(&self, method: &'static str, error: ClientError) -> CallError {
        let addr = self.addr().to_string();
        match error {
            Error::Call(e) if e.code() == code::SECTOR_STATE_NOT_FOUND => {
                CallError::SectorOver(e.message().to_owned())
            }
            Error::Call(e) if e.code() == code::SECTOR_UNKNOWN => {
                CallError::SectorUnknown(e.message().to_owned())
            }
            Error::Call(e) if e.code() == code::NOT_OWNER => {
                CallError::NotOwner(e.message().to_owned())
            }
            Error::Call(e) if e.code() == code::NOT_NOW => CallError::NotNow {
                method,
                message: e.message().to_owned(),
            },
            Error::Call(e) if e.code() == METHOD_NOT_FOUND_CODE => CallError::Unsupported(method),
            Error::Call(e) if e.code() == code::NOT_PERMITTED => CallError::Denied {
                addr,
                reason: e.message().to_owned(),
            },
            Error::Call(e) => CallError::Failed {
                method,
                message: e.message().to_owned(),
            },
            Error::ParseError(e) => CallError::Garbled {
                addr,
                method,
                reason: e.to_string(),
            },
            other => match rejected_status(&other) {
                Some(401 | 403) => CallError::Denied {
                    addr,
                    reason: chain(&other),
                },
                // a proxy whose manager is away
                Some(502..=504) => CallError::Away {
                    addr,
                    reason: chain(&other),
                },
                Some(status) => CallError::Garbled {
                    addr,
                    method,
                    reason: format!("HTTP status {status} without an error of JSON-RPC"),
                },
                None if is_no_json(&other) => CallError::Garbled {
                    addr,
                    method,
                    reason: "it is no JSON".to_owned(),
                },
                None => CallError::Away {
                    addr,
                    reason: chain(&other),
                },
            },
        }
    }

    pub fn allocate_sector(
        &self,
        spec: AllocateSectorSpec,
    ) -> Result<Option<AllocatedSector>, CallError> {
        self.call("AllocateSector", async |rpc| {
            rpc.allocate_sector(spec).await
        })
    }

    pub fn acquire_deals(
        &self,
        sector: SectorId,
        spec: AcquireDealsSpec,
    ) -> Result<Option<Vec<SectorPiece>>, CallError> {
        self.call("AcquireDeals", async |rpc| {
            rpc.acquire_deals(sector, spec).await
        })
    }

    pub fn assign_ticket(&self, sector: SectorId) -> Result<Ticket, CallError> {
        self.call("AssignTicket", async |rpc| rpc.assign_ticket(sector).await)
    }

    pub fn submit_pre_commit(
        &self,
        sector: AllocatedSector,
        info: PreCommitOnChainInfo,
        reset: bool,
    ) -> Result<SubmitResp, CallError> {
        self.call("SubmitPreCommit", async |rpc| {
            rpc.submit_pre_commit(sector, info, reset).await
        })
    }

    pub fn poll_pre_commit_state(&self, sector: SectorId) -> Result<PollStateResp, CallError> {
        self.call("PollPreCommitState", async |rpc| {
            rpc.poll_pre_commit_state(sector).await
        })
    }

    pub fn submit_persisted(
        &self,
        sector: SectorId,
        instance: String,
        is_upgrade: bool,
    ) -> Result<bool, CallError> {
        self.call("SubmitPersistedEx", async |rpc| {
            rpc.submit_persisted_ex(sector, instance, is_upgrade).await
        })
    }

    pub fn wait_seed(&self, sector: SectorId, proof: SealProof) -> Result<WaitSeedResp, CallError> {
        self.call("WaitSeed", async |rpc| rpc.wait_seed(sector, proof).await)
    }

    pub fn submit_proof(
        &self,
        sector: SectorId,
        proof: ProofOnChainInfo,
        reset: bool,
    ) -> Result<SubmitResp, CallError> {
        self.call("SubmitProof", async |rpc| {
            rpc.submit_proof(sector, proof, reset).await
        })
    }

    pub fn poll_proof_state(&self, sector: SectorId) -> Result<PollStateResp, CallError> {
        self.call("PollProofState", async |rpc| {
            rpc.poll_proof_state(sector).await
        })
    }

    pub fn report_state(
        &self,
        sector: SectorId,
        report: ReportStateReq,
    ) -> Result<SectorStanding, CallError> {
        self.call("ReportState", async |rpc| {
            rpc.report_state(sector, report).await
        })
    }

    pub fn report_finalized(&self, sector: SectorId) -> Result<(), CallError> {
        self.call("ReportFinalized", async |rpc| {
            rpc.report_finalized(sector).await
        })
    }

    pub fn report_aborted(&self, sector: SectorId, reason: String) -> Result<(), CallError> {
        self.call("ReportAborted", async |rpc| {
            rpc.report_aborted(sector, reason).await
        })
    }

    pub fn store_reserve_space(
        &self,
        sector: SectorId,
        size: u64,
        candidates: Vec<String>,
    ) -> Result<Option<StoreBasicInfo>, CallError> {
        self.call("StoreReserveSpace", async |rpc| {
            rpc.store_reserve_space(sector, size, candidates).await
        })
    }

    /// Whether the manager knows a store; asked once at start, from async code.
    pub async fn store_basic_info(
        &self,
        name: String,
    ) -> Result<Option<StoreBasicInfo>, CallError> {
        self.call_async("StoreBasicInfo", async |rpc| {
            rpc.store_basic_info(name).await
        })
        .await
    }

    /// Tells the manager that this worker lives; from async code.
    pub async fn ping(&self, info: WorkerPing) -> Result<(), CallError> {
        self.call_async("WorkerPing", async |rpc| rpc.worker_ping(info).await)
            .await
    }

    /// Tells the manager that this worker stops in order; from async code, also while it stops.
    pub async fn leave(&self, name: String) -> Result<(), CallError> {
        self.answer("WorkerLeaves", async |rpc| rpc.worker_leaves(name).await)
            .await
    }

    /// A profile that the manager keeps; from async code.
    pub async fn worker_profile(
        &self,
        name: String,
        worker: String,
    ) -> Result<Option<Profile>, CallError> {
        let asked = self
            .call_async("WorkerProfile", async |rpc| {
                rpc.worker_profile(name, worker).await
            })
            .await?;
        Ok(asked.map(|profile| Profile {
            name: profile.name,
            text: profile.text,
            kept: None,
        }))
    }

    /// Hands over timeline entries. False: this manager keeps none (upstream's does not).
    pub fn report_timeline(
        &self,
        sector: SectorId,
        instance: String,
        entries: Vec<TimelineEntry>,
    ) -> Result<bool, CallError> {
        if !self.shared.keeps_timelines.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let told = self.call("ReportTimeline", async |rpc| {
            rpc.report_timeline(sector, instance, entries).await
        });
        match told {
            Err(CallError::Unsupported(_)) => {
                self.shared.keeps_timelines.store(false, Ordering::Relaxed);
                Ok(false)
            }
            Ok(()) => Ok(true),
            Err(error) => Err(error),
        }
    }
}

/// An answer, or that the manager has no such question.
fn offered<T>(answer: Result<T, CallError>) -> Result<Option<T>, CallError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(CallError::Unsupported(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The HTTP status of an answer that is no JSON-RPC.
pub(crate) fn rejected_status(error: &ClientError) -> Option<u16> {
    let Error::Transport(cause) = error else {
        return None;
    };
    match cause.downcast_ref::<TransportError>() {
        Some(TransportError::Rejected { status_code }) => Some(*status_code),
        _ => None,
    }
}

/// Whether there was an answer, but not even JSON.
fn is_no_json(error: &ClientError) -> bool {
    let Error::Transport(cause) = error else {
        return false;
    };
    matches!(
        cause.downcast_ref::<TransportError>(),
        Some(TransportError::Http(
            HttpError::Malformed | HttpError::TooLarge
        ))
    )
}
