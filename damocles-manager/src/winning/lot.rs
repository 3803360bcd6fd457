//! What is drawn for a round, and what its producer signs to draw it: pure.

use crate::chain::{DomainTag, entropy};
use damocles_node::{Ticket, TipSet, election};
use damocles_types::{ActorId, Epoch, Randomness};

/// Epochs by which the randomness of a ticket lies back (Lotus `TicketRandomnessLookback`).
const TICKET_LOOKBACK: Epoch = 1;

/// What the worker's key signs for the election proof.
pub(super) fn election(beacon: &[u8], round: Epoch, miner: ActorId) -> [u8; 32] {
    drawn(
        beacon,
        DomainTag::ElectionProofProduction,
        round,
        &entropy(miner),
    )
}

/// What it signs for the ticket: the tickets are a chain.
pub(super) fn ticket(beacon: &[u8], round: Epoch, miner: ActorId, below: &Ticket) -> [u8; 32] {
    let mut of = entropy(miner);
    of.extend(&below.vrf_proof);
    drawn(
        beacon,
        DomainTag::TicketProduction,
        round - TICKET_LOOKBACK,
        &of,
    )
}

/// The challenge of the WinningPoSt.
pub(super) fn challenge(beacon: &[u8], round: Epoch, miner: ActorId) -> Randomness {
    let tag = DomainTag::WinningPoStChallengeSeed;
    Randomness(drawn(beacon, tag, round, &entropy(miner)))
}

fn drawn(beacon: &[u8], tag: DomainTag, round: Epoch, entropy: &[u8]) -> [u8; 32] {
    election::draw(beacon, tag.number(), round, entropy)
}

/// The ticket of a tipset that counts: the one with the lowest hash.
pub(super) fn lowest(tipset: &TipSet) -> Option<&Ticket> {
    let tickets = tipset
        .blocks
        .iter()
        .filter_map(|block| block.ticket.as_ref());
    tickets.min_by_key(|ticket| election::blake2b256(&ticket.vrf_proof))
}

/// The quality of a ticket among all that there could be, between 0 and 1: the lower its hash the
/// better (Lotus `Ticket.Quality`).
pub(super) fn quality(ticket: &Ticket) -> f64 {
    let hash = election::blake2b256(&ticket.vrf_proof);
    let top = u64::from_be_bytes([
        hash[0], hash[1], hash[2], hash[3], hash[4], hash[5], hash[6], hash[7],
    ]);
    1.0 - top as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lots_of_one_round_differ_by_what_they_are_for() {
        let below = Ticket {
            vrf_proof: vec![1; 96],
        };
        let lots = [
            election(b"beacon", 77, 1000),
            ticket(b"beacon", 77, 1000, &below),
            challenge(b"beacon", 77, 1000).0,
            election(b"beacon", 77, 1001),
            election(b"beacon", 78, 1000),
        ];
        for (i, lot) in lots.iter().enumerate() {
            assert!(lots[i + 1..].iter().all(|other| other != lot), "{i}");
        }
        let other = Ticket {
            vrf_proof: vec![2; 96],
        };
        assert_ne!(ticket(b"beacon", 77, 1000, &other), lots[1]);
    }

    #[test]
    fn the_quality_of_a_ticket_lies_between_nothing_and_one() {
        let qualities = (0..50_u8).map(|n| {
            quality(&Ticket {
                vrf_proof: vec![n; 96],
            })
        });
        let (mut low, mut high) = (1.0_f64, 0.0_f64);
        for quality in qualities {
            assert!((0.0..=1.0).contains(&quality));
            (low, high) = (low.min(quality), high.max(quality));
        }
        assert!(low < 0.2 && high > 0.8, "{low} {high}");
    }
}
