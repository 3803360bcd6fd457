//! `Damocles.*` as operators' commands call it.

use super::{error::ToRpc, rooms::Rooms};
use damocles_api::{
    damocles_cli::{
        AccountView, BackupView, ConfigurationView, DamoclesCliServer, SectorHoldings,
        UnknownSector,
    },
    submit::SubmitResp,
};
use damocles_types::SectorId;
use jsonrpsee::core::{RpcResult, async_trait};
use std::{collections::BTreeMap, path::PathBuf};

#[async_trait]
impl DamoclesCliServer for Rooms {
    async fn configuration(&self) -> RpcResult<ConfigurationView> {
        Ok(self.reload.view())
    }

    async fn accounts(&self, addresses: Vec<String>) -> RpcResult<Vec<AccountView>> {
        let accounts = self.messages.accounts(addresses).await;
        accounts.map_err(ToRpc::to_operator)
    }

    async fn sector_holdings(&self, sector: SectorId) -> RpcResult<SectorHoldings> {
        self.sealing
            .holdings(sector)
            .await
            .map_err(ToRpc::to_operator)
    }

    async fn unknown_sectors(&self) -> RpcResult<Vec<UnknownSector>> {
        self.sealing.strays().await.map_err(ToRpc::to_operator)
    }

    async fn accept_store(&self, name: String) -> RpcResult<Option<String>> {
        self.stores.accept(&name).await.map_err(ToRpc::to_operator)
    }

    async fn store_faults(&self) -> RpcResult<BTreeMap<String, String>> {
        Ok(self.stores.scan_faults())
    }

    async fn resend_sector(&self, sector: SectorId, proof: bool) -> RpcResult<SubmitResp> {
        let sent = self.commit.resend(sector, proof).await;
        sent.map_err(ToRpc::to_operator)
    }

    async fn backup_database(&self, directory: String) -> RpcResult<BackupView> {
        let to = PathBuf::from(&directory);
        let made = self.db.call(move |db| db.backup(&to)).await;
        let note = made.map_err(ToRpc::to_operator)?;
        tracing::info!(directory, "the database was backed up");
        Ok(note.view(directory))
    }
}
