//! WindowPoSts that workers prove: jobs as upstream's workers take them (`Venus.WdPoSt*`). The same
//! for our own is in `attempts`.

use crate::store::SectorAccessStores;
use damocles_types::{ActorId, Base64, Epoch, SectorNumber};
use jsonrpsee::{core::RpcResult, proc_macros::rpc};
use serde::{Deserialize, Serialize};

/// A sector that a job proves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct WdPoStSector {
    pub sector_id: SectorNumber,
    pub comm_r: [u8; 32],
    /// Its upgraded replica is the one to prove.
    pub upgrade: bool,
    /// The stores that its files lie in.
    pub accesses: SectorAccessStores,
}

/// What a job proves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct WdPoStInput {
    pub sectors: Vec<WdPoStSector>,
    pub miner_id: ActorId,
    /// The name of the proofs library: `StackedDrgWindow32GiBV1_2`.
    pub proof_type: String,
    /// The challenge, as an element of the field.
    pub seed: [u8; 32],
}

/// What came of a job: proofs, or the sectors that cannot be read. Upstream's workers send a proof
/// as a list of numbers, which is read as well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WdPoStOutput {
    #[serde(deserialize_with = "or_empty")]
    pub proofs: Vec<Base64>,
    #[serde(deserialize_with = "or_empty")]
    pub faults: Vec<SectorNumber>,
}

fn or_empty<'de, D, T>(d: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

/// Which jobs a worker takes; null and an empty list are any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AllocatePoStSpec {
    pub allowed_miners: Option<Vec<ActorId>>,
    /// Names of the proofs library.
    pub allowed_proof_types: Option<Vec<String>>,
}

/// A job that a worker was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AllocatedWdPoStJob {
    pub id: String,
    pub input: WdPoStInput,
    /// Of ours: the number of the attempt that began. Only the last one is listened to.
    #[serde(default)]
    pub attempt: u64,
    /// Of ours: first epoch in which its proof is of no use any more.
    #[serde(default)]
    pub close: Epoch,
}

/// A job as upstream lists it. Times are Unix seconds, 0 where there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct WdPoStJob {
    pub id: String,
    /// `ready2run`, `running` or `finished`.
    pub state: String,
    pub deadline_idx: u64,
    pub partitions: Vec<u64>,
    /// Of the miner only.
    pub input: WdPoStInput,
    pub output: Option<WdPoStOutput>,
    /// How often it was given to a worker.
    pub try_num: u32,
    pub error_reason: String,
    pub worker_name: String,
    pub started_at: u64,
    pub heartbeat_at: u64,
    pub finished_at: u64,
    pub created_at: u64,
    pub updated_at: u64,
    pub sectors: u32,
    pub faults: u32,
    /// Of ours: its window.
    #[serde(default)]
    pub open: Epoch,
    #[serde(default)]
    pub close: Epoch,
}

/// All jobs, the newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AllWdPoStJobs {
    pub jobs: Vec<WdPoStJob>,
    /// So many attempts fail before nobody is given a job any more.
    pub max_try: u32,
}

/// `Venus.WdPoSt*`, upstream's; there where the manager runs with `--worker-prover`.
#[rpc(client, server, namespace = "Venus", namespace_separator = ".")]
pub trait WdPoSt {
    /// At most `num` jobs for a worker, those whose deadline closes first before the others.
    #[method(name = "WdPoStAllocateJobs")]
    async fn wd_post_allocate_jobs(
        &self,
        spec: AllocatePoStSpec,
        num: u32,
        worker: String,
    ) -> RpcResult<Vec<AllocatedWdPoStJob>>;

    /// A worker is at these jobs. Those that it has no more are passed over.
    #[method(name = "WdPoStHeartbeatJobs")]
    async fn wd_post_heartbeat_jobs(&self, ids: Vec<String>, worker: String) -> RpcResult<()>;

    /// What came of a job, or why nothing did.
    #[method(name = "WdPoStFinishJob")]
    async fn wd_post_finish_job(
        &self,
        id: String,
        output: Option<WdPoStOutput>,
        error: String,
    ) -> RpcResult<()>;

    /// Has a job done anew, whatever came of it.
    #[method(name = "WdPoStResetJob")]
    async fn wd_post_reset_job(&self, id: String) -> RpcResult<()>;

    /// Forgets a job. One that a WindowPoSt waits for is made again.
    #[method(name = "WdPoStRemoveJob")]
    async fn wd_post_remove_job(&self, id: String) -> RpcResult<()>;

    /// All jobs that are remembered, the newest first.
    #[method(name = "WdPoStAllJobs")]
    async fn wd_post_all_jobs(&self) -> RpcResult<AllWdPoStJobs>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proofs_are_read_as_numbers_and_as_text() {
        for (text, proofs, faults) in [
            (
                r#"{"proofs":[[1,2,3]],"faults":[]}"#,
                vec![vec![1, 2, 3]],
                vec![],
            ),
            (
                r#"{"proofs":["AQID"],"faults":null}"#,
                vec![vec![1, 2, 3]],
                vec![],
            ),
            (r#"{"proofs":null,"faults":[7]}"#, vec![], vec![7]),
        ] {
            let output: WdPoStOutput = serde_json::from_str(text).unwrap();
            let bytes: Vec<_> = output.proofs.into_iter().map(|p| p.0).collect();
            assert_eq!((bytes, output.faults), (proofs, faults), "{text}");
        }
    }

    #[test]
    fn a_job_has_upstreams_shape_and_what_is_ours_may_be_missing() {
        let text = r#"{"Id":"x","Input":{"Sectors":[{"SectorId":7,"CommR":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0],"Upgrade":false,"Accesses":{"SealedFile":"a","CacheDir":"b"}}],"MinerId":1000,"ProofType":"StackedDrgWindow2KiBV1_2","Seed":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}}"#;
        let job: AllocatedWdPoStJob = serde_json::from_str(text).unwrap();
        assert_eq!((job.attempt, job.input.sectors[0].sector_id), (0, 7));
        let mut back = serde_json::to_value(&job).unwrap();
        let ours = back.as_object_mut().unwrap();
        ours.retain(|key, _| key != "Attempt" && key != "Close");
        assert_eq!(
            back,
            serde_json::from_str::<serde_json::Value>(text).unwrap()
        );
    }
}
