//! How long a stage's task may take, and its child say nothing of it, where the operator has not
//! said. Generous: several times what the slowest machine needs that seals at all, so that only
//! what hangs is ended by them. Pure.

use crate::kind::Stage;
use damocles_types::SectorSize;
use std::time::Duration;

const HOUR: u64 = 3600;

/// How long a child that tells of its progress may be silent about a task of 32 GiB.
pub const SILENCE: Duration = Duration::from_secs(4 * HOUR);

/// The factor to the figures for 32 GiB, as a fraction.
const fn scale(size: SectorSize) -> (u64, u64) {
    match size {
        SectorSize::KiB2 | SectorSize::MiB8 | SectorSize::MiB512 => (1, 4),
        SectorSize::GiB32 => (1, 1),
        SectorSize::GiB64 => (2, 1),
    }
}

fn scaled(hours: u64, size: SectorSize) -> Duration {
    let (by, of) = scale(size);
    Duration::from_secs(hours * HOUR * by / of)
}

/// From a task's start to its answer. None: something else bounds it.
pub fn longest(stage: Stage, size: SectorSize) -> Option<Duration> {
    let hours = match stage {
        // clients' data may come over a slow line
        Stage::AddPieces => 24,
        Stage::TreeD | Stage::C1 => 6,
        // a ticket is too old after about a day: what takes longer is for nothing
        Stage::Pc1 | Stage::Unseal => 48,
        Stage::SynthProof => 12,
        Stage::Pc2 | Stage::C2 | Stage::SnapEncode | Stage::SnapProve | Stage::Transfer => 24,
        // the chain's deadline does, and whoever asks ends them by it
        Stage::WindowPost | Stage::WinningPost => return None,
        // making parameters takes what it takes; readers have limits of their own
        Stage::MakeParams | Stage::ReadSectors | Stage::Aggregate => return None,
    };
    Some(scaled(hours, size))
}

/// Whether our own program, with our kernels, tells of its progress at this stage.
pub const fn tells(stage: Stage) -> bool {
    match stage {
        Stage::AddPieces
        | Stage::TreeD
        | Stage::Pc1
        | Stage::Pc2
        | Stage::SnapEncode
        | Stage::Transfer => true,
        Stage::SynthProof
        | Stage::C1
        | Stage::C2
        | Stage::SnapProve
        | Stage::Unseal
        | Stage::WindowPost
        | Stage::WinningPost
        | Stage::MakeParams
        | Stage::ReadSectors
        | Stage::Aggregate => false,
    }
}

/// Between two words of a child that tells of its progress.
pub fn silence(size: SectorSize) -> Duration {
    scaled(SILENCE.as_secs() / HOUR, size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_sectors_may_take_longer_and_no_limit_is_shorter_than_the_silence_in_it() {
        for stage in Stage::ALL {
            let mut before = Duration::ZERO;
            for size in SectorSize::ALL {
                let Some(most) = longest(stage, size) else {
                    assert!(matches!(stage, Stage::WindowPost | Stage::WinningPost));
                    continue;
                };
                assert!(most >= before && most > silence(size), "{stage} {size}");
                before = most;
            }
        }
        assert_eq!(silence(SectorSize::GiB32), SILENCE);
        assert_eq!(
            longest(Stage::Pc1, SectorSize::GiB64),
            Some(Duration::from_secs(96 * HOUR))
        );
    }
}
