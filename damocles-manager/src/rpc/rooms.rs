//! The rooms that answer calls, and what is counted when they do.

use super::{caller, discover};
use crate::{
    actor::Actors, chain::Chain, commit::Commit, db::Db, deals::Deals, jobs::Jobs,
    messages::Engine, post::Asked, reload::Reload, sealing::Sealing, storage::Stores,
};
use damocles_api::{
    actor::DamoclesActorServer, attempts::DamoclesAttemptsServer, blocks::DamoclesBlocksServer,
    caller::Caller, damocles::DamoclesServer, damocles_cli::DamoclesCliServer,
    deals::DamoclesDealsServer, lists::DamoclesListsServer, messages::DamoclesMessagesServer,
    miner::MinersServer, overview::DamoclesOverviewServer, profiles::DamoclesProfilesServer,
    proving::DamoclesProvingServer, sealer::SealerServer, sealer_cli::SealerCliServer,
    wdpost::WdPoStServer,
};
use damocles_daemon::metrics::Metrics;
use damocles_types::ActorId;
use jsonrpsee::RpcModule;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};
use std::sync::Arc;

/// What the handlers work with; clones share it.
#[derive(Clone, Debug)]
pub struct Rooms {
    pub db: Db,
    pub sealing: Sealing,
    pub commit: Commit,
    pub stores: Stores,
    pub messages: Engine,
    pub deals: Deals,
    pub chain: Arc<dyn Chain>,
    pub asked: Asked,
    pub actors: Actors,
    pub jobs: Jobs,
    pub reload: Reload,
    pub counts: Counts,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Miner {
    miner: ActorId,
}

/// Upstream's counters of sectors, by miner.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    new_sector: Family<Miner, Counter>,
    pre_commit: Family<Miner, Counter>,
    commit: Family<Miner, Counter>,
}

impl Counts {
    /// Registers them.
    pub fn register(metrics: &Metrics) -> Self {
        let this = Self::default();
        let info: Gauge = Gauge::default();
        info.set(1);
        metrics.with(|r| {
            r.register("info", "1 while the manager runs", info);
            r.register(
                "new_sector",
                "Sector numbers handed out",
                this.new_sector.clone(),
            );
            r.register(
                "sector_pre_commit",
                "Precommits accepted from workers",
                this.pre_commit.clone(),
            );
            r.register(
                "sector_commit",
                "Proofs accepted from workers",
                this.commit.clone(),
            );
        });
        this
    }

    pub(super) fn allocated(&self, miner: ActorId) {
        self.new_sector.get_or_create(&Miner { miner }).inc();
    }

    pub(super) fn pre_committed(&self, miner: ActorId) {
        self.pre_commit.get_or_create(&Miner { miner }).inc();
    }

    pub(super) fn committed(&self, miner: ActorId) {
        self.commit.get_or_create(&Miner { miner }).inc();
    }
}

impl Rooms {
    /// The rooms as the worker finds them that makes the call under way: what it may not change
    /// is refused, inside the transaction that would change it.
    pub(super) fn called(&self) -> Self {
        self.speaking_for(caller::current())
    }

    /// The same for a worker that was made out in another way.
    pub(super) fn speaking_for(&self, caller: Option<Caller>) -> Self {
        let db = match caller {
            Some(caller) if caller::is_bound() => self.db.for_bound_worker(caller),
            caller => self.db.for_worker(caller),
        };
        Self {
            sealing: self.sealing.on(db.clone()),
            commit: self.commit.on(db.clone()),
            stores: self.stores.on(db.clone()),
            db,
            ..self.clone()
        }
    }

    /// All methods that this manager serves.
    pub fn methods(self) -> Result<RpcModule<()>, jsonrpsee::server::RegisterMethodError> {
        let mut module = RpcModule::new(());
        module.merge(SealerServer::into_rpc(self.clone()))?;
        module.merge(SealerCliServer::into_rpc(self.clone()))?;
        module.merge(WdPoStServer::into_rpc(self.clone()))?;
        module.merge(DamoclesAttemptsServer::into_rpc(self.clone()))?;
        module.merge(DamoclesServer::into_rpc(self.clone()))?;
        module.merge(DamoclesListsServer::into_rpc(self.clone()))?;
        module.merge(DamoclesBlocksServer::into_rpc(self.clone()))?;
        module.merge(DamoclesMessagesServer::into_rpc(self.clone()))?;
        module.merge(DamoclesDealsServer::into_rpc(self.clone()))?;
        module.merge(DamoclesOverviewServer::into_rpc(self.clone()))?;
        module.merge(DamoclesProfilesServer::into_rpc(self.clone()))?;
        module.merge(DamoclesProvingServer::into_rpc(self.clone()))?;
        module.merge(DamoclesActorServer::into_rpc(self.clone()))?;
        module.merge(MinersServer::into_rpc(self.clone()))?;
        module.merge(DamoclesCliServer::into_rpc(self))?;
        module.merge(discover::module()?)?;
        Ok(module)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{METHODS, scene::rooms};
    use std::collections::BTreeSet;

    #[tokio::test]
    async fn the_table_of_methods_lists_what_is_served() {
        let served = rooms().await.0.methods().unwrap();
        let served: BTreeSet<&str> = served.method_names().collect();
        let listed: BTreeSet<&str> = METHODS.iter().map(|m| m.name).collect();
        assert_eq!(served, listed);
        assert_eq!(listed.len(), METHODS.len(), "no method is listed twice");
    }
}
