//! A person wants another message for what a worker submitted long ago: the same submission, with the
//! wish for a new message. What speaks against it is answered as to a worker.

use crate::commit::{Commit, CommitError};
use damocles_api::{
    sector::{AllocatedSector, PreCommitOnChainInfo},
    submit::{ProofOnChainInfo, SubmitResp},
};
use damocles_types::{Base64, SectorId};

impl Commit {
    /// Another message for the precommit of a sector, or for its proof. While one lives that carries
    /// it, nothing else is sent.
    ///
    /// # Errors
    /// [`CommitError::Lost`] for what was never submitted or is not kept any more; whatever keeps
    /// the submission from being judged.
    pub async fn resend(&self, sector: SectorId, proof: bool) -> Result<SubmitResp, CommitError> {
        let record = self.online(sector).await?;
        let lost = |why: &str| {
            let why = why.to_owned();
            CommitError::Lost { sector, why }
        };
        if proof {
            let bytes = self.db.call(move |db| db.proof(sector)).await?;
            let bytes = bytes.ok_or_else(|| {
                lost("its proof was never submitted, or is not kept any more; its worker has it")
            })?;
            let proof = ProofOnChainInfo {
                proof: Base64(bytes),
            };
            return self.submit_proof(sector, proof, true).await;
        }
        let pre = record
            .pre
            .ok_or_else(|| lost("its precommit was never submitted to this manager"))?;
        let info = PreCommitOnChainInfo {
            comm_r: pre.comm_r,
            comm_d: pre.comm_d,
            ticket: pre.ticket,
        };
        let allocated = AllocatedSector {
            id: sector,
            proof_type: record.proof_type,
        };
        self.submit_pre_commit(allocated, info, true).await
    }
}
