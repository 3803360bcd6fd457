//! A market that tests write themselves: deals wait there, are assigned to sectors, and are free again
//! when they are released, as at the real one.

use super::{Assigned, DealSpec, Market, Service, VenusError};
use async_trait::async_trait;
use damocles_types::{ActorId, SectorId};
use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use tokio::sync::Notify;

/// Everything that it knows; tests change it directly.
#[derive(Debug, Default)]
pub struct Script {
    /// Nobody answers.
    pub down: bool,
    /// It does what it is asked next, and its answer is lost.
    pub lose_answer: bool,
    /// It answers assignments no sooner than this is told.
    pub gate: Option<Arc<Notify>>,
    /// What releases are refused with.
    pub refuses: Option<String>,
    /// What the next sector gets, its zeros too.
    pub waiting: Vec<Assigned>,
    /// What sectors have, its zeros too.
    pub assigned: Vec<(SectorId, Assigned)>,
    pub specs: Vec<DealSpec>,
}

/// The market of a test.
#[derive(Debug, Default)]
pub struct ScriptMarket(Mutex<Script>);

fn refused(method: &str, message: impl Into<String>) -> VenusError {
    VenusError::Refused {
        service: Service::Market,
        method: method.to_owned(),
        message: message.into(),
    }
}

fn away(method: &str) -> VenusError {
    VenusError::Away {
        service: Service::Market,
        method: method.to_owned(),
        reason: "connection refused".into(),
    }
}

impl ScriptMarket {
    /// What it knows, to look at or to change.
    pub fn edit(&self) -> MutexGuard<'_, Script> {
        self.0.lock()
    }

    fn up(&self, method: &str) -> Result<MutexGuard<'_, Script>, VenusError> {
        let script = self.edit();
        match script.down {
            true => Err(away(method)),
            false => Ok(script),
        }
    }

    fn release(
        &self,
        method: &str,
        ids: &[u64],
        number: impl Fn(&Assigned) -> u64,
    ) -> Result<(), VenusError> {
        let mut script = self.up(method)?;
        if let Some(why) = &script.refuses {
            return Err(refused(method, why.clone()));
        }
        for id in ids {
            let found = script.assigned.iter().position(|(_, a)| number(a) == *id);
            let Some(at) = found else {
                let why = format!("cannot release a deal that is activated or not ready: {id}");
                return Err(refused(method, why));
            };
            let (_, deal) = script.assigned.remove(at);
            script.waiting.push(deal);
        }
        match std::mem::take(&mut script.lose_answer) {
            true => Err(away(method)),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Market for ScriptMarket {
    async fn version(&self) -> Result<String, VenusError> {
        drop(self.up("VENUS_MARKET.Version")?);
        Ok("2.15.0".to_owned())
    }

    async fn assign(
        &self,
        sector: SectorId,
        _size: u64,
        spec: &DealSpec,
    ) -> Result<Vec<Assigned>, VenusError> {
        let method = "VENUS_MARKET.AssignDeals";
        let (told, lost, gate) = {
            let mut script = self.up(method)?;
            script.specs.push(spec.clone());
            let told = std::mem::take(&mut script.waiting);
            let has_number = |a: &&Assigned| a.deal_id != 0 || a.allocation_id != 0;
            let taken = told.iter().filter(has_number).map(|a| (sector, a.clone()));
            script.assigned.extend(taken);
            let lost = std::mem::take(&mut script.lose_answer);
            (told, lost, script.gate.clone())
        };
        if let Some(gate) = gate {
            gate.notified().await;
        }
        match lost {
            true => Err(VenusError::Unheard {
                service: Service::Market,
                method: method.to_owned(),
                reason: "request timeout".into(),
            }),
            false => Ok(told),
        }
    }

    async fn release_deals(&self, _miner: ActorId, deals: &[u64]) -> Result<(), VenusError> {
        self.release("VENUS_MARKET.ReleaseDeals", deals, |a| a.deal_id)
    }

    async fn release_allocations(
        &self,
        _miner: ActorId,
        allocations: &[u64],
    ) -> Result<(), VenusError> {
        let method = "VENUS_MARKET.ReleaseDirectDeals";
        self.release(method, allocations, |a| a.allocation_id)
    }
}
