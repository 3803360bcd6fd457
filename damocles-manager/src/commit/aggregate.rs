//! Whether proofs go singly or as one aggregate (SnarkPack, FIP-0013), and how many sectors go into
//! one. Pure. The network's gas table tells what is worth trying; what a node measured decides.

use crate::{
    messages::LARGEST_PARAMS,
    policy::{Aggregate, AggregatePolicy},
};
use damocles_processor::footprint::{
    FEWEST_AGGREGATED, MOST_AGGREGATED, aggregate_length, partitions,
};
use damocles_types::{
    SealProof,
    gas::{MESSAGE_BYTE, VERIFY_SEAL, verify_aggregate},
};
use fvm_shared::{bigint::Integer, econ::TokenAmount};

/// An aggregate whose message would take more gas is made smaller: half of a block, beyond which a
/// message waits for one that has the room.
const MOST_GAS: i64 = 5_000_000_000;
/// Bytes of a message's parameters beside proofs and sectors.
const FRAME: u64 = 64;
/// From this version on (FIP-0100) the network asks no fee for aggregates beside their gas.
const NO_FEE_SINCE: u32 = 25;

fn units(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Sectors whose proofs wait to go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) sectors: u64,
    pub(super) proof: SealProof,
    /// Bytes of one proof.
    pub(super) proof_bytes: u64,
    /// Bytes of what a message says of one sector beside its proof, of the one with most.
    pub(super) manifest_bytes: u64,
}

impl Waiting {
    /// Bytes of the aggregate over so many of them.
    pub(super) fn aggregate_bytes(&self, sectors: u64) -> u64 {
        aggregate_length(sectors * partitions(self.proof.size))
    }

    /// What the gas of one sector's proof is in a message that carries it singly.
    fn single(&self) -> i64 {
        units(VERIFY_SEAL + MESSAGE_BYTE * self.proof_bytes)
    }

    /// Gas of a message with the aggregate over so many, whose sectors take `each` of it beside the
    /// proofs.
    fn aggregated(&self, sectors: u64, each: i64) -> i64 {
        let proof = verify_aggregate(sectors, self.proof.size);
        let bytes = MESSAGE_BYTE * self.aggregate_bytes(sectors);
        units(proof + bytes).saturating_add(units(sectors).saturating_mul(each))
    }

    /// Gas of one sector beside its proof, where that of messages with single proofs was measured.
    fn beside(&self, singly: i64) -> i64 {
        (singly / units(self.sectors).max(1) - self.single()).max(0)
    }

    /// The gas that an aggregate of all of them should take, where their messages with single
    /// proofs take `singly`.
    pub(super) fn expected(&self, singly: i64) -> i64 {
        self.aggregated(self.sectors, self.beside(singly))
    }

    /// Most sectors of an aggregate: of the actor, of a message's bytes, and of its gas.
    fn most(&self, singly: Option<i64>) -> u64 {
        let each = singly.map_or(0, |gas| self.beside(gas));
        let fits = |n: u64| {
            let bytes = self.aggregate_bytes(n) + n * self.manifest_bytes + FRAME;
            bytes <= LARGEST_PARAMS as u64 && self.aggregated(n, each) <= MOST_GAS
        };
        (FEWEST_AGGREGATED..=MOST_AGGREGATED)
            .rev()
            .find(|n| fits(*n))
            .unwrap_or(0)
    }
}

/// What is to be done with proofs of which nobody knows yet what they cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// No aggregate is wanted; why, if there is something to say.
    Singly(Option<String>),
    /// It is to be found out.
    Perhaps,
}

/// Whether an aggregate comes into question.
pub(super) fn way(sectors: u64, policy: &AggregatePolicy, base_fee: &TokenAmount) -> Way {
    if policy.when == Aggregate::Never || sectors < FEWEST_AGGREGATED {
        return Way::Singly(None);
    }
    if *base_fee < policy.above_base_fee {
        return Way::Singly(Some(format!(
            "singly: the base fee of {base_fee} FIL lies below BatchCommitAboveBaseFee"
        )));
    }
    Way::Perhaps
}

/// The sizes of the aggregates that are worth making of these, where their messages with single proofs
/// take `singly` of gas (None: that could not be measured). Empty: none is.
pub(super) fn sizes(
    waiting: &Waiting,
    policy: &AggregatePolicy,
    singly: Option<i64>,
) -> Vec<usize> {
    let most = waiting.most(singly);
    if most < FEWEST_AGGREGATED {
        return Vec::new();
    }
    let parts = split(waiting.sectors, most);
    let worth = match (policy.when, singly) {
        (Aggregate::Never, _) => false,
        (Aggregate::Always, _) => true,
        // what cannot be compared is not begun
        (Aggregate::Auto, None) => false,
        (Aggregate::Auto, Some(singly)) => {
            let each = waiting.beside(singly);
            let all = parts.iter().map(|n| waiting.aggregated(*n, each));
            all.fold(0, i64::saturating_add) < singly
        }
    };
    if !worth {
        return Vec::new();
    }
    let sizes = parts.into_iter();
    sizes
        .map(|n| usize::try_from(n).unwrap_or(usize::MAX))
        .collect()
}

/// So many in parts of `most`, as equal as can be: the last one is not to be too small.
fn split(all: u64, most: u64) -> Vec<u64> {
    let parts = all.div_ceil(most.max(1)).max(1);
    (0..parts)
        .map(|i| all / parts + u64::from(i < all % parts))
        .collect()
}

/// What the network asks for an aggregate beside its gas (FIP-0013): a twentieth of what single
/// proofs were once estimated at, at a base fee of 5 nanoFIL at least; since FIP-0100 nothing.
pub(super) fn network_fee(version: u32, sectors: u64, base_fee: &TokenAmount) -> TokenAmount {
    if version >= NO_FEE_SINCE {
        return TokenAmount::default();
    }
    let price = base_fee.clone().max(TokenAmount::from_nano(5));
    let all = price.atto() * 49_299_973_u64 * sectors;
    TokenAmount::from_atto(all.div_floor(&20.into()))
}

/// What both ways cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Costs {
    pub(super) sectors: u64,
    /// Gas of all messages with single proofs.
    pub(super) singly: Option<i64>,
    pub(super) aggregated: i64,
    /// Beside the gas of the aggregate.
    pub(super) network_fee: TokenAmount,
    pub(super) base_fee: TokenAmount,
}

impl Costs {
    /// Whether the aggregate goes.
    pub(super) fn aggregate_goes(&self, when: Aggregate) -> bool {
        match (when, self.singly) {
            (Aggregate::Never, _) | (Aggregate::Auto, None) => false,
            (Aggregate::Always, _) => true,
            (Aggregate::Auto, Some(singly)) => {
                let aggregate = &self.base_fee * self.aggregated + &self.network_fee;
                aggregate < &self.base_fee * singly
            }
        }
    }
}

impl std::fmt::Display for Costs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let million = |gas: i64| gas.saturating_add(999_999) / 1_000_000;
        let n = self.sectors;
        write!(
            f,
            "{n} proofs: {}M gas as one aggregate",
            million(self.aggregated)
        )?;
        if !self.network_fee.is_zero() {
            write!(f, " and a network fee of {} FIL", self.network_fee)?;
        }
        match self.singly {
            Some(gas) => write!(f, ", {}M singly", million(gas))?,
            None => f.write_str(", singly not known")?,
        }
        write!(f, ", at a base fee of {} FIL", self.base_fee)
    }
}

#[cfg(test)]
#[path = "aggregate_tests.rs"]
mod tests;
