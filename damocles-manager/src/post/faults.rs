//! When faulty sectors are looked at and declared recovered, and in which messages: pure functions
//! from a head and what is stored to what is to be done. All lengths come from the node.

use crate::db::recoveries::{Recovered, RecoveryRecord};
use damocles_flow::recovery::RecoveryState;
use damocles_node::{DeadlineInfo, Partition};
use damocles_types::{Epoch, SectorNumber};
use fil_actor_miner_state::v18::{DeclareFaultsRecoveredParams, RecoveryDeclaration};
use fil_actors_shared::v18::runtime::policy_constants::{
    ADDRESSED_PARTITIONS_MAX, ADDRESSED_SECTORS_MAX,
};
use fvm_ipld_bitfield::BitField;
use fvm_ipld_encoding::RawBytes;
use fvm_shared::econ::TokenAmount;
use std::collections::HashSet;

/// An opening of a deadline that still takes declarations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Opening {
    pub(super) index: u64,
    pub(super) open: Epoch,
    /// First epoch in which no declaration is taken any more.
    pub(super) cutoff: Epoch,
    /// First epoch in which its faulty sectors are looked at.
    pub(super) from: Epoch,
}

/// The next opening of a deadline whose cut-off is not behind.
pub(super) fn next(di: &DeadlineInfo, index: u64, head: Epoch) -> Opening {
    let mut open = di.opening(index);
    // the present one, once its cut-off is behind, is looked at for its next opening
    if open - di.fault_declaration_cutoff <= head {
        open += di.wpost_proving_period;
    }
    let (length, cutoff) = (
        di.wpost_challenge_window,
        open - di.fault_declaration_cutoff,
    );
    Opening {
        index,
        open,
        cutoff,
        from: (cutoff - length).max(open - di.wpost_proving_period + length),
    }
}

/// The openings whose faulty sectors are looked at now: for the length of a window before the
/// cut-off, but not while the deadline is open, for then it is not known yet what becomes faulty.
pub(super) fn openings(di: &DeadlineInfo, head: Epoch) -> Vec<Opening> {
    let length = di.wpost_challenge_window;
    let count = di.wpost_period_deadlines;
    if length <= 0 || count == 0 || di.wpost_proving_period < length {
        return Vec::new();
    }
    // each deadline once, the present one first
    let indexes = (0..count).map(|step| (di.index + step) % count);
    let now = |o: &Opening| o.from <= head && head < o.cutoff;
    indexes
        .map(|index| next(di, index, head))
        .filter(now)
        .collect()
}

/// What is to be done for an opening. Each is done by a task of its own, and stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Recover {
    /// Ask the chain whether the deadline has faulty sectors.
    Begin(Opening),
    /// Read the faulty sectors, and declare what can be proven.
    Look(Epoch),
    /// Look what became of the messages.
    Follow(Epoch),
    /// The cut-off is behind.
    Pass(Epoch),
}

impl Recover {
    /// The opening that it is done for.
    pub(super) fn open(self) -> Epoch {
        match self {
            Self::Begin(opening) => opening.open,
            Self::Look(open) | Self::Follow(open) | Self::Pass(open) => open,
        }
    }
}

/// Decides what to do at a head. `healthy`: openings whose deadline was found without faulty
/// sectors by this process; `busy`: those that a task is working on.
pub(super) fn steps(
    head: Epoch,
    openings: &[Opening],
    records: &[RecoveryRecord],
    healthy: &HashSet<Epoch>,
    busy: &HashSet<Epoch>,
) -> Vec<Recover> {
    let known = |open: &Epoch| records.iter().any(|r| r.open == *open);
    let begun = openings
        .iter()
        .filter(|o| !healthy.contains(&o.open) && !known(&o.open))
        .map(|o| Recover::Begin(*o));
    let goes_on = records.iter().filter_map(|record| step(head, record));
    let idle = |step: &Recover| !busy.contains(&step.open());
    begun.chain(goes_on).filter(idle).collect()
}

fn step(head: Epoch, record: &RecoveryRecord) -> Option<Recover> {
    match record.state {
        RecoveryState::Looking if head >= record.cutoff => Some(Recover::Pass(record.open)),
        RecoveryState::Looking => {
            let rests = record.retry_at.is_some_and(|at| head < at);
            (!rests).then_some(Recover::Look(record.open))
        }
        RecoveryState::Declared => Some(Recover::Follow(record.open)),
        RecoveryState::Landed | RecoveryState::Cleared | RecoveryState::Passed => None,
    }
}

/// Sectors of each partition that are faulty and that nobody has declared recovered, where there
/// are some.
pub(super) fn faulty(partitions: &[Partition]) -> Vec<(u64, BitField)> {
    let of = |p: &Partition| {
        let alive = &p.faulty_sectors & &p.live_sectors;
        &alive - &p.recovering_sectors
    };
    (0..)
        .zip(partitions.iter().map(of))
        .filter(|(_, faulty)| !faulty.is_empty())
        .collect()
}

/// Whether sectors on stores that do not answer are waited for before the others are declared: for
/// half of the time that there is, as a partition is declared once in a proving period.
pub(super) fn waits_for_away(head: Epoch, from: Epoch, cutoff: Epoch) -> bool {
    head < from + (cutoff - from) / 2
}

/// What is declared, by message, and what is left for another proving period.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Declared {
    pub(super) messages: Vec<Vec<Recovered>>,
    pub(super) left: Vec<SectorNumber>,
}

/// Puts what can be proven into messages. The protocol takes so many partitions and sectors per
/// message; the operator may want fewer partitions (`max_partitions`; 0: no wish) and fewer
/// sectors in all (`max_sectors`; 0: no wish).
pub(super) fn declared(
    faulty: &[(u64, BitField)],
    readable: impl Fn(SectorNumber) -> bool,
    max_partitions: u64,
    max_sectors: u64,
) -> Declared {
    let most = match max_partitions {
        0 => ADDRESSED_PARTITIONS_MAX,
        n => n.min(ADDRESSED_PARTITIONS_MAX),
    };
    let mut room = if max_sectors == 0 {
        u64::MAX
    } else {
        max_sectors
    };
    let mut out = Declared::default();
    let (mut message, mut carried) = (Vec::new(), 0_u64);
    for (partition, sectors) in faulty {
        let mut sectors: Vec<_> = sectors.iter().filter(|n| readable(*n)).collect();
        let fits = usize::try_from(room).unwrap_or(usize::MAX);
        out.left.extend(sectors.drain(fits.min(sectors.len())..));
        if sectors.is_empty() {
            continue;
        }
        let count = sectors.len() as u64;
        room -= count;
        if message.len() as u64 >= most || carried + count > ADDRESSED_SECTORS_MAX {
            out.messages.push(std::mem::take(&mut message));
            carried = 0;
        }
        carried += count;
        message.push(Recovered {
            partition: *partition,
            sectors,
        });
    }
    if !message.is_empty() {
        out.messages.push(message);
    }
    out
}

/// What must be paid so that the chain takes a recovery: the fees that the miner owes beyond what
/// it has free, and a tenth more, as the next ones come meanwhile. `available` as the chain tells
/// it, less than nothing for a debt.
pub(super) fn payment(available: &TokenAmount) -> TokenAmount {
    if !available.is_negative() {
        return TokenAmount::default();
    }
    let owed = -available.clone();
    &owed + owed.div_ceil(10)
}

/// A message could not be built.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecoveryParamsError {
    #[error("the list of recovered sectors has a number that no bit field can hold")]
    Sectors,
    #[error("the parameters of DeclareFaultsRecovered cannot be encoded: {0}")]
    Encode(#[from] fvm_ipld_encoding::Error),
}

/// Parameters of DeclareFaultsRecovered (method 11).
pub(super) fn params(
    deadline: u64,
    partitions: &[Recovered],
) -> Result<RawBytes, RecoveryParamsError> {
    let declaration = |recovered: &Recovered| {
        let sectors = BitField::try_from_bits(recovered.sectors.iter().copied());
        Ok(RecoveryDeclaration {
            deadline,
            partition: recovered.partition,
            sectors: sectors.map_err(|_| RecoveryParamsError::Sectors)?,
        })
    };
    let recoveries = partitions.iter().map(declaration);
    let recoveries = recoveries.collect::<Result<_, RecoveryParamsError>>()?;
    let params = DeclareFaultsRecoveredParams { recoveries };
    Ok(RawBytes::serialize(&params)?)
}

#[cfg(test)]
#[path = "faults_tests.rs"]
mod tests;
