//! One round of one miner, from what the node tells to the block that is sent. What does not go
//! well is tried again as long as the round lasts; then it is lost.

use super::{
    lot,
    maker::{Maker, NotSent},
    parts::{PAUSE, sleep_until},
    schedule::{Round, Tip},
    sectors::NotProvable,
    sign::SignError,
};
use crate::{
    chain::ChainError,
    db::{
        DbError,
        blocks::{BlockRecord, Lost, MaySign, Rounds, Times},
    },
    model::{millis, unix_ms},
};
use damocles_flow::block::{BlockEvent, BlockState};
use damocles_node::{
    BlockMsg, BlockTemplate, ElectionProof, MiningBaseInfo, PoStProof, SignedMessage, Ticket,
    TipSet, election,
};
use damocles_types::Epoch;
use fvm_shared::address::Address;
use parking_lot::Mutex;
use std::{
    fmt::Display,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

/// What a round waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Base,
    Election,
    Read,
    Proof,
    Messages,
    Making,
    Sending,
}

impl Step {
    /// Why the block is lost when its time is over then.
    fn lost(self) -> Lost {
        match self {
            Self::Read => Lost::SlowRead,
            Self::Proof => Lost::SlowProof,
            Self::Base | Self::Election | Self::Messages | Self::Making | Self::Sending => {
                Lost::NodeLate
            }
        }
    }
}

/// How far a round is.
struct Progress {
    began: Instant,
    began_at: u64,
    now: Mutex<(Step, Times, Option<String>)>,
    /// The node said no to the block the last time that it was sent.
    refused: AtomicBool,
}

/// An attempt at a step that has no answer by then is made anew: a connection that hangs must not take
/// the whole round. Reading and proving have the round's own limit.
fn limit(step: Step) -> Option<Duration> {
    match step {
        Step::Read | Step::Proof => None,
        Step::Base | Step::Election | Step::Messages | Step::Sending => {
            Some(Duration::from_secs(5))
        }
        // the node computes
        Step::Making => Some(Duration::from_secs(12)),
    }
}

/// For what is only better than what is known already.
const BETTER: Duration = Duration::from_secs(2);

impl Progress {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            began_at: unix_ms(),
            now: Mutex::new((Step::Base, Times::default(), None)),
            refused: AtomicBool::new(false),
        }
    }

    /// Does it again and again until it is done.
    async fn insist<T, E: Display, F: Future<Output = Result<T, E>>>(
        &self,
        step: Step,
        what: impl Fn() -> F,
    ) -> T {
        self.now.lock().0 = step;
        loop {
            let attempt = what();
            let answer = match limit(step) {
                None => Ok(attempt.await),
                Some(limit) => tokio::time::timeout(limit, attempt).await,
            };
            match answer {
                Ok(Ok(done)) => {
                    let mut now = self.now.lock();
                    let at = Some(millis(self.began.elapsed()));
                    match step {
                        Step::Base => now.1.base = at,
                        Step::Election => now.1.elected = at,
                        Step::Read => now.1.read = at,
                        Step::Proof => now.1.proven = at,
                        Step::Messages => now.1.chosen = at,
                        Step::Making => now.1.made = at,
                        // the record that is sent says it
                        Step::Sending => {}
                    }
                    now.2 = None;
                    return done;
                }
                Ok(Err(error)) => {
                    tracing::debug!(?step, %error, "a step towards a block failed; it is tried again");
                    self.now.lock().2 = Some(error.to_string());
                }
                Err(_) => {
                    tracing::debug!(?step, "a step towards a block hangs; it is tried again");
                    self.now.lock().2 = Some("it was not answered in time".to_owned());
                    continue;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn times(&self) -> Times {
        self.now.lock().1
    }
}

/// How a round ended that nobody broke off.
enum Ended {
    NotEligible,
    NotWon {
        expected: f64,
    },
    /// Its record says how.
    Won {
        expected: f64,
    },
    /// A block of this epoch may have been signed before.
    UsedUp,
}

/// What the node sent in the place of what it was asked for.
#[derive(Debug, thiserror::Error)]
enum NotThisBlock {
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error("the node made another block than it was asked for")]
    Other,
    #[error(transparent)]
    Sign(#[from] SignError),
    #[error("a parent without a ticket")]
    NoTicket,
}

impl Maker {
    /// Tries a round, until it is over.
    pub(super) async fn round(&self, round: Round) {
        let progress = Progress::new();
        let ended = tokio::select! {
            biased;
            ended = self.attempt(&round, &progress) => Some(ended),
            () = self.over(&round) => None,
        };
        if let Err(error) = self.ended(&round, ended, &progress).await {
            tracing::error!(
                miner = self.actor, height = round.height, %error,
                "what became of a round could not be stored"
            );
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Returns when nobody waits for the round's block any more.
    async fn over(&self, round: &Round) {
        if let Some(cutoff) = round.cutoff {
            return sleep_until(cutoff).await;
        }
        let mut heads = self.parts.head.clone();
        let passed = |head: &Option<crate::chain::Head>| {
            head.as_ref()
                .is_some_and(|head| head.height >= round.height)
        };
        if heads.wait_for(passed).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    async fn attempt(&self, round: &Round, progress: &Progress) -> Ended {
        let (miner, height, node) = (self.actor, round.height, &self.parts.node);
        let key = &round.base.key;
        let base = progress
            .insist(Step::Base, || node.mining_base(miner, height, key))
            .await;
        let Some(base) = base.filter(|base| base.eligible_for_mining) else {
            return Ended::NotEligible;
        };
        let expected = election::expected_wins(&base.miner_power, &base.network_power);
        let elect = || self.elect(height, &base);
        let elected = progress.insist(Step::Election, elect).await;
        let Some(proof) = elected else {
            return Ended::NotWon { expected };
        };
        let Some(record) = self.won(round, &proof, progress).await else {
            return Ended::UsedUp;
        };
        tracing::info!(miner, height, wins = proof.win_count, "a round is won");
        let winning_post_proof = self.prove(round, &base, progress).await;
        sleep_until(round.build_at).await;
        let (tip, base) = self.newest(round, base).await;
        let record = BlockRecord {
            parents: tip.key.clone(),
            base: tip.height,
            ..record
        };
        let choose = || self.choose(height, &tip, &base);
        let (ticket, messages) = progress.insist(Step::Messages, choose).await;
        let template = BlockTemplate {
            miner: Address::new_id(miner),
            parents: tip.key.clone(),
            ticket: Some(ticket),
            eproof: Some(proof),
            beacon_values: base.beacon_entries.clone(),
            messages,
            epoch: height,
            timestamp: round.timestamp,
            winning_post_proof,
        };
        let may = progress
            .insist(Step::Making, || {
                let record = record.clone();
                self.parts.db.call(move |db| db.may_sign(&record))
            })
            .await;
        let record = match may {
            MaySign::Yes(record) => *record,
            MaySign::Fault { with, why } => {
                let why = format!("{why}: see its block of epoch {with}");
                let lost = || self.lost(record.clone(), Lost::Fault, Some(why.clone()), progress);
                progress.insist(Step::Making, lost).await;
                return Ended::Won { expected };
            }
        };
        let make = || self.make(&template, &base);
        let block = progress.insist(Step::Making, make).await;
        let signed = BlockRecord {
            cid: Some(block.cid()),
            block: Some(block),
            times: progress.times(),
            ..record
        };
        let store = || self.step(signed.clone(), BlockEvent::Sign);
        let signed = progress.insist(Step::Making, store).await;
        sleep_until(round.send_at).await;
        let send = || async {
            let sent = self.send(signed.clone()).await;
            let refused = matches!(sent, Err(NotSent::Refused(_)));
            progress.refused.store(refused, Ordering::Relaxed);
            sent
        };
        progress.insist(Step::Sending, send).await;
        Ended::Won { expected }
    }

    /// Draws the election.
    async fn elect(
        &self,
        height: Epoch,
        base: &MiningBaseInfo,
    ) -> Result<Option<ElectionProof>, SignError> {
        let drawn = lot::election(&base.beacon().data, height, self.actor);
        let vrf_proof = self.parts.sign(base.worker_key, &drawn).await?.bytes;
        let (power, total) = (&base.miner_power, &base.network_power);
        Ok(ElectionProof::won(vrf_proof, power, total))
    }

    /// The tipset to build upon as the node's head is now, and what it tells of the round on it. What
    /// was drawn and proven holds on it too, or it is left aside.
    async fn newest(&self, round: &Round, base: MiningBaseInfo) -> (Tip, MiningBaseInfo) {
        let before = &round.base;
        let fits = |tip: &TipSet| {
            tip.cids != before.key && (before.height..round.height).contains(&tip.height)
        };
        let newest = tokio::time::timeout(BETTER, self.parts.node.newest()).await;
        let newest = newest.ok().and_then(Result::ok);
        let Some(newest) = newest.filter(fits) else {
            return (before.clone(), base);
        };
        let tip = Tip {
            height: newest.height,
            timestamp: newest.blocks.first().map_or(0, |b| b.timestamp),
            key: newest.cids,
        };
        let told = self
            .parts
            .node
            .mining_base(self.actor, round.height, &tip.key);
        match tokio::time::timeout(BETTER, told).await {
            Ok(Ok(Some(now)))
                if now.eligible_for_mining
                    && now.beacon() == base.beacon()
                    && now.sectors == base.sectors
                    && now.worker_key == base.worker_key =>
            {
                (tip, now)
            }
            _ => (before.clone(), base),
        }
    }

    /// Draws the ticket on a tipset, and chooses messages by it.
    async fn choose(
        &self,
        height: Epoch,
        tip: &Tip,
        base: &MiningBaseInfo,
    ) -> Result<(Ticket, Vec<SignedMessage>), NotThisBlock> {
        let node = &self.parts.node;
        let parents = node.tipset(&tip.key).await?;
        let below = lot::lowest(&parents).ok_or(NotThisBlock::NoTicket)?;
        let drawn = lot::ticket(&base.beacon().data, height, self.actor, below);
        let vrf_proof = self.parts.sign(base.worker_key, &drawn).await?.bytes;
        let ticket = Ticket { vrf_proof };
        let quality = lot::quality(&ticket);
        let messages = node.select_messages(&tip.key, quality).await?;
        Ok((ticket, messages))
    }

    /// Writes down that the round is won. None: a block of its epoch may have been signed before.
    async fn won(
        &self,
        round: &Round,
        proof: &ElectionProof,
        progress: &Progress,
    ) -> Option<BlockRecord> {
        let base = (round.base.key.clone(), round.base.height);
        let won = BlockRecord {
            wins: proof.win_count,
            times: progress.times(),
            began_at: progress.began_at,
            by: self.parts.by.clone(),
            ..BlockRecord::won(self.actor, round.height, base)
        };
        let store = || {
            let won = won.clone();
            self.parts.db.call(move |db| {
                let before = db.block(won.miner, won.height)?;
                if before.as_ref().is_some_and(|before| before.asked) {
                    return Ok::<_, DbError>(None);
                }
                let writes = before.map_or(0, |before| before.writes);
                db.put_block(&BlockRecord { writes, ..won }).map(Some)
            })
        };
        progress.insist(Step::Election, store).await
    }

    /// Finds and reads the challenged sectors, and has them proven.
    async fn prove(
        &self,
        round: &Round,
        base: &MiningBaseInfo,
        progress: &Progress,
    ) -> Vec<PoStProof> {
        let (miner, parts) = (self.actor, &self.parts);
        let challenge = lot::challenge(&base.beacon().data, round.height, miner);
        // whatever takes longer is broken off with the round
        let limit = round.cutoff.map_or(Duration::from_secs(60), |cutoff| {
            Duration::from_millis(cutoff.saturating_sub(unix_ms()).max(1))
        });
        let read = || async {
            let found = parts.find(miner, &base.sectors, challenge, limit).await?;
            parts.read(&found, limit).await?;
            Ok::<_, NotProvable>(found)
        };
        let found = progress.insist(Step::Read, read).await;
        let prove = || parts.prove(&found);
        let proof = progress.insist(Step::Proof, prove).await;
        vec![proof]
    }

    /// Has the block made. The same template gives the same block, so that it may be asked for again.
    async fn make(
        &self,
        template: &BlockTemplate,
        base: &MiningBaseInfo,
    ) -> Result<BlockMsg, NotThisBlock> {
        let mut block = self.parts.node.create_block(template).await?;
        let header = &block.header;
        let is_this = header.miner == template.miner
            && header.height == template.epoch
            && header.parents == template.parents.0
            && header.ticket == template.ticket
            && header.election_proof == template.eproof
            && header.timestamp == template.timestamp;
        if !is_this {
            return Err(NotThisBlock::Other);
        }
        if header.block_sig.is_none() {
            let bytes = header.signing_bytes();
            let signature = self.parts.sign(base.worker_key, &bytes).await?;
            block.header.block_sig = Some(signature);
        }
        Ok(block)
    }

    /// Counts the round, and gives its block up if that is not on its way.
    async fn ended(
        &self,
        round: &Round,
        ended: Option<Ended>,
        progress: &Progress,
    ) -> Result<(), DbError> {
        let (miner, height) = (self.actor, round.height);
        let (step, times, error) = progress.now.lock().clone();
        let record = self
            .parts
            .db
            .call(move |db| db.block(miner, height))
            .await?;
        let of_this_round = record.filter(|r| r.began_at == progress.began_at);
        let (outcome, won) = match (&ended, &of_this_round) {
            (Some(Ended::NotEligible), _) => ("not_eligible", 0.0),
            (Some(Ended::NotWon { expected }), _) => ("not_won", *expected),
            (Some(Ended::Won { expected }), _) => ("won", *expected),
            (Some(Ended::UsedUp), _) => ("used_up", 0.0),
            (None, Some(_)) => ("won", 0.0),
            (None, None) => ("late", 0.0),
        };
        if outcome == "late" {
            tracing::warn!(
                miner,
                height,
                error = error.as_deref().unwrap_or("it took too long"),
                "a round was over before it was known whether it is won"
            );
        }
        let refused = progress.refused.load(Ordering::Relaxed);
        if ended.is_none()
            && let Some(record) = of_this_round
        {
            let record = BlockRecord { times, ..record };
            match record.state {
                BlockState::Won | BlockState::Signing => {
                    self.lost(record, step.lost(), error, progress).await?;
                }
                BlockState::Signed if refused => {
                    let refused = BlockRecord { error, ..record };
                    self.step(refused, BlockEvent::Refuse).await?;
                }
                _ => {}
            }
        }
        let count = move |rounds: &mut Rounds| {
            rounds.expected += won;
            match outcome {
                "not_eligible" => rounds.not_eligible += 1,
                "not_won" => rounds.not_won += 1,
                "late" => rounds.late += 1,
                _ => {}
            }
        };
        self.parts.counts.round(miner, outcome);
        let counted = self
            .parts
            .db
            .call(move |db| db.count_round(miner, height, count));
        counted.await
    }

    /// Gives a block up.
    async fn lost(
        &self,
        record: BlockRecord,
        lost: Lost,
        error: Option<String>,
        progress: &Progress,
    ) -> Result<(), DbError> {
        let record = BlockRecord {
            lost: Some(lost),
            error,
            times: progress.times(),
            ..record
        };
        self.step(record, BlockEvent::Lose).await.map(drop)
    }
}
