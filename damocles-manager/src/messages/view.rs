//! Messages as operators see them.

use crate::{
    db::record::MessageRecord,
    messages::{Engine, EngineError},
};
use damocles_api::{damocles::MessageView, sector::CidJson};
use damocles_types::SectorId;

impl From<MessageRecord> for MessageView {
    fn from(m: MessageRecord) -> Self {
        Self {
            id: m.id.to_string(),
            kind: m.kind.to_string(),
            state: m.state.to_string(),
            cid: m.cid.map(CidJson::from),
            nonce: m.nonce,
            epoch: m.epoch,
            exit_code: m.exit_code,
            sectors: m.sectors,
            tries: m.tries,
            last_error: m.error,
        }
    }
}

impl Engine {
    /// Messages that carry or carried the sector, oldest first (`Damocles.SectorMessages`).
    ///
    /// # Errors
    /// A failing database.
    pub async fn sector_messages(&self, sector: SectorId) -> Result<Vec<MessageView>, EngineError> {
        let all = self.db.call(move |db| db.messages_of(sector)).await?;
        Ok(all.into_iter().map(MessageView::from).collect())
    }
}
