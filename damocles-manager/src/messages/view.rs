//! Messages as operators see them.

use crate::{
    db::{
        Db, DbError,
        pages::Wanted,
        record::{Carriage, MessageRecord, SectorRecord},
    },
    messages::{Engine, EngineError},
    model::{Commitment, seconds},
};
use damocles_api::{
    damocles::MessageView,
    lists::{MessageFilter, Page, Want},
    messages::{AttemptView, GasView, MessageDetail},
    sector::CidJson,
};
use damocles_flow::message::MessageState;
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
            miner: m.miner,
            wanted_at: seconds(m.wanted_at),
            paid: m.paid.map(|paid| paid.fee.to_string()),
            tries: m.tries,
            last_error: m.error,
        }
    }
}

/// What is done next about a message.
fn next(m: &MessageRecord) -> String {
    let id = m.push_id();
    match (&m.entrusted, m.state, m.nonce) {
        (Some(_), MessageState::Pushed, None) => {
            format!("wait until venus-messager, which has it under the id {id}, has signed it")
        }
        (Some(_), MessageState::Pushed, Some(_)) => format!(
            "look for it on chain; venus-messager, which has it under the id {id}, sends it until then"
        ),
        _ => m.state.sentence().to_owned(),
    }
}

impl From<MessageRecord> for MessageDetail {
    fn from(m: MessageRecord) -> Self {
        let present = m.cid.zip(m.nonce).map(|(cid, nonce)| (cid, nonce, None));
        let before = m.lost.iter().map(|l| (l.cid, l.nonce, Some(l.at)));
        let attempts = before
            .chain(present)
            .map(|(cid, nonce, until)| AttemptView {
                cid: cid.into(),
                nonce,
                until,
            });
        Self {
            from: m.from.to_string(),
            to: m.to.to_string(),
            value: m.value.to_string(),
            method: m.method,
            gas: m.gas.as_ref().map(|gas| GasView {
                limit: gas.limit,
                fee_cap: gas.fee_cap.to_string(),
                premium: gas.premium.to_string(),
                at_most: (&gas.fee_cap * gas.limit).to_string(),
                used: m.gas_used,
            }),
            deadline: m.deadline,
            confidence: m.confidence,
            attempts: attempts.collect(),
            ordered: m.order.as_ref().map(ToString::to_string),
            note: m.note.clone(),
            withdrawn: m.withdrawal.as_ref().map(|w| w.why.clone()),
            failing_since: m.failing_since.map(seconds),
            next: next(&m),
            over: m.state.is_final(),
            message: m.into(),
        }
    }
}

impl Engine {
    /// A page of the messages that the filter asks for, newest first (`Damocles.Messages`).
    ///
    /// # Errors
    /// [`EngineError::Cursor`]; a failing database.
    pub async fn page(
        &self,
        filter: MessageFilter,
        want: Want,
    ) -> Result<Page<MessageView>, EngineError> {
        let wanted = Wanted::try_from(&want)?;
        let load = move |db: &Db| {
            db.messages_page(filter.open, &wanted, |message| {
                filter.miner.is_none_or(|miner| message.miner == miner)
                    && filter
                        .kind
                        .as_ref()
                        .is_none_or(|kind| message.kind.to_string() == *kind)
            })
        };
        let page = self.db.call(load).await?;
        let next = page.next;
        let items = page.items.into_iter().map(MessageView::from).collect();
        Ok(Page { items, next })
    }

    /// Messages that carry or carried the sector, oldest first (`Damocles.SectorMessages`); at
    /// their end what waits to be put into one, with no id and the state "Ready".
    ///
    /// # Errors
    /// A failing database.
    pub async fn sector_messages(&self, sector: SectorId) -> Result<Vec<MessageView>, EngineError> {
        let load = move |db: &Db| Ok::<_, DbError>((db.messages_of(sector)?, db.sector(sector)?));
        let (all, record) = self.db.call(load).await?;
        let waiting = record.filter(|r| r.online).into_iter().flat_map(ready);
        Ok(all
            .into_iter()
            .map(MessageView::from)
            .chain(waiting)
            .collect())
    }
}

fn ready(record: SectorRecord) -> Vec<MessageView> {
    let view = |kind: Commitment| match record.carriage(kind) {
        Some(Carriage::Ready { error, .. }) => Some(MessageView {
            id: String::new(),
            kind: kind.message_kind().to_string(),
            state: "Ready".to_owned(),
            cid: None,
            nonce: None,
            epoch: None,
            exit_code: None,
            sectors: vec![record.id],
            miner: record.id.miner,
            wanted_at: 0,
            paid: None,
            tries: 0,
            last_error: error.clone(),
        }),
        _ => None,
    };
    Commitment::ALL.into_iter().filter_map(view).collect()
}
