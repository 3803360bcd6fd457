//! Reads of sectors what a WindowPoSt would, each by itself and within a limit of time, so that
//! one that hangs, is damaged or panics costs no other one anything. No SNARK is made.
//!
//! Every sector has a thread of its own and reads in it: a file system that hangs keeps that
//! thread and nothing else. While as many of a store hang as may read at once, whoever asked for
//! them, the store is taken for one that answers nobody: no more threads are spent on it.

use super::post;
use crate::{
    proofs::post_proof,
    serve::{TaskError, panic_text},
    task::{ReadSectors, ReadSectorsOutput, Replica, Unread, prover_id},
};
use crossbeam_channel::{Sender, unbounded};
use damocles_types::{PoStProof, Randomness, SectorNumber};
use filecoin_hashers::{HashFunction, Hasher};
use filecoin_proofs::{
    PoStConfig, PrivateReplicaInfo, generate_fallback_sector_challenges, with_shape,
};
use filecoin_proofs_api::RegisteredPoStProof;
use generic_array::typenum::Unsigned;
use parking_lot::Mutex;
use std::{
    any::Any,
    collections::BTreeMap,
    io::{self, ErrorKind},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use storage_proofs_core::{
    merkle::{MerkleProofTrait, MerkleTreeTrait},
    util::default_rows_to_discard,
};

/// What a sector's reader needs besides the sector.
#[derive(Clone, Copy, Debug)]
struct Challenge {
    proof: RegisteredPoStProof,
    kind: PoStProof,
    seed: [u8; 32],
    prover: [u8; 32],
}

/// Why a sector is not read: see [`Unread`].
#[derive(Clone, Debug, PartialEq, Eq)]
struct Trouble {
    why: String,
    wrong: bool,
}

type Read = Result<(), Trouble>;

/// Readers of this process that were given up and have not come back, by store.
static HUNG: Hung = Hung(Mutex::new(BTreeMap::new()));

struct Hung(Mutex<BTreeMap<String, usize>>);

impl Hung {
    fn of(&self, store: &str) -> usize {
        self.0.lock().get(store).copied().unwrap_or(0)
    }

    fn more(&self, store: &str) {
        *self.0.lock().entry(store.to_owned()).or_default() += 1;
    }

    fn fewer(&self, store: &str) {
        let mut all = self.0.lock();
        if let Some(count) = all.get_mut(store) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                all.remove(store);
            }
        }
    }
}

/// A reader: given up by whoever waits, it comes back some day or never.
#[derive(Default)]
struct Reader {
    over: Mutex<Over>,
}

#[derive(Default)]
struct Over {
    given_up: bool,
    ended: bool,
}

pub(super) fn run(task: ReadSectors) -> Result<ReadSectorsOutput, TaskError> {
    let challenge = Challenge {
        proof: post_proof(task.proof_type)?,
        kind: task.proof_type,
        seed: Randomness(task.seed).as_field_element(),
        prover: prover_id(task.miner_id),
    };
    let limit = match task.sector_limit_ms {
        0 => None,
        ms => Some(Duration::from_millis(ms)),
    };
    let limits = Limits {
        store: task.store,
        parallel: usize::try_from(task.parallel.max(1)).unwrap_or(1),
        sector: limit,
    };
    let read = move |replica: &Replica| read(replica, challenge);
    let unread = each(task.replicas, &limits, read);
    Ok(ReadSectorsOutput { unread })
}

struct Limits {
    store: String,
    /// Sectors at once.
    parallel: usize,
    /// Time of each.
    sector: Option<Duration>,
}

/// One that is being read.
struct Reading {
    until: Option<Instant>,
    reader: Arc<Reader>,
}

/// Has each sector read in a thread of its own; what was not read, by number.
fn each(
    replicas: Vec<Replica>,
    limits: &Limits,
    read: impl Fn(&Replica) -> Read + Clone + Send + 'static,
) -> Vec<Unread> {
    let (tell, told) = unbounded();
    let mut waiting = replicas.into_iter();
    let mut reading: BTreeMap<SectorNumber, Reading> = BTreeMap::new();
    let mut out: BTreeMap<SectorNumber, Trouble> = BTreeMap::new();
    loop {
        while reading.len() + HUNG.of(&limits.store) < limits.parallel
            && let Some(replica) = waiting.next()
        {
            let number = replica.sector_id;
            let until = limits.sector.map(|limit| Instant::now() + limit);
            match start(replica, &limits.store, read.clone(), tell.clone()) {
                Ok(reader) => drop(reading.insert(number, Reading { until, reader })),
                Err(error) => drop(out.insert(number, not_now(error))),
            }
        }
        if reading.is_empty() {
            break;
        }
        let first = reading.values().filter_map(|r| r.until).min();
        let heard = match first {
            Some(end) => told.recv_deadline(end).ok(),
            None => told.recv().ok(),
        };
        match heard {
            // what comes back after its time is over is not waited for any more
            Some((number, result)) => {
                if reading.remove(&number).is_some()
                    && let Err(trouble) = result
                {
                    out.insert(number, trouble);
                }
            }
            None => {
                let now = Instant::now();
                let is_late = |r: &Reading| r.until.is_some_and(|until| until <= now);
                let late: Vec<_> = reading
                    .iter()
                    .filter(|(_, r)| is_late(r))
                    .map(|(number, _)| *number)
                    .collect();
                for number in late {
                    let Some(late) = reading.remove(&number) else {
                        continue;
                    };
                    give_up(&late.reader, &limits.store);
                    let took = limits.sector.unwrap_or_default();
                    let why = format!("reading it has not ended within {took:?}");
                    out.insert(number, Trouble { why, wrong: false });
                }
            }
        }
    }
    for replica in waiting {
        let why = "its store hangs: other sectors of it are being read for too long".to_owned();
        out.insert(replica.sector_id, Trouble { why, wrong: false });
    }
    let unread = |(sector_id, Trouble { why, wrong })| Unread {
        sector_id,
        why,
        wrong,
    };
    out.into_iter().map(unread).collect()
}

fn give_up(reader: &Reader, store: &str) {
    let mut over = reader.over.lock();
    over.given_up = true;
    if !over.ended {
        HUNG.more(store);
    }
}

fn start(
    replica: Replica,
    store: &str,
    read: impl Fn(&Replica) -> Read + Send + 'static,
    tell: Sender<(SectorNumber, Read)>,
) -> io::Result<Arc<Reader>> {
    let reader = Arc::<Reader>::default();
    let (mine, store) = (reader.clone(), store.to_owned());
    let work = move || {
        let result = catch_unwind(AssertUnwindSafe(|| read(&replica)));
        let result = result.unwrap_or_else(|panic| Err(in_panic(&*panic)));
        let mut over = mine.over.lock();
        over.ended = true;
        if over.given_up {
            HUNG.fewer(&store);
        }
        // nobody waits any more when the task is over
        let _ = tell.send((replica.sector_id, result));
    };
    thread::Builder::new()
        .name("read-sector".to_owned())
        .spawn(work)?;
    Ok(reader)
}

fn read(replica: &Replica, challenge: Challenge) -> Read {
    post::look(replica, challenge.kind).map_err(|error| of_disk(&error))?;
    let size = u64::from(challenge.proof.sector_size());
    with_shape!(size, prove, replica, challenge).map_err(|error| of_library(&error))
}

/// The library's vanilla proof of one sector, challenge by challenge and in this thread.
fn prove<Tree: MerkleTreeTrait + 'static>(
    replica: &Replica,
    challenge: Challenge,
) -> anyhow::Result<()> {
    let config: PoStConfig = challenge.proof.as_v1_config();
    let info = PrivateReplicaInfo::<Tree>::new(
        replica.sealed_file.clone(),
        replica.comm_r.0,
        replica.cache_dir.clone(),
    )?;
    let tree = info.merkle_tree(config.sector_size)?;
    let rows = default_rows_to_discard(tree.leafs(), Tree::Arity::to_usize());
    let root = info.safe_comm_r_last();
    let expected = <Tree::Hasher as Hasher>::Function::hash2(&info.safe_comm_c(), &root);
    anyhow::ensure!(
        info.safe_comm_r()? == expected,
        "its p_aux is of another replica than the one on chain"
    );
    let id = replica.sector_id.into();
    let drawn = generate_fallback_sector_challenges::<Tree>(
        &config,
        &challenge.seed,
        &[id],
        challenge.prover,
    )?;
    for leaf in drawn.into_values().flatten() {
        let leaf = usize::try_from(leaf)?;
        let proof = tree.gen_cached_proof(leaf, Some(rows))?;
        anyhow::ensure!(
            proof.validate(leaf) && proof.root() == root,
            "what it holds at leaf {leaf} is not what was sealed"
        );
    }
    Ok(())
}

fn not_now(error: io::Error) -> Trouble {
    Trouble {
        why: error.to_string(),
        wrong: false,
    }
}

/// A file that is not there, or that has another length or content, is wrong; whatever else a disk
/// says may pass.
fn of_disk(error: &io::Error) -> Trouble {
    let wrong = matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::UnexpectedEof | ErrorKind::InvalidData
    );
    Trouble {
        why: error.to_string(),
        wrong,
    }
}

fn of_library(error: &anyhow::Error) -> Trouble {
    let disk = error.chain().find_map(|cause| cause.downcast_ref());
    Trouble {
        why: format!("{error:#}"),
        ..disk.map_or_else(|| of_words(&format!("{error:#}")), of_disk)
    }
}

/// The library panics over some errors of a disk, too, and only its words tell.
fn in_panic(panic: &(dyn Any + Send)) -> Trouble {
    of_words(panic_text(panic).unwrap_or("the proofs library panicked"))
}

/// Errors of a disk are known by the number that the standard library writes behind them.
fn of_words(why: &str) -> Trouble {
    let number = why
        .split_once("(os error ")
        .and_then(|(_, rest)| rest.split_once(')'))
        .and_then(|(number, _)| number.parse().ok());
    let wrong = number.is_none_or(|n| of_disk(&io::Error::from_raw_os_error(n)).wrong);
    Trouble {
        why: why.to_owned(),
        wrong,
    }
}

#[cfg(test)]
#[path = "read_sectors_tests.rs"]
mod tests;
