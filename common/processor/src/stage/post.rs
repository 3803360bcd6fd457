//! WindowPoSt and WinningPoSt. Sectors that cannot be proven are no error of a WindowPoSt but
//! its answer: they are named, so that the rest can be proven without them.

use super::{
    context::Context,
    groth,
    post_own::{self, Asked},
};
use crate::{
    kind::Stage,
    params,
    proofs::post_proof,
    serve::TaskError,
    task::{Replica, WindowPost, WindowPostOutput, WinningPost, WinningPostOutput, prover_id},
    verify::{verify_window_post, verify_winning_post},
};
use damocles_types::{Base64, Commitment, PoStProof, Randomness, SectorNumber};
use filecoin_proofs_api::{
    PrivateReplicaInfo, RegisteredPoStProof, SectorId, StorageProofsError,
    post::{
        generate_fallback_sector_challenges, generate_single_vanilla_proof, generate_window_post,
        generate_winning_post,
    },
};
use std::{
    collections::BTreeMap,
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

pub(super) fn window(
    task: &WindowPost,
    context: &Context<'_>,
) -> Result<WindowPostOutput, TaskError> {
    if matches!(task.proof_type, PoStProof::Winning(_)) {
        return Err(TaskError::permanent(format!(
            "{} is not a WindowPoSt",
            task.proof_type
        )));
    }
    params::require(Stage::WindowPost, task.proof_type.size())?;
    let (proof, replicas) = replicas(task.proof_type, &task.replicas)?;
    let broken: Vec<SectorNumber> = task
        .replicas
        .iter()
        .filter_map(|replica| match look(replica, task.proof_type) {
            Ok(()) => None,
            Err(error) => {
                tracing::warn!("sector {} cannot be proven: {error}", replica.sector_id);
                Some(replica.sector_id)
            }
        })
        .collect();
    if !broken.is_empty() {
        return Ok(faults(broken));
    }
    let seed = Randomness(task.seed).as_field_element();
    let prover = prover_id(task.miner_id);
    let asked = Asked {
        proof,
        seed: &seed,
        prover,
        replicas: &task.replicas,
    };
    let made = catch_unwind(AssertUnwindSafe(|| {
        match groth::for_size(context, task.proof_type.size()) {
            Some(cpu) => post_own::prove(asked, cpu, context).map(|made| vec![(proof, made)]),
            None => {
                context.filecoin_proofs_computes();
                generate_window_post(&seed, &replicas, prover)
            }
        }
    }));
    let proofs = match made {
        Ok(Ok(proofs)) => proofs,
        Ok(Err(error)) => match error.downcast_ref::<StorageProofsError>() {
            Some(StorageProofsError::FaultySectors(sectors)) => {
                return Ok(faults(sectors.iter().map(|id| u64::from(*id)).collect()));
            }
            _ => return Err(error.into()),
        },
        // Built with assertions, the library ends over a damaged sector instead of naming it.
        Err(panic) => {
            let found = probe(proof, &seed, &replicas, prover);
            if found.is_empty() {
                resume_unwind(panic);
            }
            return Ok(faults(found));
        }
    };
    let proofs = of_one_type(proof, proofs)?;
    for bytes in &proofs {
        if !verify_window_post(
            task.proof_type,
            task.miner_id,
            Randomness(task.seed),
            &sectors(&task.replicas),
            &bytes.0,
        )? {
            return Err(unverified());
        }
    }
    Ok(WindowPostOutput {
        proofs,
        faults: Vec::new(),
    })
}

pub(super) fn winning(
    task: &WinningPost,
    context: &Context<'_>,
) -> Result<WinningPostOutput, TaskError> {
    if !matches!(task.proof_type, PoStProof::Winning(_)) {
        return Err(TaskError::permanent(format!(
            "{} is not a WinningPoSt",
            task.proof_type
        )));
    }
    params::require(Stage::WinningPost, task.proof_type.size())?;
    let (proof, replicas) = replicas(task.proof_type, &task.replicas)?;
    let seed = Randomness(task.seed).as_field_element();
    let prover = prover_id(task.miner_id);
    let made = match groth::for_size(context, task.proof_type.size()) {
        Some(cpu) => {
            let asked = Asked {
                proof,
                seed: &seed,
                prover,
                replicas: &task.replicas,
            };
            vec![(proof, post_own::prove(asked, cpu, context)?)]
        }
        None => {
            context.filecoin_proofs_computes();
            generate_winning_post(&seed, &replicas, prover)?
        }
    };
    let proofs = of_one_type(proof, made)?;
    for bytes in &proofs {
        if !verify_winning_post(
            task.proof_type,
            task.miner_id,
            Randomness(task.seed),
            &sectors(&task.replicas),
            &bytes.0,
        )? {
            return Err(unverified());
        }
    }
    Ok(WinningPostOutput { proofs })
}

/// The sectors that have no vanilla proof, each tried alone.
fn probe(
    proof: RegisteredPoStProof,
    seed: &[u8; 32],
    replicas: &Replicas,
    prover: [u8; 32],
) -> Vec<SectorNumber> {
    let provable = |id: &SectorId, replica: &PrivateReplicaInfo| -> anyhow::Result<()> {
        let challenges = generate_fallback_sector_challenges(proof, seed, &[*id], prover)?;
        let challenges = challenges
            .get(id)
            .ok_or_else(|| anyhow::anyhow!("no challenges"))?;
        generate_single_vanilla_proof(proof, *id, replica, challenges).map(|_| ())
    };
    replicas
        .iter()
        .filter(|(id, replica)| {
            !matches!(
                catch_unwind(AssertUnwindSafe(|| provable(id, replica))),
                Ok(Ok(()))
            )
        })
        .map(|(id, _)| u64::from(*id))
        .collect()
}

fn unverified() -> TaskError {
    TaskError::permanent("the proof that was made does not verify")
        .hint("wrong CommR, or damaged parameters: damocles-worker params check")
}

fn faults(mut faults: Vec<SectorNumber>) -> WindowPostOutput {
    faults.sort_unstable();
    faults.dedup();
    WindowPostOutput {
        proofs: Vec::new(),
        faults,
    }
}

fn sectors(replicas: &[Replica]) -> Vec<(SectorNumber, Commitment)> {
    replicas.iter().map(|r| (r.sector_id, r.comm_r)).collect()
}

type Replicas = BTreeMap<SectorId, PrivateReplicaInfo>;

fn replicas(
    proof_type: PoStProof,
    replicas: &[Replica],
) -> Result<(RegisteredPoStProof, Replicas), TaskError> {
    let proof = post_proof(proof_type)?;
    if replicas.is_empty() {
        return Err(TaskError::permanent("there is no sector to prove"));
    }
    let map: Replicas = replicas
        .iter()
        .map(|r| {
            let info = PrivateReplicaInfo::new(
                proof,
                r.comm_r.0,
                r.cache_dir.clone(),
                r.sealed_file.clone(),
            );
            (r.sector_id.into(), info)
        })
        .collect();
    if map.len() < replicas.len() {
        return Err(TaskError::permanent("a sector is named twice"));
    }
    Ok((proof, map))
}

/// What the library would stumble over: each file is there, the sealed one of the right length. It
/// ends the whole PoSt when a file is not there; one lost sector must not.
pub(super) fn look(replica: &Replica, proof: PoStProof) -> io::Result<()> {
    let length = fs::metadata(&replica.sealed_file)?.len();
    if length != proof.size().bytes() {
        let why = format!("its sealed file has {length} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    for name in proof.size().proving_cache_files() {
        let path = replica.cache_dir.join(&name);
        fs::File::open(path)
            .map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))?;
    }
    Ok(())
}

fn of_one_type(
    proof: RegisteredPoStProof,
    proofs: Vec<(RegisteredPoStProof, Vec<u8>)>,
) -> Result<Vec<Base64>, TaskError> {
    proofs
        .into_iter()
        .map(|(of, bytes)| {
            if of == proof {
                Ok(Base64(bytes))
            } else {
                Err(TaskError::permanent(format!(
                    "the library made a proof of {of:?} instead of {proof:?}"
                )))
            }
        })
        .collect()
}
