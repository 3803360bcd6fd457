//! Upstream's keys (v0.13) that load but that this version does not act upon, and keys that
//! upstream itself retired.

use damocles_daemon::config::{Kept, Legacy, Rules};

/// How this file's keys are matched: whatever their case, as upstream's parser does.
pub(super) const RULES: Rules = Rules {
    fold_case: true,
    legacy: LEGACY,
};

const LATER: &str = "is known from upstream, but not supported by this version";
const RETIRED: &str = "was retired by upstream";

const fn ignored(path: &'static str) -> Legacy {
    Legacy {
        path,
        note: LATER,
        kept: Kept::Ignored,
    }
}

const fn refused(path: &'static str) -> Legacy {
    Legacy {
        path,
        note: LATER,
        kept: Kept::RefusedWhenOn,
    }
}

const fn retired(path: &'static str) -> Legacy {
    Legacy {
        path,
        note: RETIRED,
        kept: Kept::Ignored,
    }
}

pub(super) const LEGACY: &[Legacy] = &[
    ignored("Common.API.ChainEventInterval"),
    ignored("Common.Plugins"),
    retired("Common.PieceStorePreset"),
    refused("Common.PieceStores.Plugin"),
    refused("Common.PieceStores.PluginName"),
    refused("Common.PersistStores.Plugin"),
    refused("Common.PersistStores.PluginName"),
    refused("Common.MongoKVStore.Enable"),
    ignored("Common.MongoKVStore.DSN"),
    ignored("Common.MongoKVStore.DatabaseName"),
    ignored("Common.DB.Mongo"),
    ignored("Common.DB.Plugin"),
    ignored("Miners.Sector.Verbose"),
    refused("Miners.SnapUp.Enabled"),
    ignored("Miners.SnapUp.Sender"),
    ignored("Miners.SnapUp.Senders"),
    ignored("Miners.SnapUp.SendFund"),
    ignored("Miners.SnapUp.GasOverEstimation"),
    ignored("Miners.SnapUp.GasOverPremium"),
    ignored("Miners.SnapUp.GasFeeCap"),
    ignored("Miners.SnapUp.MaxFeeCap"),
    ignored("Miners.SnapUp.CleanupCCData"),
    ignored("Miners.SnapUp.MessageConfidential"),
    ignored("Miners.SnapUp.ReleaseCondidential"),
    ignored("Miners.SnapUp.MessageConfidence"),
    ignored("Miners.SnapUp.ReleaseConfidence"),
    ignored("Miners.SnapUp.Retry"),
    retired("Miners.Commitment.Pre.Batch.Enabled"),
    retired("Miners.Commitment.Prove.Batch.Enabled"),
    retired("Miners.Commitment.Pre.Batch.BatchCommitAboveBaseFee"),
    ignored("Miners.Commitment.Terminate"),
    ignored("Miners.PoSt.Parallel"),
    ignored("Miners.Sealing.RequireActivationSuccessUpdate"),
    ignored("Miners.Sealing.RequireNotificationSuccessUpdate"),
    ignored("Miners.Sealing.SealingSectorDeadlineDelayNi"),
    retired("Miners.Deal"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_entry_hides_another() {
        for (i, a) in LEGACY.iter().enumerate() {
            for b in &LEGACY[i + 1..] {
                assert_ne!(a.path, b.path);
                let inside = |outer: &str, inner: &str| inner.starts_with(&format!("{outer}."));
                assert!(
                    !inside(a.path, b.path) && !inside(b.path, a.path),
                    "{} {}",
                    a.path,
                    b.path
                );
            }
        }
    }
}
