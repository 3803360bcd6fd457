//! Ids and small values that tie sectors, messages and proofs together, spoken by every room
//! above. Their JSON is stored, so names here are for ever; whole records are in `db/record`.

use damocles_types::SectorId;
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use strum::{Display, EnumIter, EnumString};

/// Milliseconds since the Unix epoch.
pub type UnixMs = u64;

/// The time of day, for records; nothing is decided by it that must survive a clock change.
pub fn unix_ms() -> UnixMs {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, millis)
}

/// A span of time in milliseconds; the largest number, where it has no number.
pub fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Seconds of that, as the API tells times.
pub fn seconds(ms: UnixMs) -> i64 {
    i64::try_from(ms / 1000).unwrap_or(i64::MAX)
}

/// Our own id of a message, given before anything is pushed; the node knows it as `MsgUuid`.
/// Ids grow with time, so their order is the order in which messages were wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageId(pub uuid::Uuid);

impl MessageId {
    /// A new id (UUID version 7: time first, chance after).
    pub fn new() -> Self {
        let chance = rand::random::<[u8; 10]>();
        Self(uuid::Builder::from_unix_timestamp_millis(unix_ms(), &chance).into_uuid())
    }
}

impl Default for MessageId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for MessageId {
    type Err = uuid::Error;

    fn from_str(s: &str) -> Result<Self, uuid::Error> {
        s.parse().map(Self)
    }
}

/// The sectors of a message as a log names them, so that whoever looks for one finds it; None: it
/// carries none.
pub fn names(sectors: &[SectorId]) -> Option<String> {
    let names: Vec<String> = sectors.iter().map(ToString::to_string).collect();
    (!names.is_empty()).then(|| names.join(" "))
}

/// What a message does.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    EnumIter,
)]
pub enum MessageKind {
    /// PreCommitSectorBatch2 (method 28).
    PreCommit,
    /// ProveCommitSectors3 (method 34).
    ProveCommit,
    /// SubmitWindowedPoSt (method 5).
    WindowPost,
    /// DeclareFaultsRecovered (method 11).
    DeclareRecoveries,
    /// CompactPartitions (method 19).
    CompactPartitions,
    /// What a person ordered of the miner's actor; its method and its note say what.
    ActorOrder,
}

impl MessageKind {
    /// What of sectors it carries; None: nothing that they wait for.
    pub const fn commitment(self) -> Option<Commitment> {
        match self {
            Self::PreCommit => Some(Commitment::PreCommit),
            Self::ProveCommit => Some(Commitment::Proof),
            Self::WindowPost
            | Self::DeclareRecoveries
            | Self::CompactPartitions
            | Self::ActorOrder => None,
        }
    }
}

/// The two things of a sector that travel to the chain in batches.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Display,
)]
pub enum Commitment {
    PreCommit,
    Proof,
}

impl Commitment {
    pub const ALL: [Self; 2] = [Self::PreCommit, Self::Proof];

    /// The kind of message that carries it.
    pub const fn message_kind(self) -> MessageKind {
        match self {
            Self::PreCommit => MessageKind::PreCommit,
            Self::Proof => MessageKind::ProveCommit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sectors_of_a_message_are_named_whole() {
        assert_eq!(names(&[]), None, "a WindowPoSt carries none");
        let two = [SectorId::new(1000, 5), SectorId::new(1000, 12)];
        assert_eq!(names(&two).unwrap(), "s-t01000-5 s-t01000-12");
    }

    #[test]
    fn message_ids_are_unique_and_read_back() {
        let (a, b) = (MessageId::new(), MessageId::new());
        assert_ne!(a, b);
        assert_eq!(a.to_string().parse::<MessageId>().unwrap(), a);
        assert_eq!(a.0.get_version_num(), 7);
    }
}
