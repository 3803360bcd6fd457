//! WindowPoSts that workers prove: one job for everything that a proof covers, named by what it
//! proves, so that whoever wants the same finds the one that there is. What is proven lies apart,
//! for it is large; jobs that are not over are listed by the close of their deadline.

use crate::{
    db::{
        Db, DbError,
        damaged::readable,
        keys,
        record::VERSION,
        schema::{JOB_INPUTS, JOBS, JOBS_OPEN},
    },
    model::{UnixMs, unix_ms},
};
use damocles_api::wdpost::{WdPoStInput, WdPoStOutput};
use damocles_flow::{
    job::{JobEvent, JobFlow, JobState},
    table::Table as _,
};
use damocles_kv::{Durability, Record, Span, StoreError, Transaction};
use damocles_types::{ActorId, Epoch};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// So many jobs are looked at in one transaction; a fleet of posters has fewer at a time.
const MOST: usize = 4096;
/// Workers that failed at a job; more are not remembered.
const MOST_FAILED: usize = 16;

/// The worker whose attempt is the last one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub worker: String,
    /// It was told the attempt's number and says it again.
    pub numbered: bool,
}

/// A job as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    pub v: u32,
    pub id: String,
    pub state: JobState,
    pub miner: ActorId,
    pub deadline: u64,
    pub partitions: Vec<u64>,
    /// First epoch of the window.
    pub open: Epoch,
    /// First epoch in which no proof is taken any more.
    pub close: Epoch,
    /// The name of the proofs library.
    pub proof_type: String,
    /// So many sectors are proven.
    pub sectors: u32,
    /// The stores that their files lie in.
    pub stores: BTreeSet<String>,
    pub output: Option<WdPoStOutput>,
    /// How often it was given to a worker: the number of the last attempt.
    pub attempt: u64,
    /// Attempts that failed since it was begun or begun anew.
    pub failures: u32,
    /// What the last one that failed said, or why it is over.
    pub error: Option<String>,
    /// Who may answer. None: nobody, until it is taken.
    pub holder: Option<Holder>,
    /// The last one that had it.
    pub worker: Option<String>,
    /// Workers that failed at it, also before it was begun anew: others go before them.
    pub failed_by: Vec<String>,
    /// Grows with each sign of life: who watches needs no clock in common.
    pub beats: u64,
    pub created_at: UnixMs,
    pub updated_at: UnixMs,
    pub started_at: Option<UnixMs>,
    pub beaten_at: Option<UnixMs>,
    pub ended_at: Option<UnixMs>,
}

/// What is to be proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    pub id: String,
    pub deadline: u64,
    pub partitions: Vec<u64>,
    pub open: Epoch,
    pub close: Epoch,
    pub input: WdPoStInput,
}

impl Offer {
    fn record(&self, attempt: u64) -> JobRecord {
        let places = self.input.sectors.iter().map(|s| &s.accesses);
        let stores = places.flat_map(|a| [a.sealed_file.clone(), a.cache_dir.clone()]);
        let now = unix_ms();
        JobRecord {
            v: VERSION,
            id: self.id.clone(),
            state: JobFlow::START,
            miner: self.input.miner_id,
            deadline: self.deadline,
            partitions: self.partitions.clone(),
            open: self.open,
            close: self.close,
            proof_type: self.input.proof_type.clone(),
            sectors: u32::try_from(self.input.sectors.len()).unwrap_or(u32::MAX),
            stores: stores.collect(),
            output: None,
            attempt,
            failures: 0,
            error: None,
            holder: None,
            worker: None,
            failed_by: Vec::new(),
            beats: 0,
            created_at: now,
            updated_at: now,
            started_at: None,
            beaten_at: None,
            ended_at: None,
        }
    }
}

/// A worker that asks for jobs.
#[derive(Clone, Debug, Default)]
pub struct Taking {
    pub worker: String,
    /// It says the number of its attempt with every word.
    pub numbered: bool,
    /// Empty: of any.
    pub miners: Vec<ActorId>,
    pub proof_types: Vec<String>,
    /// Stores that it can read. None: it does not say.
    pub stores: Option<BTreeSet<String>>,
    /// Others ask as well, who have not failed at a job yet.
    pub others_ask: bool,
    /// After so many failures of a job nobody has it who failed at it. None: whatever there were.
    pub max_tries: Option<u32>,
    pub count: usize,
    /// What closes by then is not given out any more.
    pub head: Epoch,
}

impl Taking {
    /// Whether the job is for this worker now. `others_run`: others are at jobs, and will ask. Pure.
    fn takes(&self, job: &JobRecord, others_run: bool) -> bool {
        let any = self.miners.is_empty() || self.miners.contains(&job.miner);
        let kind = self.proof_types.is_empty() || self.proof_types.contains(&job.proof_type);
        let reads = |stores: &BTreeSet<String>| job.stores.is_subset(stores);
        job.state == JobState::Ready
            && job.close > self.head
            && any
            && kind
            && self.stores.as_ref().is_none_or(reads)
            && !(job.failed_by.contains(&self.worker) && self.leaves(job, others_run))
    }

    /// Whether it leaves a job at which it failed to others. For those that are at other jobs it does
    /// so in the first half of the window: they may not be allowed that one. Pure.
    fn leaves(&self, job: &JobRecord, others_run: bool) -> bool {
        let half = job.open + (job.close - job.open) / 2;
        self.others_ask
            || (others_run && self.head < half)
            || self.max_tries.is_some_and(|most| job.failures >= most)
    }
}

/// Who speaks of a job. What it does not say is not compared.
#[derive(Clone, Copy, Debug, Default)]
pub struct Speaks<'a> {
    pub worker: Option<&'a str>,
    pub attempt: Option<u64>,
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub enum Ended {
    Output(WdPoStOutput),
    Failed(String),
    GivenBack,
}

impl JobRecord {
    /// Whether the speaker has the last attempt at it. Pure.
    fn is_held_by(&self, speaks: Speaks<'_>) -> bool {
        self.holder.as_ref().is_some_and(|holder| {
            let number = match speaks.attempt {
                Some(attempt) => holder.numbered && attempt == self.attempt,
                None => !holder.numbered,
            };
            number && speaks.worker.is_none_or(|worker| worker == holder.worker)
        })
    }

    /// Whether a failure may be that of a former attempt: its speaker says neither a name nor a
    /// number. The last attempt goes on then; if it was its own, it will be silent. (A proof is
    /// verified, whoever made it.) Pure.
    fn may_be_of_another(&self, speaks: Speaks<'_>, ended: &Ended) -> bool {
        let nameless = speaks.worker.is_none() && speaks.attempt.is_none();
        nameless && self.attempt > 1 && matches!(ended, Ended::Failed(_))
    }

    /// Takes it along an edge, if there is one.
    fn step(&mut self, event: JobEvent) -> bool {
        let Some(next) = JobFlow::next(self.state, event) else {
            return false;
        };
        let now = unix_ms();
        (self.state, self.updated_at) = (next, now);
        match event {
            JobEvent::Take => {
                self.attempt += 1;
                self.beats += 1;
                (self.started_at, self.beaten_at) = (Some(now), Some(now));
                (self.ended_at, self.error) = (None, None);
            }
            JobEvent::Beat => {
                self.beats += 1;
                self.beaten_at = Some(now);
            }
            JobEvent::Finish => (self.ended_at, self.error) = (Some(now), None),
            JobEvent::Fail | JobEvent::Refuse => {
                self.failures += 1;
                self.ended_at = Some(now);
                self.output = None;
                self.mark_failed();
            }
            JobEvent::Lose => self.mark_failed(),
            JobEvent::Retry => self.holder = None,
            JobEvent::Reset => {
                (self.failures, self.output, self.error) = (0, None, None);
                (self.holder, self.worker) = (None, None);
                (self.started_at, self.beaten_at, self.ended_at) = (None, None, None);
                self.created_at = now;
            }
            JobEvent::End => self.ended_at = Some(now),
        }
        true
    }

    /// Another worker goes before this one.
    fn mark_failed(&mut self) {
        let worker = self.worker.clone();
        let new = worker.filter(|worker| !self.failed_by.contains(worker));
        if let Some(worker) = new.filter(|_| self.failed_by.len() < MOST_FAILED) {
            self.failed_by.push(worker);
        }
    }

    fn listed_as(&self) -> Vec<u8> {
        keys::open_job(self.close, self.miner, &self.id)
    }
}

fn seen(t: &mut Transaction<'_>, id: &str) -> Result<(Record, Option<JobRecord>), StoreError> {
    let seen = t.get(JOBS, id.as_bytes())?;
    let record = readable(seen.json())?;
    Ok((seen, record))
}

/// Writes a job; one that is over leaves the list. (It is put there once: a sign of life is in
/// nobody's way who reads the list.)
fn put(t: &mut Transaction<'_>, seen: &Record, job: &JobRecord) -> Result<(), StoreError> {
    if job.state == JobState::Over {
        t.erase(JOBS_OPEN, job.listed_as())?;
        t.erase(JOB_INPUTS, job.id.as_bytes())?;
    }
    t.put_json(seen, job)
}

/// Jobs that are not over, those that close first before the others.
fn open(t: &mut Transaction<'_>) -> Result<Vec<(Record, JobRecord)>, StoreError> {
    let mut found = Vec::new();
    for entry in t.scan(JOBS_OPEN, &Span::all(), MOST)? {
        let Some(id) = keys::read_open_job(entry.key()).map(str::to_owned) else {
            continue;
        };
        if let (record, Some(job)) = seen(t, &id)? {
            found.push((record, job));
        }
    }
    Ok(found)
}

impl Db {
    /// Stores a job before anybody is told of it. One that there is already is left as it is. Those
    /// that proved other sectors of the same partitions are over.
    pub fn offer_job(&self, offer: &Offer) -> Result<JobRecord, DbError> {
        self.write(Durability::Synced, |t| {
            for (record, mut job) in open(t)? {
                let same = (job.miner, job.open) == (offer.input.miner_id, offer.open);
                let shares = job.partitions.iter().any(|p| offer.partitions.contains(p));
                if same && shares && job.id != offer.id && job.step(JobEvent::End) {
                    job.error = Some("other sectors of its partitions are proven".to_owned());
                    put(t, &record, &job)?;
                }
            }
            let (record, known) = seen(t, &offer.id)?;
            let before = match known {
                Some(known) if known.state != JobState::Over => return Ok(known),
                Some(over) => over.attempt,
                None => 0,
            };
            let job = offer.record(before);
            t.overwrite_json(JOB_INPUTS, offer.id.as_bytes(), &offer.input)?;
            t.overwrite(JOBS_OPEN, job.listed_as(), [])?;
            put(t, &record, &job)?;
            Ok(job)
        })
    }

    pub fn job(&self, id: &str) -> Result<Option<JobRecord>, DbError> {
        self.read(|t| Ok(seen(t, id)?.1))
    }

    /// All jobs that are remembered, the newest first.
    pub fn jobs(&self) -> Result<Vec<JobRecord>, DbError> {
        let mut all: Vec<JobRecord> =
            self.all_of(JOBS, Span::all(), |seen| Ok(readable(seen.json())?))?;
        all.sort_by_key(|job| std::cmp::Reverse((job.created_at, job.close)));
        Ok(all)
    }

    /// Jobs that are not over, those that close first before the others.
    pub fn open_jobs(&self) -> Result<Vec<JobRecord>, DbError> {
        self.read(|t| Ok(open(t)?.into_iter().map(|(_, job)| job).collect()))
    }

    /// Gives a worker jobs that it may have.
    pub fn take_jobs(&self, taking: &Taking) -> Result<Vec<(JobRecord, WdPoStInput)>, DbError> {
        self.write(Durability::Synced, |t| {
            let (open, mut taken) = (open(t)?, Vec::new());
            let elsewhere = |job: &JobRecord| {
                job.state == JobState::Running && job.worker.as_ref() != Some(&taking.worker)
            };
            let others_run = open.iter().any(|(_, job)| elsewhere(job));
            for (record, mut job) in open {
                if taken.len() >= taking.count {
                    break;
                }
                if !taking.takes(&job, others_run) {
                    continue;
                }
                let input = t.get_json(JOB_INPUTS, job.id.as_bytes());
                let Some(input) = readable::<WdPoStInput>(input)? else {
                    continue;
                };
                if job.step(JobEvent::Take) {
                    job.worker = Some(taking.worker.clone());
                    job.holder = Some(Holder {
                        worker: taking.worker.clone(),
                        numbered: taking.numbered,
                    });
                    put(t, &record, &job)?;
                    taken.push((job, input));
                }
            }
            Ok(taken)
        })
    }

    /// A worker lives and is at a job. False: nobody wants that attempt any more.
    pub fn beat_job(&self, id: &str, speaks: Speaks<'_>) -> Result<bool, DbError> {
        self.write(Durability::Buffered, |t| {
            let (record, Some(mut job)) = seen(t, id)? else {
                return Ok(false);
            };
            let wanted = job.is_held_by(speaks) && job.step(JobEvent::Beat);
            if wanted {
                put(t, &record, &job)?;
            }
            Ok(wanted)
        })
    }

    /// How an attempt ended. False: it was not the last one, or nobody wants its end any more. Said
    /// twice it is the same.
    ///
    /// # Errors
    /// [`DbError::NoJob`].
    pub fn end_attempt(
        &self,
        id: &str,
        speaks: Speaks<'_>,
        ended: &Ended,
    ) -> Result<bool, DbError> {
        self.write(Durability::Synced, |t| {
            let (record, job) = seen(t, id)?;
            let mut job = job.ok_or_else(|| DbError::NoJob(id.to_owned()))?;
            if !job.is_held_by(speaks) || job.may_be_of_another(speaks, ended) {
                return Ok(false);
            }
            let event = match ended {
                Ended::Output(_) => JobEvent::Finish,
                Ended::Failed(_) => JobEvent::Fail,
                Ended::GivenBack => JobEvent::Lose,
            };
            if !job.step(event) {
                // its answer was lost, and it says it again
                return Ok(job.state != JobState::Over);
            }
            match ended {
                Ended::Output(output) => job.output = Some(output.clone()),
                Ended::Failed(why) => job.error = Some(why.clone()),
                Ended::GivenBack => job.holder = None,
            }
            put(t, &record, &job)?;
            Ok(true)
        })
    }

    /// Takes a job along an edge because the manager, or a person, says so. `attempt`: only if that is
    /// still the last one. None: there is no such job, or no such edge.
    pub fn step_job(
        &self,
        id: &str,
        event: JobEvent,
        attempt: Option<u64>,
        why: Option<&str>,
    ) -> Result<Option<JobRecord>, DbError> {
        self.write(Durability::Synced, |t| {
            let (record, Some(mut job)) = seen(t, id)? else {
                return Ok(None);
            };
            if attempt.is_some_and(|attempt| attempt != job.attempt) || !job.step(event) {
                return Ok(None);
            }
            if let Some(why) = why {
                job.error = Some(why.to_owned());
            }
            put(t, &record, &job)?;
            Ok(Some(job))
        })
    }

    /// Forgets a job; one that is not there is no error.
    pub fn remove_job(&self, id: &str) -> Result<(), DbError> {
        self.write(Durability::Synced, |t| remove(t, id))
    }

    /// Jobs whose deadline has closed are over; those that were begun before `before` are forgotten.
    /// Returns how many are over now.
    pub fn sweep_jobs(&self, head: Epoch, before: UnixMs) -> Result<usize, DbError> {
        let ended = self.write::<_, DbError>(Durability::Buffered, |t| {
            let mut ended = 0;
            for (record, mut job) in open(t)? {
                if job.close > head {
                    break;
                }
                let unproven = job.state != JobState::Finished;
                if job.step(JobEvent::End) {
                    if unproven {
                        let late = || "its deadline closed".to_owned();
                        job.error.get_or_insert_with(late);
                    }
                    put(t, &record, &job)?;
                    ended += 1;
                }
            }
            Ok(ended)
        })?;
        let old = |job: &JobRecord| job.state == JobState::Over && job.created_at < before;
        for job in self.jobs()?.into_iter().filter(old) {
            self.write(Durability::Buffered, |t| remove(t, &job.id))?;
        }
        Ok(ended)
    }
}

fn remove(t: &mut Transaction<'_>, id: &str) -> Result<(), DbError> {
    if let (record, Some(job)) = seen(t, id)? {
        t.erase(JOBS_OPEN, job.listed_as())?;
        t.delete(&record)?;
    }
    Ok(t.erase(JOB_INPUTS, id.as_bytes())?)
}

#[cfg(test)]
#[path = "jobs_tests.rs"]
pub(crate) mod tests;
