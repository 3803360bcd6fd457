//! A prover that does what the test says.

use crate::post::{Begun, Claim, ProveError, Prover};
use async_trait::async_trait;
use damocles_processor::{
    ProcessorError, Stage,
    task::{ReadSectors, ReadSectorsOutput, Unread, WindowPost, WindowPostOutput},
};
use damocles_types::{Base64, Commitment, SectorNumber};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::atomic::{AtomicBool, Ordering},
};
use tokio::sync::Notify;

/// What the prover does with the next task.
#[derive(Debug)]
pub(super) enum Order {
    /// The child was killed.
    Die,
    /// These sectors cannot be read.
    Fault(Vec<SectorNumber>),
    /// Gives a proof that does not verify.
    Lie,
    /// Never answers.
    Hang,
    /// Answers when it is told to go on.
    Slow,
    /// Has no process for it until it is told to go on; then it answers.
    Queue,
}

/// A prover whose proof is the list of what it proves, so that a test can read it.
#[derive(Debug, Default)]
pub(super) struct FakeProver {
    pub(super) orders: Mutex<VecDeque<Order>>,
    pub(super) tasks: Mutex<Vec<WindowPost>>,
    /// Sectors that cannot be read, why, and whether their files are wrong.
    pub(super) unread: Mutex<BTreeMap<SectorNumber, (String, bool)>>,
    /// Sectors whose reading kills the child.
    pub(super) deadly: Mutex<Vec<SectorNumber>>,
    /// Sectors that cannot be read once.
    pub(super) passing: Mutex<Vec<SectorNumber>>,
    /// Sectors whose reading never ends.
    pub(super) stuck: Mutex<Vec<SectorNumber>>,
    /// What was to be read, task by task.
    pub(super) reads: Mutex<Vec<Vec<SectorNumber>>>,
    /// Told when a task, or a read, hangs.
    pub(super) hanging: Notify,
    /// Tells a slow one to go on.
    pub(super) go_on: Notify,
    /// Whether another proof is in the same process.
    pub(super) shared: AtomicBool,
}

const LIE: &[u8] = b"lie";

pub(super) fn proof_of(seed: [u8; 32], replicas: &BTreeMap<SectorNumber, Commitment>) -> Vec<u8> {
    let mut out = seed.to_vec();
    for (number, comm_r) in replicas {
        out.extend(number.to_be_bytes());
        out.extend(comm_r.0);
    }
    out
}

fn died(stage: Stage) -> ProveError {
    let died = ProcessorError::ChildDied {
        stage,
        child: format!("{stage}-0"),
        pid: 1,
        reason: "killed by a test".to_owned(),
        hint: None,
    };
    ProveError::Compute(died.into())
}

#[async_trait]
impl Prover for FakeProver {
    async fn prove(&self, task: WindowPost, begun: Begun) -> Result<WindowPostOutput, ProveError> {
        self.tasks.lock().push(task.clone());
        let order = self.orders.lock().pop_front();
        let replicas = task.replicas.iter().map(|r| (r.sector_id, r.comm_r));
        let proof = proof_of(task.seed, &replicas.collect());
        if let Some(Order::Queue) = order {
            self.hanging.notify_one();
            self.go_on.notified().await;
        }
        begun.send_modify(|times| *times += 1);
        match order {
            Some(Order::Die) => Err(died(Stage::WindowPost)),
            Some(Order::Fault(faults)) => Ok(WindowPostOutput {
                proofs: vec![],
                faults,
            }),
            Some(Order::Hang) => {
                self.hanging.notify_one();
                std::future::pending().await
            }
            Some(Order::Slow) => {
                self.hanging.notify_one();
                self.go_on.notified().await;
                Ok(WindowPostOutput {
                    proofs: vec![Base64(proof)],
                    faults: vec![],
                })
            }
            Some(Order::Lie) => Ok(WindowPostOutput {
                proofs: vec![Base64(LIE.to_vec())],
                faults: vec![],
            }),
            Some(Order::Queue) | None => Ok(WindowPostOutput {
                proofs: vec![Base64(proof)],
                faults: vec![],
            }),
        }
    }

    fn proofs_share_a_process(&self) -> bool {
        self.shared.load(Ordering::SeqCst)
    }

    async fn read(&self, task: ReadSectors) -> Result<ReadSectorsOutput, ProveError> {
        let numbers: Vec<_> = task.replicas.iter().map(|r| r.sector_id).collect();
        self.reads.lock().push(numbers.clone());
        if numbers.iter().any(|n| self.deadly.lock().contains(n)) {
            return Err(died(Stage::ReadSectors));
        }
        if numbers.iter().any(|n| self.stuck.lock().contains(n)) {
            self.hanging.notify_one();
            return std::future::pending().await;
        }
        let passing = std::mem::take(&mut *self.passing.lock());
        let known = self.unread.lock();
        let unread = numbers.into_iter().filter_map(|sector_id| {
            let once = ("its disk is away".to_owned(), false);
            let once = passing.contains(&sector_id).then_some(once);
            let (why, wrong) = once.or_else(|| known.get(&sector_id).cloned())?;
            Some(Unread {
                sector_id,
                why,
                wrong,
            })
        });
        Ok(ReadSectorsOutput {
            unread: unread.collect(),
        })
    }

    async fn verify(&self, claim: Claim) -> Result<bool, ProveError> {
        let seed = claim.challenge.as_field_element();
        Ok(claim.proof.0 == proof_of(seed, &claim.replicas))
    }
}
