//! Proofs on their way into messages: singly, or several as one aggregate where that is cheaper.
//!
//! ```text
//! parts ─ dry run singly: who is refused goes alone; gas ─► aggregate (pure): worth trying?
//!    no  ─► messages of single proofs                           │ yes
//!    ▲                                                          ▼
//!    └─ cannot be made, is refused, or is dearer ◄── child: each proof verified, one made of all
//!                                                               │ dry run: gas; cheaper (pure)
//!                                                               ▼
//!                                                        one message with the aggregate
//! ```
//! Nothing is stored of an aggregate before its message is: who is stopped meanwhile makes it again.

use crate::{
    commit::{
        Commit, CommitError,
        aggregate::{self, Costs, Waiting, Way},
        batch, deadline,
        part::{Part, ProofPart},
        prove::{self, Aggregated},
        send,
    },
    db::record::SectorRecord,
    messages::{DryRun, Intent, LARGEST_PARAMS},
    model::{Commitment, names},
    policy::{Aggregate, AggregatePolicy, MinerPolicy},
};
use damocles_node::TipSet;
use damocles_processor::{
    footprint::{FEWEST_AGGREGATED, MOST_AGGREGATED},
    task::{self, AggregateOutput, ProvenSector},
};
use damocles_types::{Base64, Epoch, SealProof, SectorId};
use fvm_ipld_encoding::RawBytes;
use fvm_shared::{address::Address, econ::TokenAmount};
use std::time::Duration;

const KIND: Commitment = Commitment::Proof;
/// Tries at an aggregate before its proofs go singly.
const TRIES: u32 = 3;
/// Between two of them: memory that others use now is free again after some minutes.
const PAUSE: Duration = Duration::from_secs(5 * 60);
/// Time for all of them: some minutes are usual for the largest.
const LONGEST: Duration = Duration::from_secs(45 * 60);

/// Messages with single proofs, and the gas of each, where the node tells.
type Singles = Vec<(Vec<Part<ProofPart>>, Option<i64>)>;

/// What all messages of a batch have in common.
struct Work<'a> {
    miner: &'a MinerPolicy,
    batch: &'a [SectorRecord],
    from: Address,
    head: &'a TipSet,
    proof: SealProof,
}

/// What became of an aggregate.
enum Outcome {
    /// It goes; what is said of it, and the head on which it was tried.
    Goes(Aggregated, String, TipSet),
    /// It would go, and not now; why.
    NotNow(String),
    /// The proofs of these sectors are wrong.
    Wrong(Vec<u64>),
    /// Singly is cheaper; the sentence about it.
    Dearer(String),
    /// There is none, and why.
    Failed(String),
}

impl Work<'_> {
    fn policy(&self) -> &AggregatePolicy {
        &self.miner.prove.batch.aggregate
    }

    /// Until when a sector is to go, whatever it costs.
    fn to_go(&self, sector: SectorId) -> Epoch {
        let record = self.batch.iter().find(|record| record.id == sector);
        record.map_or(Epoch::MAX, |r| deadline::to_go(r, KIND, self.head.height))
    }

    fn intent(
        &self,
        parts: Vec<Part<ProofPart>>,
        aggregate: Option<&Aggregated>,
        note: Option<String>,
    ) -> Result<Intent, CommitError> {
        let mut built = prove::message(self.miner, parts, aggregate)?;
        built.note = note;
        let height = self.head.height;
        Ok(send::intent(
            KIND, self.miner, self.batch, self.from, built, height,
        ))
    }

    fn waiting(&self, parts: &[Part<ProofPart>]) -> Result<Waiting, CommitError> {
        let mut waiting = Waiting {
            sectors: parts.len() as u64,
            proof: self.proof,
            proof_bytes: 0,
            manifest_bytes: 0,
        };
        for part in parts {
            let manifest = RawBytes::serialize(prove::activation(part))?;
            waiting.manifest_bytes = waiting.manifest_bytes.max(manifest.len() as u64);
            waiting.proof_bytes = waiting.proof_bytes.max(part.params.proof.len() as u64);
        }
        Ok(waiting)
    }

    fn records(&self, parts: &[Part<ProofPart>]) -> Vec<SectorRecord> {
        let has = |record: &&SectorRecord| parts.iter().any(|part| part.sector == record.id);
        self.batch.iter().filter(has).cloned().collect()
    }

    /// What the child is to do. None: a record lacks what its proof was made of.
    fn task(&self, parts: &[Part<ProofPart>]) -> Option<task::Aggregate> {
        let proven = |part: &Part<ProofPart>| {
            let record = self.batch.iter().find(|record| record.id == part.sector)?;
            let pre = record.pre.as_ref()?;
            Some(ProvenSector {
                sector_id: part.sector.number,
                comm_r: pre.comm_r,
                comm_d: pre.comm_d,
                ticket: pre.ticket.ticket.0,
                seed: record.seed?.seed.0,
                proof: Base64(part.params.proof.to_vec()),
            })
        };
        Some(task::Aggregate {
            miner_id: self.miner.actor,
            registered_proof: self.proof,
            sectors: parts.iter().map(proven).collect::<Option<_>>()?,
        })
    }
}

impl Commit {
    /// Most sectors that are put together.
    pub(super) fn cap(
        &self,
        kind: Commitment,
        proof: SealProof,
        policy: &AggregatePolicy,
    ) -> usize {
        match self.aggregator {
            Some(_) if kind == KIND && policy.when != Aggregate::Never => MOST_AGGREGATED as usize,
            _ => batch::cap(kind, proof),
        }
    }

    /// Makes messages of these proofs.
    pub(super) async fn send_proofs(
        &self,
        miner: &MinerPolicy,
        batch: &[SectorRecord],
        mut parts: Vec<Part<ProofPart>>,
        head: &TipSet,
    ) -> Result<(), CommitError> {
        let Some(first) = batch.first().filter(|_| !parts.is_empty()) else {
            return Ok(());
        };
        let work = Work {
            miner,
            batch,
            from: self.sender(miner, KIND).await?,
            head,
            proof: first.proof_type,
        };
        prove::in_order(&mut parts);
        let (mut good, mut messages) = self.sound(&work, parts).await?;
        if let Way::Singly(note) = self.way(&work, good.len()).await? {
            return self.send_singly(&work, good, note).await;
        }
        // what hurries goes by itself, and takes nobody along
        let soon = head.height.saturating_add(self.epochs(2 * LONGEST).await?);
        let hurries = |part: &mut Part<ProofPart>| work.to_go(part.sector) < soon;
        let near: Vec<_> = good.extract_if(.., hurries).collect();
        if !near.is_empty() {
            let why = "singly: a deadline is too near to wait for an aggregate";
            self.send_singly(&work, near, Some(why.to_owned())).await?;
            (good, messages) = self.sound(&work, good).await?;
        }
        if (good.len() as u64) < FEWEST_AGGREGATED {
            return self.send_singly(&work, good, None).await;
        }
        let (singly, waiting) = (self.measured(&work, messages).await?, work.waiting(&good)?);
        let sizes = aggregate::sizes(&waiting, work.policy(), singly);
        let Some(size) = sizes.first() else {
            let note = singly.map(|gas| {
                let (gas, expected) = (gas / 1_000_000, waiting.expected(gas) / 1_000_000);
                format!("singly: {gas}M gas, and an aggregate would take about {expected}M")
            });
            return self.send_singly(&work, good, note).await;
        };
        // one at a time, of those whose deadlines come first: it takes so long that by then the
        // others are looked at anew
        good.sort_by_cached_key(|part| (work.to_go(part.sector), part.sector.number));
        good.truncate(*size);
        prove::in_order(&mut good);
        let share = singly.map(|gas| share(gas, good.len(), waiting.sectors));
        self.send_aggregated(&work, good, share).await
    }

    /// Those of the proofs that the chain takes singly, in their order, and the messages in which it
    /// does, with their gas.
    async fn sound(
        &self,
        work: &Work<'_>,
        parts: Vec<Part<ProofPart>>,
    ) -> Result<(Vec<Part<ProofPart>>, Singles), CommitError> {
        let mut messages = Vec::new();
        for some in parts.chunks(batch::cap(KIND, work.proof)) {
            let singly = |parts| work.intent(parts, None, None);
            messages.push(self.only_sound(KIND, some.to_vec(), &singly).await?);
        }
        let good = messages.iter().flat_map(|(some, _)| some.clone()).collect();
        Ok((good, messages))
    }

    /// Whether an aggregate is to be thought of.
    async fn way(&self, work: &Work<'_>, sectors: usize) -> Result<Way, CommitError> {
        let Some(aggregator) = &self.aggregator else {
            return Ok(Way::Singly(None));
        };
        let zero = TokenAmount::default();
        let base_fee = work.head.base_fee().unwrap_or(&zero);
        let way = aggregate::way(sectors as u64, work.policy(), base_fee);
        Ok(match (way, aggregator.ready()) {
            (Way::Perhaps, Err(why)) => {
                tracing::info!(miner = work.miner.actor, why, "proofs are not aggregated");
                Way::Singly(Some(format!("singly: no aggregate can be made: {why}")))
            }
            (way, _) => way,
        })
    }

    /// The gas of messages with single proofs. None: the node does not tell of all.
    async fn measured(
        &self,
        work: &Work<'_>,
        messages: Singles,
    ) -> Result<Option<i64>, CommitError> {
        let mut all = 0_i64;
        for (some, gas) in messages {
            let gas = match gas {
                Some(gas) => gas,
                None if some.is_empty() => 0,
                None => match self.engine.dry_run(&work.intent(some, None, None)?).await? {
                    DryRun::Takes { gas } => gas,
                    DryRun::Refuses(_) | DryRun::Unknown(_) => return Ok(None),
                },
            };
            all = all.saturating_add(gas);
        }
        Ok(Some(all))
    }

    async fn send_singly(
        &self,
        work: &Work<'_>,
        parts: Vec<Part<ProofPart>>,
        note: Option<String>,
    ) -> Result<(), CommitError> {
        for some in parts.chunks(batch::cap(KIND, work.proof)) {
            let to_intent = |parts| work.intent(parts, None, note.clone());
            self.want_fitting(KIND, work.miner, some.to_vec(), to_intent, work.head)
                .await?;
        }
        Ok(())
    }

    /// Makes one message of all of them; or several, if no aggregate comes about. `singly`: the gas
    /// that they take so.
    async fn send_aggregated(
        &self,
        work: &Work<'_>,
        mut parts: Vec<Part<ProofPart>>,
        mut singly: Option<i64>,
    ) -> Result<(), CommitError> {
        while parts.len() as u64 >= FEWEST_AGGREGATED {
            match self.aggregated(work, &parts, singly).await? {
                Outcome::Goes(made, note, head) => {
                    // deadlines are those of now
                    let now = Work {
                        head: &head,
                        ..*work
                    };
                    let intent = now.intent(parts, Some(&made), Some(note))?;
                    return self.want(KIND, work.miner, intent, &head).await;
                }
                Outcome::NotNow(why) => {
                    self.note(KIND, &work.records(&parts), &why).await;
                    return Ok(());
                }
                Outcome::Wrong(wrong) => {
                    let before = parts.len();
                    let is_wrong = |part: &Part<_>| wrong.contains(&part.sector.number);
                    for part in parts.extract_if(.., |part| is_wrong(part)) {
                        let why = "its proof does not verify, and the others went without it";
                        self.send_alone(KIND, part.sector, why.to_owned()).await;
                    }
                    if parts.len() == before {
                        let note =
                            Some("singly: the aggregator named sectors that it was not given");
                        return self.send_singly(work, parts, note.map(str::to_owned)).await;
                    }
                    singly = singly.map(|gas| share(gas, parts.len(), before as u64));
                }
                Outcome::Dearer(costs) => {
                    let note = Some(format!("singly: {costs}"));
                    return self.send_singly(work, parts, note).await;
                }
                Outcome::Failed(why) => {
                    let sectors: Vec<_> = parts.iter().map(|part| part.sector).collect();
                    tracing::warn!(
                        miner = work.miner.actor,
                        sectors = names(&sectors),
                        why,
                        "proofs go singly, for no aggregate came about"
                    );
                    let note = Some(format!("singly, for no aggregate came about: {why}"));
                    // what was tried before may be another one's by now
                    let (parts, _) = self.sound(work, parts).await?;
                    return self.send_singly(work, parts, note).await;
                }
            }
        }
        self.send_singly(work, parts, None).await
    }

    /// The aggregate of all of them, if it is one that goes.
    async fn aggregated(
        &self,
        work: &Work<'_>,
        parts: &[Part<ProofPart>],
        singly: Option<i64>,
    ) -> Result<Outcome, CommitError> {
        let Some(task) = work.task(parts) else {
            let why = "a record lacks the commitments, ticket or seed of its proof";
            return Ok(Outcome::Failed(why.to_owned()));
        };
        let sectors = parts.len() as u64;
        let now = format!("an aggregate of {sectors} proofs is being made");
        self.say(KIND, &work.records(parts), &now).await;
        tracing::info!(
            miner = work.miner.actor,
            sectors,
            "proofs are being aggregated"
        );
        let made = match tokio::time::timeout(LONGEST, self.make(task)).await {
            Ok(Ok(made)) if made.wrong.is_empty() => made.proof,
            Ok(Ok(made)) => return Ok(Outcome::Wrong(made.wrong)),
            Ok(Err(why)) => return Ok(Outcome::Failed(why)),
            Err(_) => {
                let minutes = LONGEST.as_secs() / 60;
                let why = format!("it was not made within {minutes} minutes");
                return Ok(Outcome::Failed(why));
            }
        };
        // the chain went on meanwhile
        let head = self.chain.head().await?;
        let base_fee = head.base_fee().cloned().unwrap_or_default();
        if let Some(why) = self.too_dear(work, parts, &base_fee).await? {
            return Ok(Outcome::NotNow(why));
        }
        let version = self.chain.network_version(&head.cids).await?;
        let network_fee = aggregate::network_fee(version, sectors, &base_fee);
        let made = Aggregated {
            proof: RawBytes::new(made.0),
            fee: network_fee.clone(),
        };
        let intent = work.intent(parts.to_vec(), Some(&made), None)?;
        if intent.params.len() > LARGEST_PARAMS {
            let why = format!("{} bytes do not fit into a message", intent.params.len());
            return Ok(Outcome::Failed(why));
        }
        let aggregated = match self.engine.dry_run(&intent).await? {
            DryRun::Takes { gas } => gas,
            DryRun::Refuses(why) => {
                return Ok(Outcome::Failed(format!("the chain refuses it: {why}")));
            }
            // it waits for the same when it goes (funds, the pool): what it should take decides
            DryRun::Unknown(_) => {
                let waiting = work.waiting(parts)?;
                waiting.expected(singly.unwrap_or_default())
            }
        };
        let costs = Costs {
            sectors,
            singly,
            aggregated,
            network_fee,
            base_fee,
        };
        Ok(if costs.aggregate_goes(work.policy().when) {
            Outcome::Goes(made, format!("aggregated: {costs}"), head)
        } else {
            Outcome::Dearer(costs.to_string())
        })
    }

    /// Why these do not go at this base fee, which has risen meanwhile.
    async fn too_dear(
        &self,
        work: &Work<'_>,
        parts: &[Part<ProofPart>],
        base_fee: &TokenAmount,
    ) -> Result<Option<String>, CommitError> {
        let policy = &work.miner.prove.batch;
        if policy.max_base_fee.is_zero() || *base_fee <= policy.max_base_fee {
            return Ok(None);
        }
        let slack = self.epochs(policy.slack + LONGEST).await?;
        let limit = &policy.max_base_fee;
        let sectors: Vec<_> = parts.iter().map(|part| part.sector).collect();
        let first = deadline::of_message(work.batch, &sectors, KIND, work.head.height);
        let left = first.map_or(Epoch::MAX, |first| first.saturating_sub(work.head.height));
        Ok((left > slack).then(|| {
            format!("the base fee rose to {base_fee} FIL while an aggregate was made, above MaxBaseFee ({limit} FIL)")
        }))
    }

    /// Has the child make it, several times if that may help.
    async fn make(&self, task: task::Aggregate) -> Result<AggregateOutput, String> {
        let Some(aggregator) = &self.aggregator else {
            return Err("there is nobody to make it".to_owned());
        };
        let mut tries = 0;
        loop {
            tries += 1;
            match aggregator.aggregate(task.clone()).await {
                Ok(made) if made.wrong.is_empty() && made.proof.0.is_empty() => {
                    return Err("the aggregator answered with nothing".to_owned());
                }
                Ok(made) => return Ok(made),
                Err(error) if error.again && tries < TRIES => {
                    tracing::warn!(%error, "an aggregate was not made; it is tried again");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) if error.again => {
                    return Err(format!("it was tried {tries} times: {error}"));
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

/// What `some` of `all` take of it.
fn share(gas: i64, some: usize, all: u64) -> i64 {
    let part = i128::from(gas) * some as i128 / i128::from(all.max(1));
    i64::try_from(part).unwrap_or(i64::MAX)
}
