//! Profiles of the fake manager.

use crate::fake_manager::Fake;
use damocles_api::profiles::{DamoclesProfilesServer, ProfileView, WorkerProfile};
use jsonrpsee::core::{RpcResult, async_trait};

#[async_trait]
impl DamoclesProfilesServer for Fake {
    async fn worker_profile(
        &self,
        name: String,
        _worker: String,
    ) -> RpcResult<Option<WorkerProfile>> {
        let text = self.whole_script().profiles.get(&name).cloned();
        Ok(text.map(|text| WorkerProfile {
            name,
            digest: String::new(),
            text,
        }))
    }

    async fn worker_profiles(&self) -> RpcResult<Vec<ProfileView>> {
        Ok(Vec::new())
    }

    async fn assign_profile(
        &self,
        _worker: String,
        _profile: Option<String>,
    ) -> RpcResult<Option<String>> {
        Ok(None)
    }
}
