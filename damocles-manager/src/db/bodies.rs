//! The large parts of messages: parameters, signed bytes and what came back. They lie apart from
//! the small records that lists show, and go when nobody can want them any more.

use crate::db::{
    keys,
    record::{MessageRecord, VERSION},
    schema::{BODIES, ENDED},
};
use damocles_kv::{Record, StoreError, Transaction};
use damocles_node::SignedMessage;
use damocles_types::Base64;
use serde::{Deserialize, Serialize};

/// The large parts of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::db) struct Body {
    v: u32,
    params: Base64,
    signed: Option<SignedMessage>,
    return_value: Option<Base64>,
}

impl Body {
    fn is_empty(&self) -> bool {
        self.params.0.is_empty() && self.signed.is_none() && self.return_value.is_none()
    }
}

/// A message without its large parts, and those. Pure.
pub(in crate::db) fn divided(record: &MessageRecord) -> (MessageRecord, Body) {
    let mut small = record.clone();
    let body = Body {
        v: VERSION,
        params: std::mem::take(&mut small.params),
        signed: small.signed.take(),
        return_value: small.return_value.take(),
    };
    (small, body)
}

/// Gives a message its large parts back, if they are kept.
pub(in crate::db) fn whole(
    t: &mut Transaction<'_>,
    record: MessageRecord,
) -> Result<MessageRecord, StoreError> {
    let seen = t.get(BODIES, &keys::message(record.id))?;
    joined(record, &seen)
}

/// The same with the large parts as they were seen.
pub(in crate::db) fn joined(
    mut record: MessageRecord,
    seen: &Record,
) -> Result<MessageRecord, StoreError> {
    if let Some(body) = seen.json::<Body>()? {
        record.params = body.params;
        record.signed = body.signed;
        record.return_value = body.return_value;
    }
    Ok(record)
}

/// Writes the large parts, if they are others than were seen; and notes of a message that nothing
/// can happen to any more that they may go.
pub(in crate::db) fn put(
    t: &mut Transaction<'_>,
    seen: &Record,
    record: &MessageRecord,
    body: &Body,
) -> Result<(), StoreError> {
    if !body.is_empty() && seen.json::<Body>()?.as_ref() != Some(body) {
        t.put_json(seen, body)?;
    }
    if record.state.is_final() {
        t.overwrite(ENDED, keys::ended(record.wanted_at, record.id), [])?;
    }
    Ok(())
}
