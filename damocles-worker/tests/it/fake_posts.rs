//! WindowPoSts of the fake manager.

use crate::fake_manager::Fake;
use damocles_api::{
    attempts::{Attempt, AttemptEnd, DamoclesAttemptsServer, TakeWindowPosts},
    code,
    wdpost::{AllocatedWdPoStJob, WdPoStInput, WdPoStSector},
};
use jsonrpsee::core::{RpcResult, async_trait};
use std::collections::VecDeque;

/// What it was told of them, and what it is to say.
#[derive(Debug, Default)]
pub(crate) struct Posts {
    pub(crate) jobs: VecDeque<AllocatedWdPoStJob>,
    /// What was asked for last.
    pub(crate) asked: TakeWindowPosts,
    pub(crate) beats: u64,
    /// So many of them it never answers.
    pub(crate) mute: u64,
    /// Nobody wants what is under way.
    pub(crate) unwanted: bool,
    /// It answers "not now" to so many answers first.
    pub(crate) not_now: u64,
    pub(crate) ends: Vec<(Attempt, AttemptEnd)>,
}

/// A job over one sector of 2KiB that lies in a store.
pub(crate) fn job(id: &str, attempt: u64, store: &str) -> AllocatedWdPoStJob {
    let accesses = damocles_api::store::SectorAccessStores {
        sealed_file: store.to_owned(),
        cache_dir: store.to_owned(),
    };
    AllocatedWdPoStJob {
        id: id.to_owned(),
        input: WdPoStInput {
            sectors: vec![WdPoStSector {
                sector_id: 1,
                comm_r: [1; 32],
                upgrade: false,
                accesses,
            }],
            miner_id: 1000,
            proof_type: "StackedDrgWindow2KiBV1_2".to_owned(),
            seed: [2; 32],
        },
        attempt,
        close: 120,
    }
}

#[async_trait]
impl DamoclesAttemptsServer for Fake {
    async fn take_window_posts(&self, want: TakeWindowPosts) -> RpcResult<Vec<AllocatedWdPoStJob>> {
        let mut script = self.ours()?;
        script.posts.asked = want;
        Ok(script.posts.jobs.pop_front().into_iter().collect())
    }

    async fn window_posts_live(
        &self,
        _worker: String,
        attempts: Vec<Attempt>,
    ) -> RpcResult<Vec<Attempt>> {
        let (unwanted, mute) = {
            let mut script = self.ours()?;
            script.posts.beats += 1;
            let mute = script.posts.mute > 0;
            script.posts.mute = script.posts.mute.saturating_sub(1);
            (script.posts.unwanted, mute)
        };
        if mute {
            std::future::pending::<()>().await;
        }
        Ok(attempts.into_iter().filter(|_| unwanted).collect())
    }

    async fn window_post_ended(
        &self,
        _worker: String,
        attempt: Attempt,
        end: AttemptEnd,
    ) -> RpcResult<bool> {
        let mut script = self.ours()?;
        if script.posts.not_now > 0 {
            script.posts.not_now -= 1;
            return Err(code::error(code::NOT_NOW, "the database is away"));
        }
        script.posts.ends.push((attempt, end));
        Ok(true)
    }
}
