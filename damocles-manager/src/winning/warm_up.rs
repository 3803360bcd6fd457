//! A trial proof at the start: so that the first real one finds a child that has read its
//! parameters, and so that an operator hears at once how long one takes, or what is missing.

use super::{parts::Parts, sectors::NotProvable};
use crate::{
    chain::{ChainError, Head},
    model::millis,
};
use damocles_node::ExtendedSectorInfo;
use damocles_types::{ActorId, Randomness};
use fvm_ipld_bitfield::BitField;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// What a trial may take: parameters are read, which for a miner of large sectors is much.
const LIMIT: Duration = Duration::from_secs(600);

/// Why there was no trial.
#[derive(Debug, thiserror::Error)]
enum NoTrial {
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error(transparent)]
    NotProvable(#[from] NotProvable),
    #[error("it took longer than {}s", LIMIT.as_secs())]
    TooLong,
}

/// Makes a trial proof over a sector of the miner, once the node is there.
pub(super) async fn warm_up(parts: &Parts, miner: ActorId, stop: CancellationToken) {
    let tried = async {
        let mut heads = parts.head.clone();
        let head = match heads.wait_for(Option::is_some).await {
            Ok(head) => head.clone(),
            Err(_) => return,
        };
        let Some(head) = head else { return };
        let began = Instant::now();
        let trial = tokio::time::timeout(LIMIT, trial(parts, miner, &head)).await;
        match trial.unwrap_or(Err(NoTrial::TooLong)) {
            Ok(Some(sector)) => tracing::info!(
                miner,
                sector,
                ms = millis(began.elapsed()),
                "a trial WinningPoSt was made: blocks can be"
            ),
            Ok(None) => tracing::info!(
                miner,
                "the miner has no active sector yet, so it wins no blocks; no trial WinningPoSt was made"
            ),
            Err(error) => tracing::error!(
                miner, %error,
                hint = "its blocks will be lost for the same reason: look at the parameters (`damocles-worker params check`) and the persist stores of this host",
                "a trial WinningPoSt could not be made"
            ),
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = tried => {}
    }
}

/// The sector that was proven; None: the miner has none.
async fn trial(parts: &Parts, miner: ActorId, head: &Head) -> Result<Option<u64>, NoTrial> {
    let Some(sector) = any_sector(parts, miner, head).await? else {
        return Ok(None);
    };
    let challenge = Randomness(rand::random());
    let number = sector.sector_number;
    let challenged = parts.find(miner, &[sector], challenge, LIMIT).await?;
    parts.prove(&challenged).await?;
    Ok(Some(number))
}

/// An active sector of the miner.
async fn any_sector(
    parts: &Parts,
    miner: ActorId,
    head: &Head,
) -> Result<Option<ExtendedSectorInfo>, ChainError> {
    let now = parts.chain.miner_proving_deadline(miner, &head.key).await?;
    for deadline in 0..now.wpost_period_deadlines {
        let partitions = parts.chain.miner_partitions(miner, deadline, &head.key);
        let partitions = partitions.await?;
        let active = partitions.iter().find_map(|p| p.active_sectors.first());
        let Some(number) = active else { continue };
        let filter = BitField::try_from_bits([number]).unwrap_or_default();
        let infos = parts.chain.miner_sectors(miner, Some(&filter), &head.key);
        let found = infos.await?.into_iter().find(|s| s.sector_number == number);
        if let Some(info) = found {
            return Ok(Some(ExtendedSectorInfo {
                seal_proof: info.seal_proof,
                sector_number: number,
                sector_key: info.sector_key_cid,
                sealed_cid: info.sealed_cid,
            }));
        }
    }
    Ok(None)
}
