//! What the network charges for the verification of seal proofs, in units of gas (ref-fvm,
//! `gas/price_list.rs`; FIP-0013 for aggregates).

use crate::SectorSize;

/// Of one seal proof.
pub const VERIFY_SEAL: u64 = 34_721_049;
/// Of a byte of a message on the chain.
pub const MESSAGE_BYTE: u64 = 1_300;

/// What the number of sectors of an aggregate adds, from so many on.
type Steps = [(u64, u64); 8];

const STEPS_32: Steps = [
    (4, 103_994_170),
    (7, 112_356_810),
    (13, 122_912_610),
    (26, 137_559_930),
    (52, 162_039_100),
    (103, 210_960_780),
    (205, 318_351_180),
    (410, 528_274_980),
];
const STEPS_64: Steps = [
    (4, 102_581_240),
    (7, 110_803_030),
    (13, 120_803_700),
    (26, 134_642_130),
    (52, 157_357_890),
    (103, 203_017_690),
    (205, 304_253_590),
    (410, 509_880_640),
];

/// Of an aggregate over so many sectors. Those of test networks are charged as those of 32GiB.
pub fn verify_aggregate(sectors: u64, size: SectorSize) -> u64 {
    let (each, steps) = match size {
        SectorSize::GiB64 => (359_272, STEPS_64),
        SectorSize::KiB2 | SectorSize::MiB8 | SectorSize::MiB512 | SectorSize::GiB32 => {
            (449_900, STEPS_32)
        }
    };
    let step = steps.iter().rev().find(|(from, _)| sectors >= *from);
    sectors.saturating_mul(each) + step.unwrap_or(&steps[0]).1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At both ends of steps.
    #[test]
    fn an_aggregate_is_charged_by_steps() {
        for (sectors, size, gas) in [
            (4, SectorSize::KiB2, 4 * 449_900 + 103_994_170),
            (6, SectorSize::GiB32, 6 * 449_900 + 103_994_170),
            (7, SectorSize::GiB32, 7 * 449_900 + 112_356_810),
            (409, SectorSize::GiB32, 409 * 449_900 + 318_351_180),
            (819, SectorSize::GiB32, 819 * 449_900 + 528_274_980),
            (4, SectorSize::GiB64, 4 * 359_272 + 102_581_240),
            (410, SectorSize::GiB64, 410 * 359_272 + 509_880_640),
        ] {
            assert_eq!(verify_aggregate(sectors, size), gas, "{sectors} {size}");
        }
    }
}
