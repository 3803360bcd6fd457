//! Every method this manager serves: how many parameters it takes, what a caller must be allowed,
//! and how long it may take. A test compares the list with what is really registered.

use damocles_daemon::auth::Permission::{self, Admin, Read, Write};
use std::time::Duration;

/// Most methods wait for nothing but the database and the node, and both have shorter limits.
const LIMIT: Duration = Duration::from_secs(120);
/// For what copies a whole database, reads sectors or proves: the disks and the children behind it
/// have limits of their own. Commands wait as long for it.
pub(crate) const LONG: Duration = Duration::from_secs(24 * 3600);

/// A served method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    pub name: &'static str,
    /// Exact number of positional parameters, as upstream demands it.
    pub params: usize,
    pub permission: Permission,
    /// An answer that is not there by then is given up.
    pub limit: Duration,
}

impl Method {
    /// The same, which takes as long as a disk or a prover does.
    const fn long(self) -> Self {
        Self {
            limit: LONG,
            ..self
        }
    }

    /// Whether it may take longer than a call usually does.
    pub(super) fn is_long(&self) -> bool {
        self.limit > LIMIT
    }

    /// Whether it may change something: then it is noted who called it.
    pub(super) fn changes(&self) -> bool {
        self.permission != Read
    }
}

const fn method(name: &'static str, params: usize, permission: Permission) -> Method {
    Method {
        name,
        params,
        permission,
        limit: LIMIT,
    }
}

/// The methods, by namespace.
pub const METHODS: &[Method] = &[
    // what workers call while they seal
    method("Venus.AllocateSector", 1, Write),
    method("Venus.AcquireDeals", 2, Write),
    method("Venus.AssignTicket", 1, Write),
    method("Venus.SubmitPreCommit", 3, Write),
    method("Venus.PollPreCommitState", 1, Read),
    method("Venus.SubmitPersistedEx", 3, Write),
    method("Venus.SubmitPersisted", 2, Write),
    method("Venus.WaitSeed", 2, Write),
    method("Venus.SubmitProof", 3, Write),
    method("Venus.PollProofState", 1, Read),
    method("Venus.ReportState", 2, Write),
    method("Venus.ReportFinalized", 1, Write),
    method("Venus.ReportAborted", 2, Write),
    method("Venus.WorkerPing", 1, Write),
    method("Venus.StoreReserveSpace", 3, Write),
    method("Venus.StoreBasicInfo", 1, Read),
    // what workers call that prove WindowPoSts
    method("Venus.WdPoStAllocateJobs", 3, Write),
    method("Venus.WdPoStHeartbeatJobs", 2, Write),
    method("Venus.WdPoStFinishJob", 3, Write),
    // what operators call
    method("Venus.WdPoStResetJob", 1, Admin),
    method("Venus.WdPoStRemoveJob", 1, Admin),
    method("Venus.WdPoStAllJobs", 0, Read),
    method("Venus.ListSectors", 2, Read),
    method("Venus.FindSector", 2, Read),
    method("Venus.FindSectorInAllStates", 1, Read),
    method("Venus.FindSectorsWithDeal", 2, Read),
    method("Venus.FindSectorWithPiece", 2, Read),
    method("Venus.RestoreSector", 2, Admin),
    method("Venus.FinalizeSector", 1, Admin),
    method("Venus.PollTerminateSectorState", 1, Read),
    method("Venus.SnapUpCandidates", 1, Read),
    method("Venus.WorkerGetPingInfo", 1, Read),
    method("Venus.WorkerPingInfoList", 0, Read),
    method("Venus.WorkerPingInfoRemove", 1, Admin),
    method("Venus.StoreList", 0, Read),
    method("Venus.StoreReleaseReserved", 1, Admin),
    method("Venus.SectorIndexerFind", 2, Read),
    method("Venus.CheckProvable", 5, Write).long(),
    // keeps the prover busy
    method("Venus.SimulateWdPoSt", 6, Write).long(),
    method("Venus.ProvingSectorInfo", 1, Read),
    method("Venus.Version", 0, Read),
    method("Venus.GetInfo", 1, Read),
    method("Venus.GetMinerConfig", 1, Read),
    method("Venus.GetTicket", 3, Read),
    method("Venus.GetSeed", 3, Read),
    method("Venus.GetWindowPoStChanlleengeRand", 3, Read),
    method("Venus.GetWindowPoStCommitRand", 2, Read),
    // new of ours
    method("Damocles.Identity", 0, Read),
    method("Damocles.Roles", 0, Read),
    method("Damocles.SectorFate", 1, Read),
    method("Damocles.TicketLeft", 1, Read),
    method("Damocles.AbortSector", 2, Admin),
    method("Damocles.HandOverSector", 1, Admin),
    method("Damocles.ResendSector", 2, Admin),
    method("Damocles.WorkerLeaves", 1, Write),
    method("Damocles.TakeWindowPosts", 1, Write),
    method("Damocles.WindowPostsLive", 2, Write),
    method("Damocles.WindowPostEnded", 3, Write),
    method("Damocles.Configuration", 0, Admin),
    // a profile may hold what is secret to a fleet, so whoever only looks does not get it
    method("Damocles.WorkerProfile", 2, Write),
    method("Damocles.WorkerProfiles", 0, Read),
    method("Damocles.AssignProfile", 2, Admin),
    method("Damocles.SectorHoldings", 1, Read),
    method("Damocles.UnknownSectors", 0, Read),
    method("Damocles.AcceptStore", 1, Admin),
    method("Damocles.StoreFaults", 0, Read),
    method("Damocles.BackupDatabase", 1, Admin).long(),
    method("Damocles.Accounts", 1, Read),
    method("Damocles.ReportTimeline", 3, Write),
    method("Damocles.Timeline", 1, Read),
    method("Damocles.SectorMessages", 1, Read),
    method("Damocles.WindowPosts", 2, Read),
    method("Damocles.Blocks", 2, Read),
    method("Damocles.Faults", 1, Read),
    method("Damocles.Deadlines", 1, Read),
    method("Damocles.CheckPartition", 4, Write).long(),
    method("Damocles.SimulateWindowPost", 5, Write).long(),
    // names files of the manager's host
    method("Damocles.WinningVanilla", 3, Admin).long(),
    method("Damocles.RecoverFaults", 2, Admin),
    method("Damocles.CompactPartitions", 3, Admin),
    method("Damocles.MinerAddresses", 1, Read),
    method("Damocles.OrderActor", 4, Admin),
    method("Damocles.Sectors", 2, Read),
    method("Damocles.Messages", 2, Read),
    method("Damocles.MinerOverview", 1, Read),
    method("Damocles.AddDeal", 1, Admin),
    method("Damocles.Deals", 2, Read),
    method("Damocles.Deal", 1, Read),
    method("Damocles.CancelDeal", 1, Admin),
    method("Damocles.Message", 1, Read),
    method("Damocles.RetryMessage", 1, Admin),
    method("Damocles.ReplaceMessage", 2, Admin),
    method("Damocles.WithdrawMessage", 2, Admin),
    method("Damocles.Workers", 1, Read),
    method("Damocles.TimelinePage", 2, Read),
    // what there is
    method(super::discover::METHOD, 0, Read),
];

/// The method of that name.
pub(super) fn find(name: &str) -> Option<&'static Method> {
    METHODS.iter().find(|m| m.name == name)
}
