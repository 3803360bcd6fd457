//! Which sectors can be proven now: where their files lie, whether they are there and of the right
//! size, and whether what a challenge asks for can be read of them. Each sector is found out about
//! by itself; none costs another one anything.

use crate::{
    chain::Head,
    post::{
        StepError,
        context::Context,
        prover::{Place, Prover},
    },
    storage::{Located, NotUsable, Replica},
};
use damocles_node::{MinerInfo, SectorOnChainInfo};
use damocles_processor::task::{ReadSectors, Replica as ProverReplica, Unread};
use damocles_types::{Commitment, Epoch, PoStProof, SectorId, SectorNumber, SectorSize};
use futures::{StreamExt, stream};
use fvm_ipld_bitfield::BitField;
use std::collections::{BTreeMap, BTreeSet};

/// So often may the reading process end under the sectors of one store; what is not read by then
/// is not read this time.
const MOST_DEATHS: u32 = 64;

/// What is said of a sector where the time was over before anybody looked at it.
pub(super) const NOT_LOOKED_AT: &str = "its files were not looked at in time";

/// A sector that is due, as the chain knows it, with the files it lies in.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) comm_r: Commitment,
    upgrade: bool,
    files: Located,
}

impl Found {
    pub(super) fn place(&self) -> Place {
        Place {
            sealed: self.files.store.clone(),
            cache: self.files.cache_store.clone(),
            upgrade: self.upgrade,
        }
    }

    pub(super) fn replica(&self, sector_id: SectorNumber) -> ProverReplica {
        ProverReplica {
            sector_id,
            comm_r: self.comm_r,
            cache_dir: self.files.cache_dir.clone(),
            sealed_file: self.files.sealed_file.clone(),
        }
    }
}

/// Sectors by what can be done with them.
#[derive(Clone, Debug, Default)]
pub(super) struct Sorted {
    pub(super) found: BTreeMap<SectorNumber, Found>,
    /// Cannot be proven; why.
    pub(super) bad: BTreeMap<SectorNumber, String>,
    /// Nobody can say now, as the store or the disk does not answer: it may come back.
    pub(super) away: BTreeMap<SectorNumber, String>,
}

impl Sorted {
    /// Those of these that can be proven, taken out.
    pub(super) fn take(&mut self, numbers: impl IntoIterator<Item = SectorNumber>) -> Self {
        let taken = numbers
            .into_iter()
            .filter_map(|n| Some((n, self.found.remove(&n)?)));
        Self {
            found: taken.collect(),
            ..Self::default()
        }
    }

    /// Adds what was found out about others.
    pub(super) fn add(&mut self, mut others: Self) {
        self.found.append(&mut others.found);
        self.bad.append(&mut others.bad);
        self.away.append(&mut others.away);
    }

    /// Takes those from what can be proven that were not read.
    fn unread(&mut self, unread: impl IntoIterator<Item = Unread>) {
        for Unread {
            sector_id,
            why,
            wrong,
        } in unread
        {
            if self.found.remove(&sector_id).is_some() {
                let list = if wrong { &mut self.bad } else { &mut self.away };
                list.insert(sector_id, why);
            }
        }
    }
}

impl Context {
    /// Looks for the files of all these sectors, many at a time, until an epoch.
    pub(super) async fn sort(
        &self,
        wanted: &BitField,
        size: SectorSize,
        head: &Head,
        until: Epoch,
    ) -> Result<Sorted, StepError> {
        let miner = self.actor;
        let chain = &self.parts.chain;
        let infos = chain.miner_sectors(miner, Some(wanted), &head.key).await?;
        let mut sorted = Sorted::default();
        let asked: Vec<_> = infos
            .into_iter()
            .filter(|info| wanted.get(info.sector_number))
            .collect();
        let mut unreached: BTreeSet<_> = asked.iter().map(|info| info.sector_number).collect();
        for number in wanted.iter().filter(|number| !unreached.contains(number)) {
            let why = "the chain has no information on it".to_owned();
            sorted.bad.insert(number, why);
        }
        let looks = stream::iter(asked)
            .map(|info| async move { (info.sector_number, self.look(miner, size, &info).await) })
            .buffer_unordered(self.parts.proving.parallel_check_limit)
            .take_until(self.in_time(until));
        // Sectors that are not reached in time are as good as on a store that does not answer.
        tokio::pin!(looks);
        while let Some((number, result)) = looks.next().await {
            unreached.remove(&number);
            match result? {
                Ok(found) => drop(sorted.found.insert(number, found)),
                Err(e) if e.is_away() => {
                    sorted.away.insert(number, e.to_string());
                }
                Err(other) => {
                    sorted.bad.insert(number, other.to_string());
                }
            }
        }
        for number in unreached {
            sorted.away.insert(number, NOT_LOOKED_AT.to_owned());
        }
        Ok(sorted)
    }

    /// Ends when the time for the sectors of a partition is over, or at an epoch.
    async fn in_time(&self, until: Epoch) {
        tokio::select! {
            () = tokio::time::sleep(self.parts.proving.partition_check_timeout) => {}
            () = self.reached(until) => {}
        }
    }

    async fn look(
        &self,
        miner: u64,
        size: SectorSize,
        info: &SectorOnChainInfo,
    ) -> Result<Result<Found, NotUsable>, StepError> {
        let comm_r = match Commitment::from_sealed_cid(&info.sealed_cid) {
            Ok(comm_r) => comm_r,
            Err(e) => return Ok(Err(NotUsable::Flawed(e.to_string()))),
        };
        let replica = Replica::of(info);
        let sector = SectorId::new(miner, info.sector_number);
        let limit = self.parts.proving.single_check_timeout;
        let files = self
            .parts
            .stores
            .provable(sector, size, replica, limit)
            .await?;
        let upgrade = replica == Replica::Upgrade;
        let found = |files| Found {
            comm_r,
            upgrade,
            files,
        };
        Ok(files.map(found))
    }

    /// Which of these sectors could be proven; with `strict` what some challenge asks for is read of
    /// each. Until an epoch.
    pub(super) async fn could_be_proven(
        &self,
        wanted: &BitField,
        strict: bool,
        head: &Head,
        until: Epoch,
    ) -> Result<Sorted, StepError> {
        let info = self.parts.chain.miner_info(self.actor, &head.key).await?;
        let proof_type = window_type(&info)?;
        let mut sorted = self.sort(wanted, proof_type.size(), head, until).await?;
        if strict {
            // none is drawn; any one tells whether a sector is whole
            let seed: [u8; 32] = rand::random();
            self.read(proof_type, seed, &mut sorted, until).await;
        }
        Ok(sorted)
    }

    /// Reads of all that were found what the challenge of `seed` asks for, the sectors of a store
    /// together and the stores side by side, until an epoch.
    pub(super) async fn read(
        &self,
        proof_type: PoStProof,
        seed: [u8; 32],
        sorted: &mut Sorted,
        until: Epoch,
    ) {
        let mut stores: BTreeMap<String, Vec<ProverReplica>> = BTreeMap::new();
        for (number, found) in &sorted.found {
            let store = stores.entry(found.files.store.clone()).or_default();
            store.push(found.replica(*number));
        }
        let (parallel, sector_limit_ms) = self.parts.proving.of_reading();
        let mut unanswered: BTreeSet<_> = stores.keys().cloned().collect();
        let reads = stores.into_iter().map(|(store, replicas)| {
            let task = ReadSectors {
                miner_id: self.actor,
                proof_type,
                replicas,
                seed,
                store: store.clone(),
                parallel,
                sector_limit_ms,
            };
            async move { (store, read_store(&*self.parts.prover, task).await) }
        });
        let reads = stream::iter(reads)
            .buffer_unordered(unanswered.len().max(1))
            .take_until(self.in_time(until));
        tokio::pin!(reads);
        while let Some((store, unread)) = reads.next().await {
            unanswered.remove(&store);
            sorted.unread(unread);
        }
        let silent = sorted.found.iter();
        let silent = silent.filter(|(_, found)| unanswered.contains(&found.files.store));
        let silent: Vec<_> = silent
            .map(|(number, found)| {
                let store = &found.files.store;
                not_read(
                    *number,
                    format!("the sectors of the store {store} were not read in time"),
                )
            })
            .collect();
        sorted.unread(silent);
    }
}

/// What of a store's sectors is not read. Where the reading process ends under them, it is
/// found by halves which one ends it; that one may be whole, for whoever knows who killed it.
pub(super) async fn read_store(prover: &dyn Prover, task: ReadSectors) -> Vec<Unread> {
    let (mut waiting, mut unread, mut deaths) = (vec![task.replicas.clone()], Vec::new(), 0);
    while let Some(mut replicas) = waiting.pop() {
        let part = ReadSectors {
            replicas: replicas.clone(),
            ..task.clone()
        };
        match prover.read(part).await {
            Ok(output) => unread.extend(output.unread),
            Err(error) if error.is_death() && replicas.len() > 1 && deaths < MOST_DEATHS => {
                deaths += 1;
                let half = replicas.split_off(replicas.len() / 2);
                waiting.extend([half, replicas]);
            }
            Err(error) => {
                let numbers = replicas.iter().map(|replica| replica.sector_id);
                unread.extend(numbers.map(|number| not_read(number, error.to_string())));
            }
        }
    }
    unread
}

/// A sector of which nobody can say whether it is whole.
fn not_read(sector_id: SectorNumber, why: String) -> Unread {
    Unread {
        sector_id,
        why,
        wrong: false,
    }
}

/// The epoch until which files are looked for, whatever the operator's time-out: half of what
/// is left of the window then belongs to the prover and the message. (On a network with short
/// windows upstream's 20 minutes are longer than a window.) Pure.
pub(super) fn look_until(open: Epoch, close: Epoch, head: Epoch) -> Epoch {
    let from = open.max(head);
    from + (close - from).max(2) / 2
}

pub(super) fn window_type(info: &MinerInfo) -> Result<PoStProof, StepError> {
    let number = info.window_po_st_proof_type;
    match PoStProof::from_number(number) {
        Some(PoStProof::Winning(_)) | None => Err(StepError::Nonsense(format!(
            "{number} is not a WindowPoSt proof type"
        ))),
        Some(window) => Ok(window),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_for_files_leaves_half_of_the_window() {
        // with upstream's 20 minutes from the start of proving, 10 epochs before the opening
        assert_eq!(look_until(60, 120, 50), 90);
        assert_eq!(look_until(60, 120, 100), 110, "a late start");
        assert_eq!(look_until(60, 120, 119), 120);
        assert_eq!(look_until(60, 120, 130), 131, "too late is not for ever");
        assert_eq!(look_until(10, 14, 9), 12);
    }
}
