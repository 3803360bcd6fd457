//! `Damocles.*` about profiles for workers.

use super::{caller, error::ToRpc, rooms::Rooms};
use crate::profiles::{ProfileError, Profiles};
use damocles_api::profiles::{DamoclesProfilesServer, ProfileView, WorkerProfile};
use jsonrpsee::core::{RpcResult, async_trait};

impl Rooms {
    /// A question about profiles, on a thread that may wait for a disk.
    async fn of_profiles<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Profiles) -> Result<T, ProfileError> + Send + 'static,
    ) -> RpcResult<T> {
        let profiles = Profiles::beside(self.reload.path());
        let asked = tokio::task::spawn_blocking(move || ask(&profiles)).await;
        let asked = asked.map_err(|e| ToRpc::to_operator(ProfileError::Name(e.to_string())))?;
        asked.map_err(ToRpc::to_operator)
    }
}

#[async_trait]
impl DamoclesProfilesServer for Rooms {
    async fn worker_profile(
        &self,
        name: String,
        worker: String,
    ) -> RpcResult<Option<WorkerProfile>> {
        caller::may_speak_for(&worker)?;
        self.of_profiles(move |profiles| profiles.wanted(&name, &worker))
            .await
    }

    async fn worker_profiles(&self) -> RpcResult<Vec<ProfileView>> {
        self.of_profiles(Profiles::list).await
    }

    async fn assign_profile(
        &self,
        worker: String,
        profile: Option<String>,
    ) -> RpcResult<Option<String>> {
        tracing::info!(worker, profile, "a profile is assigned");
        self.of_profiles(move |profiles| profiles.assign(&worker, profile.as_deref()))
            .await
    }
}
