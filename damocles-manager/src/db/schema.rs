//! The tables of the manager's database: one line each.

use damocles_kv::{Leases, Table};

/// Sector → [`SectorRecord`](super::record::SectorRecord). Key: miner, number.
pub(crate) const SECTORS: Table = Table("sectors");
/// Requests for a number, by id → the sector; while that is online.
pub(crate) const REQUESTS: Table = Table("requests");
/// Sectors that workers spoke of and that there is no record of. Key: miner, number.
pub(crate) const STRAYS: Table = Table("unknown-sectors");
/// Persist stores that a scan found last, by name.
pub(crate) const SCANNED: Table = Table("scanned-stores");
/// The marks that were seen in persist stores, by the store's name.
pub(crate) const MARKS: Table = Table("store-marks");
/// Sectors that are in work. Key: miner, number; no value.
pub(crate) const IN_WORK: Table = Table("sectors-in-work");
/// Sectors that are finished or given up. Key: miner, number; since when (ms since 1970, eight
/// bytes), or no value where a version of before wrote it.
pub(crate) const DONE: Table = Table("sectors-done");
/// Sectors whose precommit or proof waits for a message. Key: commitment, miner, number; no value.
pub(crate) const READY: Table = Table("ready");
/// The bytes of proofs, as long as they are kept. Key: miner, number.
pub(crate) const PROOFS: Table = Table("proofs");
/// Sectors that are finished or given up and of which more is kept than their record. Key: since
/// when (ms since 1970), miner, number; no value.
pub(crate) const OVER: Table = Table("sectors-over");
/// Finished sectors that the chain does not have any more. Key: miner, number; no value.
pub(crate) const LEFT_CHAIN: Table = Table("left-chain");
/// The highest sector number handed out. Key: miner.
pub(crate) const NUMBERS: Table = Table("sector-numbers");
/// Message id → [`MessageRecord`](super::record::MessageRecord); ids are in the order of time.
pub(crate) const MESSAGES: Table = Table("messages");
/// The large parts of messages, by message id, as long as they are kept.
pub(crate) const BODIES: Table = Table("message-bodies");
/// Messages that nothing can happen to any more and whose large parts are kept. Key: when it was
/// wanted (ms since 1970), message id; no value.
pub(crate) const ENDED: Table = Table("messages-ended");
/// Messages that are on their way. Key: message id; no value.
pub(crate) const MESSAGES_OPEN: Table = Table("messages-open");
/// Messages that ended on chain and are not final yet. Key: message id; where they landed.
pub(crate) const MESSAGES_WATCHED: Table = Table("messages-watched");
/// What messages cost their senders, by day. Key: day (since 1970), miner, kind; the amount.
pub(crate) const SPENT: Table = Table("spent");
/// Deals of the manager's own queue. Key: kind (a byte), number.
pub(crate) const DEALS: Table = Table("deals");
/// Deals whose data is at a place of its own. Key: CommP, kind, number; no value.
pub(crate) const DEALS_PLACES: Table = Table("deals-places");
/// Deals that wait for a sector. Key: miner, kind, number; no value.
pub(crate) const DEALS_WAITING: Table = Table("deals-waiting");
/// Deals that the market is to have back. Key: miner, kind, number; no value.
pub(crate) const DEALS_RETURNING: Table = Table("deals-returning");
/// Messages that carry a sector. Key: miner, number, message id; no value.
pub(crate) const SECTOR_MESSAGES: Table = Table("sector-messages");
/// Attempts at steps as workers reported them. Key: miner, number, seq.
pub(crate) const TIMELINES: Table = Table("timelines");
/// Workers by name, with their last ping.
pub(crate) const WORKERS: Table = Table("workers");
/// Room kept in persist stores. Key: miner, number.
pub(crate) const RESERVATIONS: Table = Table("store-reservations");
/// Which persist store holds a replica. Key: replica, miner, number.
pub(crate) const REPLICAS: Table = Table("replicas");
/// WindowPoSts. Key: miner, opening epoch, first partition.
pub(crate) const POSTS: Table = Table("posts");
/// WindowPoSts that are not final yet, same keys; no value.
pub(crate) const POSTS_OPEN: Table = Table("posts-open");
/// Declarations of recovered sectors. Key: miner, opening epoch of the deadline.
pub(crate) const RECOVERIES: Table = Table("recoveries");
/// Blocks that miners won. Key: miner, epoch.
pub(crate) const BLOCKS: Table = Table("blocks");
/// What became of miners' other rounds, counted. Key: miner.
pub(crate) const ROUNDS: Table = Table("block-rounds");
/// WindowPoSts that workers prove, by their job's id.
pub(crate) const JOBS: Table = Table("window-post-jobs");
/// What they prove, by the same.
pub(crate) const JOB_INPUTS: Table = Table("window-post-job-inputs");
/// Those of them that are not over. Key: closing epoch, miner, id; no value.
pub(crate) const JOBS_OPEN: Table = Table("window-post-jobs-open");
/// Who has which role: see [`Leases`](damocles_kv::Leases).
pub(crate) const LEASES: Table = Table("leases");
pub(crate) const ROLES: Leases = Leases(LEASES);
/// Up to which head the holder of the role looked for a message without finding it. Key: message
/// id.
pub(crate) const LOOKED: Table = Table("messages-looked-for");
/// The network that the database is of: its genesis block's CID. One key, [`NETWORK_KEY`].
pub(crate) const NETWORK: Table = Table("network");
pub(crate) const NETWORK_KEY: &[u8] = b"genesis";

/// All of them.
pub(crate) const TABLES: &[Table] = &[
    SECTORS,
    REQUESTS,
    STRAYS,
    SCANNED,
    MARKS,
    IN_WORK,
    DONE,
    READY,
    PROOFS,
    OVER,
    LEFT_CHAIN,
    NUMBERS,
    MESSAGES,
    BODIES,
    ENDED,
    MESSAGES_OPEN,
    MESSAGES_WATCHED,
    SPENT,
    DEALS,
    DEALS_WAITING,
    DEALS_PLACES,
    DEALS_RETURNING,
    SECTOR_MESSAGES,
    TIMELINES,
    WORKERS,
    RESERVATIONS,
    REPLICAS,
    POSTS,
    POSTS_OPEN,
    RECOVERIES,
    BLOCKS,
    ROUNDS,
    JOBS,
    JOB_INPUTS,
    JOBS_OPEN,
    LEASES,
    LOOKED,
    NETWORK,
];

/// Of what belongs to processes that run: no other database has a use for it. (Who needs a job
/// again offers it again.)
pub(crate) const OF_PROCESSES: &[Table] = &[LEASES, LOOKED, JOBS, JOB_INPUTS, JOBS_OPEN];
