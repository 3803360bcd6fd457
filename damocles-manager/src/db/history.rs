//! What goes of the history after a while.

use crate::{
    db::{
        Db, DbError, keys,
        schema::{BODIES, ENDED},
    },
    model::UnixMs,
};
use damocles_kv::{Durability, Span};

impl Db {
    /// Forgets the large parts of at most `limit` messages that nothing can happen to any more and
    /// that were wanted before that time. How many it were.
    pub fn forget_bodies(&self, before: UnixMs, limit: usize) -> Result<usize, DbError> {
        self.write(Durability::Buffered, |t| {
            let span = Span::all().below(before.to_be_bytes());
            let old = t.scan(ENDED, &span, limit)?;
            for entry in &old {
                if let Some(id) = keys::read_message(entry.key()) {
                    t.erase(BODIES, keys::message(id))?;
                }
                t.delete(entry)?;
            }
            Ok(old.len())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        db::{record::MessageRecord, schema::MESSAGES},
        messages::tests::intent,
        model::MessageId,
    };
    use damocles_flow::message::MessageEvent;

    #[test]
    fn large_parts_lie_apart_and_go_when_nothing_can_happen_any_more() {
        let db = Db::in_memory();
        let wanted = |at| {
            let mut record = intent().record(MessageId::new());
            record.wanted_at = at;
            record.params = vec![7; 5000].into();
            db.want(record).unwrap()
        };
        let (old, young, open) = (wanted(10), wanted(30), wanted(10));
        for message in [&old, &young] {
            let refused = db.step_message(message.id, MessageEvent::Refuse, |_| {});
            assert!(refused.unwrap().state.is_final());
        }
        let size = |record: &MessageRecord| {
            let key = keys::message(record.id);
            let read = db.read(|t| t.get(MESSAGES, &key));
            read.unwrap().bytes().unwrap().len()
        };
        assert!(size(&open) < 1500, "{}", size(&open));
        assert_eq!(db.message(open.id).unwrap(), Some(open.clone()));
        assert_eq!(db.open_messages().unwrap(), std::slice::from_ref(&open));

        assert_eq!(db.forget_bodies(20, 10).unwrap(), 1);
        assert_eq!(db.forget_bodies(20, 10).unwrap(), 0, "once");
        let left = db.message(old.id).unwrap().unwrap();
        assert_eq!((left.id, left.params.0.len()), (old.id, 0));
        let kept = |id| db.message(id).unwrap().unwrap().params.0.len();
        assert_eq!((kept(young.id), kept(open.id)), (5000, 5000));
        // what is written of it later does not bring an empty body
        db.note_message(old.id, |m| m.error = Some("why".into()))
            .unwrap();
        assert_eq!(db.message(old.id).unwrap().unwrap().params.0.len(), 0);
        assert_eq!(db.forget_bodies(20, 10).unwrap(), 1);
    }
}
