//! Which deals go into a sector together, and in which order their pieces lie. Pure.

use crate::deal::{DealId, Lifetime};
use damocles_types::Epoch;
use std::cmp::Reverse;

/// A deal that waits for a sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) id: DealId,
    /// Padded bytes, a power of two.
    pub(super) size: u64,
    /// It must be on chain before this epoch.
    pub(super) start_by: Epoch,
    pub(super) lifetime: Lifetime,
}

/// What a sector has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// Padded bytes, a power of two.
    pub(super) sector: u64,
    pub(super) most_deals: usize,
    /// With less of them than this the sector is sealed without.
    pub(super) least_used: u64,
    /// Before this epoch the sector is not on chain.
    pub(super) ready: Epoch,
    /// After this epoch it cannot live.
    pub(super) longest: Epoch,
}

/// Those that go, the most urgent first. Who has too little time left, or does not agree with those
/// that are in already, waits.
pub(super) fn choose(candidates: &[Candidate], room: Room) -> Vec<DealId> {
    let mut queue: Vec<&Candidate> = candidates.iter().collect();
    queue.sort_by_key(|c| (c.start_by, Reverse(c.size), c.id));
    let (mut chosen, mut used) = (Vec::new(), 0);
    let mut lifetime = Lifetime {
        most: room.longest,
        ..Lifetime::ANY
    };
    for deal in queue {
        let fits = deal.size <= room.sector - used && chosen.len() < room.most_deals;
        let Some(both) = lifetime.and(deal.lifetime) else {
            continue;
        };
        if fits && deal.start_by >= room.ready {
            chosen.push(deal.id);
            used += deal.size;
            lifetime = both;
        }
    }
    if chosen.is_empty() || used < room.least_used {
        return Vec::new();
    }
    chosen
}

/// A part of a sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot<T> {
    Deal(T),
    /// Zeros of so many padded bytes.
    Filler(u64),
}

/// The pieces with their sizes in an order in which each lies at a multiple of its size, and the
/// zeros that fill the rest. The sizes are powers of two and fit into the sector.
pub(super) fn arrange<T>(mut pieces: Vec<(T, u64)>, sector: u64) -> Vec<Slot<T>> {
    pieces.sort_by_key(|(_, size)| Reverse(*size));
    let mut at: u64 = pieces.iter().map(|(_, size)| size).sum();
    let mut slots: Vec<_> = pieces
        .into_iter()
        .map(|(deal, _)| Slot::Deal(deal))
        .collect();
    while at < sector {
        // the largest size of which `at` is a multiple; it leads to the end of the sector
        let size = if at == 0 {
            sector
        } else {
            1 << at.trailing_zeros()
        };
        slots.push(Slot::Filler(size));
        at += size;
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn candidate(id: u64, size: u64, start_by: Epoch) -> Candidate {
        Candidate {
            id: DealId::Allocation(id),
            size,
            start_by,
            lifetime: Lifetime::ANY,
        }
    }

    const ROOM: Room = Room {
        sector: 2048,
        most_deals: 8,
        least_used: 0,
        ready: 100,
        longest: Epoch::MAX,
    };

    #[test]
    fn a_deal_that_outlives_every_sector_waits() {
        let until = |id, least| Candidate {
            lifetime: Lifetime {
                least,
                ..Lifetime::ANY
            },
            ..candidate(id, 256, 1000)
        };
        let room = Room {
            longest: 5000,
            ..ROOM
        };
        let all = [until(1, 5001), until(2, 5000), candidate(3, 256, 1000)];
        assert_eq!(chosen(&all, room), [2, 3]);
    }

    fn chosen(candidates: &[Candidate], room: Room) -> Vec<u64> {
        let number = |id| match id {
            DealId::Allocation(n) | DealId::Market(n) => n,
        };
        choose(candidates, room).into_iter().map(number).collect()
    }

    #[test]
    fn the_most_urgent_go_as_far_as_there_is_room() {
        let all = [
            candidate(1, 1024, 900),
            candidate(2, 512, 300),
            candidate(3, 1024, 200),
            candidate(4, 128, 99),
            candidate(5, 512, 900),
            candidate(6, 4096, 150),
        ];
        assert_eq!(
            chosen(&all, ROOM),
            [3, 2, 5],
            "4 has no time, 6 no room, 1 none any more"
        );
        let two = Room {
            most_deals: 2,
            ..ROOM
        };
        assert_eq!(chosen(&all, two), [3, 2]);
        let half = |least_used| chosen(&all[1..2], Room { least_used, ..ROOM });
        assert_eq!((half(512), half(513)), (vec![2], vec![]));
        assert_eq!(chosen(&[], ROOM), Vec::<u64>::new());
    }

    #[test]
    fn only_those_go_together_that_one_expiration_suits() {
        let lasting = |least, most| Lifetime { least, most };
        let mut all = [1, 2, 3].map(|id| candidate(id, 512, 200));
        all[0].lifetime = lasting(1000, 2000);
        all[1].lifetime = lasting(2001, 3000);
        all[2].lifetime = lasting(500, 1000);
        assert_eq!(chosen(&all, ROOM), [1, 3]);
        assert_eq!(lasting(1, 5).and(lasting(5, 9)), Some(lasting(5, 5)));
        assert_eq!(lasting(1, 5).and(lasting(6, 9)), None);
    }

    proptest! {
        /// Whatever is put into a sector: it is full, and each piece lies at a multiple of its size.
        #[test]
        fn a_sector_is_full_and_every_piece_aligned(exponents in prop::collection::vec(7u32..16, 0..40)) {
            let sector = 1u64 << 16;
            let mut pieces = Vec::new();
            let mut used = 0;
            for exponent in exponents {
                let size = 1u64 << exponent;
                if used + size <= sector {
                    used += size;
                    pieces.push((size, size));
                }
            }
            let count = pieces.len();
            let mut at = 0;
            let mut deals = 0;
            for slot in arrange(pieces, sector) {
                let size = match slot {
                    Slot::Deal(size) => { deals += 1; size }
                    Slot::Filler(size) => size,
                };
                prop_assert!(size.is_power_of_two() && size >= 128);
                prop_assert_eq!(at % size, 0);
                at += size;
            }
            prop_assert_eq!((at, deals), (sector, count));
        }
    }
}
