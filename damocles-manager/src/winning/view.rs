//! Blocks as operators see them.

use crate::db::{
    Db, DbError,
    blocks::{BlockRecord, Rounds, Times},
};
use damocles_api::blocks::{BlockSteps, BlockView, BlocksView};
use damocles_types::ActorId;

/// Blocks that a miner won, newest first, at most `limit`, and what became of its other rounds.
///
/// # Errors
/// A failing database.
pub async fn blocks(db: &Db, miner: ActorId, limit: usize) -> Result<BlocksView, DbError> {
    let (rounds, records) = db
        .call(move |db| Ok::<_, DbError>((db.rounds(miner)?, db.recent_blocks(miner, limit)?)))
        .await?;
    let Rounds {
        since,
        last,
        tried,
        not_eligible,
        not_won,
        late,
        expected,
        ..
    } = rounds;
    Ok(BlocksView {
        miner,
        since,
        last,
        tried,
        not_eligible,
        not_won,
        late,
        expected,
        blocks: records.into_iter().map(shown).collect(),
    })
}

fn shown(record: BlockRecord) -> BlockView {
    let Times {
        base,
        elected,
        read,
        proven,
        chosen,
        made,
        sent,
    } = record.times;
    BlockView {
        height: record.height,
        base: record.base,
        wins: record.wins,
        state: record.state.to_string(),
        cid: record.cid.map(Into::into),
        lost: record.lost.map(|lost| lost.to_string()),
        error: record.error,
        began_at: crate::model::seconds(record.began_at),
        steps: BlockSteps {
            base,
            elected,
            read,
            proven,
            chosen,
            made,
            sent,
        },
        by: record.by,
    }
}
