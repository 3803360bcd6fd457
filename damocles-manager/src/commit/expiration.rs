//! When a new sector is to expire. Pure.

use crate::{deals::PROVE_COMMIT, model::Commitment};
use damocles_types::Epoch;
use fil_actors_shared::v18::runtime::policy_constants::{
    MAX_PRE_COMMIT_RANDOMNESS_LOOKBACK, MAX_SECTOR_EXPIRATION_EXTENSION, MIN_SECTOR_EXPIRATION,
};

pub(super) const EPOCHS_IN_DAY: Epoch = 2880;
/// Most epochs between the draw of a ticket and its precommit (the miner actor's policy).
pub(super) const TICKET_LIFE: Epoch = MAX_PRE_COMMIT_RANDOMNESS_LOOKBACK;

/// Epochs that a commitment has: a precommit since the draw of its ticket, a proof since that of its
/// seed.
pub(super) const fn life(kind: Commitment) -> Epoch {
    match kind {
        Commitment::PreCommit => TICKET_LIFE,
        Commitment::Proof => PROVE_COMMIT,
    }
}

/// The longest lifetime before network version 21 (FIP-0052 raised it).
const OLD_LONGEST: Epoch = 540 * EPOCHS_IN_DAY;

/// What the expiration depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub(super) head: Epoch,
    pub(super) ticket: Epoch,
    pub(super) challenge_delay: Epoch,
    pub(super) network_version: u32,
}

/// The expiration of a sector without data that shall live `days` (0: as long as may be).
/// As upstream: two days of margin for the batch to land, never below what the chain takes
/// even if the precommit lands at the last moment and the proof after that.
pub(super) fn of_cc(days: u64, facts: Facts) -> Epoch {
    let longest = if facts.network_version >= 21 {
        MAX_SECTOR_EXPIRATION_EXTENSION
    } else {
        OLD_LONGEST
    };
    let wanted = i64::try_from(days)
        .ok()
        .and_then(|d| d.checked_mul(EPOCHS_IN_DAY))
        .filter(|e| *e > 0)
        .unwrap_or(longest);
    let life = if wanted <= MIN_SECTOR_EXPIRATION {
        MIN_SECTOR_EXPIRATION
    } else if wanted >= longest {
        longest
    } else {
        wanted - 2 * EPOCHS_IN_DAY
    };
    let prove_commit = PROVE_COMMIT + facts.challenge_delay;
    (facts.head + life)
        .max(facts.head + MIN_SECTOR_EXPIRATION + EPOCHS_IN_DAY)
        .max(facts.ticket + TICKET_LIFE + prove_commit + MIN_SECTOR_EXPIRATION)
        .min(facts.head + facts.challenge_delay + longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Epoch = EPOCHS_IN_DAY;

    fn facts(head: Epoch) -> Facts {
        Facts {
            head,
            ticket: head - 900,
            challenge_delay: 150,
            network_version: 27,
        }
    }

    #[test]
    fn lifetimes() {
        let head = 1_000_000;
        let least = head - 900 + 3780 + 30 * DAY + 150 + 180 * DAY;
        for (days, want) in [
            (540, head + 538 * DAY),
            (0, head + 1278 * DAY),
            (1277, head + 1275 * DAY),
            (1278, head + 1278 * DAY),
            (5000, head + 1278 * DAY),
            (u64::MAX, head + 1278 * DAY),
            (1, least),
            (180, least),
            (190, least),
            (230, head + 228 * DAY),
        ] {
            assert_eq!(of_cc(days, facts(head)), want, "{days} days");
        }
    }

    #[test]
    fn an_old_network_takes_540_days_at_most() {
        let old = Facts {
            network_version: 20,
            ..facts(0)
        };
        assert_eq!(of_cc(0, old), 540 * DAY);
        assert_eq!(of_cc(1000, old), 540 * DAY);
    }

    /// The rules of the miner actor (`validate_expiration`), with the precommit landing as
    /// late as its ticket allows.
    #[test]
    fn the_chain_takes_every_lifetime() {
        for days in [0, 1, 180, 181, 182, 183, 210, 211, 212, 540, 1276, 1280] {
            for head in [0, 10, 900, 5_000_000] {
                let f = facts(head);
                let expiration = of_cc(days, f);
                let latest_landing = f.ticket + TICKET_LIFE;
                for landing in [head, latest_landing] {
                    let activation = landing + 30 * DAY + f.challenge_delay;
                    assert!(expiration - activation >= 180 * DAY, "{days} {head}");
                    assert!(expiration - landing <= 1278 * DAY + 150, "{days} {head}");
                }
            }
        }
    }
}
