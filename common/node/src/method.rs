//! The node methods that the house knows: name, permission, parameters, result. The devnet
//! serves exactly these, the manager calls none but these.
//!
//! A parameter that ends in `?` may be `null`. `tsk` is a [`TipSetKey`](crate::TipSetKey):
//! `[]` or `null` is the head.

/// What a caller's token must allow, weakest first (Lotus `api/permissioned.go`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    Read,
    Write,
    Sign,
    Admin,
}

impl Permission {
    /// All of them, weakest first.
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Sign, Self::Admin];

    /// The word in tokens.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Sign => "sign",
            Self::Admin => "admin",
        }
    }

    /// The permission of that word.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.name() == name)
    }

    /// This permission and all weaker ones: what `lotus auth create-token --perm X` puts in a token.
    pub fn and_below(self) -> &'static [Self] {
        match self {
            Self::Read => &Self::ALL[..1],
            Self::Write => &Self::ALL[..2],
            Self::Sign => &Self::ALL[..3],
            Self::Admin => &Self::ALL,
        }
    }
}

/// One method of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// With the namespace: `Filecoin.ChainHead`.
    pub name: &'static str,
    pub permission: Permission,
    pub params: &'static [&'static str],
    /// The type of the result, for people.
    pub result: &'static str,
    /// What it does, where the name does not say it.
    pub about: &'static str,
}

macro_rules! methods {
    ($($(#[doc = $doc:literal])* $konst:ident = $name:literal $perm:ident ($($param:literal),*) -> $result:literal;)*) => {
        $($(#[doc = $doc])* pub const $konst: &str = $name;)*
        /// Every method, by namespace and theme.
        pub const METHODS: &[Method] = &[$(Method {
            name: $name,
            permission: Permission::$perm,
            params: &[$($param),*],
            result: $result,
            about: concat!($($doc),*),
        }),*];
    };
}

methods! {
    VERSION = "Filecoin.Version" Read () -> "Version";
    ID = "Filecoin.ID" Read () -> "String";
    NET_ADDRS_LISTEN = "Filecoin.NetAddrsListen" Read () -> "AddrInfo";
    AUTH_VERIFY = "Filecoin.AuthVerify" Read ("token") -> "Vec<String>";
    AUTH_NEW = "Filecoin.AuthNew" Admin ("permissions") -> "bytes";

    CHAIN_HEAD = "Filecoin.ChainHead" Read () -> "TipSet";
    CHAIN_GET_GENESIS = "Filecoin.ChainGetGenesis" Read () -> "TipSet";
    CHAIN_GET_TIP_SET = "Filecoin.ChainGetTipSet" Read ("tsk?") -> "TipSet";
    /// The tipset at that height or, after a null round, the one before it.
    CHAIN_GET_TIP_SET_BY_HEIGHT = "Filecoin.ChainGetTipSetByHeight" Read ("height", "tsk?") -> "TipSet";
    /// The tipset at that height or, after a null round, the one after it.
    CHAIN_GET_TIP_SET_AFTER_HEIGHT = "Filecoin.ChainGetTipSetAfterHeight" Read ("height", "tsk?") -> "TipSet";
    /// The newest tipset that no reorganisation reverts any more.
    CHAIN_GET_FINALIZED_TIP_SET = "Filecoin.ChainGetFinalizedTipSet" Read () -> "TipSet";
    CHAIN_GET_BLOCK = "Filecoin.ChainGetBlock" Read ("cid") -> "BlockHeader";
    CHAIN_GET_BLOCK_MESSAGES = "Filecoin.ChainGetBlockMessages" Read ("cid") -> "BlockMessages";
    CHAIN_GET_MESSAGE = "Filecoin.ChainGetMessage" Read ("cid") -> "Message";
    CHAIN_READ_OBJ = "Filecoin.ChainReadObj" Read ("cid") -> "bytes";
    CHAIN_HAS_OBJ = "Filecoin.ChainHasObj" Read ("cid") -> "bool";
    /// WebSocket only; the result is a channel id, the values come as `xrpc.ch.val`.
    CHAIN_NOTIFY = "Filecoin.ChainNotify" Read () -> "channel of Vec<HeadChange>";

    /// How far the node is with its chain; idle when it is up to date.
    SYNC_STATE = "Filecoin.SyncState" Read () -> "SyncState";

    STATE_NETWORK_NAME = "Filecoin.StateNetworkName" Read () -> "String";
    STATE_NETWORK_VERSION = "Filecoin.StateNetworkVersion" Read ("tsk?") -> "u32";
    STATE_GET_NETWORK_PARAMS = "Filecoin.StateGetNetworkParams" Read () -> "NetworkParams";
    STATE_GET_ACTOR = "Filecoin.StateGetActor" Read ("address", "tsk?") -> "ActorState";
    STATE_READ_STATE = "Filecoin.StateReadState" Read ("address", "tsk?") -> "ReadState";
    STATE_LOOKUP_ID = "Filecoin.StateLookupID" Read ("address", "tsk?") -> "Address";
    STATE_ACCOUNT_KEY = "Filecoin.StateAccountKey" Read ("address", "tsk?") -> "Address";
    STATE_LIST_MINERS = "Filecoin.StateListMiners" Read ("tsk?") -> "Vec<Address>";
    /// Runs the message on the tipset's state without keeping the outcome.
    STATE_CALL = "Filecoin.StateCall" Read ("message", "tsk?") -> "InvocResult";
    /// `limit` epochs back from `tsk`, -1 for all; `null` when the message is not there.
    STATE_SEARCH_MSG = "Filecoin.StateSearchMsg" Read ("tsk?", "cid", "limit", "allowReplaced") -> "Option<MsgLookup>";
    /// Answers when the message is `confidence` epochs deep.
    STATE_WAIT_MSG = "Filecoin.StateWaitMsg" Read ("cid", "confidence", "limit", "allowReplaced") -> "MsgLookup";

    STATE_MINER_INFO = "Filecoin.StateMinerInfo" Read ("miner", "tsk?") -> "MinerInfo";
    STATE_MINER_POWER = "Filecoin.StateMinerPower" Read ("miner", "tsk?") -> "MinerPower";
    STATE_MINER_AVAILABLE_BALANCE = "Filecoin.StateMinerAvailableBalance" Read ("miner", "tsk?") -> "TokenAmount";
    STATE_MINER_DEADLINES = "Filecoin.StateMinerDeadlines" Read ("miner", "tsk?") -> "Vec<Deadline>";
    STATE_MINER_PARTITIONS = "Filecoin.StateMinerPartitions" Read ("miner", "deadline", "tsk?") -> "Vec<Partition>";
    STATE_MINER_PROVING_DEADLINE = "Filecoin.StateMinerProvingDeadline" Read ("miner", "tsk?") -> "DeadlineInfo";
    STATE_MINER_SECTORS = "Filecoin.StateMinerSectors" Read ("miner", "filter?", "tsk?") -> "Vec<SectorOnChainInfo>";
    STATE_MINER_ACTIVE_SECTORS = "Filecoin.StateMinerActiveSectors" Read ("miner", "tsk?") -> "Vec<SectorOnChainInfo>";
    STATE_MINER_SECTOR_COUNT = "Filecoin.StateMinerSectorCount" Read ("miner", "tsk?") -> "MinerSectors";
    STATE_MINER_FAULTS = "Filecoin.StateMinerFaults" Read ("miner", "tsk?") -> "BitField";
    STATE_MINER_RECOVERIES = "Filecoin.StateMinerRecoveries" Read ("miner", "tsk?") -> "BitField";
    STATE_MINER_ALLOCATED = "Filecoin.StateMinerAllocated" Read ("miner", "tsk?") -> "BitField";
    STATE_MINER_SECTOR_ALLOCATED = "Filecoin.StateMinerSectorAllocated" Read ("miner", "sector", "tsk?") -> "bool";
    STATE_SECTOR_GET_INFO = "Filecoin.StateSectorGetInfo" Read ("miner", "sector", "tsk?") -> "Option<SectorOnChainInfo>";
    STATE_SECTOR_PRE_COMMIT_INFO = "Filecoin.StateSectorPreCommitInfo" Read ("miner", "sector", "tsk?") -> "Option<SectorPreCommitOnChainInfo>";
    STATE_SECTOR_PARTITION = "Filecoin.StateSectorPartition" Read ("miner", "sector", "tsk?") -> "SectorLocation";
    STATE_SECTOR_EXPIRATION = "Filecoin.StateSectorExpiration" Read ("miner", "sector", "tsk?") -> "SectorExpiration";
    /// Overestimated by a tenth.
    STATE_MINER_PRE_COMMIT_DEPOSIT_FOR_POWER = "Filecoin.StateMinerPreCommitDepositForPower" Read ("miner", "info", "tsk?") -> "TokenAmount";
    /// Overestimated by a tenth.
    STATE_MINER_INITIAL_PLEDGE_COLLATERAL = "Filecoin.StateMinerInitialPledgeCollateral" Read ("miner", "info", "tsk?") -> "TokenAmount";
    /// Overestimated by a tenth.
    STATE_MINER_INITIAL_PLEDGE_FOR_SECTOR = "Filecoin.StateMinerInitialPledgeForSector" Read ("duration", "size", "verifiedSize", "tsk?") -> "TokenAmount";
    STATE_MINER_CREATION_DEPOSIT = "Filecoin.StateMinerCreationDeposit" Read ("tsk?") -> "TokenAmount";

    /// `null` when there is none (any more).
    STATE_GET_ALLOCATION = "Filecoin.StateGetAllocation" Read ("client", "allocation", "tsk?") -> "Option<Allocation>";
    /// 0 when the deal was published without one, or is no longer pending.
    STATE_GET_ALLOCATION_ID_FOR_PENDING_DEAL = "Filecoin.StateGetAllocationIdForPendingDeal" Read ("deal", "tsk?") -> "u64";
    /// The number of a claim is that of the allocation; `null` when there is none.
    STATE_GET_CLAIM = "Filecoin.StateGetClaim" Read ("provider", "claim", "tsk?") -> "Option<VerifiedClaim>";
    STATE_MARKET_STORAGE_DEAL = "Filecoin.StateMarketStorageDeal" Read ("deal", "tsk?") -> "MarketDeal";

    STATE_GET_RANDOMNESS_FROM_TICKETS = "Filecoin.StateGetRandomnessFromTickets" Read ("tag", "epoch", "entropy?", "tsk?") -> "bytes";
    STATE_GET_RANDOMNESS_FROM_BEACON = "Filecoin.StateGetRandomnessFromBeacon" Read ("tag", "epoch", "entropy?", "tsk?") -> "bytes";
    STATE_GET_RANDOMNESS_DIGEST_FROM_TICKETS = "Filecoin.StateGetRandomnessDigestFromTickets" Read ("epoch", "tsk?") -> "bytes";
    STATE_GET_RANDOMNESS_DIGEST_FROM_BEACON = "Filecoin.StateGetRandomnessDigestFromBeacon" Read ("epoch", "tsk?") -> "bytes";
    /// Waits when the entry lies in the future.
    STATE_GET_BEACON_ENTRY = "Filecoin.StateGetBeaconEntry" Read ("epoch") -> "BeaconEntry";

    /// What a round of a miner is tried with; `null` where no sector of it could be proven.
    MINER_GET_BASE_INFO = "Filecoin.MinerGetBaseInfo" Read ("miner", "epoch", "tsk?") -> "Option<MiningBaseInfo>";
    /// Makes a block and has the miner's worker key sign it; it is sent to nobody.
    MINER_CREATE_BLOCK = "Filecoin.MinerCreateBlock" Write ("template") -> "BlockMsg";
    SYNC_SUBMIT_BLOCK = "Filecoin.SyncSubmitBlock" Write ("block") -> "null";

    MPOOL_PUSH = "Filecoin.MpoolPush" Write ("message") -> "Cid";
    MPOOL_PUSH_MESSAGE = "Filecoin.MpoolPushMessage" Sign ("message", "spec?") -> "SignedMessage";
    MPOOL_GET_NONCE = "Filecoin.MpoolGetNonce" Read ("address") -> "u64";
    MPOOL_PENDING = "Filecoin.MpoolPending" Read ("tsk?") -> "Vec<SignedMessage>";
    MPOOL_SELECT = "Filecoin.MpoolSelect" Read ("tsk?", "ticketQuality") -> "Vec<SignedMessage>";
    GAS_ESTIMATE_MESSAGE_GAS = "Filecoin.GasEstimateMessageGas" Read ("message", "spec?", "tsk?") -> "Message";
    GAS_ESTIMATE_FEE_CAP = "Filecoin.GasEstimateFeeCap" Read ("message", "maxQueueBlocks", "tsk?") -> "TokenAmount";
    GAS_ESTIMATE_GAS_PREMIUM = "Filecoin.GasEstimateGasPremium" Read ("blocks", "sender", "gasLimit", "tsk?") -> "TokenAmount";
    GAS_ESTIMATE_GAS_LIMIT = "Filecoin.GasEstimateGasLimit" Read ("message", "tsk?") -> "i64";

    WALLET_NEW = "Filecoin.WalletNew" Write ("type") -> "Address";
    WALLET_HAS = "Filecoin.WalletHas" Write ("address") -> "bool";
    WALLET_LIST = "Filecoin.WalletList" Write () -> "Vec<Address>";
    WALLET_BALANCE = "Filecoin.WalletBalance" Read ("address") -> "TokenAmount";
    WALLET_SIGN = "Filecoin.WalletSign" Sign ("address", "bytes") -> "Signature";
    WALLET_SIGN_MESSAGE = "Filecoin.WalletSignMessage" Sign ("address", "message") -> "SignedMessage";
    WALLET_VERIFY = "Filecoin.WalletVerify" Read ("address", "bytes", "signature") -> "bool";
    WALLET_DEFAULT_ADDRESS = "Filecoin.WalletDefaultAddress" Write () -> "Address";
    WALLET_SET_DEFAULT = "Filecoin.WalletSetDefault" Write ("address") -> "null";
    WALLET_EXPORT = "Filecoin.WalletExport" Admin ("address") -> "KeyInfo";
    WALLET_IMPORT = "Filecoin.WalletImport" Admin ("key") -> "Address";
    WALLET_DELETE = "Filecoin.WalletDelete" Admin ("address") -> "null";

    /// Makes `count` blocks at once; the new head.
    DEVNET_MINE = "Devnet.Mine" Admin ("count") -> "TipSet";
    /// Milliseconds between blocks; 0 makes blocks only by `Devnet.Mine`.
    DEVNET_SET_BLOCK_TIME = "Devnet.SetBlockTime" Admin ("milliseconds") -> "null";
    /// Writes the snapshot now.
    DEVNET_SNAPSHOT = "Devnet.Snapshot" Admin () -> "null";
    /// While on, blocks hold no messages; the pool still takes them.
    DEVNET_HOLD_MESSAGES = "Devnet.HoldMessages" Admin ("on") -> "null";
    /// Accepted WindowPoSts of a miner, oldest first.
    DEVNET_POSTS = "Devnet.Posts" Read ("miner") -> "Vec<PostRecord>";
    /// All messages on chain to a miner, oldest first; of one method, or of all with `null`.
    DEVNET_MESSAGES = "Devnet.Messages" Read ("miner", "method?") -> "Vec<MessageRecord>";

    /// Makes an allocation of the verified registry with the next tipset, as if the client had
    /// the DataCap; its number, which a lost branch does not change. Refused where the registry
    /// refuses it.
    DEVNET_ALLOCATE = "Devnet.Allocate" Admin ("allocation") -> "allocation";
    /// Publishes a deal of the storage market with the next tipset, as if both parties had signed
    /// it and had the funds; its number, which a lost branch does not change. A verified deal
    /// gets an allocation, too. Refused where the market refuses it.
    DEVNET_PUBLISH_DEAL = "Devnet.PublishDeal" Admin ("proposal") -> "deal";

    /// Loses the last `epochs` of the chain and makes `blocks` (0) tipsets of another branch at
    /// once; the new head. Messages of the lost branch return to the pool, or with `forgetPool`
    /// (false) the pool is empty afterwards, the CIDs still known.
    DEVNET_REORG = "Devnet.Reorg" Admin ("epochs", "forgetPool?", "blocks?") -> "TipSet";
    /// Makes a tipset after that many rounds without one; the new head.
    DEVNET_NULL_ROUNDS = "Devnet.NullRounds" Admin ("rounds") -> "TipSet";
    /// The base fee of every tipset from the next one on, a decimal string in attoFIL; `null`
    /// lets it follow the rules again from where it stands.
    DEVNET_SET_BASE_FEE = "Devnet.SetBaseFee" Admin ("attoFil?") -> "null";
    /// Loses a waiting message, its CID still known; false when none waits under it.
    DEVNET_DROP = "Devnet.Drop" Admin ("cid") -> "bool";
    /// Keeps one waiting message (and what its sender sent later) out of blocks, or lets it in
    /// again; false when none waits under that CID.
    DEVNET_HOLD_MESSAGE = "Devnet.HoldMessage" Admin ("cid", "on") -> "bool";
    /// Empties the pool; with `all` (false) CIDs and message ids are forgotten too, as after a
    /// restore of the node.
    DEVNET_FORGET_POOL = "Devnet.ForgetPool" Admin ("all?") -> "null";
    /// Another message takes the nonce of the sender's first waiting message, which is lost, or
    /// of the next one that it would send; a transfer of nothing to itself that waits for the
    /// next block. The key must be in the node's wallet.
    DEVNET_TAKE_NONCE = "Devnet.TakeNonce" Admin ("from") -> "SignedMessage";
    /// From that epoch (the next one) on StateNetworkVersion tells this version; the epoch. The
    /// actors' state goes on as it is.
    DEVNET_UPGRADE_NETWORK = "Devnet.UpgradeNetwork" Admin ("version", "height?") -> "epoch";

    /// This endpoint's head lies so many epochs below the network's, at genesis at the lowest;
    /// 0 ends it. Tipsets above its head are not known to it.
    DEVNET_SET_BEHIND = "Devnet.SetBehind" Admin ("epochs") -> "null";
    /// Calls of a method (full name; `*` is every one) to this endpoint wait so long before
    /// they are carried out, at most an hour; 0 ends it, also for those that wait.
    DEVNET_STALL = "Devnet.Stall" Admin ("method", "milliseconds") -> "null";
    /// The next `count` calls of a method (full name or `*`) to this endpoint are refused with
    /// that error; `null` for all of them, 0 ends it. Codes of 0 and below come with HTTP 500.
    DEVNET_FAIL = "Devnet.Fail" Admin ("method", "code", "message", "count?") -> "null";
    /// The next `count` calls of a method (full name or `*`) to this endpoint are carried out,
    /// and their connections end without an answer.
    DEVNET_LOSE_ANSWERS = "Devnet.LoseAnswers" Admin ("method", "count") -> "null";
    /// This endpoint answers nobody for so long (`null`: an hour): connections end without an
    /// answer; 0 ends it. The chain goes on, and `Devnet.*` is served.
    DEVNET_OUTAGE = "Devnet.Outage" Admin ("milliseconds?") -> "null";
    /// While on, MpoolPushMessage at this endpoint waits between the look-up of its id and its
    /// nonce: pushes of one id that wait there become a message each. How many wait.
    DEVNET_HOLD_PUSHES = "Devnet.HoldPushes" Admin ("on") -> "u64";
    /// The next `count` pushes of MpoolPushMessage at this endpoint reach the pool, but the node
    /// forgets their ids and answers with an error.
    DEVNET_LOSE_IDS = "Devnet.LoseIds" Admin ("count") -> "null";
}

/// The method of that full name.
pub fn find(name: &str) -> Option<&'static Method> {
    METHODS.iter().find(|m| m.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_have_a_namespace() {
        let names: HashSet<_> = METHODS.iter().map(|m| m.name).collect();
        assert_eq!(names.len(), METHODS.len());
        assert!(
            names
                .iter()
                .all(|n| n.starts_with("Filecoin.") || n.starts_with("Devnet."))
        );
        assert_eq!(find(CHAIN_HEAD).unwrap().params.len(), 0);
        assert_eq!(find("Filecoin.Nope"), None);
    }

    #[test]
    fn a_permission_brings_the_weaker_ones() {
        assert_eq!(Permission::Sign.and_below().len(), 3);
        assert_eq!(Permission::from_name("admin"), Some(Permission::Admin));
        assert_eq!(Permission::from_name("root"), None);
    }

    #[test]
    fn signing_and_keys_need_more_than_read() {
        let perm = |n| find(n).unwrap().permission;
        assert_eq!(perm(MPOOL_PUSH), Permission::Write);
        assert_eq!(perm(MPOOL_PUSH_MESSAGE), Permission::Sign);
        assert_eq!(perm(WALLET_SIGN), Permission::Sign);
        assert_eq!(perm(WALLET_EXPORT), Permission::Admin);
        assert_eq!(perm(AUTH_NEW), Permission::Admin);
    }
}
