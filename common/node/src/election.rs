//! Who may make a block: expected consensus, in numbers. Pure, and exact to the last bit, since a
//! block that claims one win too many is refused by everybody.
//!
//! A miner with the share `s` of the power wins a round as often as a Poisson variable of rate
//! `λ = 5·s` says, drawn by the hash of its election proof (spec "Expected Consensus"; Lotus
//! `chain/types/electionproof.go`). All fractions are numbers with 256 binary places (Q.256).

use crate::ElectionProof;
use fvm_shared::bigint::{BigInt, Sign};
use multihash_codetable::{Code, MultihashDigest};
use std::sync::LazyLock;

/// Blocks that the network expects in an epoch.
pub const BLOCKS_PER_EPOCH: u64 = 5;
/// More wins than that are not counted.
const MOST_WINS: i64 = 3 * BLOCKS_PER_EPOCH as i64;
/// Binary places of a fraction.
const PLACES: usize = 256;

/// blake2b-256.
pub fn blake2b256(bytes: &[u8]) -> [u8; 32] {
    let digest = Code::Blake2b256.digest(bytes);
    let mut out = [0; 32];
    out.copy_from_slice(digest.digest());
    out
}

/// Randomness of one purpose from what the beacon or a ticket says (spec "Randomness"; Lotus
/// `DrawRandomnessFromBase`).
pub fn draw(base: &[u8], tag: i64, round: i64, entropy: &[u8]) -> [u8; 32] {
    let mut data = Vec::with_capacity(48 + entropy.len());
    data.extend(tag.to_be_bytes());
    data.extend(blake2b256(base));
    data.extend(round.to_be_bytes());
    data.extend(entropy);
    blake2b256(&data)
}

/// `e^-x` as a quotient of two polynomials, highest power first, in units of 2^-128. It is off by
/// less than 3.4e-30 below 1.725, and by less than 4.6e-15 below 5.
const NUMERATOR: [&str; 8] = [
    "-648770010757830093818553637600",
    "67469480939593786226847644286976",
    "-3197587544499098424029388939001856",
    "89244641121992890118377641805348864",
    "-1579656163641440567800982336819953664",
    "17685496037279256458459817590917169152",
    "-115682590513835356866803355398940131328",
    "340282366920938463463374607431768211456",
];
const DENOMINATOR: [&str; 14] = [
    "1225524182432722209606361",
    "114095592300906098243859450",
    "5665570424063336070530214243",
    "194450132448609991765137938448",
    "5068267641632683791026134915072",
    "104716890604972796896895427629056",
    "1748338658439454459487681798864896",
    "23704654329841312470660182937960448",
    "259380097567996910282699886670381056",
    "2250336698853390384720606936038375424",
    "14978272436876548034486263159246028800",
    "72144088983913131323343765784380833792",
    "224599776407103106596571252037123047424",
    "340282366920938463463374607431768211456",
];

fn coefficients(texts: &[&str]) -> Vec<BigInt> {
    let read = |text: &&str| text.parse::<BigInt>().unwrap_or_default() << (PLACES - 128);
    texts.iter().map(read).collect()
}

static QUOTIENT: LazyLock<(Vec<BigInt>, Vec<BigInt>)> =
    LazyLock::new(|| (coefficients(&NUMERATOR), coefficients(&DENOMINATOR)));

/// A polynomial at `x`, by Horner's rule. The shift rounds towards minus infinity, as Go's does.
fn value(coefficients: &[BigInt], x: &BigInt) -> BigInt {
    let mut out = BigInt::default();
    for coefficient in coefficients {
        out = ((out * x) >> PLACES) + coefficient;
    }
    out
}

/// `e^-x`.
fn exp_neg(x: &BigInt) -> BigInt {
    let (numerator, denominator) = &*QUOTIENT;
    (value(numerator, x) << PLACES) / value(denominator, x)
}

/// The rate of a miner with that power in a network of that power.
fn rate(power: &BigInt, total: &BigInt) -> BigInt {
    ((power * BLOCKS_PER_EPOCH) << PLACES) / total
}

/// How likely more wins than 0, than 1, than 2 … are.
struct MoreThan {
    rate: BigInt,
    /// How likely exactly `wins` wins are.
    exactly: BigInt,
    more: BigInt,
    wins: u64,
}

impl MoreThan {
    fn none(rate: BigInt) -> Self {
        let exactly = exp_neg(&rate);
        let more = (BigInt::from(1) << PLACES) - &exactly;
        Self {
            rate,
            exactly,
            more,
            wins: 0,
        }
    }

    fn one_more(&mut self) {
        self.wins += 1;
        self.exactly = ((&self.exactly / self.wins) * &self.rate) >> PLACES;
        self.more -= &self.exactly;
    }
}

/// How often an election proof wins; 0: not at all.
pub fn win_count(vrf_proof: &[u8], power: &BigInt, total: &BigInt) -> i64 {
    let nobody = BigInt::default();
    if *total <= nobody || *power <= nobody {
        return 0;
    }
    let drawn = BigInt::from_bytes_be(Sign::Plus, &blake2b256(vrf_proof));
    let mut more = MoreThan::none(rate(power, total));
    let mut wins = 0;
    while drawn < more.more && wins < MOST_WINS {
        more.one_more();
        wins += 1;
    }
    wins
}

/// The wins that a miner of that power may expect in an epoch.
pub fn expected_wins(power: &BigInt, total: &BigInt) -> f64 {
    const UNIT: u64 = 1_000_000_000;
    if *total <= BigInt::default() {
        return 0.0;
    }
    let billionths = power * (BLOCKS_PER_EPOCH * UNIT) / total;
    u64::try_from(billionths).map_or(0.0, |n| n as f64 / UNIT as f64)
}

impl ElectionProof {
    /// The proof with its wins; None: it wins nothing.
    pub fn won(vrf_proof: Vec<u8>, power: &BigInt, total: &BigInt) -> Option<Self> {
        let win_count = win_count(&vrf_proof, power, total);
        (win_count > 0).then_some(Self {
            win_count,
            vrf_proof,
        })
    }
}

#[cfg(test)]
#[path = "election_tests.rs"]
mod tests;
