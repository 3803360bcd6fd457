//! The loop of one miner: at every head it asks for the deadline once, lets `schedule` decide,
//! and starts a task per action. It keeps nothing that the database cannot tell, except which
//! tasks run and which windows it has planned.

use crate::{
    chain::Head,
    db::{
        Db, DbError,
        posts::{PostKey, PostRecord, Steps},
    },
    policy::MinerPolicy,
    post::{
        Parts, StepError, advance, batch,
        context::Context,
        faults::{self, Opening, Recover},
        schedule::{self, Action, Timing, View, Window},
    },
    served::Served,
};
use damocles_flow::post::PostEvent;
use damocles_types::Epoch;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// Final records are kept for so many proving periods.
const KEPT_PERIODS: Epoch = 30;

/// What is known of the chain, from one question per head.
#[derive(Clone)]
struct Now {
    head: Head,
    windows: Vec<Window>,
    /// Openings whose faulty sectors are looked at.
    openings: Vec<Opening>,
    timing: Timing,
    /// Epochs of a proving period.
    period: Epoch,
}

/// What a task works on.
#[derive(Clone, Copy)]
enum Work {
    Window(Epoch),
    Record(PostKey),
    Recovery(Recover),
}

pub(super) struct MinerLoop {
    context: Arc<Context>,
    now: Option<Now>,
    /// Openings whose records are written.
    planned: HashSet<Epoch>,
    /// Openings whose deadline has no faulty sectors.
    healthy: HashSet<Epoch>,
    running: HashMap<Id, Work>,
    /// What was started at this head: nothing is started twice at one head.
    started: HashSet<Action>,
    recovering: HashSet<Recover>,
    /// True: it did what it was to do.
    tasks: JoinSet<bool>,
}

impl MinerLoop {
    pub(super) fn new(parts: Parts, served: Served, policy: Arc<MinerPolicy>) -> Self {
        Self {
            context: Arc::new(Context::new(parts, served, policy)),
            now: None,
            planned: HashSet::new(),
            healthy: HashSet::new(),
            running: HashMap::new(),
            started: HashSet::new(),
            recovering: HashSet::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Runs until `stop`. Tasks under way are dropped then; their records say where they were.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut heads = self.context.parts.head.clone();
        heads.mark_changed();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = heads.changed() => {
                    if changed.is_err() {
                        // whoever watches the head has gone: the daemon is stopping
                        return stop.cancelled().await;
                    }
                    let head = heads.borrow_and_update().clone();
                    if let Some(head) = head {
                        self.look(head).await;
                    }
                }
                Some(done) = self.tasks.join_next_with_id() => self.finished(done),
            }
            self.start().await;
        }
    }

    /// Does all that is to be done at one head, and returns when nothing is left.
    #[cfg(test)]
    pub(super) async fn settle(&mut self, head: Head) {
        self.look(head).await;
        self.start().await;
        while let Some(done) = self.tasks.join_next_with_id().await {
            self.finished(done);
            self.start().await;
        }
    }

    fn finished(&mut self, done: Result<(Id, bool), JoinError>) {
        let (id, did) = done.unwrap_or_else(|error| {
            tracing::error!(%error, "a WindowPoSt task ended badly; please report this");
            (error.id(), false)
        });
        match self.running.remove(&id) {
            Some(Work::Window(open)) if did => drop(self.planned.insert(open)),
            Some(Work::Recovery(step)) if did => drop(self.healthy.insert(step.open())),
            _ => {}
        }
    }

    /// Asks the node what this head means for the miner.
    async fn look(&mut self, head: Head) {
        let miner = self.context.actor;
        let chain = &self.context.parts.chain;
        self.started.clear();
        self.recovering.clear();
        match chain.miner_proving_deadline(miner, &head.key).await {
            Ok(di) => {
                let windows = schedule::windows(&di, head.height);
                // Windows that are over need not be remembered.
                self.planned
                    .retain(|open| windows.iter().any(|w| w.open == *open));
                let openings = faults::openings(&di, head.height);
                self.healthy
                    .retain(|open| openings.iter().any(|o| o.open == *open));
                self.now = Some(Now {
                    openings,
                    timing: Timing::new(&self.context.policy().post, &di),
                    period: di.wpost_proving_period,
                    windows,
                    head,
                });
            }
            Err(error) => {
                tracing::warn!(miner, %error, "the node did not tell the proving deadline; asking again at the next head");
                if let Some(now) = &mut self.now {
                    now.head = head;
                }
            }
        }
    }

    /// Starts whatever is to be done now.
    async fn start(&mut self) {
        let Some(now) = self.now.clone() else { return };
        let miner = self.context.actor;
        let records = match self
            .context
            .parts
            .db
            .call(move |db| db.unfinished_posts(miner))
            .await
        {
            Ok(records) => records,
            Err(error) => {
                tracing::error!(miner, %error, "the records of WindowPoSts cannot be read");
                return;
            }
        };
        let records = self.reopened(records, &now).await;
        let mut planned = self.planned.clone();
        let mut busy = HashSet::new();
        for work in self.running.values() {
            match work {
                Work::Window(open) => drop(planned.insert(*open)),
                Work::Record(key) => drop(busy.insert(*key)),
                Work::Recovery(..) => {}
            }
        }
        let actions = schedule::actions(&View {
            head: now.head.height,
            windows: &now.windows,
            timing: now.timing,
            records: &records,
            planned: &planned,
            busy: &busy,
        });
        for action in actions {
            if self.started.insert(action) {
                self.begin(action, &records, now.clone());
            }
        }
        self.recover(now).await;
    }

    /// Starts what is to be done now for faulty sectors.
    async fn recover(&mut self, now: Now) {
        let miner = self.context.actor;
        // what is older cannot be declared any more; its messages have ended
        let from = now.head.height.saturating_sub(now.period);
        let records = self
            .context
            .parts
            .db
            .call(move |db| db.recoveries(miner, from));
        let records = match records.await {
            Ok(records) => records,
            Err(error) => {
                tracing::error!(miner, %error, "the records of recovered sectors cannot be read");
                return;
            }
        };
        let busy = self.running.values().filter_map(|work| match work {
            Work::Recovery(step) => Some(step.open()),
            Work::Window(_) | Work::Record(_) => None,
        });
        let busy: HashSet<_> = busy.collect();
        let head = now.head.height;
        let steps = faults::steps(head, &now.openings, &records, &self.healthy, &busy);
        for step in steps {
            if !self.recovering.insert(step) {
                continue;
            }
            let (context, now) = (self.context.clone(), now.clone());
            let record = records.iter().find(|r| r.open == step.open()).cloned();
            let work = async move { context.recover(step, record, &now.head, now.timing).await };
            let task = self.tasks.spawn(work);
            self.running.insert(task.id(), Work::Recovery(step));
        }
    }

    /// The records, and with them those that landed, while a reorganisation took their message
    /// from the chain again and their deadline is open.
    async fn reopened(&self, mut records: Vec<PostRecord>, now: &Now) -> Vec<PostRecord> {
        let open = now.windows.iter().filter(|w| now.head.height < w.close);
        let Some(earliest) = open.map(|w| w.open).min() else {
            return records;
        };
        let miner = self.context.actor;
        let reopen = move |db: &Db| -> Result<Vec<PostRecord>, DbError> {
            let mut out = Vec::new();
            for mut record in db.landed_posts(miner, earliest)? {
                let message = match record.message {
                    Some(id) => db.message(id)?,
                    None => None,
                };
                if message.is_none_or(|m| m.state.has_landed()) {
                    continue;
                }
                if advance(&mut record, PostEvent::Reopen).is_ok() {
                    record.landed_at = None;
                    record.error = Some("a reorganisation took it from the chain".to_owned());
                    out.push(db.put_post(&record)?);
                }
            }
            Ok(out)
        };
        match self.context.parts.db.call(reopen).await {
            Ok(reopened) => {
                for record in &reopened {
                    tracing::warn!(
                        miner,
                        deadline = record.deadline,
                        open = record.key.open,
                        "a WindowPoSt left the chain again (reorganisation); it is sent again"
                    );
                }
                records.extend(reopened);
            }
            Err(error) => {
                tracing::error!(miner, %error, "WindowPoSts that landed cannot be read");
            }
        }
        records
    }

    fn begin(&mut self, action: Action, records: &[PostRecord], now: Now) {
        let context = self.context.clone();
        let (task, work) = match action {
            Action::Plan(window) => {
                let plan = async move { context.plan_or_log(window, &now).await };
                (self.tasks.spawn(plan), Work::Window(window.open))
            }
            Action::Prove(key)
            | Action::Submit(key)
            | Action::Follow(key)
            | Action::Expire(key) => {
                let Some(record) = records.iter().find(|r| r.key == key).cloned() else {
                    return;
                };
                let step = async move { context.step(action, record, &now).await };
                (self.tasks.spawn(step), Work::Record(key))
            }
        };
        self.running.insert(task.id(), work);
    }
}

impl Context {
    async fn plan_or_log(&self, window: Window, now: &Now) -> bool {
        let written = self.plan(window, now).await;
        if let Err(error) = &written {
            tracing::warn!(
                miner = self.actor, deadline = window.index, open = window.open, %error,
                "could not find out what to prove; trying again at the next head"
            );
        }
        written.is_ok()
    }

    /// Writes a record for every batch of partitions that has something due, and forgets
    /// those of long ago.
    async fn plan(&self, window: Window, now: &Now) -> Result<(), StepError> {
        let miner = self.actor;
        let chain = &self.parts.chain;
        let partitions = chain
            .miner_partitions(miner, window.index, &now.head.key)
            .await?;
        let max = self.policy().post.max_partitions_per_message;
        let records: Vec<_> = batch::groups(&partitions, max)
            .into_iter()
            .filter_map(|group| {
                let key = PostKey {
                    miner,
                    open: window.open,
                    first: *group.first()?,
                };
                let planned =
                    PostRecord::planned(key, window.index, window.challenge, window.close);
                Some(PostRecord {
                    partitions: group,
                    steps: Steps {
                        seen: Some(now.head.height),
                        ..Steps::default()
                    },
                    by: Some(self.parts.by.clone()),
                    ..planned
                })
            })
            .collect();
        let batches = records.len();
        let added = self
            .parts
            .db
            .call(move |db| db.plan_posts(&records))
            .await?;
        let before = window.open.saturating_sub(KEPT_PERIODS * now.period);
        self.parts
            .db
            .call(move |db| {
                db.forget_recoveries(miner, before)?;
                db.forget_posts(miner, before)
            })
            .await?;
        if batches > 0 {
            tracing::info!(
                miner,
                deadline = window.index,
                open = window.open,
                close = window.close,
                batches,
                added,
                "a WindowPoSt is due"
            );
        }
        Ok(())
    }

    /// Takes a record one step further; a failure is written into it.
    async fn step(&self, action: Action, record: PostRecord, now: &Now) -> bool {
        let (key, close) = (record.key, record.close);
        let result = match action {
            Action::Plan(_) => return false,
            Action::Prove(_) => {
                // What is not proven when the deadline closes needs not be proven.
                tokio::select! {
                    result = self.prove(record, &now.head) => result,
                    () = self.reached(close) => return false,
                }
            }
            Action::Submit(_) => self.submit(record, &now.head).await,
            Action::Follow(_) => self.follow(record, &now.head, now.timing).await,
            Action::Expire(_) => self.expire(record).await,
        };
        if let Err(error) = &result {
            self.failed(key, action, error, now).await;
        }
        result.is_ok()
    }

    async fn expire(&self, mut record: PostRecord) -> Result<(), StepError> {
        advance(&mut record, PostEvent::Expire)?;
        record.proof = None;
        let why = record.error.clone();
        tracing::error!(
            miner = record.key.miner,
            deadline = record.deadline,
            open = record.key.open,
            partitions = ?record.partitions,
            why = why.as_deref().unwrap_or("there was not enough time"),
            "a WindowPoSt was missed: its sectors become faulty"
        );
        record
            .error
            .get_or_insert_with(|| "the deadline closed before the proof was ready".to_owned());
        self.store(&mut record).await
    }

    /// Writes a failed attempt into the record, as it is stored by now.
    async fn failed(&self, key: PostKey, action: Action, error: &StepError, now: &Now) {
        let done = async {
            let Some(mut record) = self.parts.db.call(move |db| db.post(key)).await? else {
                return Ok(());
            };
            record.tries = record.tries.saturating_add(1);
            let at = now
                .timing
                .retry_at(self.head_height(now), record.tries, record.close);
            record.retry_at = Some(at);
            let (before, tries) = (record.error.replace(error.to_string()), record.tries);
            // a window has room for dozens of attempts that fail alike
            if before != record.error || tries.is_power_of_two() {
                tracing::warn!(
                    miner = key.miner, deadline = record.deadline, open = key.open, first = key.first,
                    tries, retry_at = at, %error,
                    "a WindowPoSt could not be {}; trying again", action.in_words()
                );
            }
            self.store(&mut record).await
        };
        let done: Result<(), StepError> = done.await;
        if let Err(error) = done {
            tracing::error!(miner = key.miner, open = key.open, %error, "a failure could not be stored");
        }
    }

    fn head_height(&self, now: &Now) -> Epoch {
        let latest = self.parts.head.borrow();
        latest.as_ref().map_or(now.head.height, |h| h.height)
    }
}
