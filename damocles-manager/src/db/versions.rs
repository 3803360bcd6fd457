//! The database as this program writes it, and how one that an older version wrote is brought up
//! to date.

use crate::{
    db::{
        record::Landing,
        schema::{MESSAGES, MESSAGES_OPEN, TABLES},
    },
    model::{UnixMs, unix_ms},
};
use damocles_flow::message::MessageState;
use damocles_kv::{Batch, Kv, KvError, Migration, Schema};
use damocles_node::TipSetKey;
use damocles_types::Epoch;
use serde::Deserialize;
use std::ops::ControlFlow;

pub(crate) const SCHEMA: Schema = Schema {
    owner: "damocles-manager",
    tables: TABLES,
    migrations: &[
        Migration {
            what: "messages that ended on chain lately are watched until they are final",
            run: watch_lately,
        },
        // nothing is to be done: a record without a version gets one when it is written. But a
        // program of before would take a record with one for damage
        Migration {
            what: "records of workers carry a version",
            run: |_, _| Ok(()),
        },
    ],
};

/// Messages that ended on chain within so many milliseconds may not be final yet, on the slowest
/// network.
const LATELY: UnixMs = 48 * 60 * 60 * 1000;

/// An older version did not watch what had ended on chain: what did so lately is watched from now
/// on.
fn watch_lately(kv: &Kv, batch: &mut Batch) -> Result<(), KvError> {
    #[derive(Deserialize)]
    struct Ended {
        state: MessageState,
        wanted_at: UnixMs,
        epoch: Option<Epoch>,
        #[serde(default)]
        tipset: Option<TipSetKey>,
    }
    let after = unix_ms().saturating_sub(LATELY);
    let mut ended = Vec::new();
    kv.walk(MESSAGES, b"", b"", |key, value| {
        // what cannot be read is said where it is wanted
        if let Ok(message) = serde_json::from_slice::<Ended>(value)
            && message.state.is_watched()
            && message.wanted_at > after
        {
            let Ended { epoch, tipset, .. } = message;
            ended.push((key.to_vec(), Landing { epoch, tipset }));
        }
        ControlFlow::Continue(())
    })?;
    for (key, landing) in ended {
        batch.put_json(MESSAGES_OPEN, key, &landing)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        db::{Db, keys},
        messages::tests::intent,
        model::MessageId,
    };
    use damocles_kv::Durability;

    /// As the version before the watch left them: in no list.
    #[test]
    fn what_ended_lately_under_an_older_version_is_watched_again() {
        let db = Db::in_memory();
        let ended = |state, wanted_at| {
            let mut record = intent().record(MessageId::new());
            (record.state, record.wanted_at, record.epoch) = (state, wanted_at, Some(7));
            let mut batch = Batch::new();
            let key = keys::message(record.id);
            batch.put_json(MESSAGES, key, &record).unwrap();
            db.kv().write(batch, Durability::Buffered).unwrap();
            record.id
        };
        let now = unix_ms();
        let landed = ended(MessageState::Landed, now);
        let failed = ended(MessageState::Failed, now - LATELY / 2);
        ended(MessageState::Landed, now - 2 * LATELY);
        ended(MessageState::Rejected, now);
        assert!(db.watched_messages().unwrap().is_empty());
        let mut batch = Batch::new();
        watch_lately(db.kv(), &mut batch).unwrap();
        db.kv().write(batch, Durability::Buffered).unwrap();
        let watched = db.watched_messages().unwrap();
        let mut ids: Vec<_> = watched.iter().map(|watched| watched.id).collect();
        ids.sort();
        let mut want = [landed, failed];
        want.sort();
        assert_eq!(ids, want);
        assert!(watched.iter().all(|watched| watched.epoch == Some(7)));
    }
}
