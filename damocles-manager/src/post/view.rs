//! WindowPoSts as operators see them.

use crate::db::{Db, DbError, posts::PostRecord};
use damocles_api::post::WindowPostRecord;
use damocles_types::ActorId;

/// WindowPoSts of a miner, newest deadline first, at most `limit`.
///
/// # Errors
/// A failing database.
pub async fn window_posts(
    db: &Db,
    miner: ActorId,
    limit: usize,
) -> Result<Vec<WindowPostRecord>, DbError> {
    db.call(move |db| {
        let records = db.recent_posts(miner, limit)?;
        records.into_iter().map(|r| shown(db, r)).collect()
    })
    .await
}

fn shown(db: &Db, record: PostRecord) -> Result<WindowPostRecord, DbError> {
    let message = match record.message {
        Some(id) => db.message(id)?,
        None => None,
    };
    Ok(WindowPostRecord {
        miner: record.key.miner,
        deadline: record.deadline,
        partitions: record.partitions,
        open: record.key.open,
        close: record.close,
        challenge: record.challenge,
        state: record.state.to_string(),
        message: message.and_then(|m| m.cid).map(Into::into),
        landed_at: record.landed_at,
        skipped: record.skipped,
        proving_ms: record.proving_ms,
        error: record.error,
        seen_at: record.steps.seen,
        challenged_at: record.steps.challenged,
        read_at: record.steps.read,
        proven_at: record.steps.proven,
        submitted_at: record.steps.submitted,
        by: record.by,
    })
}
