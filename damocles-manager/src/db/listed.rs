//! A sector's record, and the lists in which it stands because of what the record says.

use crate::{
    db::{
        keys, readable,
        record::{Carriage, LeftChain, MessageRecord, SectorRecord},
        schema::{LEFT_CHAIN, READY, SECTORS},
    },
    model::{Commitment, unix_ms},
};
use damocles_kv::{Batch, Kv, KvError};

/// Writes a record, and what is listed because of it.
pub(in crate::db) fn put(batch: &mut Batch, record: &SectorRecord) -> Result<(), KvError> {
    batch.put_json(SECTORS, keys::sector(record.id), record)?;
    for kind in Commitment::ALL {
        let key = keys::ready(kind, record.id);
        if record.in_work() && matches!(record.carriage(kind), Some(Carriage::Ready { .. })) {
            batch.put(READY, key, Vec::new());
        } else {
            batch.delete(READY, key);
        }
    }
    let key = keys::sector(record.id);
    if record.left_chain.is_some() {
        batch.put(LEFT_CHAIN, key, Vec::new());
    } else {
        batch.delete(LEFT_CHAIN, key);
    }
    Ok(())
}

/// Notes of those sectors of a message that are finished that they are not on chain any more.
pub(in crate::db) fn leave_chain(
    kv: &Kv,
    batch: &mut Batch,
    message: &MessageRecord,
) -> Result<(), KvError> {
    let Some(kind) = message.kind.commitment() else {
        return Ok(());
    };
    for id in &message.sectors {
        let record: Option<SectorRecord> = readable(kv.get_json(SECTORS, &keys::sector(*id)))?;
        if let Some(mut record) = record.filter(SectorRecord::is_finished) {
            record.left_chain = Some(LeftChain {
                since: unix_ms(),
                why: format!("its {kind} left the chain with a branch"),
                stays: false,
            });
            put(batch, &record)?;
        }
    }
    Ok(())
}
