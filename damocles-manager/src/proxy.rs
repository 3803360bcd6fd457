//! Another manager, asked for the sectors that it sealed (`daemon run --proxy`). While it does not
//! answer it is asked seldom, so that thousands of sectors do not each wait for it.

use crate::storage::{Index, Location, Replica};
use async_trait::async_trait;
use damocles_api::sealer_cli::SealerCliClient;
use damocles_types::{SectorId, chain};
use jsonrpsee::http_client::HttpClient;
use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// A question takes no longer.
pub const LIMIT: Duration = Duration::from_secs(10);
/// After one without an answer it is not asked for so long.
const PAUSE: Duration = Duration::from_secs(5);

/// The index of a manager that is reached over RPC.
#[derive(Debug)]
pub struct OtherManager {
    rpc: HttpClient,
    address: String,
    /// Since when it does not answer, and what it last failed of.
    away: Mutex<Option<(Instant, String)>>,
}

impl OtherManager {
    pub fn new(rpc: HttpClient, address: &str) -> Self {
        Self {
            rpc,
            address: address.to_owned(),
            away: Mutex::new(None),
        }
    }

    /// Notes whether it answers; told once when that changes.
    fn answers(&self, why: Option<&str>) {
        let mut away = self.away.lock();
        match (away.as_ref(), why) {
            (None, Some(why)) => tracing::warn!(
                manager = self.address,
                why,
                "the manager that knows where sectors lie does not answer; going by what it told before"
            ),
            (Some(_), None) => {
                tracing::info!(manager = self.address, "it answers again");
            }
            _ => {}
        }
        *away = why.map(|why| (Instant::now(), why.to_owned()));
    }
}

#[async_trait]
impl Index for OtherManager {
    async fn find(&self, sector: SectorId, replica: Replica) -> Result<Option<Location>, String> {
        let lately = self.away.lock().clone();
        if let Some((_, why)) = lately.filter(|(at, _)| at.elapsed() < PAUSE) {
            return Err(why);
        }
        let kind = match replica {
            Replica::Normal => "normal",
            Replica::Upgrade => "upgrade",
        };
        let asked = self.rpc.sector_indexer_find(kind.to_owned(), sector).await;
        match asked {
            Ok(found) => {
                self.answers(None);
                Ok(found.found.then_some(Location {
                    sector,
                    replica,
                    sealed: found.instance.sealed_file,
                    cache: found.instance.cache_dir,
                }))
            }
            Err(error) => {
                let why = chain(&error);
                self.answers(Some(&why));
                Err(why)
            }
        }
    }

    fn address(&self) -> &str {
        &self.address
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use damocles_api::sealer_cli::SealerCliServer;
    use jsonrpsee::{RpcModule, server::Server};

    #[tokio::test]
    async fn another_manager_is_asked_by_upstreams_method_and_seldom_while_it_is_away() {
        let (rooms, _, _disk, _chain) = crate::rpc::scene::rooms().await;
        let sector = SectorId::new(1000, 7);
        let location = Location {
            sector,
            replica: Replica::Upgrade,
            sealed: "persist".into(),
            cache: "persist".into(),
        };
        rooms
            .db
            .put_locations(std::slice::from_ref(&location))
            .unwrap();
        let mut module = RpcModule::new(());
        module.merge(SealerCliServer::into_rpc(rooms)).unwrap();
        let server = Server::builder().build("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap().to_string();
        let handle = server.start(module);
        let rpc = crate::cli::another_manager(&address, None, LIMIT).unwrap();
        let other = OtherManager::new(rpc, &address);
        let find = async |replica| other.find(sector, replica).await;
        assert_eq!(find(Replica::Upgrade).await, Ok(Some(location)));
        assert_eq!(find(Replica::Normal).await, Ok(None));
        handle.stop().unwrap();
        handle.stopped().await;
        let why = find(Replica::Upgrade).await.unwrap_err();
        let first = other.away.lock().clone().map(|(at, _)| at);
        assert_eq!(find(Replica::Upgrade).await, Err(why));
        assert_eq!(other.away.lock().clone().map(|(at, _)| at), first, "once");
    }
}
