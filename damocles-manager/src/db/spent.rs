//! What messages cost, summed by day, miner and kind: what a limit per day is held against, and
//! what people are told.

use crate::{
    db::{
        Db, DbError, keys,
        record::{MessageRecord, Paid, VERSION},
        schema::SPENT,
    },
    model::{MessageKind, UnixMs},
};
use damocles_kv::{Durability, Span, StoreError, Transaction};
use damocles_node::wire;
use damocles_types::ActorId;
use fvm_shared::econ::TokenAmount;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
pub(in crate::db) struct Spent {
    v: u32,
    /// attoFIL.
    #[serde(with = "wire")]
    fee: TokenAmount,
}

/// The day (since 1970, UTC) of a time.
pub fn day(at: UnixMs) -> u32 {
    u32::try_from(at / (24 * 60 * 60 * 1000)).unwrap_or(u32::MAX)
}

/// Counts what the message has cost by now, in the place of what it had before.
pub(in crate::db) fn count(
    t: &mut Transaction<'_>,
    before: Option<&Paid>,
    message: &MessageRecord,
) -> Result<(), StoreError> {
    let after = message.paid.as_ref();
    if before == after {
        return Ok(());
    }
    let mut add = |paid: Option<&Paid>, sign: i64| {
        let Some(Paid { day, fee }) = paid else {
            return Ok(());
        };
        let seen = t.get(SPENT, &keys::spent(*day, message.miner, message.kind))?;
        let known = seen
            .json::<Spent>()?
            .map_or_else(TokenAmount::default, |s| s.fee);
        let spent = Spent {
            v: VERSION,
            fee: known + fee.clone() * sign,
        };
        t.put_json(&seen, &spent)
    };
    add(before, -1)?;
    add(after, 1)
}

impl Db {
    /// What messages of that kind and miner cost on a day, as far as they have ended.
    pub fn spent(
        &self,
        day: u32,
        miner: ActorId,
        kind: MessageKind,
    ) -> Result<TokenAmount, DbError> {
        self.read(|t| {
            let spent: Option<Spent> = t.get_json(SPENT, &keys::spent(day, miner, kind))?;
            Ok(spent.map_or_else(TokenAmount::default, |s| s.fee))
        })
    }

    /// Forgets sums of days before that time, at most `limit`. How many it were.
    pub fn forget_spent(&self, before: UnixMs, limit: usize) -> Result<usize, DbError> {
        self.write(Durability::Buffered, |t| {
            let old = t.scan(SPENT, &Span::all().below(day(before).to_be_bytes()), limit)?;
            for sum in &old {
                t.delete(sum)?;
            }
            Ok(old.len())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{messages::tests::intent, model::MessageId};
    use damocles_flow::message::MessageEvent;

    #[test]
    fn what_messages_cost_is_summed_by_day_and_follows_the_chain() {
        let db = Db::in_memory();
        let landed = |fee: i64, day: u32| {
            let id = db.want(intent().record(MessageId::new())).unwrap().id;
            db.step_message(id, MessageEvent::Push, |_| {}).unwrap();
            let fee = TokenAmount::from_atto(fee);
            db.step_message(id, MessageEvent::Land, |m| {
                m.paid = Some(Paid {
                    day,
                    fee: fee.clone(),
                });
            })
            .unwrap()
            .id
        };
        let spent = |day| {
            db.spent(day, 1000, MessageKind::WindowPost)
                .unwrap()
                .atto()
                .clone()
        };
        let (first, _) = (landed(5, 3), landed(7, 3));
        landed(11, 4);
        assert_eq!([spent(2), spent(3), spent(4)], [0, 12, 11].map(Into::into));
        // it leaves the chain, and is executed on another branch
        let left = |m: &mut MessageRecord| m.paid = None;
        db.step_message(first, MessageEvent::Unpack, left).unwrap();
        assert_eq!(spent(3), 7.into());
        db.step_message(first, MessageEvent::Fail, |m| {
            m.paid = Some(Paid {
                day: 4,
                fee: TokenAmount::from_atto(2),
            });
        })
        .unwrap();
        assert_eq!([spent(3), spent(4)], [7, 13].map(Into::into));
        assert_eq!(
            db.spent(4, 1000, MessageKind::PreCommit).unwrap(),
            TokenAmount::default()
        );
        let day_4 = 4 * 24 * 60 * 60 * 1000 + 5;
        assert_eq!(db.forget_spent(day_4, 10).unwrap(), 1);
        assert_eq!([spent(3), spent(4)], [0, 13].map(Into::into));
    }
}
