//! Keys: big-endian, the miner first, so that their order is the order of numbers and one
//! miner's records lie together.

use crate::deal::DealId;
use crate::model::{Commitment, MessageId, MessageKind, UnixMs};
use damocles_types::{ActorId, Commitment as Commitment32, Epoch, SectorId};

/// Prefix of all keys of a miner; the key of its counter.
pub(crate) fn miner(miner: ActorId) -> Vec<u8> {
    miner.to_be_bytes().to_vec()
}

/// Key of a sector.
pub(crate) fn sector(id: SectorId) -> Vec<u8> {
    let mut key = miner(id.miner);
    key.extend(id.number.to_be_bytes());
    key
}

/// Reads what [`sector`] wrote, at the end of a key.
pub(crate) fn read_sector(key: &[u8]) -> Option<SectorId> {
    let at = key.len().checked_sub(16)?;
    let miner = u64::from_be_bytes(key[at..at + 8].try_into().ok()?);
    let number = u64::from_be_bytes(key[at + 8..].try_into().ok()?);
    Some(SectorId { miner, number })
}

/// Prefix of the sectors whose commitment of this kind waits.
pub(crate) const fn ready_kind(kind: Commitment) -> [u8; 1] {
    match kind {
        Commitment::PreCommit => [0],
        Commitment::Proof => [1],
    }
}

/// Key of a sector that waits.
pub(crate) fn ready(kind: Commitment, id: SectorId) -> Vec<u8> {
    let mut key = ready_kind(kind).to_vec();
    key.extend(sector(id));
    key
}

/// Which replica of a sector, as keys have it: the sealed one, the upgraded one.
pub(crate) const REPLICA_KINDS: [u8; 2] = [0, 1];

/// Key of a replica.
pub(crate) fn replica(kind: u8, id: SectorId) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend(sector(id));
    key
}

/// Key of a message.
pub(crate) fn message(id: MessageId) -> Vec<u8> {
    id.0.as_bytes().to_vec()
}

/// Key of a message by when it was wanted.
pub(crate) fn ended(wanted_at: UnixMs, id: MessageId) -> Vec<u8> {
    let mut key = wanted_at.to_be_bytes().to_vec();
    key.extend(message(id));
    key
}

/// Key of a sector by since when it is over.
pub(crate) fn over(since: UnixMs, id: SectorId) -> Vec<u8> {
    let mut key = since.to_be_bytes().to_vec();
    key.extend(sector(id));
    key
}

/// Key of what messages of that kind and miner cost on a day (since 1970).
pub(crate) fn spent(day: u32, id: ActorId, kind: MessageKind) -> Vec<u8> {
    let mut key = day.to_be_bytes().to_vec();
    key.extend(miner(id));
    key.extend(kind.to_string().as_bytes());
    key
}

/// Key of a deal.
pub(crate) fn deal(id: DealId) -> Vec<u8> {
    let (kind, number) = match id {
        DealId::Allocation(number) => (0, number),
        DealId::Market(number) => (1, number),
    };
    let mut key = vec![kind];
    key.extend(number.to_be_bytes());
    key
}

/// Key of a deal under its provider.
pub(crate) fn miner_deal(provider: ActorId, id: DealId) -> Vec<u8> {
    let mut key = miner(provider);
    key.extend(deal(id));
    key
}

/// Key of a deal under its piece.
pub(crate) fn piece_deal(piece: Commitment32, id: DealId) -> Vec<u8> {
    let mut key = piece.0.to_vec();
    key.extend(deal(id));
    key
}

/// Reads what [`deal`] wrote, at the end of a key.
pub(crate) fn read_deal(key: &[u8]) -> Option<DealId> {
    let (kind, number) = key.get(key.len().checked_sub(9)?..)?.split_at(1);
    let number = u64::from_be_bytes(number.try_into().ok()?);
    match kind {
        [0] => Some(DealId::Allocation(number)),
        [1] => Some(DealId::Market(number)),
        _ => None,
    }
}

/// Reads what [`message`] wrote, at the end of a key.
pub(crate) fn read_message(key: &[u8]) -> Option<MessageId> {
    let at = key.len().checked_sub(16)?;
    uuid::Uuid::from_slice(&key[at..]).ok().map(MessageId)
}

/// Key of a message under a sector.
pub(crate) fn sector_message(id: SectorId, message_id: MessageId) -> Vec<u8> {
    let mut key = sector(id);
    key.extend(message(message_id));
    key
}

/// Key of a timeline entry.
pub(crate) fn timeline(id: SectorId, seq: u64) -> Vec<u8> {
    let mut key = sector(id);
    key.extend(seq.to_be_bytes());
    key
}

/// What is done for an opening of a deadline of a miner.
pub(crate) fn opening(of: ActorId, open: Epoch) -> Vec<u8> {
    let mut key = miner(of);
    key.extend(epoch(open));
    key
}

/// Key of a job that is not over, under the close of its deadline.
pub(crate) fn open_job(close: Epoch, of: ActorId, id: &str) -> Vec<u8> {
    let mut key = epoch(close).to_vec();
    key.extend(miner(of));
    key.extend(id.as_bytes());
    key
}

/// Reads the id of what [`open_job`] wrote.
pub(crate) fn read_open_job(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.get(16..)?).ok()
}

/// An epoch in the order of numbers, negative ones first.
pub(crate) const fn epoch(epoch: Epoch) -> [u8; 8] {
    (epoch.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_keys_is_the_order_of_numbers() {
        let ids = [(1, 5), (1, 256), (2, 0), (256, 1), (u64::MAX, u64::MAX)];
        let keys: Vec<_> = ids
            .map(|(m, n)| sector(SectorId::new(m, n)))
            .into_iter()
            .collect();
        assert!(keys.is_sorted());
        for (key, (m, n)) in keys.iter().zip(ids) {
            assert_eq!(read_sector(key), Some(SectorId::new(m, n)));
            assert!(key.starts_with(&miner(m)));
        }
        let epochs = [i64::MIN, -900, -1, 0, 1, 900, i64::MAX].map(epoch);
        assert!(epochs.is_sorted());
        assert_eq!(read_sector(b"short"), None);
    }

    #[test]
    fn keys_under_a_sector_lie_under_it() {
        let id = SectorId::new(1000, 7);
        let m = MessageId::new();
        let key = sector_message(id, m);
        assert!(key.starts_with(&sector(id)));
        assert_eq!(read_message(&key), Some(m));
        assert!(timeline(id, 1) < timeline(id, 256));
        let wait = ready(Commitment::Proof, id);
        assert_eq!(read_sector(&wait), Some(id));
        assert!(wait.starts_with(&ready_kind(Commitment::Proof)));
    }
}
